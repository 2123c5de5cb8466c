//! `offloadctl probe`: one file per question.

mod api;
mod events;
mod rtt;

use clap::Subcommand;

use crate::error::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub enum ProbeCommand {
    /// Requests to an HTTP API such as that of Kubernetes, phase by phase
    Api(api::ApiArgs),
    /// Which source knew first what happened to a container, and what the others lose
    Events(events::EventsArgs),
    /// Round-trip time to several places at once, by handshake, ICMP and echo
    Rtt(rtt::RttArgs),
}

/// Runs one probe.
///
/// # Errors
/// As the probe says.
pub fn run(command: ProbeCommand) -> Result<Exit, Failure> {
    match command {
        ProbeCommand::Api(args) => api::run(&args),
        ProbeCommand::Events(args) => events::run(&args),
        ProbeCommand::Rtt(args) => rtt::run(&args),
    }
}
