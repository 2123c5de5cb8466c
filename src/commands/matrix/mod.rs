//! `offloadctl topology run`: topologies by intervals or rates, cell by cell, and the cheapest that is good enough.
//!
//! Separate from `compare`, which asks whether two sides differ: here many are laid out and one is taken. Each cell is a run of its own
//! and is kept, so that a matrix that was cut off goes on where it was.

mod file;
mod shown;

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use self::file::{Across, Matrix, Topology};
use self::shown::{Cell, Shown};
use super::measured::Asked;
use super::measuring::on_event_loop;
use super::output_args::ShowArgs;
use crate::console::Progress;
use crate::context::{OutputFile, Store, read_run};
use crate::error::{Exit, Failure};
use crate::load::{Session, Steps};
use crate::model::Run;
use crate::report::{Front, Report};
use crate::sys::shutdown::Shutdown;
use crate::topo::{through_proxy, try_proxy};
use crate::wire::Url;

const EXAMPLES: &str = "Examples:
  offloadctl topology run matrix.toml
  offloadctl topology run matrix.toml --output matrix.html

A matrix file:
  intervals = [\"2s\", \"5s\", \"10s\"]        # or rates = [\"10/s\", \"100/s\"]
  detector = \"missed:3\"
  [topology.local]
  emulate = \"local-dc\"
  [topology.site]
  address = \"10.0.0.5:7777\"                # an `offloadctl echo`
  [topology.proxied]
  address = \"10.0.0.5:7777\"
  via = \"http://proxy.example.com:3128\"
  [goal]
  detection = \"10s\"                        # with rates: p95 = \"50ms\"

Round trips are measured; heartbeats are simulated on them or on the emulated profile, and the
report says so. Each cell is kept in --dir; a run that was cut off goes on where it was. Exit 1 if a
topology did not answer or no cell meets the goal.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MatrixArgs {
    /// Topologies, and intervals or rates
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Where each cell is kept [default: the name of the file, with -cells]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure every cell again
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    show: ShowArgs,
    /// No progress line and no notes on stderr; errors are still said
    #[arg(short, long)]
    quiet: bool,
}

/// Measures what is missing, and shows the whole.
///
/// # Errors
/// When the file cannot be meant, or a place cannot be written.
pub fn run(args: &MatrixArgs) -> Result<Exit, Failure> {
    let matrix = Matrix::read(&args.file)?;
    if !args.show.fail_if.is_empty() || args.show.baseline.is_named() {
        let what = "a matrix has no gates and no baseline: its goal stands in the file";
        return Err(Failure::plain(Exit::Usage, what));
    }
    let outputs = args.show.open()?;
    let folder = args.dir.clone().unwrap_or_else(|| {
        args.file
            .with_extension("")
            .with_file_name(format!("{}-cells", args.file.file_stem().unwrap_or_default().to_string_lossy()))
    });
    fs::create_dir_all(&folder).map_err(|error| Failure::file("cannot keep cells in", &folder, &error))?;
    let mut progress = Progress::start("topology run", None, args.quiet);
    let cells = on_event_loop(async |stop| {
        let mut session = Session::new(&mut progress, stop);
        let steps = session.steps((matrix.topologies.len() * matrix.columns.len()) as u64);
        let work = Work {
            matrix: &matrix,
            store: Store::locate(Some(folder.clone()))?,
            folder,
            restart: args.restart,
            stop,
            steps,
        };
        work.all().await
    })?;
    drop(progress);
    let shown = Shown::of(&matrix, &cells);
    let exit = shown.exit();
    write(args, outputs, &cells, &shown)?;
    Ok(if cells.len() < matrix.topologies.len() * matrix.columns.len() { Exit::Interrupted } else { exit })
}

fn write(
    args: &MatrixArgs,
    outputs: Vec<(crate::report::Format, OutputFile)>,
    cells: &[Cell],
    shown: &Shown,
) -> Result<(), Failure> {
    let runs: Vec<Run> = cells.iter().filter_map(|cell| cell.run.as_ref().ok().cloned()).collect();
    let pages = super::catalogue::pages(&runs);
    let front = Front { key: "matrix", data: &shown.data, layout: &shown.layout };
    args.show.print(outputs, Report { pages: &pages, front: Some(front), ..args.show.report() })
}

/// What is measured, and where it is kept.
struct Work<'a> {
    matrix: &'a Matrix,
    folder: PathBuf,
    store: Store,
    restart: bool,
    stop: &'a Shutdown,
    steps: Steps,
}

impl Work<'_> {
    /// Every cell, or those until the user wished to stop.
    async fn all(&self) -> Result<Vec<Cell>, Failure> {
        let mut cells = Vec::new();
        for (name, topology) in &self.matrix.topologies {
            let Way { address, tunnel } = Way::to(topology).await;
            let row = self.row(name, &address);
            let row = match tunnel {
                Some(Tunnel { listener, proxy, far }) => tokio::select! {
                    row = row => row,
                    () = through_proxy(listener, proxy, far) => Ok(Vec::new()),
                },
                None => row.await,
            };
            cells.extend(row?);
            if self.stop.is_requested() {
                break;
            }
        }
        Ok(cells)
    }

    /// The cells of one topology.
    async fn row(&self, name: &str, address: &Result<String, String>) -> Result<Vec<Cell>, Failure> {
        let mut cells = Vec::new();
        let trips = match (address, self.matrix.across) {
            (Err(why), _) => Some(Err(why.clone())),
            (Ok(address), Across::Intervals) => {
                let asked = self.matrix.probe(name, address, "")?;
                Some(self.kept_or_measured(name, &format!("{name}.rtt"), &asked).await?)
            }
            (Ok(_), Across::Rates) => None,
        };
        for column in &self.matrix.columns {
            if self.stop.is_requested() {
                break;
            }
            let file = format!("{name}.{}", column.replace('/', "-per-"));
            let run = match (&trips, address) {
                (Some(Err(why)), _) | (_, Err(why)) => Err(why.clone()),
                (Some(Ok(_)), _) => {
                    let network = self.folder.join(format!("{name}.rtt.json")).display().to_string();
                    let network = self.matrix.link_of(name).unwrap_or(&network);
                    let asked = self.matrix.heartbeat(column, network)?;
                    self.kept_or_measured(name, &file, &asked).await?
                }
                (None, Ok(address)) => {
                    let asked = self.matrix.probe(name, address, column)?;
                    self.kept_or_measured(name, &file, &asked).await?
                }
            };
            if run.as_ref().is_ok_and(|run| !run.complete) {
                break;
            }
            let trips = trips.as_ref().and_then(|trips| trips.as_ref().ok()).cloned();
            cells.push(Cell { topology: name.to_owned(), column: column.clone(), trips, run });
            self.steps.advance(1);
        }
        Ok(cells)
    }

    /// The run of a file that is still what is asked for, else a new one. What cannot be measured is the cell's own matter.
    async fn kept_or_measured(&self, name: &str, file: &str, asked: &Asked) -> Result<Result<Run, String>, Failure> {
        let key = self.matrix.key(name);
        let path = self.folder.join(format!("{file}.json"));
        let is_kept = |run: &Run| run.complete && run.labels.get("matrix") == Some(&key);
        if let Some(run) = read_run(&path).ok().filter(|run| !self.restart && is_kept(run)) {
            return Ok(answered(run));
        }
        match asked.measure(self.stop).await {
            Ok(mut run) => {
                run.labels.insert("matrix".to_owned(), key);
                if run.complete {
                    self.store.save(file, &run)?;
                }
                Ok(answered(run))
            }
            Err(failure) => {
                let what = failure.what();
                let why = what.split_once("`: ").map_or(what, |(_, why)| why);
                Ok(Err(why.lines().next().unwrap_or_default().to_owned()))
            }
        }
    }
}

/// A run in which something was answered.
fn answered(run: Run) -> Result<Run, String> {
    match run.responses().any(|series| !series.histogram.is_empty()) || !run.complete {
        true => Ok(run),
        false => Err("nothing was answered".to_owned()),
    }
}

/// How a topology is reached.
struct Way {
    /// Where to, or why not.
    address: Result<String, String>,
    /// What carries it there, where a proxy lies on the way.
    tunnel: Option<Tunnel>,
}

/// Connections taken here go through the proxy to what lies behind it.
struct Tunnel {
    listener: TcpListener,
    proxy: String,
    far: String,
}

impl Way {
    async fn to(topology: &Topology) -> Self {
        let direct = |address: Result<String, String>| Self { address, tunnel: None };
        let (Some(far), Some(via)) = (&topology.address, &topology.via) else {
            return direct(Ok(topology.address.clone().unwrap_or_default()));
        };
        let proxy = match via.parse::<Url>() {
            Ok(url) => format!("{}:{}", url.socket_host(), url.port),
            Err(error) => return direct(Err(error.to_string())),
        };
        if let Err(error) = try_proxy(&proxy, far).await {
            return direct(Err(format!("no way through {via}: {error}")));
        }
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(error) => return direct(Err(format!("no port for the way through {via}: {error}"))),
        };
        let address = listener.local_addr().map(|address| address.to_string()).map_err(|error| error.to_string());
        Self { address, tunnel: Some(Tunnel { listener, proxy, far: far.clone() }) }
    }
}
