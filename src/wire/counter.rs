//! What a server counted between two scrapes of its metrics. Pure.
//!
//! Separate because one rule holds for whoever scrapes: a counter that fell began anew, so its server was started again in
//! between, and what it counted before that is not known. It is neither zero nor what it has counted since.

use super::exposition::{Exposition, Sample};

/// What a counter grew by; `None` where it fell.
#[must_use]
pub fn grown(before: f64, after: f64) -> Option<f64> {
    (after >= before).then_some(after - before)
}

/// Sum and count of a histogram of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sum of the durations in seconds.
    pub seconds: f64,
    /// How many.
    pub count: f64,
}

impl Totals {
    /// Those of the samples of a histogram that are kept; `None` where there are none.
    pub fn of(scrape: &Exposition, name: &str, keep: impl Fn(&Sample) -> bool) -> Option<Self> {
        let seconds = scrape.sum_of(&format!("{name}_sum"), &keep)?;
        let count = scrape.sum_of(&format!("{name}_count"), &keep)?;
        Some(Self { seconds, count })
    }

    /// What was added since; `None` where a counter fell.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let (seconds, count) = (grown(earlier.seconds, self.seconds)?, grown(earlier.count, self.count)?);
        Some(Self { seconds, count })
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { seconds: self.seconds + other.seconds, count: self.count + other.count }
    }

    /// Mean in nanoseconds; `None` where there was nothing.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.seconds / self.count * 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_fell_is_unknown_and_one_that_stood_still_is_zero() {
        assert_eq!([grown(3.0, 5.0), grown(3.0, 3.0), grown(3.0, 2.0)], [Some(2.0), Some(0.0), None]);
        let (before, after) = (Totals { seconds: 5.0, count: 100.0 }, Totals { seconds: 0.1, count: 3.0 });
        assert_eq!(after.since(&before), None);
        assert_eq!(before.since(&before).and_then(|same| same.mean_ns()), None);
    }
}
