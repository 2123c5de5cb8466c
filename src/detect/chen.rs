//! The detector of Chen, Toueg and Aguilera with estimated arrivals, `chen:ALPHA` (NFD-E, "On the quality of service of
//! failure detectors", IEEE Transactions on Computers 51(5), 2002).
//!
//! The next arrival is expected at `EA = mean(A_j - S_j) + S_next` over the last n receipts, `A_j` the arrival of
//! heartbeat j and `S_j` its planned send on the sender's schedule; suspicion at `EA + alpha`. Neither clock needs to know
//! the other: the mean absorbs their offset. Where the paper has `S_j = j * eta`, ours adds up the promised intervals, of
//! which a lost heartbeat's is taken to be like the one before it. Default: a window of 100; alpha has none.
//!
//! An agent that was stopped goes on with another schedule, and a network that was away delivers in a bunch what it held: after
//! an outage the estimate begins anew, and a heartbeat that comes before its plan then shows that the beginning was late.

use std::time::Duration;

use super::Beat;
use super::window::Window;
use crate::model::Stamp;

/// So many heartbeats after an outage may show that its end came late.
const SETTLING: u32 = 10;

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
    window: usize,
    /// Heartbeats after an outage that may still move the beginning.
    settling: u32,
}

impl Chen {
    /// An estimator that has seen `first`.
    pub fn new(first: Beat, margin: Duration, window: usize) -> Self {
        let (sent, delays) = (Duration::ZERO, Window::new(window));
        let mut chen = Self { margin, last: first, origin: first.at, sent, delays, window, settling: 0 };
        chen.begin(first);
        chen
    }

    /// Takes a heartbeat that is newer than the last.
    pub fn heartbeat(&mut self, beat: Beat) {
        let steps = u32::try_from(beat.sequence - self.last.sequence).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(self.last.promised.saturating_mul(steps));
        let arrived = i128::from(beat.at.nanos_since(self.origin));
        let delay = arrived - i128::try_from(self.sent.as_nanos()).unwrap_or(i128::MAX);
        if self.settling > 0 && delay < 0 {
            return self.begin(beat);
        }
        self.settling = self.settling.saturating_sub(1);
        self.delays.push(i64::try_from(delay).unwrap_or(i64::MAX));
        self.last = beat;
    }

    /// An outage has ended with this heartbeat: the schedule begins anew.
    pub fn resume(&mut self, beat: Beat) {
        self.begin(beat);
        self.settling = SETTLING;
    }

    fn begin(&mut self, beat: Beat) {
        (self.last, self.origin, self.sent) = (beat, beat.at, Duration::ZERO);
        self.delays = Window::new(self.window);
        self.delays.push(0);
    }

    /// The moment of suspicion: nothing newer has come when the next heartbeat is overdue.
    pub fn deadline(&self) -> Stamp {
        let next = (self.sent + self.last.promised + self.margin).as_nanos() as f64;
        let wait = next + self.delays.mean().unwrap_or(0.0);
        self.origin + Duration::from_nanos(wait.max(0.0).round() as u64)
    }
}
