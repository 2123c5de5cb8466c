//! When an agent's connection comes and goes, and what it waits for before the next attempt.
//!
//! Separate from what is said on the connection.

use super::{Action, End, Link, Machine, Rest, Session};
use crate::sync::moment::Moment;

impl Machine {
    pub(super) fn connected(&mut self, now: Moment) {
        if !matches!(self.link, Link::Dialing) {
            return;
        }
        self.link = Link::Up(Session { flight: None, rest: Some(Rest(None)), hold_until: None, is_good: false });
        self.beats.begin(now.at);
        self.digests.sent_with = None;
    }

    pub(super) fn disconnected(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match std::mem::replace(&mut self.link, Link::Waiting { until: now.at }) {
            Link::Leaving { .. } => self.end(End::Left, actions),
            Link::Up(session) => {
                // One that only took our connection counts as one that failed.
                let is_good = session.is_good;
                self.recall(session);
                self.wait(now);
                if is_good {
                    self.servers.lost();
                }
            }
            Link::Dialing => self.wait(now),
            link @ (Link::Waiting { .. } | Link::Ended) => self.link = link,
        }
    }

    pub(super) fn reconnect(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match std::mem::replace(&mut self.link, Link::Waiting { until: now.at }) {
            Link::Up(session) => self.recall(session),
            Link::Dialing | Link::Waiting { .. } => {}
            link @ (Link::Leaving { .. } | Link::Ended) => return self.link = link,
        }
        actions.push(Action::Close);
        self.backoff.reset();
    }

    /// Gives a connection up.
    pub(super) fn drop_link(&mut self, now: Moment, actions: &mut Vec<Action>) {
        actions.push(Action::Close);
        self.disconnected(now, actions);
    }

    /// Waits for the next attempt: one step of the back-off for the next of several gateways, longer after all of them.
    fn wait(&mut self, now: Moment) {
        let wait = if self.servers.is_exhausted() { self.backoff.next() } else { self.backoff.step() };
        self.link = Link::Waiting { until: now.at + wait };
    }

    fn recall(&mut self, session: Session) {
        if let Some(flight) = session.flight {
            self.ledger.unsend(flight.sent);
        }
    }
}
