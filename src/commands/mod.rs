//! The command line: the enum of commands and one match. The only folder that knows clap.

#[cfg(not(feature = "toolkit"))]
mod absent;
#[cfg(feature = "toolkit")]
mod address_args;
mod agent;
#[cfg(feature = "toolkit")]
mod baseline;
#[cfg(feature = "toolkit")]
mod bench;
#[cfg(feature = "toolkit")]
mod catalogue;
#[cfg(feature = "toolkit")]
mod checkpoint;
#[cfg(feature = "toolkit")]
mod compare;
#[cfg(feature = "toolkit")]
mod completions;
#[cfg(feature = "toolkit")]
mod config;
#[cfg(feature = "toolkit")]
mod diagnose;
#[cfg(feature = "toolkit")]
mod doctor;
#[cfg(feature = "toolkit")]
mod echo;
#[cfg(feature = "toolkit")]
mod emulate;
mod event_loop;
#[cfg(feature = "toolkit")]
mod gateway;
#[cfg(feature = "toolkit")]
mod gateway_store;
#[cfg(feature = "toolkit")]
mod kernel_link;
#[cfg(feature = "toolkit")]
mod load_args;
#[cfg(feature = "toolkit")]
mod matrix;
#[cfg(feature = "toolkit")]
mod measured;
#[cfg(feature = "toolkit")]
mod measuring;
#[cfg(feature = "toolkit")]
mod output_args;
#[cfg(feature = "toolkit")]
mod password;
#[cfg(feature = "toolkit")]
mod probe;
#[cfg(feature = "toolkit")]
mod report;
#[cfg(feature = "toolkit")]
mod toolkit;
#[cfg(feature = "toolkit")]
mod topology;
#[cfg(feature = "toolkit")]
mod trace;
#[cfg(feature = "toolkit")]
mod value;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[cfg(not(feature = "toolkit"))]
use self::absent as toolkit;
use crate::console;
use crate::error::{Exit, Failure};

/// Measures why the state of a container task, pod or node arrives late, and says which setting to change.
#[derive(Debug, Parser)]
#[command(name = "offloadctl", version, propagate_version = true, max_term_width = 100, after_help = toolkit::EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The agent's place in the list of commands: before the gateway's, which has the same number.
const BESIDE_THE_GATEWAY: usize = 4;

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Toolkit(Box<toolkit::Toolkit>),
    /// Tell a gateway what happens to the containers of this node
    #[command(display_order = BESIDE_THE_GATEWAY)]
    Agent(agent::AgentArgs),
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = numbers(toolkit::described(Cli::command()))
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let exit = match parsed {
        Ok(cli) => run(cli.command).unwrap_or_else(|failure| {
            console::say(&failure);
            failure.exit()
        }),
        Err(error) => explain(&error),
    };
    ExitCode::from(exit.code())
}

/// Has options that take numbers take negative ones too: each says itself what is wrong with them, where the parser would take
/// `-1/s` for an option that there is none of.
fn numbers(command: clap::Command) -> clap::Command {
    let is_number = |arg: &clap::Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        matches!(names, [name] if NUMBERS.contains(&name.as_str()))
    };
    command.mut_args(|arg| if is_number(&arg) { arg.allow_hyphen_values(true) } else { arg }).mut_subcommands(numbers)
}

/// What values are called that are numbers, with a unit or without.
const NUMBERS: [&str; 9] = ["BYTES", "BYTES,...", "N", "N,...", "RATE", "SHARE", "SIZE", "TIME", "TIME,..."];

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Agent(args) => agent::run(&args),
        Command::Toolkit(command) => toolkit::run(*command),
    }
}

/// Help and version go to stdout and are fine; everything else is a usage error.
fn explain(error: &clap::Error) -> Exit {
    // A reader that has gone away is not an error; nothing else can be said to it.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Fine }
}
