//! What may be concluded from stamps of the wall clock: a reading of both clocks, and whether the wall clock was stepped.
//!
//! Separate from the clocks themselves and free of them, so that a step can be tried without making one. The kernel slews
//! both clocks alike, so their distance is constant until somebody sets the time: two readings whose brackets do not
//! overlap prove a step, however small.

use crate::model::{Stamp, WallStamp};

/// Conversion of both clocks from the same counter rounds each of them down for itself.
const ROUNDING_NS: i128 = 4;

/// The wall clock, read between two readings of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock just before.
    pub before: Stamp,
    /// The wall clock.
    pub wall: WallStamp,
    /// The monotonic clock just after.
    pub after: Stamp,
}

impl Reading {
    /// How far the bracket is open.
    #[must_use]
    pub const fn width_ns(&self) -> u64 {
        self.after.nanos_since(self.before)
    }

    /// The least and the greatest distance from the monotonic to the wall clock.
    fn distance(&self) -> (i128, i128) {
        let wall = i128::from(self.wall.as_nanos());
        (
            wall - i128::from(self.after.as_nanos()) - ROUNDING_NS,
            wall - i128::from(self.before.as_nanos()) + ROUNDING_NS,
        )
    }
}

/// Follows the wall clock from reading to reading.
#[derive(Clone, Debug)]
pub struct WallWatch {
    /// Within what the distance of the clocks is: all readings since the last step agree on it.
    low: i128,
    high: i128,
    /// The reading that showed the latest step.
    stepped_at: Option<Stamp>,
    step_count: u64,
}

impl WallWatch {
    /// Begins with a first reading.
    #[must_use]
    pub fn new(first: Reading) -> Self {
        let (low, high) = first.distance();
        Self { low, high, stepped_at: None, step_count: 0 }
    }

    /// Takes the next reading; true if the wall clock was stepped since the one before.
    pub fn observe(&mut self, reading: Reading) -> bool {
        let (low, high) = reading.distance();
        let is_stepped = low > self.high || high < self.low;
        if is_stepped {
            (self.low, self.high) = (low, high);
            self.stepped_at = Some(reading.after);
            self.step_count += 1;
        } else {
            (self.low, self.high) = (self.low.max(low), self.high.min(high));
        }
        is_stepped
    }

    /// Whether stamps taken from `since` to the last reading are all of one wall clock.
    #[must_use]
    pub fn is_steady_since(&self, since: Stamp) -> bool {
        self.stepped_at.is_none_or(|stepped_at| since >= stepped_at)
    }

    /// The earliest that the wall clock can have shown at this time, if it was not stepped since the last reading.
    #[must_use]
    pub fn earliest(&self, at: Stamp) -> WallStamp {
        let nanos = i128::from(at.as_nanos()) + self.low;
        WallStamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The latest that the monotonic clock can have shown at this wall time, if it was not stepped since the last reading.
    #[must_use]
    pub fn latest(&self, at: WallStamp) -> Stamp {
        let nanos = i128::from(at.as_nanos()) - self.low;
        Stamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Steps seen so far.
    #[must_use]
    pub const fn step_count(&self) -> u64 {
        self.step_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading at `monotonic`, with a bracket of 100 ns, of a wall clock that is `distance` ahead.
    fn reading(monotonic: u64, distance: u64) -> Reading {
        let wall = WallStamp::from_nanos(monotonic + 50 + distance);
        Reading { before: Stamp::from_nanos(monotonic), wall, after: Stamp::from_nanos(monotonic + 100) }
    }

    #[test]
    fn a_step_is_seen_in_both_directions_and_what_crosses_it_is_not_steady() {
        for stepped in [1_000_500, 999_500] {
            let mut watch = WallWatch::new(reading(0, 1_000_000));
            assert!(!watch.observe(reading(10_000, 1_000_000)));
            assert!(watch.is_steady_since(Stamp::from_nanos(0)));
            assert!(watch.observe(reading(20_000, stepped)));
            assert!(!watch.observe(reading(30_000, stepped)));
            assert!(!watch.is_steady_since(Stamp::from_nanos(15_000)), "it began before the step");
            assert!(watch.is_steady_since(Stamp::from_nanos(20_200)), "it began after the step");
            assert_eq!(watch.step_count(), 1);
        }
    }

    #[test]
    fn the_earliest_wall_time_of_a_stamp_is_as_exact_as_the_closest_reading() {
        let mut watch = WallWatch::new(Reading { after: Stamp::from_nanos(5_000), ..reading(0, 1_000_000) });
        let earliest = |watch: &WallWatch| watch.earliest(Stamp::from_nanos(20_000)).as_nanos();
        assert_eq!(earliest(&watch), 1_020_000 - 4_950 - 4);
        watch.observe(reading(10_000, 1_000_000));
        assert_eq!(earliest(&watch), 1_020_000 - 50 - 4);
        assert_eq!(watch.latest(watch.earliest(Stamp::from_nanos(20_000))), Stamp::from_nanos(20_000));
        assert_eq!(WallWatch::new(reading(1_000, 0)).earliest(Stamp::from_nanos(0)).as_nanos(), 0);
        assert_eq!(watch.latest(WallStamp::from_nanos(0)).as_nanos(), 0);
    }

    #[test]
    fn a_wide_reading_does_not_hide_a_step() {
        let mut watch = WallWatch::new(reading(0, 5_000_000));
        let wide = Reading { after: Stamp::from_nanos(3_000_000), ..reading(10_000, 5_000_000) };
        assert!(!watch.observe(wide));
        assert!(watch.observe(reading(4_000_000, 5_100_000)));
    }

    #[test]
    fn an_interrupted_reading_is_wide_and_no_step() {
        let mut watch = WallWatch::new(reading(0, 5_000_000));
        let wide = Reading { after: Stamp::from_nanos(3_000_000), ..reading(10_000, 5_000_000) };
        assert!(!watch.observe(wide));
        assert!(!watch.observe(reading(4_000_000, 5_000_000)));
        assert_eq!(watch.step_count(), 0);
    }
}
