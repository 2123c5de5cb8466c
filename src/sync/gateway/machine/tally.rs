//! Which tasks a node has, and how many of each status and nodes of each state there are, kept as they change.
//!
//! Separate because whoever asks must not make the gateway count: it answers in the time of the answer, not of what is kept.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::read::Counts;
use crate::sync::record::{NodeState, Status, TaskRecord};

const STATUSES: [Status; 5] = [Status::Pending, Status::Running, Status::Completed, Status::Failed, Status::Unknown];

const STATES: [NodeState; 4] = [NodeState::Alive, NodeState::Suspect, NodeState::Unreachable, NodeState::Left];

/// The counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By status as shown.
    tasks: [usize; STATUSES.len()],
    /// By state.
    nodes: [usize; STATES.len()],
    shares: HashMap<String, Share>,
}

/// What one node has.
#[derive(Clone, Debug, Default)]
struct Share {
    tasks: BTreeSet<String>,
    /// By status as reported.
    statuses: [usize; STATUSES.len()],
    /// Nobody hears it: what is not over is shown as unknown.
    is_silent: bool,
}

impl Tally {
    /// A task has this record now, and had none.
    pub fn take(&mut self, task: &TaskRecord) {
        if !self.shares.contains_key(&task.node_id) {
            self.shares.insert(task.node_id.clone(), Share::default());
        }
        let Some(share) = self.shares.get_mut(&task.node_id) else { return };
        share.tasks.insert(task.task_id.clone());
        share.statuses[task.status as usize] += 1;
        self.tasks[shown(task.status, share.is_silent) as usize] += 1;
    }

    /// A task no longer has this record.
    pub fn leave(&mut self, task: &TaskRecord) {
        let Some(share) = self.shares.get_mut(&task.node_id) else { return };
        share.tasks.remove(&task.task_id);
        share.statuses[task.status as usize] -= 1;
        self.tasks[shown(task.status, share.is_silent) as usize] -= 1;
        if share.tasks.is_empty() && !share.is_silent {
            self.shares.remove(&task.node_id);
        }
    }

    /// A node is in another state; `None` before it has one and after it was forgotten.
    pub fn node(&mut self, node_id: &str, old: Option<NodeState>, new: Option<NodeState>) {
        old.into_iter().for_each(|old| self.nodes[old as usize] -= 1);
        new.into_iter().for_each(|new| self.nodes[new as usize] += 1);
        let is_silent = new.is_some_and(NodeState::is_silent);
        if old.is_some_and(NodeState::is_silent) == is_silent {
            return;
        }
        let share = self.shares.entry(node_id.to_owned()).or_default();
        for status in STATUSES {
            let count = share.statuses[status as usize];
            self.tasks[shown(status, share.is_silent) as usize] -= count;
            self.tasks[shown(status, is_silent) as usize] += count;
        }
        share.is_silent = is_silent;
        if share.tasks.is_empty() && !is_silent {
            self.shares.remove(node_id);
        }
    }

    /// The tasks of a node behind a name, in their order.
    pub fn tasks_of(&self, node_id: &str, after: Option<&str>) -> impl Iterator<Item = &String> {
        let span = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.shares.get(node_id).into_iter().flat_map(move |share| share.tasks.range::<str, _>(span))
    }

    /// How many tasks a node has.
    pub fn count_of(&self, node_id: &str) -> usize {
        self.shares.get(node_id).map_or(0, |share| share.tasks.len())
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts {
            tasks: STATUSES.map(|status| (status, self.tasks[status as usize])).to_vec(),
            nodes: STATES.map(|state| (state, self.nodes[state as usize])).to_vec(),
        }
    }
}

/// What a reported status is shown as.
pub const fn shown(status: Status, is_silent: bool) -> Status {
    if is_silent && !status.is_final() { Status::Unknown } else { status }
}
