//! What an agent sends, and in which order: the whole state in parts, then changes, heartbeats beside both, a goodbye last.
//!
//! Separate from what it believes of the answers.

use super::{Action, Flight, GOODBYE_WITHIN, Link, Machine, Rest};
use crate::sync::message::{Batch, FromAgent, FullState, Heartbeat, Leave};
use crate::sync::moment::Moment;

impl Machine {
    /// Sends what waits, if nothing is on its way.
    pub(super) fn flush(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_known = self.told.len() >= self.settings.sources;
        let Link::Up(session) = &mut self.link else { return };
        if session.flight.is_some() {
            return;
        }
        let (node_id, epoch, id) = (self.settings.node_id.clone(), self.epoch, self.last_frame + 1);
        let (frame, sent, state) = if let Some(from) = session.rest.take_if(|_| is_known) {
            let part = self.ledger.take_state(from.0.clone());
            session.rest = part.until.clone().map(|until| Rest(Some(until)));
            let (version, checksum) = (part.digest.version, part.digest.checksum);
            let (after, until, tasks) = (part.after, part.until, part.tasks);
            let frame = FullState { id, node_id, epoch, version, checksum, after, until, tasks };
            (FromAgent::State(frame), part.sent, Some(from))
        } else if session.rest.is_none() && self.ledger.is_unsent() {
            let (reports, sent) = self.ledger.take_batch(&node_id, epoch);
            (FromAgent::Reports(Batch { id, reports }), sent, None)
        } else {
            // What happens before the whole state is told goes with it.
            return;
        };
        self.last_frame = id;
        (session.flight, session.hold_until) = (Some(Flight { id, at: now.at, sent, state }), None);
        actions.push(Action::Send(frame));
    }

    pub(super) fn beat(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let Link::Up(session) = &self.link else { return };
        let is_quiet = session.flight.is_none() && session.rest.is_none() && !self.ledger.is_unsent();
        let beat = self.beats.next(now);
        let has_digest = is_quiet && self.digests.skip == 0;
        if is_quiet {
            self.digests.skip = self.digests.skip.saturating_sub(1);
        }
        if has_digest {
            self.digests.sent_with = Some(beat.seq);
        }
        actions.push(Action::Send(FromAgent::Heartbeat(Heartbeat {
            node_id: self.settings.node_id.clone(),
            epoch: self.epoch,
            seq: beat.seq,
            next_interval_ms: beat.next_interval_ms,
            t1: Some(beat.t1),
            last: beat.last,
            digest: has_digest.then(|| self.ledger.digest()),
            usage: None,
        })));
    }

    /// Sends everything that is new, whatever is still on its way: nobody waits for answers any more. Then the goodbye.
    pub(super) fn say_goodbye(&mut self, now: Moment, actions: &mut Vec<Action>) {
        // Each frame takes something along, so that this ends.
        while let Link::Up(session) = &mut self.link {
            session.flight = None;
            let sent = actions.len();
            self.flush(now, actions);
            if actions.len() == sent {
                break;
            }
        }
        let (node_id, epoch) = (self.settings.node_id.clone(), self.epoch);
        actions.push(Action::Send(FromAgent::Leave(Leave { node_id, epoch })));
        self.link = Link::Leaving { until: now.at + GOODBYE_WITHIN };
    }
}
