//! Intervals of 95 % for a quantile, a ratio and a mean.
//!
//! Separate because every verdict of ours rests on one of the three, and each can be held against published tables.

use statrs::distribution::{Beta, ContinuousCDF, StudentsT};

use crate::model::NORMAL_975;

/// Probability left out on either side of an interval: 2.5 % twice leaves 95 %.
const TAIL: f64 = 0.025;

/// Terms of the binomial smaller than this part of its largest one change no rank.
const NEGLIGIBLE: f64 = 1e-20;

/// Sample size up to which ranks are exact; no run is longer, and a forged file must not cost minutes.
const EXACT_LIMIT: u64 = 10_000_000_000;

/// Events from which on the normal approximation is within 0.5 % of the exact interval's width, while the library's
/// continued fraction for the beta distribution, which stops after 140 terms, begins to be off.
const MANY: u64 = 100_000;

/// The ranks (from 1) between which a quantile of the population lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankInterval {
    /// Lower rank; `None` where the sample is too small to bound the quantile from below.
    pub low: Option<u64>,
    /// Upper rank; `None` where the sample is too small to bound the quantile from above.
    pub high: Option<u64>,
}

/// The order-statistic interval of quantile `p` (0 < p < 1) in a sample of `n`, whatever the distribution.
///
/// With X binomial of `n` and `p`: the largest low rank with P(X < low) <= 2.5 % and the smallest high rank with
/// P(X >= high) <= 2.5 %. The terms are summed outwards from the largest one, of which only some 20 standard deviations
/// count, so that a billion values take milliseconds. Above `EXACT_LIMIT` it is the normal approximation.
#[must_use]
pub fn rank_interval(n: u64, p: f64) -> RankInterval {
    if n == 0 {
        return RankInterval { low: None, high: None };
    }
    if n > EXACT_LIMIT {
        return normal_rank_interval(n, p);
    }
    let mode = (((n + 1) as f64 * p) as u64).min(n);
    let below = terms_below(n, p, mode);
    let above = terms_above(n, p, mode);
    let tail = TAIL * (1.0 + below.iter().sum::<f64>() + above.iter().sum::<f64>());
    let centre_out = |terms: &[f64]| terms.iter().copied().chain([1.0]).collect::<Vec<_>>();
    let left = left_out(centre_out(&below).into_iter().chain(above.iter().rev().copied()), tail);
    let right = left_out(centre_out(&above).into_iter().chain(below.iter().rev().copied()), tail);
    // Counts smaller than the first kept term have no weight, so the ranks up to there are free.
    let low = mode - below.len() as u64 + left;
    let high = mode + above.len() as u64 + 1 - right;
    RankInterval { low: (low > 0).then_some(low), high: (high <= n).then_some(high) }
}

fn normal_rank_interval(n: u64, p: f64) -> RankInterval {
    let (centre, half) = (n as f64 * p, NORMAL_975 * (n as f64 * p * (1.0 - p)).sqrt());
    let (low, high) = ((centre - half) as u64, (centre + half).ceil() as u64 + 1);
    RankInterval { low: (low > 0).then_some(low), high: (high <= n).then_some(high) }
}

/// The Clopper-Pearson interval of a ratio of `k` in `n`; from 0 to 1 where `n` is 0.
///
/// Where both `k` and `n - k` are over `MANY`, its normal approximation with continuity correction.
#[must_use]
pub fn ratio_interval(k: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let k = k.min(n);
    if k.min(n - k) > MANY {
        let ratio = k as f64 / n as f64;
        let half = NORMAL_975 * (ratio * (1.0 - ratio) / n as f64).sqrt() + 0.5 / n as f64;
        return (ratio - half, ratio + half);
    }
    let low = if k == 0 { 0.0 } else { beta_quantile(k as f64, (n - k + 1) as f64, TAIL) };
    let high = if k == n { 1.0 } else { beta_quantile((k + 1) as f64, (n - k) as f64, 1.0 - TAIL) };
    (low, high)
}

/// Student's interval of a mean of `n` values; `None` below two values.
///
/// It takes the values as independent. Neighbouring latencies seldom are, so the true interval is rather wider.
#[must_use]
pub fn mean_interval(mean: f64, stddev: f64, n: u64) -> Option<(f64, f64)> {
    if n < 2 {
        return None;
    }
    let t = student_quantile((n - 1) as f64)?;
    let half = t * stddev / (n as f64).sqrt();
    Some((mean - half, mean + half))
}

/// The binomial terms below `mode`, relative to the one at `mode`, the smallest count first.
fn terms_below(n: u64, p: f64, mode: u64) -> Vec<f64> {
    let step = |k: u64| k as f64 / (n - k + 1) as f64 * (1.0 - p) / p;
    let mut terms = relative_terms((1..=mode).rev().map(step));
    terms.reverse();
    terms
}

/// The binomial terms above `mode`, relative to the one at `mode`, the largest count first.
fn terms_above(n: u64, p: f64, mode: u64) -> Vec<f64> {
    let step = |k: u64| (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    let mut terms = relative_terms((mode..n).map(step));
    terms.reverse();
    terms
}

/// Products of the first step, the first two, and so on, until they are negligible.
fn relative_terms(steps: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut term = 1.0;
    steps
        .map(|step| {
            term *= step;
            term
        })
        .take_while(|term| *term > NEGLIGIBLE)
        .collect()
}

/// How many terms fit into `tail`, from the outermost inwards.
fn left_out(terms: impl Iterator<Item = f64>, tail: f64) -> u64 {
    let mut sum = 0.0;
    terms
        .take_while(|term| {
            sum += term;
            sum <= tail
        })
        .count() as u64
}

/// The quantile of a beta distribution, by bisection of its distribution function.
///
/// The library's own inverse stops at three digits in places; its distribution function is exact.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let Ok(beta) = Beta::new(a, b) else { return f64::NAN };
    bisect(0.0, 1.0, |x| beta.cdf(x) < p)
}

/// The 97.5th percentile of Student's distribution, by bisection of its distribution function.
fn student_quantile(freedom: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some(bisect(0.0, 16.0, |t| student.cdf(t) < 1.0 - TAIL))
}

/// The point between `low` and `high` up to which `below` holds, to the last bit.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, DiscreteCDF};

    use super::*;

    #[track_caller]
    fn close(found: f64, published: f64) {
        assert!((found - published).abs() <= 2e-5 * published.abs().max(1e-9), "{found} is not {published}");
    }

    #[test]
    fn an_upper_rank_exists_from_the_published_sample_sizes_on() {
        // The least n with p^n <= 2.5 %, so that the maximum lies above the quantile: ceil(ln 0.025 / ln p).
        for (p, n) in [(0.99, 368), (0.999, 3_688), (0.9999, 36_887)] {
            assert_eq!(rank_interval(n, p).high, Some(n), "p = {p}");
            assert_eq!(rank_interval(n - 1, p).high, None, "p = {p}");
        }
    }

    #[test]
    fn the_median_has_the_published_ranks() {
        // Conover, Practical Nonparametric Statistics, table of order-statistic intervals for the median.
        for (n, low, high) in [(6, 1, 6), (10, 2, 9), (20, 6, 15), (50, 18, 33), (100, 40, 61)] {
            assert_eq!(rank_interval(n, 0.5), RankInterval { low: Some(low), high: Some(high) }, "n = {n}");
        }
        assert_eq!(rank_interval(5, 0.5), RankInterval { low: None, high: None });
        assert_eq!(rank_interval(0, 0.5), RankInterval { low: None, high: None });
    }

    #[test]
    fn a_billion_values_agree_with_the_normal_approximation() {
        let exact = rank_interval(1_000_000_000, 0.99);
        let approximate = normal_rank_interval(1_000_000_000, 0.99);
        assert!(exact.low.unwrap().abs_diff(approximate.low.unwrap()) < 5, "{exact:?} {approximate:?}");
        assert!(exact.high.unwrap().abs_diff(approximate.high.unwrap()) < 5, "{exact:?} {approximate:?}");
        assert!(rank_interval(u64::MAX / 2, 0.999).high.is_some());
    }

    #[test]
    fn ratios_have_the_published_intervals() {
        for (k, n, low, high) in [
            (0, 3_000, 0.0, 0.001_228_87),
            (0, 10, 0.0, 0.308_497),
            (1, 10, 0.002_528_6, 0.445_016),
            (5, 100, 0.016_431_9, 0.112_835),
            (50, 100, 0.398_321, 0.601_679),
            (10, 10, 0.691_503, 1.0),
        ] {
            let found = ratio_interval(k, n);
            close(found.0, low);
            close(found.1, high);
        }
        assert_eq!(ratio_interval(0, 0), (0.0, 1.0));
    }

    #[test]
    fn ratios_stay_right_in_a_long_run() {
        let large = [(100_000, 200_000), (500_000, 1_000_000), (90_000, 1_000_000_000), (5_000_000, 1_000_000_000)];
        for (k, n) in large {
            let (low, high) = ratio_interval(k, n);
            let ratio = k as f64 / n as f64;
            let half = NORMAL_975 * (ratio * (1.0 - ratio) / n as f64).sqrt();
            assert!((low - (ratio - half)).abs() < half * 0.01, "{k} in {n}: {low}");
            assert!((high - (ratio + half)).abs() < half * 0.01, "{k} in {n}: {high}");
        }
    }

    #[test]
    fn means_have_the_published_intervals() {
        for (n, t) in [(2, 12.706_2), (3, 4.302_65), (6, 2.570_58), (11, 2.228_14), (31, 2.042_27), (101, 1.983_97)] {
            let (low, high) = mean_interval(0.0, (n as f64).sqrt(), n).unwrap();
            close(high, t);
            close(low, -t);
        }
        close(mean_interval(0.0, 10_000.0, 100_000_000).unwrap().1, 1.959_964);
        assert_eq!(mean_interval(1.0, 1.0, 1), None);
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_the_binomial(n in 1u64..400, p in 0.01..0.999f64) {
            let binomial = Binomial::new(p, n).unwrap();
            // P(X < r) is the distribution function at r - 1; the slack covers the library's last digits.
            let under = |rank: u64| if rank == 0 { 0.0 } else { binomial.cdf(rank - 1) };
            let RankInterval { low, high } = rank_interval(n, p);
            prop_assert!(low.is_none_or(|low| low >= 1 && under(low) <= TAIL + 1e-9));
            prop_assert!(under(low.unwrap_or(0) + 1) > TAIL - 1e-9);
            prop_assert!(high.is_none_or(|high| high <= n && 1.0 - under(high) <= TAIL + 1e-9));
            prop_assert!(1.0 - under(high.unwrap_or(n + 1) - 1) > TAIL - 1e-9);
        }

        #[test]
        fn a_ratio_lies_in_its_interval(n in 1u64..100_000, share in 0.0..=1.0f64) {
            let k = (n as f64 * share) as u64;
            let (low, high) = ratio_interval(k, n);
            let ratio = k as f64 / n as f64;
            prop_assert!(0.0 <= low && low <= ratio && ratio <= high && high <= 1.0);
        }
    }
}
