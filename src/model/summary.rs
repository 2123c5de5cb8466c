//! The figures of one series: moments, quantiles, delay variation.
//!
//! Separate because the rules that make a figure null live here once: a sample too small, a rank among the lost.

use serde::{Deserialize, Serialize};

use super::{Counts, Histogram, Variation};

/// Values a quantile must have above it before it is shown, so n >= 10 / (1 - p): where ten are expected, from 5 to 18
/// come in 95 of 100 samples, and with fewer the figure says little more than the maximum.
const TAIL_COUNT: f64 = 10.0;

/// The quantiles of every summary, by the name of their key.
const SHOWN: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];

/// The 97.5th percentile of the normal distribution: 95 % lie within it on both sides.
pub const NORMAL_975: f64 = 1.959_963_984_540_054;

/// A quantile, or the reason why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// Its value in nanoseconds.
    Value(u64),
    /// Its rank falls among the lost: all that is known is that it lies above the timeout.
    BeyondTimeout,
    /// The sample is too small for it.
    TooFew,
}

/// The rank (from 1) of quantile `p` among `n` values: the smallest rank with at least `p` of the values at or below.
#[must_use]
pub fn rank_of(p: f64, n: u64) -> u64 {
    // The subtraction keeps 0.95 * 200 = 190.00000000000003 from becoming rank 191.
    ((p * n as f64 - 1e-9).ceil() as u64).clamp(1, n.max(1))
}

/// Exact count, mean, spread and extremes of the answered attempts (Welford's recurrence).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    n: u64,
    mean: f64,
    m2: f64,
    min: Option<u64>,
    max: Option<u64>,
}

impl Moments {
    /// Takes one value in nanoseconds.
    pub fn push(&mut self, value: u64) {
        self.n += 1;
        let delta = value as f64 - self.mean;
        self.mean += delta / self.n as f64;
        self.m2 += delta * (value as f64 - self.mean);
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
    }

    /// The mean; 0 of nothing.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// Adds another part of the same series (Chan's parallel form of the recurrence).
    pub fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let n = self.n as f64 + other.n as f64;
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * self.n as f64 * other.n as f64 / n;
        self.mean += delta * other.n as f64 / n;
        self.n = self.n.saturating_add(other.n);
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.into_iter().chain(other.max).max();
    }

    /// The moments that a stored summary of `n` values stands for.
    #[must_use]
    pub fn of_summary(summary: &Summary, n: u64) -> Self {
        let stddev = summary.stddev_ns.unwrap_or(0) as f64;
        Self {
            n,
            mean: summary.mean_ns.unwrap_or(0) as f64,
            m2: stddev * stddev * n.saturating_sub(1) as f64,
            min: summary.min_ns,
            max: summary.max_ns,
        }
    }
}

/// The figures of one series in nanoseconds; null where the sample does not carry them.
///
/// Mean, standard deviation, minimum, maximum and jitter cover the served attempts. Quantiles rank lost attempts and errors
/// above the timeout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Smallest answer.
    pub min_ns: Option<u64>,
    /// Mean of the answers.
    pub mean_ns: Option<u64>,
    /// Standard deviation of the answers (n - 1).
    pub stddev_ns: Option<u64>,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 90th percentile.
    pub p90_ns: Option<u64>,
    /// 95th percentile.
    pub p95_ns: Option<u64>,
    /// 99th percentile.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile.
    pub p999_ns: Option<u64>,
    /// Largest answer.
    pub max_ns: Option<u64>,
    /// Mean |IPDV| of neighbouring attempts (RFC 5481).
    pub ipdv_mean_ns: Option<u64>,
    /// Smoothed interarrival jitter at the end of the series (RFC 3550).
    pub jitter_rfc3550_ns: Option<u64>,
    /// 99.9th percentile of the delay above the minimum (PDV, RFC 5481).
    pub pdv_p999_ns: Option<u64>,
    /// The quantiles that are null because their rank falls among the lost: they lie above the timeout.
    #[serde(default)]
    pub beyond_timeout: Vec<String>,
}

impl Summary {
    /// Computes every figure from what was recorded.
    #[must_use]
    pub fn of(histogram: &Histogram, moments: &Moments, counts: &Counts, variation: &Variation) -> Self {
        let answered = moments.n > 0;
        let mut summary = Self {
            min_ns: moments.min,
            mean_ns: answered.then(|| moments.mean.round() as u64),
            stddev_ns: (moments.n > 1).then(|| (moments.m2 / (moments.n - 1) as f64).sqrt().round() as u64),
            max_ns: moments.max,
            ipdv_mean_ns: variation.ipdv_mean_ns(),
            jitter_rfc3550_ns: variation.rfc3550_ns(),
            ..Self::default()
        };
        for (name, p) in SHOWN {
            summary.place(name, quantile(histogram, counts, moments.max, p));
        }
        summary.pdv_p999_ns = summary.p999_ns.zip(summary.min_ns).map(|(p999, min)| p999.saturating_sub(min));
        summary
    }

    /// The quantile of this name (`p50` … `p999`), with the reason where there is none.
    #[must_use]
    pub fn quantile(&self, name: &str) -> Quantile {
        let value = match name {
            "p50" => self.p50_ns,
            "p90" => self.p90_ns,
            "p95" => self.p95_ns,
            "p99" => self.p99_ns,
            "p999" => self.p999_ns,
            _ => None,
        };
        match value {
            Some(value) => Quantile::Value(value),
            None if self.beyond_timeout.iter().any(|beyond| beyond == name) => Quantile::BeyondTimeout,
            None => Quantile::TooFew,
        }
    }

    fn place(&mut self, name: &str, quantile: Quantile) {
        let value = match quantile {
            Quantile::Value(value) => Some(value),
            Quantile::BeyondTimeout => {
                self.beyond_timeout.push(name.to_owned());
                None
            }
            Quantile::TooFew => None,
        };
        match name {
            "p50" => self.p50_ns = value,
            "p90" => self.p90_ns = value,
            "p95" => self.p95_ns = value,
            "p99" => self.p99_ns = value,
            _ => self.p999_ns = value,
        }
    }
}

/// One quantile of the served, the lost and the errors, these two ranked above the timeout.
fn quantile(histogram: &Histogram, counts: &Counts, max: Option<u64>, p: f64) -> Quantile {
    let n = histogram.len().saturating_add(counts.beyond_count());
    if histogram.is_empty() && counts.beyond_count() > 0 {
        return Quantile::BeyondTimeout;
    }
    if (n as f64) * (1.0 - p) < TAIL_COUNT - 1e-9 {
        return Quantile::TooFew;
    }
    match histogram.value_at_rank(rank_of(p, n)) {
        // The bucket's upper edge may lie above the largest value that was seen.
        Some(value) => Quantile::Value(max.map_or(value, |max| value.min(max))),
        None => Quantile::BeyondTimeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(answered: u64, lost: u64) -> Summary {
        let (mut histogram, mut moments) = (Histogram::new(), Moments::default());
        let counts =
            Counts { attempt_count: answered + lost, ok_count: answered, lost_count: lost, ..Counts::default() };
        for value in 1..=answered {
            histogram.record(value);
            moments.push(value);
        }
        Summary::of(&histogram, &moments, &counts, &Variation::default())
    }

    #[test]
    fn a_quantile_needs_ten_values_above_it() {
        assert_eq!(summary(199, 0).quantile("p95"), Quantile::TooFew);
        assert_eq!(summary(200, 0).quantile("p95"), Quantile::Value(190));
        assert_eq!(summary(19, 0).quantile("p50"), Quantile::TooFew);
        assert_eq!(summary(20, 0).quantile("p50"), Quantile::Value(10));
    }

    #[test]
    fn the_lost_rank_above_the_timeout() {
        let some = summary(90, 110);
        assert_eq!((some.quantile("p50"), some.mean_ns), (Quantile::BeyondTimeout, Some(46)));
        assert_eq!(some.beyond_timeout, ["p50", "p90", "p95"]);
        assert_eq!(summary(0, 5).quantile("p50"), Quantile::BeyondTimeout);
    }

    #[test]
    fn nothing_attempted_is_nothing_known() {
        assert_eq!(summary(0, 0), Summary::default());
    }

    #[test]
    fn merged_moments_are_those_of_the_whole() {
        let values = [3u64, 9, 27, 81, 243];
        let (mut whole, mut left, mut right) = (Moments::default(), Moments::default(), Moments::default());
        values.iter().for_each(|value| whole.push(*value));
        values[..2].iter().for_each(|value| left.push(*value));
        values[2..].iter().for_each(|value| right.push(*value));
        left.merge(&right);
        assert!((left.m2 - whole.m2).abs() < 1e-6 && (left.mean - whole.mean).abs() < 1e-9);
        assert_eq!((left.min, left.max, left.n), (Some(3), Some(243), 5));
    }
}
