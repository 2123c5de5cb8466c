//! `offloadctl doctor`: what this host can measure, and how finely.

use clap::Args;

use super::catalogue::Known;
use super::measuring::Conduct;
use super::output_args::{OutputArgs, ShowArgs};
use crate::error::{Exit, Failure};
use crate::probe::host::{HostSpec, MEASUREMENT, examine};

const EXAMPLES: &str = "Examples:
  What works here, what is limited, what does not, and what would help; it takes two seconds:
    offloadctl doctor
  Fail where kernel stamps are missing, as on a runner that should have them:
    offloadctl doctor --fail-if 'doctor.able{what=kernel_stamps} < 1'

Exit 0 if every command can measure with its default options, 1 if one of them cannot: without a
clock that goes on, timers that wake within 10 ms, the loopback, 64 open files, or a place for runs.
What is limited or missing beyond that is told, and is no failure. The run is not kept; --output
writes it to a file.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    show: ShowArgs,
    /// No progress line and no notes on stderr; errors are still said
    #[arg(short, long)]
    quiet: bool,
}

/// Examines this host, and ends with 1 if a default command cannot measure on it.
///
/// # Errors
/// When it cannot be examined, or an output cannot be written.
pub fn run(args: DoctorArgs) -> Result<Exit, Failure> {
    // Before the folder of runs is made, which a usage error must not leave behind.
    args.show.config()?.gates(&args.show.fail_if, &MEASUREMENT, &Known::default())?;
    let (spec, runs) = (HostSpec::default(), args.show.store());
    let runs = runs.and_then(|store| store.prepare().map(|()| store)).map_err(|failure| failure.what().to_owned());
    let output = OutputArgs::unkept(args.show, args.quiet);
    let runs = runs.as_ref().map(|store| store.folder()).map_err(Clone::clone);
    Conduct::steps(&MEASUREMENT, &spec, &output).run(async |session| Ok(examine(spec, runs, session).await))
}
