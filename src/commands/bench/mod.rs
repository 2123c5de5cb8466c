//! `offloadctl bench`: one file per system under test.

mod etcd;
mod heartbeat;
mod heartbeat_live;

use clap::Subcommand;

use crate::error::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Writes, reads and watches of an etcd cluster, and what holds them back
    Etcd(etcd::EtcdArgs),
    /// Heartbeat intervals and failure detectors: how soon, how often wrongly, at what cost (simulated or live)
    Heartbeat(heartbeat::HeartbeatArgs),
}

/// Runs one bench.
///
/// # Errors
/// As the bench says.
pub fn run(command: BenchCommand) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Etcd(args) => etcd::run(&args),
        BenchCommand::Heartbeat(args) => heartbeat::run(&args),
    }
}
