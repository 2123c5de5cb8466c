//! The detector of Chen, Toueg and Aguilera with estimated arrivals, `chen:ALPHA` (NFD-E, "On the quality of service of
//! failure detectors", IEEE Transactions on Computers 51(5), 2002).
//!
//! The next arrival is expected at `EA = mean(A_j - S_j) + S_next` over the last n receipts, `A_j` the arrival of
//! heartbeat j and `S_j` its planned send on the sender's schedule; suspicion at `EA + alpha`. Neither clock needs to know
//! the other: the mean absorbs their offset. Where the paper has `S_j = j * eta`, ours adds up the promised intervals, of
//! which a lost heartbeat's is taken to be like the one before it. Default: a window of 100; alpha has none.

use std::time::Duration;

use super::Beat;
use super::window::Window;
use crate::model::Stamp;

/// An arrival estimator with a margin.
#[derive(Clone, Debug)]
pub struct Chen {
    margin: Duration,
    last: Beat,
    origin: Stamp,
    /// Planned send of the last heartbeat, since that of the first.
    sent: Duration,
    /// Arrivals against planned sends.
    delays: Window,
}

impl Chen {
    /// An estimator that has seen `first`.
    pub fn new(first: Beat, margin: Duration, window: usize) -> Self {
        let mut delays = Window::new(window);
        delays.push(0);
        Self { margin, last: first, origin: first.at, sent: Duration::ZERO, delays }
    }

    /// Takes a heartbeat.
    pub fn heartbeat(&mut self, beat: Beat) {
        if beat.sequence <= self.last.sequence {
            return;
        }
        let steps = u32::try_from(beat.sequence - self.last.sequence).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(self.last.promised.saturating_mul(steps));
        let arrived = i128::from(beat.at.nanos_since(self.origin));
        let delay = arrived - i128::try_from(self.sent.as_nanos()).unwrap_or(i128::MAX);
        self.delays.push(i64::try_from(delay).unwrap_or(i64::MAX));
        self.last = beat;
    }

    /// The moment of suspicion: nothing newer has come when the next heartbeat is overdue.
    pub fn deadline(&self) -> Stamp {
        let next = (self.sent + self.last.promised + self.margin).as_nanos() as f64;
        let wait = next + self.delays.mean().unwrap_or(0.0);
        self.origin + Duration::from_nanos(wait.max(0.0).round() as u64)
    }
}
