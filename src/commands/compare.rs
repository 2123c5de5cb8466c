//! `offloadctl compare`: measures two sides in turns, and says whether they differ.
//!
//! Separate from `report --baseline`, which compares what was measured before: here both sides see the same hour of the same
//! host, because their runs alternate.

use std::process::{Command, Output};

use clap::{Args, Parser as _};

use super::Cli;
use super::baseline::{self, Judged};
use super::catalogue::{self, Known};
use super::measuring::on_event_loop;
use super::output_args::ShowArgs;
use super::report::show;
use super::value::parse_whole;
use crate::console::Progress;
use crate::context::Store;
use crate::error::{Exit, Failure};
use crate::load::Session;
use crate::model::{Measurement, Run};
use crate::sys::child::output_of;
use crate::sys::shutdown::Shutdown;

const EXAMPLES: &str = "Examples:
  Does a kept connection pay?
    offloadctl compare --against 'probe api https://10.0.0.7:6443/readyz --count 200' \\
      'probe api https://10.0.0.7:6443/readyz --count 200 --reuse'
  Are two links equally fast, to 2 %?
    offloadctl compare --against 'probe rtt far=10.0.0.5:7777' 'probe rtt far=10.0.1.5:7777' --tolerance 2%
  Is the 99th percentile of a new build more than a tenth above the old one's?
    offloadctl compare --against 'probe rtt s=old:7777' 'probe rtt s=new:7777' --fail-if 'rtt.echo.p99 > baseline + 10%'

The runs alternate: A B, B A, A B, and so on. Series are matched by name and labels, so give both sides the same names.
Exit 1 if anything got worse, 4 if there is not enough data to say, else 0.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// The side that is judged: what follows `offloadctl`, in one argument
    #[arg(value_name = "COMMAND")]
    current: String,
    /// The side that it is compared with
    #[arg(long, value_name = "COMMAND")]
    against: String,
    /// Runs of each side
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = parse_whole::<u16>)]
    runs: u16,
    #[command(flatten)]
    show: ShowArgs,
    /// Keep no run files
    #[arg(long)]
    no_save: bool,
    /// No progress line and no notes on stderr; errors are still said
    #[arg(short, long)]
    quiet: bool,
}

/// Measures both sides in turns, and ends with the verdict.
///
/// # Errors
/// When a command measures nothing (usage), cannot measure, or an output cannot be written.
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    if args.show.baseline.is_named() {
        return Err(Failure::plain(Exit::Usage, "the baseline of a comparison is what --against measures"));
    }
    let sides = [words_of(&args.against)?, words_of(&args.current)?];
    let measurement = sides[1].measurement;
    let config = args.show.config()?;
    let gates = config.gates(&args.show.fail_if, measurement, &Known::default())?;
    let outputs = args.show.open()?;
    let store = if args.no_save { None } else { Some(args.show.store()?) };
    store.as_ref().map(Store::prepare).transpose()?;
    let mut progress = Progress::start("compare", None, args.quiet);
    let (measured, is_whole) = on_event_loop(async |stop| {
        let mut session = Session::new(&mut progress, stop);
        measure(args, &sides, stop, &mut session, store.as_ref()).await
    })?;
    drop(progress);
    let [baseline, current] = measured;
    let tolerance = args.show.baseline.or(&config.baseline).tolerance;
    let compared = baseline::compare(baseline, &current, &gates, tolerance)?;
    let judged = Judged::with(&current, &gates, Some(compared))?;
    let exit = show(&args.show, outputs, &current, &judged)?;
    Ok(if is_whole { exit } else { Exit::Interrupted })
}

/// A command that measures, in words.
struct Side {
    spoken: String,
    words: Vec<String>,
    measurement: &'static Measurement,
}

/// Splits a command as a shell would; no shell runs it.
fn words_of(command: &str) -> Result<Side, Failure> {
    let refused = |why: &str| Failure::plain(Exit::Usage, format!("`{command}`: {why}"));
    let words = shlex::split(command).ok_or_else(|| refused("a quote in it does not end"))?;
    let is_of = |measurement: &&Measurement| {
        measurement.command.split(' ').eq(words.iter().take(measurement.command.split(' ').count()))
    };
    let Some(measurement) = catalogue::ALL.into_iter().find(is_of) else {
        let known: Vec<&str> = catalogue::ALL.iter().map(|measurement| measurement.command).collect();
        return Err(
            refused("it measures nothing").hint(format!("write what follows `offloadctl`: {}", known.join(", ")))
        );
    };
    let with = |more: &[&str]| words.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect();
    // What is not kept anyway has no option that says so.
    let candidates: [Vec<String>; 2] = [with(&["--json", "--quiet", "--no-save"]), with(&["--json", "--quiet"])];
    let parse =
        |words: &[String]| Cli::try_parse_from(std::iter::once("offloadctl").chain(words.iter().map(String::as_str)));
    let spoken = command.to_owned();
    if let Some(words) = candidates.into_iter().find(|words| parse(words).is_ok()) {
        return Ok(Side { spoken, words, measurement });
    }
    match parse(&words) {
        Err(error) if error.use_stderr() => Err(refused(error.to_string().trim_start_matches("error: ").trim_end())),
        _ => Err(refused("it prints in a format of its own; leave --json, --format and --help out")),
    }
}

/// The runs of both sides, and whether none is missing: A B, B A, A B, so that what drifts meets both alike.
async fn measure(
    args: &CompareArgs,
    sides: &[Side; 2],
    stop: &Shutdown,
    session: &mut Session<'_>,
    store: Option<&Store>,
) -> Result<([Vec<Run>; 2], bool), Failure> {
    let steps = session.steps(u64::from(args.runs) * 2);
    let mut measured = [Vec::new(), Vec::new()];
    for round in 0..args.runs {
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let run = measure_once(&sides[at], stop).await?;
            let is_whole = run.complete && !stop.is_requested();
            if let Some(store) = store {
                store.save(&run.id, &run)?;
            }
            measured[at].push(run);
            if !is_whole {
                return Ok((measured, false));
            }
            steps.advance(1);
        }
    }
    Ok((measured, true))
}

async fn measure_once(side: &Side, stop: &Shutdown) -> Result<Run, Failure> {
    let spoken = &side.spoken;
    let unable = |what: String| Failure::plain(Exit::Unable, format!("`{spoken}`: {what}"));
    let program =
        std::env::current_exe().map_err(|error| unable(format!("this program is not to be found: {error}")))?;
    let mut command = Command::new(program);
    command.args(&side.words);
    let Output { status, stdout, stderr } =
        output_of(command, stop).await.map_err(|error| unable(format!("it could not be run: {error}")))?;
    let said = String::from_utf8_lossy(&stderr);
    let code = status.code().unwrap_or(-1);
    match Run::parse(&String::from_utf8_lossy(&stdout)) {
        Ok(run) => Ok(run),
        Err(_) if code == i32::from(Exit::Usage.code()) => {
            Err(Failure::plain(Exit::Usage, format!("`{spoken}`: {}", said.trim().trim_start_matches("error: "))))
        }
        Err(_) if !said.trim().is_empty() => Err(unable(said.trim().trim_start_matches("error: ").to_owned())),
        Err(error) => Err(unable(format!("exit code {code}: {error}"))),
    }
}
