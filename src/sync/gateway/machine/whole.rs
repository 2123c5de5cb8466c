//! A whole state, or a part of one: everything that a node knows within a span of names.
//!
//! Separate because nothing else says what is *not* there. A part is true of its own span whatever comes before or after it:
//! nothing is remembered between parts, and one that is lost, repeated or never followed by the rest does no harm.

use std::collections::BTreeSet;

use super::{Machine, Moment, validate};
use crate::sync::gateway::refusal::Refusal;
use crate::sync::message::{FullState, Receipt};
use crate::sync::record::{Status, TaskRecord};

impl Machine {
    /// Takes everything that a node knows within the span of the state; what it no longer knows there is unknown from now on.
    ///
    /// # Errors
    /// When an agent that started later speaks for the node, or it means nothing.
    pub fn state(&mut self, now: Moment, state: FullState) -> Result<Vec<Result<Receipt, Refusal>>, Refusal> {
        validate::state(&state)?;
        self.enter(&state.node_id, state.epoch)?;
        let told: BTreeSet<String> = state.tasks.iter().map(|task| task.task_id.clone()).collect();
        let FullState { node_id, epoch, version, after, until, tasks, .. } = state;
        let answers = tasks.into_iter().map(|task| self.report(now, task.report(&node_id, epoch))).collect();
        let span = (after.as_deref(), until.as_deref());
        let vanished = self.nodes.get(&node_id).map_or_else(Vec::new, |node| node.vanished(span, &told));
        for task_id in &vanished {
            let Some(known) = self.tasks.get(task_id).filter(|known| known.status != Status::Unknown) else {
                continue;
            };
            let version = version.max(known.version + 1);
            let (status, timestamp, payload) = (Status::Unknown, now.wall, None);
            self.write_task(now, TaskRecord { status, epoch, version, timestamp, payload, ..known.clone() });
        }
        // From here on both sides agree on what the checksum covers: what the agent has told.
        if let Some(node) = self.nodes.get_mut(&node_id) {
            vanished.iter().filter_map(|id| self.tasks.get(id)).for_each(|record| node.drop_task(record));
            let own = told.iter().filter_map(|id| self.tasks.get(id)).filter(|record| record.node_id == node_id);
            own.for_each(|record| node.agree_on(record));
        }
        Ok(answers)
    }
}
