//! Two sides of runs, compared as data: `stats::compare` decides, the reports show it.
//!
//! Separate from a run, which knows nothing of others.

use serde::Serialize;

use super::{Labels, words};

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The whole interval lies beyond the tolerance on the good side.
    Improvement,
    /// The whole interval lies within the tolerance, or on the good side of it.
    NoRegression,
    /// The interval straddles an edge of the tolerance.
    NotEnoughData,
    /// The whole interval lies beyond the tolerance on the bad side.
    Regression,
}

words!(Verdict {
    Improvement = "improvement",
    NoRegression = "no_regression",
    NotEnoughData = "not_enough_data",
    Regression = "regression",
});

/// One statistic of one series, or one scalar, on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the series or scalar.
    pub series: String,
    /// What tells it from its siblings; the address is no part of it.
    pub labels: Labels,
    /// The statistic, such as `p50`; `value` of a scalar.
    pub statistic: String,
    /// Unit of both figures.
    pub unit: String,
    /// The figure of the baseline; null where it lies among what was lost.
    pub baseline: Option<f64>,
    /// The figure of the runs that are judged.
    pub current: Option<f64>,
    /// By how much the current figure lies above the baseline's: 0.1 is 10 % more. Of a ratio it is the difference.
    pub shift_ratio: Option<f64>,
    /// Lower end of its 90 % interval, beyond which lies 5 %; null where nothing bounds it.
    pub low_ratio: Option<f64>,
    /// Upper end of its 90 % interval; null where nothing bounds it.
    pub high_ratio: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// Why, in a sentence without a full stop.
    pub reason: String,
    /// Further runs a side that would probably decide it, where the data did not.
    pub runs_needed: Option<u64>,
}

impl Comparison {
    /// Name and labels as gates and reports write them.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}{}", self.series, self.labels)
    }
}

/// Everything that was compared between two sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparisons {
    /// Ids of the runs of the baseline.
    pub baseline_runs: Vec<String>,
    /// Ids of the runs that are judged.
    pub current_runs: Vec<String>,
    /// Shifts up to which nobody cares.
    pub tolerance_ratio: f64,
    /// What must be known before any verdict: other hosts, other versions, runs that were left out.
    pub remarks: Vec<String>,
    /// What only one side has.
    pub unmatched: Vec<String>,
    /// Each comparison.
    pub all: Vec<Comparison>,
}

impl Comparisons {
    /// The worst of all verdicts; what was not compared decides nothing.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.all.iter().map(|one| one.verdict).max().unwrap_or(Verdict::NotEnoughData)
    }
}
