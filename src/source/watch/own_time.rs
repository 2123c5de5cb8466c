//! A source's own time on the monotonic clock, by bracketed readings of both that show when the wall clock was stepped.
//!
//! Separate from the sources: each that stamps by the wall clock needs the same care.

use crate::model::{Stamp, WallStamp, WallTime};
use crate::sys::clock;
use crate::sys::wall::{Reading, WallWatch};

/// Brings times of day of this host onto the monotonic clock.
#[derive(Clone, Debug)]
pub struct OwnTime {
    watch: WallWatch,
}

impl Default for OwnTime {
    fn default() -> Self {
        Self { watch: WallWatch::new(clock::reading()) }
    }
}

impl OwnTime {
    /// When it was this time of day; `None` if the wall clock was stepped between then and now, or since the last question.
    pub fn stamp(&mut self, at: WallTime) -> Option<Stamp> {
        self.stamp_by(clock::reading(), at)
    }

    /// How often the wall clock was stepped.
    #[must_use]
    pub const fn step_count(&self) -> u64 {
        self.watch.step_count()
    }

    fn stamp_by(&mut self, reading: Reading, at: WallTime) -> Option<Stamp> {
        let is_stepped = self.watch.observe(reading);
        let wall = WallStamp::from_nanos(u64::try_from(at.unix_nanos()).ok()?);
        let stamp = self.watch.latest(wall);
        // What lies in the future was stamped by another clock than this one is now.
        let is_past = stamp <= reading.after;
        (!is_stepped && is_past && self.watch.is_steady_since(stamp)).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading at `monotonic` of a wall clock that is `distance` ahead.
    fn reading(monotonic: u64, distance: u64) -> Reading {
        let wall = WallStamp::from_nanos(monotonic + 50 + distance);
        Reading { before: Stamp::from_nanos(monotonic), wall, after: Stamp::from_nanos(monotonic + 100) }
    }

    #[test]
    fn a_time_of_day_is_the_stamp_that_it_was_and_none_across_a_step() {
        let mut time = OwnTime { watch: WallWatch::new(reading(0, 1_000_000)) };
        let at = |nanos: i128| WallTime::from_unix_nanos(nanos);
        let stamp = time.stamp_by(reading(10_000, 1_000_000), at(1_005_000)).unwrap();
        assert!(stamp.as_nanos().abs_diff(5_000) <= 60, "{stamp:?}");
        assert_eq!(time.stamp_by(reading(20_000, 1_000_000), at(1_050_000)), None, "it lies in the future");
        assert_eq!(time.stamp_by(reading(30_000, 5_000_000), at(1_025_000)), None, "the clock was stepped");
        assert_eq!(time.step_count(), 1);
        let later = time.stamp_by(reading(40_000, 5_000_000), at(5_035_000)).unwrap();
        assert!(later.as_nanos().abs_diff(35_000) <= 60, "{later:?}");
        assert_eq!(time.stamp_by(reading(50_000, 5_000_000), at(-1)), None);
    }
}
