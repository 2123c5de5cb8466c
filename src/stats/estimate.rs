//! What a series says about one statistic: a point and its 95 % interval.
//!
//! Separate from the decision because here the lost attempts are given their rank, whatever the limit is.

use super::gate::Statistic;
use super::{mean_interval, rank_interval, ratio_interval};
use crate::model::{Counts, Series, rank_of};

/// A point and its 95 % interval; infinite where a lost attempt decides or nothing bounds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The point estimate.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// A point without an interval.
    pub const fn exactly(value: f64) -> Self {
        Self { value, low: value, high: value }
    }
}

/// Estimates a statistic of a series with attempts, or says why it cannot; `upward` where large values violate.
pub fn estimate(statistic: Statistic, series: &Series, upward: bool) -> Result<Estimate, String> {
    let (summary, counts) = (&series.summary, &series.counts);
    let point = |value: Option<u64>| value.map(|value| Estimate::exactly(value as f64));
    let found = match statistic {
        Statistic::Quantile(p) => quantile(series, p),
        Statistic::LossRatio => ratio(counts.unanswered_count(), counts),
        Statistic::ErrorRatio => ratio(counts.error_count, counts),
        Statistic::Mean => mean(series, upward),
        Statistic::Max if counts.beyond_count() > 0 => Some(Estimate::exactly(f64::INFINITY)),
        Statistic::Max => point(summary.max_ns),
        Statistic::Min => point(summary.min_ns),
        Statistic::IpdvMean => point(summary.ipdv_mean_ns),
        Statistic::JitterRfc3550 => point(summary.jitter_rfc3550_ns),
        Statistic::PdvP999 => point(summary.pdv_p999_ns),
        Statistic::Stddev => point(summary.stddev_ns),
    };
    found.ok_or_else(|| match counts.ok_count {
        0 => format!("none of {} attempts was answered", counts.attempt_count),
        n => format!("{n} answers are too few for it, or it is not kept"),
    })
}

/// The order-statistic interval over all answers and the lost; errors and the lost rank above everything.
fn quantile(series: &Series, p: f64) -> Option<Estimate> {
    let n = series.histogram.len() + series.counts.beyond_count();
    let value_at = |rank: u64| match series.histogram.value_at_rank(rank) {
        // The bucket's upper edge may lie above the largest value that was seen.
        Some(value) => series.summary.max_ns.map_or(value, |max| value.min(max)) as f64,
        None => f64::INFINITY,
    };
    let ranks = rank_interval(n, p);
    (n > 0).then(|| Estimate {
        value: value_at(rank_of(p, n)),
        low: ranks.low.map_or(f64::NEG_INFINITY, value_at),
        high: ranks.high.map_or(f64::INFINITY, value_at),
    })
}

fn ratio(part: u64, counts: &Counts) -> Option<Estimate> {
    let (low, high) = ratio_interval(part, counts.attempt_count);
    let value = part as f64 / counts.attempt_count as f64;
    (counts.attempt_count > 0).then_some(Estimate { value, low, high })
}

/// Student's interval of the served; where every attempt was lost or an error it is too large for every upper limit, and says
/// nothing about a lower one.
fn mean(series: &Series, upward: bool) -> Option<Estimate> {
    let counts = &series.counts;
    if upward && counts.ok_count == 0 && counts.beyond_count() == counts.attempt_count {
        return Some(Estimate::exactly(f64::INFINITY));
    }
    let (value, stddev) = (series.summary.mean_ns? as f64, series.summary.stddev_ns? as f64);
    let (low, high) = mean_interval(value, stddev, counts.ok_count)?;
    Some(Estimate { value, low, high })
}
