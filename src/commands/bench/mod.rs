//! `offloadctl bench`: one file per system under test.

mod cri;
mod etcd;
mod heartbeat;
mod heartbeat_live;
pub mod protocol;

use clap::Subcommand;

use crate::error::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// A kubelet's relist: how late it knows of a start and an end, and what it costs the runtime
    Cri(cri::CriArgs),
    /// Writes, reads and watches of an etcd cluster, and what holds them back
    Etcd(etcd::EtcdArgs),
    /// Heartbeat intervals and failure detectors: how soon, how often wrongly, at what cost (simulated or live)
    Heartbeat(heartbeat::HeartbeatArgs),
    /// Heartbeats and reports over gRPC, WebSocket and HTTP side by side: latency, highest rate, a new connection
    Protocol(protocol::ProtocolArgs),
}

/// Runs one bench.
///
/// # Errors
/// As the bench says.
pub fn run(command: BenchCommand) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Cri(args) => cri::run(&args),
        BenchCommand::Etcd(args) => etcd::run(&args),
        BenchCommand::Heartbeat(args) => heartbeat::run(&args),
        BenchCommand::Protocol(args) => protocol::run(&args),
    }
}
