//! What is known of tasks and nodes, and one change of it: plain data that is stored, sent and shown.
//!
//! Separate because the gateway, its store and its subscribers speak of nothing else. Pure: no I/O and no clock.

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use crate::model::WallTime;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Planned, not started.
    Pending,
    /// Started, not ended.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Nobody who could know has said.
    Unknown,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// The newest accepted report on a task. That its node is out of reach is not written here: one record of the node says it
/// for all of its tasks, and who shows a task looks at both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Which task.
    pub task_id: String,
    /// The node that reported it.
    pub node_id: String,
    /// Where it stands.
    pub status: Status,
    /// The start of the agent that reported it; a later start is newer whatever its version.
    pub epoch: u64,
    /// The number of the report within its epoch.
    pub version: u64,
    /// When it changed, by the clock of the node.
    pub timestamp: WallTime,
    /// What else the node said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// Since when it is over or nobody knows of it, by the clock of the gateway; absent as long as neither is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_at: Option<WallTime>,
    /// The change of the store that wrote it.
    pub revision: u64,
}

/// Whether a node is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Its heartbeats arrive.
    Alive,
    /// Its connection closed, and its heartbeats are not overdue yet.
    Suspect,
    /// Its heartbeats are overdue.
    Unreachable,
    /// It said goodbye.
    Left,
}

impl NodeState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
            Self::Left => "left",
        }
    }

    /// Whether nobody is there: what its tasks do is not known.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::Unreachable | Self::Left)
    }
}

/// The last transition of a node. Its heartbeats are not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Which node.
    pub node_id: String,
    /// What it became.
    pub state: NodeState,
    /// The start of its agent.
    pub epoch: u64,
    /// An interval between heartbeats that it promised lately, or a little more: what is waited for after a restart.
    #[serde(default)]
    pub interval_ms: u64,
    /// When it became that, by the clock of the gateway.
    pub changed_at: WallTime,
    /// The change of the store that wrote it.
    pub revision: u64,
}

/// One step from a revision of the store to the next.
///
/// The tag is the key of the object around it, not a field inside: a payload then passes without being taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A task is new or has changed.
    Task(TaskRecord),
    /// A node is new or has changed.
    Node(NodeRecord),
    /// A task ended long ago and is no longer kept.
    TaskForgotten {
        /// Which task.
        task_id: String,
        /// The number of this change.
        revision: u64,
    },
    /// A node left long ago and is no longer kept.
    NodeForgotten {
        /// Which node.
        node_id: String,
        /// The number of this change.
        revision: u64,
    },
}

impl Change {
    /// The same change under another number.
    #[must_use]
    pub fn numbered(self, revision: u64) -> Self {
        match self {
            Self::Task(task) => Self::Task(TaskRecord { revision, ..task }),
            Self::Node(node) => Self::Node(NodeRecord { revision, ..node }),
            Self::TaskForgotten { task_id, .. } => Self::TaskForgotten { task_id, revision },
            Self::NodeForgotten { node_id, .. } => Self::NodeForgotten { node_id, revision },
        }
    }

    /// Its number.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        match self {
            Self::Task(TaskRecord { revision, .. })
            | Self::Node(NodeRecord { revision, .. })
            | Self::TaskForgotten { revision, .. }
            | Self::NodeForgotten { revision, .. } => *revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = r#"{"task":{"task_id":"t","node_id":"n","status":"running","epoch":3,"version":4,"timestamp":"2026-03-14T09:15:00.25Z","payload":{"cpu":0.50},"revision":7}}"#;

    #[test]
    fn a_change_survives_its_text() {
        let texts = [
            TASK,
            r#"{"node":{"node_id":"n","state":"unreachable","epoch":3,"interval_ms":8192,"changed_at":"2026-03-14T09:15:00Z","revision":8}}"#,
            r#"{"task_forgotten":{"task_id":"t","revision":9}}"#,
            r#"{"node_forgotten":{"node_id":"n","revision":10}}"#,
        ];
        for (text, revision) in texts.into_iter().zip(7..) {
            let change: Change = serde_json::from_str(text).unwrap();
            assert_eq!(change.revision(), revision);
            assert_eq!(serde_json::to_string(&change).unwrap(), text);
        }
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_an_absent_payload_is_none() {
        let text = TASK.replace(r#""payload":{"cpu":0.50}"#, r#""later":[1]"#);
        let Change::Task(task) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(task.payload, None);
        assert!(!serde_json::to_string(&task).unwrap().contains("payload"));
    }

    #[test]
    fn only_an_end_is_final() {
        let all = [Status::Pending, Status::Running, Status::Completed, Status::Failed, Status::Unknown];
        assert_eq!(all.map(Status::is_final), [false, false, true, true, false]);
    }
}
