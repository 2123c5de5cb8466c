//! Reports and whole states: taken in, and answered when what they changed is durable.
//!
//! Separate because a store of our own and one that is shared part ways here: with the first an answer is known at once and
//! waits for the disk, with the second it comes from the desk.

use super::super::access::Caller;
use super::super::due::{Due, Standing};
use super::super::entries::{Odd, Read, weave};
use super::super::machine::{Machine, Moment};
use super::super::rate::Kind;
use super::super::refusal::Refusal;
use super::{Durable, Place, Service, lost};
use crate::model::Stamp;
use crate::sync::message::{Answer, FullState, Outcome, StatusReport};
use crate::sys::clock;

impl Service {
    /// Takes several reports that were received at this moment, and answers each of them when it is durable.
    ///
    /// # Errors
    /// When none of them can be taken, or the store fails.
    pub async fn keep(
        &self,
        caller: &Caller,
        reports: Vec<StatusReport>,
        received: Stamp,
    ) -> Result<Vec<Answer>, Refusal> {
        self.answers(self.reports(caller, (reports, Odd::new()), received)?).await
    }

    /// Takes several reports that were received at this moment; each has its own answer, and what was not understood as well.
    ///
    /// # Errors
    /// When none of them can be taken.
    pub(in crate::sync::gateway) fn reports(
        &self,
        caller: &Caller,
        (reports, odd): (Vec<StatusReport>, Odd),
        received: Stamp,
    ) -> Result<Due, Refusal> {
        self.allow(caller.share(), Kind::Report, odd.len() as u64)?;
        self.allow(caller.share(), Kind::Report, reports.len().max(1) as u64)?;
        if self.shared.is_some() {
            return self.offer_reports(caller, (reports, odd), received);
        }
        let mut newest = 0;
        let take = |machine: &mut Machine, now: Moment| -> Vec<Answer> {
            let mut answer = |mut report: StatusReport| {
                caller.speaks_for(&report.node_id)?;
                let trace = report.trace.take();
                let receipt = machine.report(now, report)?;
                if let Some(trace) = trace.filter(|_| receipt.outcome == Outcome::Stored) {
                    self.traces.decided(receipt.revision, trace, received, clock::now());
                }
                newest = newest.max(receipt.revision);
                Ok(receipt)
            };
            reports.into_iter().map(|report| self.told(answer(report))).collect()
        };
        let (answers, place) = self.decide(take)?;
        Ok(Due::At(Place { revision: newest, ..place }, self.woven(answers, odd)))
    }

    /// Takes everything that a node knows; with one answer for each task.
    ///
    /// # Errors
    /// When the machine refuses it as a whole.
    pub(in crate::sync::gateway) fn state(&self, state: Read<FullState>) -> Result<Due, Refusal> {
        let Read { frame: state, odd } = state;
        self.allow(&state.node_id, Kind::Report, (state.tasks.len() + odd.len()).max(1) as u64)?;
        if self.shared.is_some() {
            return self.offer_state(state, odd);
        }
        let (answers, place) = self.decide(|machine, now| machine.state(now, state))?;
        let answers = answers?.into_iter().map(|answer| self.told(answer)).collect();
        Ok(Due::At(place, self.woven(answers, odd)))
    }

    /// How it stands with answers, as they are told.
    pub(in crate::sync::gateway) fn standing(&self, due: Due, known: Durable) -> Standing {
        match due.standing(known) {
            Standing::Filled(answers, odd) => {
                let answers = answers.into_iter().map(|answer| self.told(answer)).collect();
                Standing::Known(self.woven(answers, odd))
            }
            other => other,
        }
    }

    /// Waits for answers.
    ///
    /// # Errors
    /// When the store failed before they were durable.
    pub(in crate::sync::gateway) async fn answers(&self, mut due: Due) -> Result<Vec<Answer>, Refusal> {
        let mut durable = self.durable.subscribe();
        loop {
            let known = *durable.borrow_and_update();
            match self.standing(due, known) {
                Standing::Known(answers) => return Ok(answers),
                Standing::Lost(refusal) => return Err(refusal),
                Standing::Open(open) => due = open,
                Standing::Filled(..) => return Err(lost()),
            }
            durable.changed().await.map_err(|_| lost())?;
        }
    }

    /// With the answers to what was not understood, in their places.
    pub(super) fn woven(&self, answers: Vec<Answer>, odd: Odd) -> Vec<Answer> {
        weave(answers, odd.into_iter().map(|(at, refusal)| (at, self.told(Err(refusal)))).collect())
    }
}
