//! The gateway's gRPC interface: the messages of `docs/reference/node.proto`, with their numbers.
//!
//! Written down here and not generated, as etcd's are: a compiler for so few lines would be a twentieth of every build. A test
//! holds every number against the published file.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// The full name of the service.
pub const SERVICE: &str = "offloadctl.v1.NodeService";

/// The file that others make their clients of.
pub const PUBLISHED: &str = include_str!("../../docs/reference/node.proto");

/// A sign of life.
#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatRequest {
    /// Which node.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// The start of its agent.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Its number within the term, from 1.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// When the next one follows.
    #[prost(uint64, tag = "4")]
    pub next_interval_ms: u64,
    /// When it was sent, in nanoseconds since the Unix epoch by the clock of the agent.
    #[prost(uint64, optional, tag = "5")]
    pub t1: Option<u64>,
    /// The stamps of the last exchange that was answered.
    #[prost(message, optional, tag = "6")]
    pub last: Option<Exchange>,
    /// What the agent knows.
    #[prost(message, optional, tag = "7")]
    pub digest: Option<Digest>,
    /// What the node uses of itself.
    #[prost(message, optional, tag = "8")]
    pub usage: Option<Usage>,
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatResponse {
    /// The number of the heartbeat.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Its stamp, repeated.
    #[prost(uint64, optional, tag = "2")]
    pub t1: Option<u64>,
    /// When it was received, in nanoseconds since the Unix epoch by the clock of the gateway.
    #[prost(uint64, tag = "3")]
    pub t2: u64,
    /// When this was sent.
    #[prost(uint64, tag = "4")]
    pub t3: u64,
    /// Whether the whole state is wanted.
    #[prost(bool, tag = "5")]
    pub resync: bool,
}

/// The four stamps of an exchange.
#[derive(Clone, PartialEq, Message)]
pub struct Exchange {
    /// Sent by the agent.
    #[prost(uint64, tag = "1")]
    pub t1: u64,
    /// Received by the gateway.
    #[prost(uint64, tag = "2")]
    pub t2: u64,
    /// Answered by the gateway.
    #[prost(uint64, tag = "3")]
    pub t3: u64,
    /// Received by the agent.
    #[prost(uint64, tag = "4")]
    pub t4: u64,
}

/// What a whole state comes to.
#[derive(Clone, PartialEq, Message)]
pub struct Digest {
    /// The highest version in it.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Its checksum.
    #[prost(string, tag = "2")]
    pub checksum: String,
}

/// What a node uses of itself, as shares from 0 to 1.
#[derive(Clone, PartialEq, Message)]
pub struct Usage {
    /// Of all processors.
    #[prost(double, optional, tag = "1")]
    pub cpu_ratio: Option<f64>,
    /// Of the memory.
    #[prost(double, optional, tag = "2")]
    pub memory_ratio: Option<f64>,
    /// Of the root file system.
    #[prost(double, optional, tag = "3")]
    pub disk_ratio: Option<f64>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Not said.
    Unspecified = 0,
    /// Planned, not started.
    Pending = 1,
    /// Started, not ended.
    Running = 2,
    /// Ended well.
    Completed = 3,
    /// Ended badly.
    Failed = 4,
    /// Nobody who could know has said.
    Unknown = 5,
}

/// One container of a report.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    /// Where it stands.
    #[prost(enumeration = "Status", tag = "1")]
    pub status: i32,
    /// Share of the node's processors.
    #[prost(double, optional, tag = "2")]
    pub cpu: Option<f64>,
    /// Share of the node's memory.
    #[prost(double, optional, tag = "3")]
    pub memory: Option<f64>,
    /// The number of the report within the term.
    #[prost(uint64, optional, tag = "4")]
    pub version: Option<u64>,
    /// When it changed, in nanoseconds since the Unix epoch.
    #[prost(int64, optional, tag = "5")]
    pub changed_ns: Option<i64>,
    /// What else there is to say of it: a JSON text.
    #[prost(string, optional, tag = "6")]
    pub payload: Option<String>,
}

/// The state of containers of a node.
#[derive(Clone, PartialEq, Message)]
pub struct StatusReport {
    /// Which node.
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// By the id of the container.
    #[prost(btree_map = "string, message", tag = "2")]
    pub containers: BTreeMap<String, ContainerStatus>,
    /// In milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
    /// The start of the agent.
    #[prost(uint64, optional, tag = "4")]
    pub term: Option<u64>,
    /// A number that the answer repeats.
    #[prost(uint64, tag = "5")]
    pub id: u64,
}

/// What became of the report on one container.
#[derive(Clone, PartialEq, Message)]
pub struct Receipt {
    /// The word of the refusal; empty where it was taken.
    #[prost(string, tag = "1")]
    pub refused: String,
    /// Its sentence.
    #[prost(string, tag = "2")]
    pub message: String,
    /// What became of it.
    #[prost(enumeration = "Outcome", tag = "3")]
    pub outcome: i32,
    /// The revision of the present record.
    #[prost(uint64, tag = "4")]
    pub revision: u64,
    /// Its version.
    #[prost(uint64, tag = "5")]
    pub version: u64,
    /// Its term, where the one that was sent is older.
    #[prost(uint64, optional, tag = "6")]
    pub known_term: Option<u64>,
    /// Of a refusal: what to do next.
    #[prost(string, tag = "7")]
    pub hint: String,
    /// Of a refusal: the key whose value is wrong, where another one may be taken.
    #[prost(string, tag = "8")]
    pub key: String,
}

/// What became of a report that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Outcome {
    /// Not said.
    Unspecified = 0,
    /// It is the newest, and durable.
    Stored = 1,
    /// It said what is known already.
    Duplicate = 2,
    /// Something newer is known.
    Stale = 3,
}

/// The answer to a report.
#[derive(Clone, PartialEq, Message)]
pub struct ReportResponse {
    /// The number of the report.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// By the id of the container.
    #[prost(btree_map = "string, message", tag = "2")]
    pub receipts: BTreeMap<String, Receipt>,
}

/// What an agent says on the stream.
#[derive(Clone, PartialEq, Message)]
pub struct NodeFrame {
    /// One of them.
    #[prost(oneof = "FromNode", tags = "1, 2, 3")]
    pub frame: Option<FromNode>,
}

/// What an agent says on the stream.
#[derive(Clone, PartialEq, Oneof)]
pub enum FromNode {
    /// A sign of life.
    #[prost(message, tag = "1")]
    Heartbeat(HeartbeatRequest),
    /// Changes.
    #[prost(message, tag = "2")]
    Report(StatusReport),
    /// A frame of the agents' WebSocket.
    #[prost(string, tag = "3")]
    Json(String),
}

/// What the gateway says on the stream.
#[derive(Clone, PartialEq, Message)]
pub struct GatewayFrame {
    /// One of them.
    #[prost(oneof = "ToNode", tags = "1, 2, 3")]
    pub frame: Option<ToNode>,
}

/// What the gateway says on the stream.
#[derive(Clone, PartialEq, Oneof)]
pub enum ToNode {
    /// The answer to a heartbeat.
    #[prost(message, tag = "1")]
    Heartbeat(HeartbeatResponse),
    /// The answer to a report.
    #[prost(message, tag = "2")]
    Report(ReportResponse),
    /// A frame of the agents' WebSocket.
    #[prost(string, tag = "3")]
    Json(String),
}
