//! How a decision becomes a change, and what a change does to what is known.
//!
//! Separate because it is the one place where both meet. Alone, the machine numbers its change and takes it at once. Where the
//! store is shared, it only proposes, and takes what the store tells, its own changes like those of others.

use super::node::{Node, is_near};
use super::retention::is_over;
use super::room::weight_of;
use super::{HISTORY_BYTES, Machine, Moment};
use crate::sync::message::StatusReport;
use crate::sync::record::{Change, NodeRecord, NodeState, TaskRecord};

impl Machine {
    pub(super) fn store_task(&mut self, now: Moment, report: StatusReport, epoch: u64, version: u64) -> u64 {
        self.write_task(
            now,
            TaskRecord {
                task_id: report.task_id,
                node_id: report.node_id,
                status: report.status,
                epoch,
                version,
                timestamp: report.timestamp,
                payload: report.payload,
                over_at: None,
                revision: 0,
            },
        )
    }

    /// Writes a task; the number of the change, 0 where only the store can give it.
    pub(super) fn write_task(&mut self, now: Moment, record: TaskRecord) -> u64 {
        let over_at = is_over(record.status).then_some(now.wall);
        self.write(now, Change::Task(TaskRecord { over_at, revision: 0, ..record }))
    }

    /// Writes that a node is in another state.
    pub(super) fn write_node(&mut self, now: Moment, id: &str, state: NodeState) {
        let Some(node) = self.nodes.get(id) else { return };
        let promised = node.last.map(|last| last.promised.as_millis() as u64);
        // Rounded up, and kept while it is near enough, so that an interval that changes by and by is not written each time.
        let before = node.record.as_ref().map_or(0, |record| record.interval_ms);
        let far = promised.filter(|promised| !is_near(before, *promised));
        let interval_ms = far.map_or(before, u64::next_power_of_two);
        let (node_id, epoch, changed_at) = (id.to_owned(), node.epoch, now.wall);
        self.write(now, Change::Node(NodeRecord { node_id, state, epoch, interval_ms, changed_at, revision: 0 }));
    }

    /// Writes a change; its number, or 0 where only the store can give it.
    pub(super) fn write(&mut self, now: Moment, change: Change) -> u64 {
        if self.shared.is_some() {
            self.propose_change(change);
            return 0;
        }
        self.apply(now, change.numbered(self.revision + 1));
        self.revision
    }

    /// Takes a change that has its number, the highest so far.
    pub(super) fn apply(&mut self, now: Moment, change: Change) {
        self.revision = change.revision();
        match &change {
            Change::Task(record) => self.apply_task(now, record.clone()),
            Change::Node(record) => self.apply_node(now, record.clone()),
            Change::TaskForgotten { task_id, .. } => self.drop_task(task_id),
            Change::NodeForgotten { node_id, .. } => self.drop_node(node_id),
        }
        self.history_bytes += weight_of(&change);
        self.history.push_back(change);
        if self.shared.is_some() {
            self.handed_out = self.revision;
        }
        self.trim_history();
    }

    fn apply_task(&mut self, now: Moment, record: TaskRecord) {
        let old = self.tasks.insert(record.task_id.clone(), record.clone());
        self.room.take(&record);
        if let Some(old) = &old {
            self.room.leave(old);
            self.tally.leave(old);
            if old.node_id != record.node_id
                && let Some(node) = self.nodes.get_mut(&old.node_id)
            {
                node.drop_task(old);
            }
            self.over_tasks.remove(old.revision);
        }
        self.tally.take(&record);
        let own = old.filter(|old| old.node_id == record.node_id);
        let node = self.nodes.entry(record.node_id.clone()).or_insert_with(|| Node::new(0));
        node.replace(own.as_ref(), &record);
        self.remember_end(now, &record);
    }

    fn apply_node(&mut self, now: Moment, record: NodeRecord) {
        let (id, state) = (record.node_id.clone(), record.state);
        self.hear_of(now, &record);
        let node = self.nodes.entry(id.clone()).or_insert_with(|| Node::new(record.epoch));
        let old = node.record.replace(record.clone());
        old.iter().for_each(|old| self.absent_nodes.remove(old.revision));
        self.tally.node(&id, old.map(|old| old.state), Some(state));
        self.remember_absence(now, &record);
        self.watch_again(now, &id);
    }

    fn drop_task(&mut self, task_id: &str) {
        let Some(task) = self.tasks.remove(task_id) else { return };
        self.room.leave(&task);
        self.tally.leave(&task);
        self.over_tasks.remove(task.revision);
        if let Some(node) = self.nodes.get_mut(&task.node_id) {
            node.drop_task(&task);
        }
    }

    fn drop_node(&mut self, node_id: &str) {
        self.let_go(node_id);
        let Some(node) = self.nodes.remove(node_id) else { return };
        self.tally.node(node_id, node.record.as_ref().map(|record| record.state), None);
        if let Some(planned) = node.planned {
            self.looks.remove(&(planned, node_id.to_owned()));
        }
        node.record.iter().for_each(|record| self.absent_nodes.remove(record.revision));
    }

    /// Keeps the history within its bounds; what is not handed out to be written yet stays.
    pub(super) fn trim_history(&mut self) {
        let handed_out = self.handed_out;
        while self.history.front().is_some_and(|change| change.revision() <= handed_out)
            && (self.history.len() > self.settings.history || self.history_bytes > HISTORY_BYTES)
        {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= weight_of(&oldest);
            self.history_floor = oldest.revision();
        }
    }
}
