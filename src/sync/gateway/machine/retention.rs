//! What is forgotten, and when: tasks that are over, nodes that have left, nodes that nobody has heard of for long.
//!
//! Separate from what is decided about the present. The time runs from the stamp of the record, by the gateway's own clock, so
//! that a restart does not begin it anew; a stamp from the future counts as now.

use std::time::Duration;

use super::{Machine, Moment};
use crate::model::{Stamp, WallTime};
use crate::sync::record::{Change, NodeRecord, NodeState, Status, TaskRecord};

/// A node with an open connection is about to speak again: it is looked at again after this.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(60);

impl Machine {
    /// A task that is over, or of which nobody knows any more, is kept for a while only.
    pub(super) fn remember_end(&mut self, now: Moment, record: &TaskRecord) {
        if is_over(record.status) {
            let until = until(now, record.over_at, self.settings.retain_completed);
            self.over_tasks.insert(record.revision, until, record.task_id.clone());
        }
    }

    /// A node that is not there is kept for a while only.
    pub(super) fn remember_absence(&mut self, now: Moment, record: &NodeRecord) {
        let kept = match record.state {
            NodeState::Alive | NodeState::Suspect => return,
            NodeState::Unreachable => self.settings.retain_unreachable,
            NodeState::Left => self.settings.retain_left,
        };
        let until = until(now, Some(record.changed_at), kept);
        self.absent_nodes.insert(record.revision, until, record.node_id.clone());
    }

    /// Forgets what was kept for long enough, up to a revision: the store gets it in portions.
    pub(super) fn forget(&mut self, now: Moment, most: u64) {
        while self.revision < most
            && let Some((_, id)) = self.over_tasks.pop(now.at)
        {
            self.forget_task(id);
        }
        while self.revision < most
            && let Some((revision, id)) = self.absent_nodes.pop(now.at)
        {
            if self.nodes.get(&id).is_some_and(|node| node.connections > 0) {
                self.absent_nodes.insert(revision, now.at + LOOKED_AT_AGAIN, id);
            } else {
                self.forget_node(id);
            }
        }
    }

    fn forget_node(&mut self, node_id: String) {
        let is_open = |id: &&String| self.tasks.get(*id).is_some_and(|task| !task.status.is_final());
        let open: Vec<String> = self.tally.tasks_of(&node_id, None).filter(is_open).cloned().collect();
        open.into_iter().for_each(|task_id| self.forget_task(task_id));
        if let Some(node) = self.nodes.remove(&node_id) {
            self.tally.node(&node_id, node.record.map(|record| record.state), None);
            if let Some(planned) = node.planned {
                self.looks.remove(&(planned, node_id.clone()));
            }
        }
        self.write(Change::NodeForgotten { node_id, revision: self.revision + 1 });
    }

    fn forget_task(&mut self, task_id: String) {
        let Some(task) = self.tasks.remove(&task_id) else { return };
        self.room.leave(&task);
        self.tally.leave(&task);
        self.over_tasks.remove(task.revision);
        if let Some(node) = self.nodes.get_mut(&task.node_id) {
            node.drop_task(&task);
        }
        self.write(Change::TaskForgotten { task_id, revision: self.revision + 1 });
    }
}

/// Whether a task of this status is kept for a while only.
pub fn is_over(status: Status) -> bool {
    status.is_final() || status == Status::Unknown
}

/// Until when something is kept that began then; without a stamp it begins now.
fn until(now: Moment, since: Option<WallTime>, kept: Duration) -> Stamp {
    let age = since.map_or(0, |since| now.wall.unix_nanos() - since.unix_nanos());
    let age = Duration::from_nanos(u64::try_from(age.max(0)).unwrap_or(u64::MAX));
    now.at + kept.saturating_sub(age)
}
