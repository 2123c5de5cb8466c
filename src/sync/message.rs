//! What agents and gateway say to each other: the bodies of requests and the frames of the agents' WebSocket.
//!
//! Separate because both sides and their simulation speak it. Pure. Every frame is one JSON object with one key, which says
//! what it is: `{"heartbeat": {...}}`; a reader sees at a glance what was sent, and nothing has to be read twice. Keys that
//! are not known are ignored, so that either side may be newer than the other.

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use super::record::Status;
use super::trace::AgentTrace;
use crate::model::WallTime;

/// Longest name of a task or a node, in bytes: as long as Kubernetes lets names be, and no longer.
pub const LONGEST_ID: usize = 253;

/// Whether a name of a task or a node can be seen and told from others: no white space, nothing that takes no room, such as a
/// byte order mark in the middle of a file.
#[must_use]
pub fn is_visible(name: &str) -> bool {
    let takes_no_room = |c| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !name.chars().any(|c| c.is_control() || c.is_whitespace() || takes_no_room(c))
}

/// Highest epoch and version: integers that every reader of JSON keeps, with room for ever.
pub const HIGHEST_NUMBER: u64 = (1 << 53) - 1;

/// Most reports of one batch.
pub const MOST_REPORTS: usize = 1_000;

/// A report on one task: the body of `POST /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Which task.
    pub task_id: String,
    /// Where it stands.
    pub status: Status,
    /// The node that says so.
    pub node_id: String,
    /// When it changed, by the clock of the node.
    pub timestamp: WallTime,
    /// The number of the report within its epoch; without one, the gateway counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The start of the agent; without one, that of the record before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// The stamps of a change that is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<AgentTrace>,
}

/// Several reports at once: the body of `POST /v1/status/batch`, and a frame of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// A number that the answer repeats; 0 if nobody needs it.
    #[serde(default)]
    pub id: u64,
    /// At most [`MOST_REPORTS`].
    pub reports: Vec<StatusReport>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is the newest, and durable.
    Stored,
    /// It said what is known already; nothing changed.
    Duplicate,
    /// Something newer is known; nothing changed.
    Stale,
}

/// The answer to a report that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What became of it.
    pub outcome: Outcome,
    /// The revision at which the task has its present record.
    pub revision: u64,
    /// The version of that record.
    pub version: u64,
    /// The epoch of that record, where the one that was sent is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_epoch: Option<u64>,
}

/// The answer to one report of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It was taken.
    Receipt(Receipt),
    /// It was refused.
    Refused(ErrorBody),
    /// What a later gateway says, and we do not understand: the other answers are as good as ever.
    Odd(serde_json::Value),
}

/// The answers to a batch, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The number of the batch.
    pub id: u64,
    /// One for each report.
    pub answers: Vec<Answer>,
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorText,
}

/// What is wrong, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorText {
    /// A stable word.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The key whose value is wrong, where it is worth trying again with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The epoch that is known of the node, where the one that was sent is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_epoch: Option<u64>,
}

/// The four stamps of an exchange, in nanoseconds since the Unix epoch: `t1` and `t4` by the clock of the agent, `t2` and
/// `t3` by that of the gateway (RFC 5905).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// Sent by the agent.
    pub t1: u64,
    /// Received by the gateway.
    pub t2: u64,
    /// Answered by the gateway.
    pub t3: u64,
    /// Received by the agent.
    pub t4: u64,
}

/// A sign of life: the body of `POST /v1/heartbeat`, and a frame of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which node.
    pub node_id: String,
    /// The start of its agent.
    pub epoch: u64,
    /// Its number within the epoch, from 1.
    pub seq: u64,
    /// When the next one will be sent, after this one was: what the gateway's detector waits for.
    pub next_interval_ms: u64,
    /// When it was sent, in nanoseconds since the Unix epoch by the clock of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t1: Option<u64>,
    /// The stamps of the last exchange that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Exchange>,
    /// The version and checksum of what the agent knows, to be compared with what the gateway does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What the node uses of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What a whole state comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The highest version in it.
    pub version: u64,
    /// A [`StateSum`](super::checksum::StateSum) of it.
    pub checksum: String,
}

/// What a node uses of itself; absent what was not asked for or is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Share of all processors since the last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ratio: Option<f64>,
    /// Share of the memory that is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_ratio: Option<f64>,
    /// Share of the root file system that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_ratio: Option<f64>,
}

/// The answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The number of the heartbeat.
    pub seq: u64,
    /// Its stamp, repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t1: Option<u64>,
    /// When it was received, in nanoseconds since the Unix epoch by the clock of the gateway.
    pub t2: u64,
    /// When this was sent.
    pub t3: u64,
    /// Whether the gateway knows something else than the digest says, and wants the whole state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// All tasks of a node: what an agent says first on a connection, and whenever it is asked to. One that is too long for a
/// frame comes in parts, each of which says everything within a span of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullState {
    /// A number that the answer repeats.
    #[serde(default)]
    pub id: u64,
    /// Which node.
    pub node_id: String,
    /// The start of its agent.
    pub epoch: u64,
    /// The highest version in it.
    pub version: u64,
    /// A [`StateSum`](super::checksum::StateSum) of it.
    pub checksum: String,
    /// The part begins behind this name; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The part ends with this name; absent in the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Every task of the span that the node knows; one that the gateway knows and that is not here is unknown from now on.
    pub tasks: Vec<TaskState>,
}

/// One task of a whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Which task.
    pub task_id: String,
    /// Where it stands.
    pub status: Status,
    /// The number of the report within the epoch.
    pub version: u64,
    /// When it changed, by the clock of the node.
    pub timestamp: WallTime,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

impl TaskState {
    /// The same as a report of its own.
    #[must_use]
    pub fn report(self, node_id: &str, epoch: u64) -> StatusReport {
        StatusReport {
            task_id: self.task_id,
            status: self.status,
            node_id: node_id.to_owned(),
            timestamp: self.timestamp,
            version: Some(self.version),
            epoch: Some(epoch),
            payload: self.payload,
            trace: None,
        }
    }
}

/// A goodbye: the node has left, it is not lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Which node.
    pub node_id: String,
    /// The start of its agent.
    pub epoch: u64,
}

/// A frame from an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgent {
    /// A sign of life, answered with a pulse.
    Heartbeat(Heartbeat),
    /// Changes, answered with answers once they are durable.
    Reports(Batch),
    /// Everything, answered likewise.
    State(FullState),
    /// Goodbye; not answered, the connection is closed.
    Leave(Leave),
}

impl FromAgent {
    /// The start of the agent that sent it, where the frame as a whole has one.
    #[must_use]
    pub const fn epoch(&self) -> Option<u64> {
        match self {
            Self::Heartbeat(heartbeat) => Some(heartbeat.epoch),
            Self::State(state) => Some(state.epoch),
            Self::Leave(leave) => Some(leave.epoch),
            Self::Reports(_) => None,
        }
    }
}

/// A frame from the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGateway {
    /// A heartbeat was heard.
    Pulse(Pulse),
    /// What became of reports or of a state.
    Answers(Answers),
    /// A frame was refused. The connection stays open unless the code is `superseded` or `forbidden`.
    Error(ErrorText),
}
