//! The node lease of Kubernetes, `k8s-lease`.
//!
//! The kubelet renews its lease each 10 s (a quarter of 40 s) and retries a failed renewal after 200 ms, doubling up to
//! 7 s. The node controller looks each 5 s, stamps with its own clock when it *saw* the lease change, and marks the node
//! once that stamp is the grace period old: 50 s since 1.32, 40 s before (`pkg/controller/nodelifecycle`). So skew does not
//! matter, but what it sees is rounded up to its looks twice: at a grace of 50 s a crash is noticed after 40 s to 55 s,
//! 47.5 s in the mean. The controller compares with "after"; its looks come a little later than each 5 s, so a difference
//! of ten periods is after the grace, and ours counts it.

use std::time::Duration;

use super::Beat;
use crate::model::Stamp;

/// A lease as the node controller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    grace: Duration,
    period: Duration,
    phase: Stamp,
    renewed: Stamp,
}

impl Lease {
    /// A lease that was renewed at `from`, seen by a controller that looks at `phase` and each `period`.
    pub const fn new(from: Stamp, grace: Duration, period: Duration, phase: Stamp) -> Self {
        Self { grace, period, phase, renewed: from }
    }

    /// Takes a renewal that is newer than the last.
    pub const fn heartbeat(&mut self, beat: Beat) {
        self.renewed = beat.at;
    }

    /// The look at which the node is marked.
    pub fn deadline(&self) -> Stamp {
        let seen = ceil_tick(self.renewed, self.phase, self.period);
        ceil_tick(seen + self.grace, self.phase, self.period)
    }
}

/// The first look at or after a moment.
pub const fn ceil_tick(at: Stamp, phase: Stamp, period: Duration) -> Stamp {
    let period = period.as_nanos() as u64;
    if period == 0 {
        return at;
    }
    // The looks go on in both directions from the phase.
    let offset = phase.as_nanos() % period;
    let (now, rest) = (at.as_nanos(), (at.as_nanos() % period + period - offset) % period);
    Stamp::from_nanos(if rest == 0 { now } else { now + (period - rest) })
}
