//! The command line: the enum of commands and one match. The only folder that knows clap.

mod address_args;
mod agent;
mod bench;
mod completions;
mod echo;
mod gateway;
mod load_args;
mod measuring;
mod output_args;
mod probe;
mod report;
mod topology;
mod value;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::console;
use crate::error::{Exit, Failure};

/// Measures why the state of a container task, pod or node arrives late, and says which setting to change.
#[derive(Debug, Parser)]
#[command(name = "offloadctl", version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  offloadctl probe rtt --emulate local-dc,cross-region,hybrid --rate 50/s --duration 25s
  offloadctl probe rtt dc=10.0.0.5:7777 cloud=203.0.113.9:443 --duration 5m --output rtt.json
  offloadctl echo --listen 0.0.0.0:7777
  offloadctl report --json --fail-if 'rtt.echo{target=dc}.p95 > 10ms'

Exit codes:
  0 measured and fine   1 measured and bad   2 usage   3 could not measure
  4 inconclusive        130 interrupted, the partial run is written";

#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a question of a live target
    #[command(subcommand)]
    Probe(probe::ProbeCommand),
    /// Load a system and find what holds it back
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Show, merge and gate stored runs
    Report(report::ReportArgs),
    /// Be the far end of `probe rtt`
    Echo(echo::EchoArgs),
    /// Tell a gateway what happens to the containers of this node
    Agent(agent::AgentArgs),
    /// Take reports and heartbeats of agents, keep the view of all nodes, wake schedulers
    Gateway(Box<gateway::GatewayArgs>),
    /// The link profiles that can be emulated
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print a manual page
    Man(completions::ManArgs),
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => run(cli.command).unwrap_or_else(|failure| {
            console::say(&failure);
            failure.exit()
        }),
        Err(error) => explain(&error),
    };
    ExitCode::from(exit as u8)
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Probe(command) => probe::run(command),
        Command::Bench(command) => bench::run(command),
        Command::Report(args) => report::run(args),
        Command::Echo(args) => echo::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Topology(command) => topology::run(command),
        Command::Completions(args) => completions::completions(&args, Cli::command()),
        Command::Man(args) => completions::man(&args, Cli::command()),
    }
}

/// Help and version go to stdout and are fine; everything else is a usage error.
fn explain(error: &clap::Error) -> Exit {
    // A reader that has gone away is not an error; nothing else can be said to it.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Fine }
}
