//! A whole state, or a part of one: everything that a node knows within a span of names.
//!
//! Separate because nothing else says what is *not* there. A part is true of its own span whatever comes before or after it:
//! nothing is remembered between parts, and one that is lost, repeated or never followed by the rest does no harm.

use std::collections::BTreeSet;

use super::{Machine, Moment, validate};
use crate::sync::gateway::refusal::Refusal;
use crate::sync::message::{FullState, Receipt, StatusReport};
use crate::sync::record::{Status, TaskRecord};

/// What is left to do when each task of a state was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Whose state.
    pub node_id: String,
    version: u64,
    after: Option<String>,
    until: Option<String>,
    told: BTreeSet<String>,
}

impl Machine {
    /// Takes everything that a node knows within the span of the state; what it no longer knows there is unknown from now on.
    ///
    /// # Errors
    /// When an agent that started later speaks for the node, or it means nothing.
    pub fn state(&mut self, now: Moment, state: FullState) -> Result<Vec<Result<Receipt, Refusal>>, Refusal> {
        let (reports, whole) = self.begin_state(state)?;
        let answers = reports.into_iter().map(|report| self.report(now, report)).collect();
        let vanished = self.vanished(&whole);
        vanished.iter().for_each(|task_id| self.vanish(now, &whole, task_id));
        self.agree(&whole, &vanished);
        Ok(answers)
    }

    /// The reports of a state, and what comes after them.
    ///
    /// # Errors
    /// As [`Machine::state`].
    pub fn begin_state(&mut self, state: FullState) -> Result<(Vec<StatusReport>, Whole), Refusal> {
        validate::state(&state)?;
        self.enter(&state.node_id, state.epoch)?;
        let told: BTreeSet<String> = state.tasks.iter().map(|task| task.task_id.clone()).collect();
        let FullState { node_id, epoch, version, after, until, tasks, .. } = state;
        let reports = tasks.into_iter().map(|task| task.report(&node_id, epoch)).collect();
        Ok((reports, Whole { node_id, version, after, until, told }))
    }

    /// The tasks of the node that its state does not tell of any more.
    #[must_use]
    pub fn vanished(&self, whole: &Whole) -> Vec<String> {
        let span = (whole.after.as_deref(), whole.until.as_deref());
        self.nodes.get(&whole.node_id).map_or_else(Vec::new, |node| node.vanished(span, &whole.told))
    }

    /// Nobody knows any more how it stands with a task.
    pub fn vanish(&mut self, now: Moment, whole: &Whole, task_id: &str) {
        let known = self.tasks.get(task_id).filter(|known| known.status != Status::Unknown);
        let Some(known) = known.filter(|known| known.node_id == whole.node_id) else { return };
        let version = whole.version.max(known.version + 1);
        let (status, timestamp, payload) = (Status::Unknown, now.wall, None);
        self.write_task(now, TaskRecord { status, epoch: known.epoch, version, timestamp, payload, ..known.clone() });
    }

    /// From here on both sides agree on what the checksum covers: what the agent has told.
    pub fn agree(&mut self, whole: &Whole, vanished: &[String]) {
        let Some(node) = self.nodes.get_mut(&whole.node_id) else { return };
        let unknown = vanished.iter().filter_map(|id| self.tasks.get(id)).filter(|task| task.status == Status::Unknown);
        unknown.for_each(|record| node.drop_task(record));
        let own = whole.told.iter().filter_map(|id| self.tasks.get(id));
        own.filter(|record| record.node_id == whole.node_id).for_each(|record| node.agree_on(record));
    }
}
