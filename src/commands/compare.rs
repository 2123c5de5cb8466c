//! `offloadctl compare`: measures two sides alternately, and says whether they differ.
//!
//! Separate from `report --baseline`, which compares what was measured before: here both sides see the same hour of the same
//! host, because their runs alternate.

use clap::Args;

use super::baseline::{self, Judged};
use super::catalogue::Known;
use super::measured::Asked;
use super::measuring::on_event_loop;
use super::output_args::ShowArgs;
use super::report::show;
use super::value::parse_whole;
use crate::console::Progress;
use crate::context::Store;
use crate::error::{Exit, Failure};
use crate::load::Session;
use crate::model::Run;
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

/// Measures both sides alternately, and ends with the verdict.
///
/// # Errors
/// When a command measures nothing (usage), cannot measure, or an output cannot be written.
pub fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    if args.show.baseline.is_named() {
        return Err(Failure::plain(Exit::Usage, "the baseline of a comparison is what --against measures"));
    }
    let sides = [Asked::parse(&args.against)?, Asked::parse(&args.current)?];
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

/// The runs of both sides, and whether none is missing: A B, B A, A B, so that what drifts meets both alike.
async fn measure(
    args: &CompareArgs,
    sides: &[Asked; 2],
    stop: &Shutdown,
    session: &mut Session<'_>,
    store: Option<&Store>,
) -> Result<([Vec<Run>; 2], bool), Failure> {
    let steps = session.steps(u64::from(args.runs) * 2);
    let mut measured = [Vec::new(), Vec::new()];
    for round in 0..args.runs {
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let run = sides[at].measure(stop).await?;
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
