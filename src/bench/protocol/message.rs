//! The heartbeat and the report that every protocol carries: the same fields with the same values. Pure.

use crate::wire::node::{ContainerStatus, Digest, HeartbeatRequest, Status, StatusReport};

/// The node that they are of.
const NODE: &str = "bench-protocol";

/// A heartbeat as an agent of ours sends it, with this number.
#[must_use]
pub fn heartbeat(seq: u64) -> HeartbeatRequest {
    HeartbeatRequest {
        node_id: NODE.to_owned(),
        term: 1,
        seq,
        next_interval_ms: 5_000,
        t1: Some(1_700_000_000_000_000_000),
        digest: Some(Digest { version: seq, checksum: "0123456789abcdef".to_owned() }),
        ..HeartbeatRequest::default()
    }
}

/// A report on so many running containers, with names as long as a runtime's.
#[must_use]
pub fn report(id: u64, containers: u32) -> StatusReport {
    let one = ContainerStatus {
        status: Status::Running as i32,
        cpu: Some(0.25),
        memory: Some(0.5),
        version: Some(1),
        ..ContainerStatus::default()
    };
    let containers = (0..containers).map(|index| (format!("{index:064x}"), one.clone())).collect();
    StatusReport { node_id: NODE.to_owned(), containers, timestamp: 1_700_000_000_000, term: Some(1), id }
}
