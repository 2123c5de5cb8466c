//! What the gateway shows: tasks, nodes and the changes since a revision.
//!
//! Separate because it only reads. What a reader is shown may rest on changes that are not durable yet: each answer says on
//! which revision it rests, and the shell holds it back until that is durable.

use std::ops::Bound;

use serde::Serialize;

use super::offset::Offset;
use super::tally::shown;
use super::{Machine, Moment};
use crate::model::WallTime;
use crate::sync::message::Usage;
use crate::sync::payload::Payload;
use crate::sync::record::{Change, NodeState, Status, TaskRecord};

/// A task as people see it: that of a node that is not heard is unknown, unless it is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskView {
    /// Which task.
    pub task_id: String,
    /// Whose it is.
    pub node_id: String,
    /// Where it stands.
    pub status: Status,
    /// Where it stood when its node was last heard; absent while that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<Status>,
    /// The start of the agent that reported it.
    pub epoch: u64,
    /// The number of the report.
    pub version: u64,
    /// When it changed, by the clock of the node.
    pub timestamp: WallTime,
    /// What else there is to say of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// The change that wrote it.
    pub revision: u64,
}

/// A node as people see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Which node.
    pub node_id: String,
    /// Whether it is heard.
    pub state: NodeState,
    /// The start of its agent.
    pub epoch: u64,
    /// Since when it is in this state, by the clock of the gateway.
    pub changed_at: WallTime,
    /// The interval that its last heartbeat promised; null before the first.
    pub interval_ms: Option<u64>,
    /// Time since its last heartbeat; null before the first since the gateway's start.
    pub heartbeat_age_ms: Option<u64>,
    /// How far our clock is ahead of its own; null before the first exchange.
    pub clock: Option<Offset>,
    /// Open connections of its agent.
    pub connection_count: u32,
    /// Its tasks that are not over.
    pub task_count: usize,
    /// What it uses of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The change that wrote its state.
    pub revision: u64,
}

/// A part of a list, and how to go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View<T> {
    /// In the order of their names.
    pub items: Vec<T>,
    /// The name to go on after; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
    /// The revision that it rests on.
    pub revision: u64,
}

/// How many there are of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Tasks, by status as shown.
    pub tasks: Vec<(Status, usize)>,
    /// Nodes, by state.
    pub nodes: Vec<(NodeState, usize)>,
}

impl Machine {
    /// One task.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<TaskView> {
        self.tasks.get(id).map(|record| self.view_task(record))
    }

    /// Tasks after a name, of one node or of all.
    #[must_use]
    pub fn tasks(&self, after: Option<&str>, most: usize, node_id: Option<&str>) -> View<TaskView> {
        match node_id {
            Some(id) => {
                self.task_page(self.tally.tasks_of(id, after).filter_map(|task_id| self.tasks.get(task_id)), most)
            }
            None => {
                let span = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
                self.task_page(self.tasks.range::<str, _>(span).map(|(_, record)| record), most)
            }
        }
    }

    fn task_page<'a>(&self, mut wanted: impl Iterator<Item = &'a TaskRecord>, most: usize) -> View<TaskView> {
        let items: Vec<TaskView> = wanted.by_ref().take(most).map(|record| self.view_task(record)).collect();
        let next_after = wanted.next().and_then(|_| items.last().map(|task| task.task_id.clone()));
        View { items, next_after, revision: self.revision }
    }

    /// One node; one that never sent a heartbeat is none yet.
    #[must_use]
    pub fn node(&self, now: Moment, id: &str) -> Option<NodeView> {
        let node = self.nodes.get(id)?;
        let record = node.record.as_ref()?;
        Some(NodeView {
            node_id: record.node_id.clone(),
            state: record.state,
            epoch: node.epoch,
            changed_at: record.changed_at,
            interval_ms: node.last.map(|last| last.promised.as_millis() as u64),
            heartbeat_age_ms: node.last.map(|last| now.at.nanos_since(last.at) / 1_000_000),
            clock: node.clock.offset(),
            connection_count: node.connections,
            task_count: node.tasks.len(),
            usage: node.usage,
            revision: record.revision,
        })
    }

    /// Nodes after a name.
    #[must_use]
    pub fn nodes(&self, now: Moment, after: Option<&str>, most: usize) -> View<NodeView> {
        let all = self.nodes.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let mut wanted = all.filter_map(|(id, _)| self.node(now, id));
        let items: Vec<NodeView> = wanted.by_ref().take(most).collect();
        let next_after = wanted.next().and_then(|_| items.last().map(|node| node.node_id.clone()));
        View { items, next_after, revision: self.revision }
    }

    /// How many tasks of each status and nodes of each state there are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// How many nodes are kept.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Up to so many changes after a revision and up to another.
    ///
    /// # Errors
    /// With the first revision that can still be told, if changes after `after` are no longer kept.
    pub fn changes(&self, after: u64, until: u64, most: usize) -> Result<Vec<Change>, u64> {
        if after < self.history_floor {
            return Err(self.history_floor + 1);
        }
        let known = self.history.partition_point(|change| change.revision() <= after);
        let fresh = self.history.iter().skip(known).take_while(|change| change.revision() <= until);
        Ok(fresh.take(most).cloned().collect())
    }

    fn view_task(&self, record: &TaskRecord) -> TaskView {
        let status = self.shown(record);
        TaskView {
            task_id: record.task_id.clone(),
            node_id: record.node_id.clone(),
            status,
            last_status: (status != record.status).then_some(record.status),
            epoch: record.epoch,
            version: record.version,
            timestamp: record.timestamp,
            payload: record.payload.clone(),
            revision: record.revision,
        }
    }

    fn shown(&self, record: &TaskRecord) -> Status {
        let node = self.nodes.get(&record.node_id).and_then(|node| node.record.as_ref());
        shown(record.status, node.is_some_and(|node| node.state.is_silent()))
    }
}
