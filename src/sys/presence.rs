//! Whether this process was there all the time: stopped, starved of processors, or asleep with its machine.
//!
//! Separate because whoever judges the silence of others has to know its own first. A process that stood still notices it in
//! two ways: it wakes long after it wanted to, or its monotonic clock, which stands while the machine sleeps, has fallen behind
//! that of the boot. Time is an argument, so that an absence can be tried without one.

use std::time::Duration;

use super::clock;
use crate::model::Stamp;

/// Follows one loop of a process from wake to wake.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// How long the machine has slept so far.
    asleep: Duration,
}

impl Presence {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { asleep: clock::asleep() }
    }

    /// How long the process was away, if it wanted to wake at `due` and did so just now.
    pub fn missed(&mut self, due: Stamp) -> Duration {
        self.missed_at(due, clock::now(), clock::asleep())
    }

    fn missed_at(&mut self, due: Stamp, now: Stamp, asleep: Duration) -> Duration {
        let slept = asleep.saturating_sub(std::mem::replace(&mut self.asleep, asleep));
        now.since(due) + slept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_wake_and_a_machine_that_slept_are_absences_and_each_counts_once() {
        let (at, s) = (Stamp::from_nanos, Duration::from_secs);
        let mut presence = Presence { asleep: s(100) };
        assert_eq!(presence.missed_at(at(5), at(3), s(100)), Duration::ZERO);
        assert_eq!(presence.missed_at(at(5), at(7), s(100)), Duration::from_nanos(2));
        assert_eq!(presence.missed_at(at(5), at(5), s(160)), s(60));
        assert_eq!(presence.missed_at(at(5), at(5), s(160)), Duration::ZERO);
    }

    #[test]
    fn who_is_there_misses_nothing() {
        let mut presence = Presence::begin();
        assert!(presence.missed(clock::now()) < Duration::from_secs(1));
    }
}
