//! What a measurement found: everything of a run but its header.
//!
//! Separate from the run document, which also says who measured what, when and where, so that probes and benches return one
//! thing and know nothing of files, labels and hosts.

use std::time::Duration;

use super::{Finding, Scalar, Series, Warning};

/// What a probe or a bench found, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The distributions, those of the tool's own floor included.
    pub series: Vec<Series>,
    /// Single numbers beside them.
    pub scalars: Vec<Scalar>,
    /// What was noticed about the thing measured.
    pub findings: Vec<Finding>,
    /// What was noticed about the measurement.
    pub warnings: Vec<Warning>,
    /// How long it lasted.
    pub elapsed: Duration,
    /// Whether it was stopped before its planned end.
    pub interrupted: bool,
    /// Why the result is bad, apart from gates: a sentence for each reason. It decides how the program ends, and is no part
    /// of the document.
    pub bad: Vec<String>,
}

impl Measured {
    /// What is left where the user stopped before the first attempt.
    #[must_use]
    pub fn stopped() -> Self {
        Self { interrupted: true, ..Self::default() }
    }

    /// This and what came after it.
    #[must_use]
    pub fn and(mut self, later: Self) -> Self {
        self.series.extend(later.series);
        self.scalars.extend(later.scalars);
        self.findings.extend(later.findings);
        self.warnings.extend(later.warnings);
        self.elapsed += later.elapsed;
        self.interrupted |= later.interrupted;
        self.bad.extend(later.bad);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_added_and_an_interruption_stays_one() {
        let one = |reason: &str| Measured {
            warnings: vec![Warning::new("w", reason)],
            elapsed: Duration::from_secs(2),
            bad: vec![reason.to_owned()],
            ..Measured::default()
        };
        let both = one("first").and(Measured::stopped()).and(one("second"));
        assert_eq!((both.elapsed, both.interrupted), (Duration::from_secs(4), true));
        assert_eq!(both.bad, ["first", "second"]);
        assert_eq!(both.warnings.len(), 2);
    }
}
