//! What is forgotten, and when: tasks that are over, nodes that have left, nodes that nobody has heard of for long.
//!
//! Separate from what is decided about the present. The time runs from the stamp of the record, by the gateway's own clock, so
//! that a restart does not begin it anew; a stamp from the future, or from before any clock of ours was set, counts as now.

use std::time::Duration;

use super::validate::EARLIEST_S;
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
        let Some(kept) = self.kept(record.state) else { return };
        let until = until(now, Some(record.changed_at), kept);
        self.absent_nodes.insert(record.revision, until, record.node_id.clone());
    }

    /// How long a node in this state is kept; `None` if for good.
    const fn kept(&self, state: NodeState) -> Option<Duration> {
        match state {
            NodeState::Alive | NodeState::Suspect => None,
            NodeState::Unreachable => Some(self.settings.retain_unreachable),
            NodeState::Left => Some(self.settings.retain_left),
        }
    }

    /// Forgets what was kept for long enough, up to a revision: the store gets it in portions.
    pub(super) fn forget(&mut self, now: Moment, most: u64) {
        if !self.is_janitor() {
            return;
        }
        while self.revision < most
            && self.has_room_to_propose()
            && let Some((revision, id)) = self.over_tasks.pop(now.at)
        {
            let over_at = self.tasks.get(&id).and_then(|task| task.over_at);
            match not_yet(now, over_at, self.settings.retain_completed) {
                Some(later) => self.over_tasks.insert(revision, later, id),
                None => self.forget_task(now, id),
            }
        }
        while self.revision < most
            && self.has_room_to_propose()
            && let Some((revision, id)) = self.absent_nodes.pop(now.at)
        {
            let node = self.nodes.get(&id);
            let record = node.and_then(|node| node.record.as_ref());
            let kept = record.and_then(|record| self.kept(record.state)).unwrap_or_default();
            let later = not_yet(now, record.map(|record| record.changed_at), kept);
            let is_open = node.is_some_and(|node| node.connections > 0);
            match later.or(is_open.then(|| now.at + LOOKED_AT_AGAIN)) {
                Some(later) => self.absent_nodes.insert(revision, later, id),
                None => self.forget_node(now, id),
            }
        }
    }

    fn forget_node(&mut self, now: Moment, node_id: String) {
        let is_open = |id: &&String| self.tasks.get(*id).is_some_and(|task| !task.status.is_final());
        let open: Vec<String> = self.tally.tasks_of(&node_id, None).filter(is_open).cloned().collect();
        open.into_iter().for_each(|task_id| self.forget_task(now, task_id));
        self.write(now, Change::NodeForgotten { node_id, revision: 0 });
    }

    fn forget_task(&mut self, now: Moment, task_id: String) {
        if self.tasks.contains_key(&task_id) {
            self.write(now, Change::TaskForgotten { task_id, revision: 0 });
        }
    }
}

/// Whether a task of this status is kept for a while only.
pub fn is_over(status: Status) -> bool {
    status.is_final() || status == Status::Unknown
}

/// Until when something is kept that began then; without a stamp it begins now. A clock that is ahead when the gateway starts
/// makes everything old: what seems overdue is looked at again after a while.
fn until(now: Moment, since: Option<WallTime>, kept: Duration) -> Stamp {
    let left = left(now, since, kept);
    now.at + if left.is_zero() { LOOKED_AT_AGAIN.min(kept) } else { left }
}

/// Until when something is kept that is due, by a clock that may have been set since; `None` if it is due.
fn not_yet(now: Moment, since: Option<WallTime>, kept: Duration) -> Option<Stamp> {
    // Without a stamp, or with one from the future, its time began when it was planned, and is over.
    since?;
    let left = left(now, since, kept);
    (!left.is_zero() && left < kept).then(|| now.at + left)
}

fn left(now: Moment, since: Option<WallTime>, kept: Duration) -> Duration {
    let since = since.filter(|since| since.unix_seconds() >= EARLIEST_S);
    let age = since.map_or(0, |since| now.wall.unix_nanos() - since.unix_nanos());
    kept.saturating_sub(Duration::from_nanos(u64::try_from(age.max(0)).unwrap_or(u64::MAX)))
}
