//! How much is kept, altogether and of each node, and whether there is room for more.
//!
//! Separate because it is the gateway's bound on its memory: whatever agents send, it keeps no more than this.

use crate::sync::gateway::refusal::{Code, Refusal};
use crate::sync::message::StatusReport;
use crate::sync::record::{Change, TaskRecord};

/// What a record takes beside its texts, about: numbers, the places in the maps that hold it, and the allocator's share.
const BESIDE: usize = 512;

/// Most tasks of one node: one node cannot use up what all have. Twice a whole state, as those that are over count too.
const MOST_OF_NODE: usize = 20_000;

/// Most bytes of all tasks together.
const MOST_BYTES: usize = 1 << 30;

/// The tasks that are kept, counted and weighed.
#[derive(Clone, Debug, Default)]
pub struct Room {
    count: usize,
    bytes: usize,
}

impl Room {
    /// A task is kept.
    pub fn take(&mut self, task: &TaskRecord) {
        self.count += 1;
        self.bytes += weight(task);
    }

    /// A task is no longer kept.
    pub fn leave(&mut self, task: &TaskRecord) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight(task));
    }

    /// Whether there is room for a report of a node that has so many tasks; it replaces what is known of its task.
    ///
    /// # Errors
    /// When it would take more, and as much is kept as may be.
    pub fn check(
        &self,
        known: Option<&TaskRecord>,
        report: &StatusReport,
        of_node: usize,
        most: usize,
    ) -> Result<(), Refusal> {
        let is_new_to_node = known.is_none_or(|known| known.node_id != report.node_id);
        let grows = known.is_none_or(|known| known.payload.is_none() && report.payload.is_some());
        let shortage = if known.is_none() && self.count >= most {
            format!("{} tasks are kept already", self.count)
        } else if is_new_to_node && of_node >= MOST_OF_NODE {
            format!("{of_node} tasks of node `{}` are kept already", report.node_id)
        } else if (is_new_to_node || grows) && self.bytes >= MOST_BYTES {
            format!("{} MiB of tasks are kept already", self.bytes >> 20)
        } else {
            return Ok(());
        };
        Err(Refusal::new(Code::TooMany, shortage))
    }
}

/// About how many bytes a change takes in the history.
pub fn weight_of(change: &Change) -> usize {
    match change {
        Change::Task(task) => weight(task),
        Change::Node(_) | Change::TaskForgotten { .. } | Change::NodeForgotten { .. } => BESIDE,
    }
}

fn weight(task: &TaskRecord) -> usize {
    BESIDE + task.task_id.len() + task.node_id.len() + task.payload.as_ref().map_or(0, |payload| payload.text().len())
}
