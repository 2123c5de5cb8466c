//! A histogram as a server tells it, and what it grew by between two scrapes. Pure.
//!
//! Separate from the totals, which every histogram has: the buckets say where a percentile lies, to within their bounds.

use super::counter::{Totals, grown};
use super::exposition::{Exposition, Sample};

/// Values below which the 99th percentile is the largest of them.
const LEAST_FOR_P99: f64 = 100.0;

/// A histogram as Prometheus tells it: seconds, cumulative buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    totals: Totals,
    buckets: Vec<(f64, f64)>,
}

impl Spread {
    /// That of the samples of a name that are kept; `None` where there are none.
    pub fn of(scrape: &Exposition, name: &str, keep: impl Fn(&Sample) -> bool) -> Option<Self> {
        let mut buckets: Vec<(f64, f64)> = scrape
            .samples(&format!("{name}_bucket"))
            .filter(|sample| keep(sample))
            .filter_map(|sample| Some((sample.labels.get("le")?.parse().ok()?, sample.value)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(Self { totals: Totals::of(scrape, name, keep)?, buckets })
    }

    /// What was added since `earlier`; `None` where a counter fell, or the buckets are others.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let totals = self.totals.since(&earlier.totals)?;
        let buckets = self.buckets.iter().zip(&earlier.buckets);
        let buckets = buckets.map(|(now, before)| Some((now.0, grown(before.1, now.1)?))).collect::<Option<_>>()?;
        (self.buckets.len() == earlier.buckets.len()).then_some(Self { totals, buckets })
    }

    /// Both together, of the same buckets.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&other.buckets).map(|(one, other)| (one.0, one.1 + other.1));
        Self { totals: self.totals.and(&other.totals), buckets: buckets.collect() }
    }

    /// How many there were.
    #[must_use]
    pub const fn count(&self) -> f64 {
        self.totals.count
    }

    /// Their mean.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        self.totals.mean_ns()
    }

    /// The bounds of the bucket in which the 99th percentile lies; the last bucket has no upper one. `None` of so few that
    /// the percentile would be the largest.
    #[must_use]
    pub fn p99_ns(&self) -> Option<(f64, Option<f64>)> {
        if self.totals.count < LEAST_FOR_P99 {
            return None;
        }
        let rank = self.totals.count * 0.99;
        let at = self.buckets.iter().position(|(_, cumulative)| self.totals.count > 0.0 && *cumulative >= rank)?;
        let lower = at.checked_sub(1).map_or(0.0, |before| self.buckets[before].0);
        let upper = Some(self.buckets[at].0).filter(|bound| bound.is_finite());
        Some((lower * 1e9, upper.map(|bound| bound * 1e9)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_beyond_the_last_bound_is_unknown() {
        let text = "x_bucket{le=\"1\"} 50\nx_bucket{le=\"+Inf\"} 100\nx_sum 1\nx_count 100\n";
        let spread = Spread::of(&Exposition::parse(text), "x", |_| true).unwrap();
        assert_eq!(spread.p99_ns(), Some((1e9, None)));
    }
}
