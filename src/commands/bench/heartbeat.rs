//! `offloadctl bench heartbeat`: arguments to spec, and the run around the simulation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::heartbeat_live::{Asked, LiveArgs};
use crate::bench::heartbeat::{
    Condition, Dump, Estimate, Goal, HeartbeatSpec, Lost, Network, OF_SIMULATION, dump, estimate, measure,
};
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{parse_positive, parse_share, parse_whole, seed, unique};
use crate::console;
use crate::context::{OutputFile, read_run};
use crate::detect::DetectorSpec;
use crate::error::{Exit, Failure};
use crate::model::Measured;
use crate::model::span::nanos;
use crate::report::duration_text;
use crate::topo::{BUILT_IN, built_in};

const EXAMPLES: &str = "Examples:
  Three intervals with every detector on a local network:
    offloadctl bench heartbeat --interval 2s,5s,10s
  The cheapest setting that notices a crash within 10 s and accuses wrongly once a day at most, at 1 % loss:
    offloadctl bench heartbeat --interval 1s,2s,5s --network hybrid --loss 1% --target-detection 10s --max-mistakes 1/day
  Over the network that a stored `probe rtt` measured, and what 10,000 nodes ask of the store:
    offloadctl bench heartbeat --network rtt.json --nodes 10000
  Losses in bursts of 5, and the seventh crash told in full:
    offloadctl bench heartbeat --interval 2s --detector missed:3 --loss 1%/burst=5 --dump-trial 7 crash.csv
  Measured: a gateway and agents on this host, killed and cut off:
    offloadctl bench heartbeat --live --interval 2s,5s,10s --fault kill,partition

Detectors: missed:K, overdue:TIME, phi:P, phi-akka:P, phi-exp:P, chen:TIME, k8s-lease; options follow slashes, as in
missed:3/margin=200ms/check=1s, phi:8/pause=3s/floor=100ms or k8s-lease/grace=40s.

Faults: kill (connections close), freeze (SIGSTOP), stuck (the process lives, its event loop does
nothing), partition (bytes vanish, nobody is told), slow-link (bytes come later than the detector waits).";

/// The detectors of a simulation that names none.
const DETECTORS: [&str; 8] =
    ["missed:1", "missed:2", "missed:3", "overdue:3s", "phi:8", "phi-exp:8", "chen:1s", "k8s-lease"];

/// Runs that are estimated to take less are not announced.
const WORTH_SAYING: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HeartbeatArgs {
    /// Spans between heartbeats
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', default_value = "2s,5s,10s", value_parser = parse_positive)]
    interval: Vec<Duration>,
    /// Failure detectors [default: missed:1,missed:2,missed:3,overdue:3s,phi:8,phi-exp:8,chen:1s,k8s-lease; with --live: missed:3]
    #[arg(long, value_name = "DETECTOR,...", value_delimiter = ',')]
    detector: Vec<DetectorSpec>,
    /// Networks: ideal, local-dc, cross-region, hybrid, or a stored run of `probe rtt`
    #[arg(long, value_name = "NETWORK,...", value_delimiter = ',', default_value = "local-dc")]
    network: Vec<String>,
    /// Share of heartbeats that every network loses, instead of its own; 1%/burst=5 loses them in bursts of 5 on average
    #[arg(long, value_name = "SHARE[/burst=N]", value_parser = parse_loss)]
    loss: Option<LossArg>,
    /// Share of heartbeats that arrive twice
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = parse_share)]
    duplicate: f64,
    /// Heartbeats may overtake each other, as datagrams do
    #[arg(long)]
    reorder: bool,
    /// Crashes simulated for each setting
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = parse_whole::<u64>)]
    trials: u64,
    /// Heartbeats of each setting that are watched for mistakes
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = parse_whole::<u64>)]
    mistake_beats: u64,
    /// Bytes of a heartbeat on the wire; assumed, until a live run has measured it
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = parse_whole::<u64>)]
    heartbeat_bytes: u64,
    /// Say what so many nodes ask of the store; with --live, the agents of each interval and fault [default: 400]
    #[arg(long, value_name = "N", value_parser = parse_whole::<u64>)]
    nodes: Option<u64>,
    /// Name the cheapest setting whose mean detection is at most this
    #[arg(long, value_name = "TIME", value_parser = parse_positive, help_heading = "Goal")]
    target_detection: Option<Duration>,
    /// ... and whose mistakes, at the upper end of their interval, are at most this: 1/day
    #[arg(long, value_name = "N/day", value_parser = parse_mistakes, help_heading = "Goal")]
    max_mistakes: Option<f64>,
    /// ... and whose network cost a node is at most this: 200KB/h
    #[arg(long, value_name = "SIZE/h", value_parser = parse_cost, help_heading = "Goal")]
    max_cost: Option<f64>,
    /// Seed for everything random, to repeat a run [default: a new one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    live: LiveArgs,
    /// Write every send, receipt, loss, deadline and suspicion of the Nth crash of one setting to a .csv file
    #[arg(long, num_args = 2, value_names = ["N", "FILE"], help_heading = "Output")]
    dump_trial: Option<Vec<String>>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Simulates, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, a network cannot be read, or the run cannot be written.
pub fn run(args: &HeartbeatArgs) -> Result<Exit, Failure> {
    if args.live.is_asked_for() {
        let asked = Asked { intervals: &args.interval, detectors: &args.detector, nodes: args.nodes, seed: args.seed };
        return args.live.run(&asked, &args.output);
    }
    let spec = args.spec()?;
    let dumping = args.dumping(&spec)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let quiet = args.output.quiet;
    if let Some(estimate) = estimate(&spec, threads).filter(|estimate| !quiet && estimate.span >= WORTH_SAYING) {
        console::say(told(&estimate));
    }
    let conduct = Conduct { seed: Some(spec.seed), ..Conduct::steps(&OF_SIMULATION, &spec, &args.output) };
    let (measuring, measured) = conduct.measure(async |session| Ok(measure(&spec, threads, session).await))?;
    if let Some(dumping) = dumping {
        dumping.write(&spec, &measured, quiet)?;
    }
    measuring.conclude(measured)
}

fn told(estimate: &Estimate) -> String {
    let span = duration_text(nanos(estimate.span));
    let settings = if estimate.settings == 1 { "setting" } else { "settings" };
    format!(
        "about {span} for {} {settings}: {:.3} billion heartbeats, {:.1} million/s on each core; Ctrl-C keeps what is done",
        estimate.settings,
        estimate.beats as f64 / 1e9,
        estimate.beats_per_s / 1e6
    )
}

/// A trial to be told in full, and the place for it.
struct Dumping {
    number: u64,
    file: OutputFile,
    path: PathBuf,
}

impl Dumping {
    /// Tells the trial where it was counted: of a run that was stopped it may not have been.
    fn write(self, spec: &HeartbeatSpec, measured: &Measured, quiet: bool) -> Result<(), Failure> {
        let dumped = if measured.interrupted { None } else { dump(spec, self.number) };
        let Some(Dump { text, detection }) = dumped else {
            console::say(format_args!("trial {} was not written: the run was interrupted", self.number));
            return Ok(());
        };
        self.file.write(&text)?;
        if !quiet {
            let (number, path) = (self.number, self.path.display());
            let detection = duration_text(nanos(detection));
            console::say(format_args!("trial {number}, a detection of {detection}, written to {path}"));
        }
        Ok(())
    }
}

impl HeartbeatArgs {
    fn spec(&self) -> Result<HeartbeatSpec, Failure> {
        let condition = self.condition()?;
        let networks = unique(&self.network).into_iter().map(|name| Ok(network_of(name)?.under(&condition)));
        let networks = networks.collect::<Result<_, Failure>>()?;
        let spec = HeartbeatSpec {
            mode: "simulated",
            intervals: unique(self.interval.iter().copied()),
            detectors: self.detectors()?,
            left_out: Vec::new(),
            networks,
            condition,
            trials: self.trials,
            mistake_beats: self.mistake_beats,
            heartbeat_bytes: self.heartbeat_bytes,
            nodes: self.nodes,
            goal: Goal {
                detection: self.target_detection,
                mistakes_per_day: self.max_mistakes,
                bytes_per_h: self.max_cost,
            },
            seed: seed(self.seed),
        };
        // The usual detectors need not all fit; those that were asked for must.
        let spec = if self.detector.is_empty() { spec.fitting() } else { spec };
        spec.checked().map_err(|error| Failure::usage(error).hint("see `offloadctl bench heartbeat --help`"))
    }

    fn detectors(&self) -> Result<Vec<DetectorSpec>, Failure> {
        match self.detector.as_slice() {
            [] => DETECTORS.iter().map(|text| text.parse().map_err(Failure::usage)).collect(),
            given => Ok(unique(given.iter().cloned())),
        }
    }

    fn condition(&self) -> Result<Condition, Failure> {
        let lost = self.loss.map(|LossArg { share, burst }| Lost::new(share, burst)).transpose();
        let lost = lost.map_err(|error| Failure::usage(error).hint(error.hint()))?;
        Ok(Condition { lost, duplicate_ratio: self.duplicate, is_reordered: self.reorder })
    }

    /// The trial to dump, with its place opened.
    fn dumping(&self, spec: &HeartbeatSpec) -> Result<Option<Dumping>, Failure> {
        let Some([number, path]) = self.dump_trial.as_deref() else { return Ok(None) };
        let refused = |what: String| Failure::plain(Exit::Usage, what).hint("write --dump-trial 7 crash.csv");
        let number = parse_whole(number).map_err(|why| refused(format!("`--dump-trial {number}`: {why}")))?;
        spec.check_trial(number).map_err(|error| {
            Failure::usage(error)
                .hint("give --dump-trial one --interval, one --detector, one --network, and a number up to --trials")
        })?;
        let path = PathBuf::from(path);
        if path.extension().is_none_or(|suffix| suffix != "csv") {
            return Err(refused(format!(
                "`{}`: a trial is written as comma-separated values, to a .csv file",
                path.display()
            )));
        }
        Ok(Some(Dumping { number, file: OutputFile::open(&path)?, path }))
    }
}

fn network_of(name: &str) -> Result<Network, Failure> {
    if name == "ideal" {
        return Ok(Network::ideal());
    }
    if let Some(profile) = built_in(name) {
        return Network::profile(name, &profile.link()).map_err(Failure::usage);
    }
    let path = Path::new(name);
    if !path.exists() {
        let known: Vec<&str> = BUILT_IN.iter().map(|profile| profile.name).collect();
        return Err(Failure::plain(Exit::Usage, format!("`{name}` is neither a network nor a file"))
            .hint(format!("write ideal, {}, or the file of a stored `probe rtt`", known.join(", "))));
    }
    let run = read_run(path)?;
    let measured: Vec<_> = run.responses().filter(|series| series.name.starts_with("rtt.")).collect();
    // The echo is what a heartbeat is like; without one, whatever has most answers.
    let best = measured.iter().max_by_key(|series| (series.name == "rtt.echo", series.histogram.len()));
    match best {
        None => Err(Failure::plain(
            Exit::Usage,
            format!("`{name}` is a run of `{}`, which has no round trips", run.command),
        )
        .hint("give a run of `offloadctl probe rtt`")),
        Some(series) => Network::measured(name, series).map_err(|error| {
            Failure::usage(error).hint("measure longer: `offloadctl probe rtt ... --rate 50/s --duration 5m`")
        }),
    }
}

/// A loss as typed; whether a link can have it is checked later.
#[derive(Clone, Copy, Debug)]
struct LossArg {
    share: f64,
    burst: Option<f64>,
}

fn parse_loss(text: &str) -> Result<LossArg, String> {
    let Some((share, burst)) = text.split_once('/') else {
        return Ok(LossArg { share: parse_share(text)?, burst: None });
    };
    let length = burst.strip_prefix("burst=").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| "after the slash it is not burst=N, a mean number of messages".to_owned())?;
    Ok(LossArg { share: parse_share(share)?, burst: Some(length) })
}

fn parse_mistakes(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a number a day, such as 1/day or 0.1/day".to_owned();
    let number = text.strip_suffix("/day").or_else(|| text.strip_suffix("/d")).ok_or_else(wrong)?;
    number.parse().ok().filter(|rate: &f64| *rate > 0.0 && rate.is_finite()).ok_or_else(wrong)
}

fn parse_cost(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a size an hour, such as 200KB/h".to_owned();
    let size = text.strip_suffix("/h").ok_or_else(wrong)?;
    let units = [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("kB", 1e3), ("B", 1.0)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((size.strip_suffix(unit)?, factor))).ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if number > 0.0 && number.is_finite() { Ok(number * factor) } else { Err(wrong()) }
}
