//! `offloadctl doctor`: what this host can measure, and how finely.

use clap::Args;

use super::catalogue::check_gates;
use super::measuring::{Measuring, on_event_loop};
use super::output_args::{OutputArgs, ShowArgs};
use crate::console::Steps;
use crate::context::Header;
use crate::error::{Exit, Failure};
use crate::model::{Measured, Severity};
use crate::probe::host::{Examined, HostSpec, MEASUREMENT, STEPS, evaluate, examine, findings, scalars};
use crate::sys::clock;
use crate::sys::host::raise_file_limit;

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
    check_gates(&MEASUREMENT, &args.show.fail_if)?;
    raise_file_limit();
    let (spec, runs) = (HostSpec::default(), args.show.store());
    let runs = runs.and_then(|store| store.prepare().map(|()| store)).map_err(|failure| failure.what().to_owned());
    let output = OutputArgs::unkept(args.show, args.quiet);
    let header = Header::new("doctor", &spec, None, output.labels())?;
    let measuring = Measuring::open(&output, header, None)?;
    let began = clock::now();
    let examined = {
        let steps = Steps::start("doctor", STEPS, output.quiet);
        let runs = runs.as_ref().map(|store| store.folder()).map_err(Clone::clone);
        on_event_loop(async |shutdown| {
            let step = || steps.advance(1);
            Ok(examine(spec, runs.clone(), &step, shutdown).await)
        })?
    };
    let Examined { facts, series, interrupted } = examined;
    // What was not measured because somebody did not wait is nothing that does not work.
    let checks = if interrupted { Vec::new() } else { evaluate(&facts) };
    let findings = findings(&checks);
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem);
    measuring.conclude(Measured {
        bad: problems.map(|finding| finding.text.clone()).collect(),
        series,
        scalars: if interrupted { Vec::new() } else { scalars(&facts, &checks) },
        findings,
        warnings: Vec::new(),
        elapsed: clock::now().since(began),
        interrupted,
    })
}
