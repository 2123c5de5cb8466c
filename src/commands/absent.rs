//! The commands of the toolkit in a build without it: they exist, and say how to get them.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::error::{Exit, Failure};

/// What the help of the whole program ends with.
pub const EXAMPLES: &str = "Example:
  offloadctl agent --config agent.conf

This build holds the agent alone. The whole program: cargo build --release";

#[derive(Debug, Subcommand)]
pub enum Toolkit {
    /// Ask a question of a live target (not in this build)
    Probe(Whatever),
    /// Load a system and find what holds it back (not in this build)
    Bench(Whatever),
    /// Show, merge and gate stored runs (not in this build)
    Report(Whatever),
    /// Be the far end of `probe rtt` (not in this build)
    Echo(Whatever),
    /// Take reports and heartbeats of agents (not in this build)
    Gateway(Whatever),
    /// List link profiles, and emulate links that have them (not in this build)
    Topology(Whatever),
    /// What this host can measure, and how finely (not in this build)
    Doctor(Whatever),
    /// Print completions for a shell (not in this build)
    Completions(Whatever),
    /// Print a manual page (not in this build)
    Man(Whatever),
}

/// Whatever the command would be told, its help included.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Whatever {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// Says how to get the command.
///
/// # Errors
/// Always.
pub fn run(_: Toolkit) -> Result<Exit, Failure> {
    let what = "this build of offloadctl holds the agent alone: it was made without the feature `toolkit`";
    Err(Failure::plain(Exit::Unable, what).hint("build the whole program: cargo build --release"))
}

/// The program as it is: nothing measures in this build.
#[must_use]
pub fn described(program: clap::Command) -> clap::Command {
    program
}
