//! An interval that follows the need: longer while nothing happens, shorter at once when something does.
//!
//! Additive decrease of cost would be too slow for an edge node that is calm for hours, so a calm interval grows by half;
//! a change of state, or a round trip that has grown, brings it to the shortest at once, because the next thing that happens
//! there is likely to matter. Grown is what is above twice the smoothed value and stands out of how it varies anyway
//! (RFC 6298): on a short way the processor's load alone makes ten of one, and means nothing. The interval is promised with
//! each heartbeat, so no detector accuses an agent that slowed down as it said.

use std::time::Duration;

/// Calm heartbeats in a row before the interval grows.
const CALM: u32 = 3;

/// Gain of the smoothed round trip is one in so many.
const GAIN: u32 = 8;

/// Gain of its smoothed deviation is one in so many.
const DEVIATION_GAIN: u32 = 4;

/// So many deviations above the smoothed value a round trip stands out.
const OUTSTANDING: u32 = 4;

/// What a busy host adds to a round trip now and then, before anything can be said of the network: a slice of its scheduler.
const GRANULARITY: Duration = Duration::from_millis(10);

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
    usual: Option<Usual>,
}

/// What a round trip usually takes.
#[derive(Clone, Copy, Debug)]
struct Usual {
    smoothed: Duration,
    deviation: Duration,
}

impl Usual {
    /// The first one says nothing of how they vary: by half of it, until more is known.
    fn first(round_trip: Duration) -> Self {
        Self { smoothed: round_trip, deviation: round_trip / 2 }
    }

    fn is_exceeded_by(&self, round_trip: Duration) -> bool {
        let varies = (self.deviation * OUTSTANDING).max(GRANULARITY);
        round_trip > (self.smoothed * 2).max(self.smoothed + varies)
    }

    fn take(&mut self, round_trip: Duration) {
        let off = self.smoothed.abs_diff(round_trip);
        self.deviation = (self.deviation * (DEVIATION_GAIN - 1) + off) / DEVIATION_GAIN;
        self.smoothed = (self.smoothed * (GAIN - 1) + round_trip) / GAIN;
    }
}

impl Adaptive {
    /// A policy that begins with the shortest interval.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, interval: bounds.shortest, calm: 0, usual: None }
    }

    /// The interval to promise with the next heartbeat.
    pub fn next(&mut self, seen: Observation) -> Duration {
        let is_slower = match (self.usual, seen.round_trip) {
            (Some(usual), Some(now)) => usual.is_exceeded_by(now),
            // No answer to a heartbeat is the clearest growth there is.
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let Some(now) = seen.round_trip {
            match &mut self.usual {
                Some(usual) => usual.take(now),
                None => self.usual = Some(Usual::first(now)),
            }
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
    #[test]
    fn what_a_busy_host_adds_to_a_short_way_does_not_keep_it_short() {
        let mut policy = policy();
        // A way of 300 µs, of which every fourth answer waits 8 ms for a processor.
        let seen = |beat: u32| {
            let round_trip = Duration::from_micros(if beat % 4 == 3 { 8_300 } else { 300 });
            Observation { has_changed: false, round_trip: Some(round_trip) }
        };
        let last = (0..30).map(|beat| policy.next(seen(beat))).last();
        assert_eq!(last, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_round_trip_that_varies_has_to_grow_by_more_than_that() {
        let mut policy = policy();
        let seen = |ms| Observation { has_changed: false, round_trip: Some(Duration::from_millis(ms)) };
        // One in three takes three times as long, always.
        for beat in 0..60 {
            policy.next(seen(if beat % 3 == 0 { 120 } else { 40 }));
        }
        assert_eq!(policy.next(seen(150)), Duration::from_secs(10));
        assert_eq!(policy.next(seen(400)), Duration::from_secs(2));
    }
}
