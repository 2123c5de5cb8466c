//! An interval that follows the need: longer while nothing happens, shorter at once when something does.
//!
//! Additive decrease of cost would be too slow for an edge node that is calm for hours, so a calm interval grows by half;
//! a change of state, or a round trip above twice its smoothed value (RFC 6298, gain 1/8), brings it to the shortest at
//! once, because the next thing that happens there is likely to matter. The interval is promised with each heartbeat, so no
//! detector accuses an agent that slowed down as it said.

use std::time::Duration;

/// Calm heartbeats in a row before the interval grows.
const CALM: u32 = 3;

/// Gain of the smoothed round trip is one in so many.
const GAIN: u32 = 8;

/// The shortest and the longest interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// After a change.
    pub shortest: Duration,
    /// While calm.
    pub longest: Duration,
}

/// What happened since the last heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Whether any state changed.
    pub has_changed: bool,
    /// The round trip of the last heartbeat; `None` if it was not answered.
    pub round_trip: Option<Duration>,
}

/// The policy of one agent.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive {
    bounds: Bounds,
    interval: Duration,
    calm: u32,
    smoothed: Option<Duration>,
}

impl Adaptive {
    /// A policy that begins with the shortest interval.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, interval: bounds.shortest, calm: 0, smoothed: None }
    }

    /// The interval to promise with the next heartbeat.
    pub fn next(&mut self, seen: Observation) -> Duration {
        let is_slower = match (self.smoothed, seen.round_trip) {
            (Some(smoothed), Some(now)) => now > smoothed * 2,
            // No answer to a heartbeat is the clearest growth there is.
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(now) = seen.round_trip {
            let before = self.smoothed.unwrap_or(now);
            self.smoothed = Some((before * (GAIN - 1) + now) / GAIN);
        }
        if seen.has_changed || is_slower {
            (self.calm, self.interval) = (0, self.bounds.shortest);
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                (self.calm, self.interval) = (0, (self.interval * 3 / 2).min(self.bounds.longest));
            }
        }
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM_SEEN: Observation = Observation { has_changed: false, round_trip: Some(Duration::from_millis(10)) };

    fn policy() -> Adaptive {
        Adaptive::new(Bounds { shortest: Duration::from_secs(2), longest: Duration::from_secs(10) })
    }

    #[test]
    fn calm_makes_it_longer_within_its_bounds() {
        let mut policy = policy();
        let intervals: Vec<u64> = (0..15).map(|_| policy.next(CALM_SEEN).as_secs()).collect();
        assert_eq!(intervals[..6], [2, 2, 3, 3, 3, 4]);
        assert_eq!(intervals[14], 10);
    }

    #[test]
    fn a_change_a_slow_answer_and_no_answer_make_it_short_at_once() {
        for seen in [
            Observation { has_changed: true, ..CALM_SEEN },
            Observation { round_trip: Some(Duration::from_millis(25)), ..CALM_SEEN },
            Observation { round_trip: None, ..CALM_SEEN },
        ] {
            let mut policy = policy();
            for _ in 0..30 {
                policy.next(CALM_SEEN);
            }
            assert_eq!(policy.next(seen), Duration::from_secs(2), "{seen:?}");
        }
    }
}
