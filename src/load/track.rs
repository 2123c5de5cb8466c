//! One distribution while it grows, with everything that was lost counted beside it.
//!
//! Separate from the record of a lane because some distributions are not known when their attempt ends: the stamps of the
//! kernel come later.

use std::collections::BTreeMap;

use crate::model::{Counts, Histogram, Labels, Moments, Outcome, Series, Summary, Variation};

/// One growing distribution.
#[derive(Clone, Debug, Default)]
pub struct Track {
    counts: Counts,
    failures: BTreeMap<&'static str, u64>,
    histogram: Histogram,
    moments: Moments,
    variation: Variation,
}

impl Track {
    /// Takes the attempt at this place of the plan; its value counts only if it was answered.
    pub fn record(&mut self, ordinal: u64, outcome: Outcome, value_ns: u64) {
        self.counts.add(outcome);
        match outcome {
            Outcome::Ok => {
                self.histogram.record(value_ns);
                self.moments.push(value_ns);
                self.variation.push(ordinal, value_ns);
            }
            Outcome::Error(kind) | Outcome::Failed(kind) => *self.failures.entry(kind).or_default() += 1,
            Outcome::Lost | Outcome::Refused => {}
        }
    }

    /// Takes an attempt that was planned and never started.
    pub const fn skip(&mut self) {
        self.counts.skipped_count += 1;
    }

    /// How the attempts ended so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The kind of failure that most of the failed attempts share.
    #[must_use]
    pub fn main_failure(&self) -> Option<&'static str> {
        self.failures.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| *kind)
    }

    /// The distribution, on the user clock and without a timeout.
    #[must_use]
    pub fn into_series(self, name: String, labels: Labels) -> Series {
        Series {
            name,
            labels,
            counts: self.counts,
            failure_kinds: self.failures.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(),
            saturated_count: self.histogram.saturated(),
            summary: Summary::of(&self.histogram, &self.moments, &self.counts, &self.variation),
            histogram: self.histogram,
            ..Series::default()
        }
    }
}
