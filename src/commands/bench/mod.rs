//! `offloadctl bench`: one file per system under test.

mod etcd;

use clap::Subcommand;

use crate::error::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Writes, reads and watches of an etcd cluster, and what holds them back
    Etcd(etcd::EtcdArgs),
}

/// Runs one bench.
///
/// # Errors
/// As the bench says.
pub fn run(command: BenchCommand) -> Result<Exit, Failure> {
    match command {
        BenchCommand::Etcd(args) => etcd::run(&args),
    }
}
