//! Every command but the agent: they come with the feature `toolkit`, which a build for a node leaves out.

use clap::{Command, CommandFactory as _, Subcommand};

use super::{
    Cli, bench, catalogue, compare, completions, diagnose, doctor, echo, gateway, probe, report, topology, trace,
};
use crate::error::{Exit, Failure};
use crate::model::Measurement;

/// What the help of the whole program ends with.
pub const EXAMPLES: &str = "Examples:
  offloadctl probe rtt --emulate local-dc,cross-region,hybrid --rate 50/s --duration 25s
  offloadctl probe rtt dc=10.0.0.5:7777 cloud=203.0.113.9:443 --duration 5m --output rtt.json
  offloadctl echo --listen 0.0.0.0:7777
  offloadctl compare --against 'probe rtt s=old:7777' 'probe rtt s=new:7777'
  offloadctl report --json --fail-if 'rtt.echo{target=dc}.p95 > 10ms'

Exit codes:
  0 measured and fine   1 measured and bad   2 usage   3 could not measure
  4 inconclusive or invalid   130 interrupted, the partial run is written";

#[derive(Debug, Subcommand)]
pub enum Toolkit {
    /// Say where the time goes on this host, and which setting to change first
    Diagnose(Box<diagnose::DiagnoseArgs>),
    /// Ask a question of a live target
    #[command(subcommand)]
    Probe(probe::ProbeCommand),
    /// Load a system and find what holds it back
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Follow one change of state through every hop, from the call to a subscriber
    Trace(Box<trace::TraceArgs>),
    /// Show, merge, compare and gate stored runs
    Report(report::ReportArgs),
    /// Measure two sides alternately, and say whether they differ
    Compare(compare::CompareArgs),
    /// Be the far end of `probe rtt`
    Echo(echo::EchoArgs),
    /// Take reports and heartbeats of agents, keep the view of all nodes, wake schedulers
    Gateway(Box<gateway::GatewayArgs>),
    /// List link profiles, and emulate links that have them
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// What this host can measure, and how finely
    Doctor(doctor::DoctorArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print a manual page
    Man(completions::ManArgs),
}

/// The program with what each measuring command can be gated on at the end of its help.
#[must_use]
pub fn described(program: Command) -> Command {
    catalogue::ALL.into_iter().fold(program, |program, measurement| {
        let path: Vec<&'static str> = measurement.command.split(' ').collect();
        at(program, &path, measurement)
    })
}

fn at(command: Command, path: &[&'static str], measurement: &'static Measurement) -> Command {
    match path {
        [] => {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            command.after_help(format!("{examples}\n\n{}", catalogue::gateable(measurement)))
        }
        [first, rest @ ..] => command.mut_subcommand(first, |command| at(command, rest, measurement)),
    }
}

/// Runs one of them.
///
/// # Errors
/// When it could not do its work.
pub fn run(command: Toolkit) -> Result<Exit, Failure> {
    match command {
        Toolkit::Diagnose(args) => diagnose::run(*args),
        Toolkit::Probe(command) => probe::run(command),
        Toolkit::Bench(command) => bench::run(command),
        Toolkit::Trace(args) => trace::run(&args),
        Toolkit::Report(args) => report::run(args),
        Toolkit::Compare(args) => compare::run(&args),
        Toolkit::Echo(args) => echo::run(&args),
        Toolkit::Gateway(args) => gateway::run(&args),
        Toolkit::Topology(command) => topology::run(command),
        Toolkit::Doctor(args) => doctor::run(args),
        Toolkit::Completions(args) => completions::completions(&args, Cli::command()),
        Toolkit::Man(args) => completions::man(&args, described(Cli::command())),
    }
}
