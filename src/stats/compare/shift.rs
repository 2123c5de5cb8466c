//! By how much one side lies above another, with how much confidence: the shift of two samples of runs.
//!
//! Separate from what is compared, because every verdict rests on a confidence distribution of one of three kinds: of pairs
//! of runs, of a bootstrap, or of Student's t where there are too few runs for the first.

use rand::{Rng, RngExt as _};
use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};

/// Pairs of runs up to which the distribution of the rank statistic is exact.
const EXACT_PAIRS: usize = 400;

/// Runs a side from which on ranks alone bound a shift: with three and three no two-sided interval reaches 95 %.
pub const FEWEST_FOR_RANKS: usize = 4;

/// Points by which a continuous distribution is held.
const POINTS: usize = 2_000;

/// On which scale two figures are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As a ratio: durations and rates.
    Relative,
    /// As a difference: ratios, which are often 0.
    Absolute,
}

impl Scale {
    /// How far `current` lies above `baseline` on this scale. Infinite values stand for what was lost.
    pub fn distance(self, baseline: f64, current: f64) -> f64 {
        if baseline == current {
            return 0.0;
        }
        match self {
            Self::Relative => current.ln() - baseline.ln(),
            Self::Absolute => current - baseline,
        }
    }

    /// A distance as a share of the baseline, or as a difference of ratios.
    pub fn share(self, distance: f64) -> f64 {
        match self {
            Self::Relative => distance.exp_m1(),
            Self::Absolute => distance,
        }
    }

    /// The distance of a share.
    pub fn of_share(self, share: f64) -> f64 {
        match self {
            Self::Relative => share.ln_1p(),
            Self::Absolute => share,
        }
    }
}

/// A shift as a confidence distribution: distances in ascending order, and the confidence that the shift lies below each.
#[derive(Clone, Debug)]
pub struct Shift {
    /// The point estimate.
    pub centre: f64,
    distances: Vec<f64>,
    below: Vec<f64>,
}

impl Shift {
    /// The Hodges-Lehmann shift of two samples: the median of all differences, bounded by the distribution of the rank sum
    /// (Hollander and Wolfe, Nonparametric Statistical Methods, section 4.2). `None` where a side has fewer than four.
    pub fn of_ranks(baseline: &[f64], current: &[f64], scale: Scale) -> Option<Self> {
        if baseline.len().min(current.len()) < FEWEST_FOR_RANKS {
            return None;
        }
        let pairs = baseline.iter().flat_map(|a| current.iter().map(|b| scale.distance(*a, *b)));
        let mut distances: Vec<f64> = pairs.collect();
        distances.sort_by(f64::total_cmp);
        let below = rank_sums(baseline.len(), current.len());
        Some(Self { centre: median(&distances), distances, below })
    }

    /// Student's shift of the means on the scale, for few runs of which at least four are there on both sides together; it takes
    /// the runs for normal and both sides for equally steady, so that a single run is held against the spread of the others.
    pub fn of_means(baseline: &[f64], current: &[f64], scale: Scale) -> Option<Self> {
        let [a, b] = [baseline, current].map(|side| {
            let values: Vec<f64> = side.iter().map(|value| scale.distance(1.0, *value)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            (values.len() as f64, mean, squares)
        });
        let freedom = a.0 + b.0 - 2.0;
        let centre = b.1 - a.1;
        if a.0.min(b.0) < 1.0 || freedom < 2.0 || !centre.is_finite() {
            return None;
        }
        let error = ((a.2 + b.2) / freedom * (1.0 / a.0 + 1.0 / b.0)).sqrt();
        let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
        let below: Vec<f64> = (0..POINTS).map(|at| (at as f64 + 0.5) / POINTS as f64).collect();
        let distances = below.iter().map(|p| centre + error * student.inverse_cdf(*p)).collect();
        Some(Self { centre, distances, below })
    }

    /// The difference of two ratios of single runs, drawn from what each sample says of its ratio (Jeffreys' prior); it takes the
    /// attempts for independent, which losses in bursts are not.
    pub fn of_ratios([baseline, current]: [(u64, u64); 2], random: &mut impl Rng) -> Option<Self> {
        let beta =
            |(part, whole): (u64, u64)| Beta::new(part as f64 + 0.5, (whole - part.min(whole)) as f64 + 0.5).ok();
        let (a, b) = (beta(baseline)?, beta(current)?);
        let draws = (0..POINTS).map(|_| b.inverse_cdf(random.random()) - a.inverse_cdf(random.random()));
        let ratio = |(part, whole): (u64, u64)| part as f64 / whole.max(1) as f64;
        Self::of_replicates(draws.collect(), ratio(current) - ratio(baseline), 0)
    }

    /// The replicates of a bootstrap around a centre, widened for the few runs that they were drawn from: `runs` of both sides
    /// together, or 0 where the blocks of single runs were drawn.
    ///
    /// Drawing n of n makes the spread too small by n/(n-1), and the normal quantile is that of many; both matter below
    /// twenty runs (Hesterberg, What Teachers Should Know About the Bootstrap, 2014, section 3.2).
    pub fn of_replicates(mut distances: Vec<f64>, centre: f64, runs: usize) -> Option<Self> {
        if distances.is_empty() || distances.iter().any(|distance| distance.is_nan()) {
            return None;
        }
        if runs > 2 {
            let wide = widening(runs)?;
            distances.iter_mut().for_each(|distance| *distance = centre + (*distance - centre) * wide);
        }
        distances.retain(|distance| !distance.is_nan());
        distances.sort_by(f64::total_cmp);
        let n = distances.len() as f64;
        let below = (0..distances.len()).map(|at| (at as f64 + 1.0) / (n + 1.0)).collect();
        Some(Self { centre, distances, below })
    }

    /// The two-sided interval that leaves out `alpha`; infinite where nothing bounds it. Between two of the distances it lies in
    /// proportion to their confidence, because ranks alone make it wider than asked (Hettmansperger and Sheather 1986).
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        let n = self.distances.len();
        let kept = self.below.iter().take_while(|below| **below <= alpha / 2.0).count();
        if kept == 0 {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let outer = |at: usize| (self.distances[at - 1], self.distances[n - at]);
        let ((low, high), inner) = (outer(kept), (kept < n).then(|| outer(kept + 1)));
        let Some((inner_low, inner_high)) = inner else { return (low, high) };
        let part = (alpha / 2.0 - self.below[kept - 1]) / (self.below[kept] - self.below[kept - 1]);
        let between =
            |from: f64, to: f64| if from.is_finite() && to.is_finite() { from + part * (to - from) } else { from };
        (between(low, inner_low), between(high, inner_high))
    }

    /// How likely so large a shift would be if the true one were at most `limit` (one-sided).
    pub fn p_above(&self, limit: f64) -> f64 {
        let at = self.distances.iter().take_while(|distance| **distance <= limit).count();
        self.below.get(at).copied().unwrap_or(1.0).min(1.0)
    }

    /// How likely so small a shift would be if the true one were at least `limit` (one-sided).
    pub fn p_below(&self, limit: f64) -> f64 {
        let at = self.distances.iter().rev().take_while(|distance| **distance >= limit).count();
        self.below.get(at).copied().unwrap_or(1.0).min(1.0)
    }
}

fn widening(runs: usize) -> Option<f64> {
    let half = runs as f64 / 2.0;
    let student = StudentsT::new(0.0, 1.0, runs as f64 - 2.0).ok()?;
    let normal = Normal::new(0.0, 1.0).ok()?;
    Some(student.inverse_cdf(0.975) / normal.inverse_cdf(0.975) * (half / (half - 1.0).max(0.5)).sqrt())
}

fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    if low == high { low } else { f64::midpoint(low, high) }
}

/// P(U <= k) of the rank sum of two equal distributions, for each k below the number of pairs: exact, or normal for many pairs.
fn rank_sums(n: usize, m: usize) -> Vec<f64> {
    let pairs = n * m;
    if pairs > EXACT_PAIRS {
        let (mean, spread) = (pairs as f64 / 2.0, (pairs as f64 * (n + m + 1) as f64 / 12.0).sqrt());
        let normal = Normal::standard();
        return (0..pairs).map(|k| normal.cdf((k as f64 + 0.5 - mean) / spread)).collect();
    }
    // The Gaussian binomial coefficient by its factors (1 - q^(m+i)) / (1 - q^i): each coefficient counts the orders with U = k.
    let mut orders = vec![0.0; pairs + 1];
    orders[0] = 1.0;
    for i in 1..=n {
        for k in (m + i..=pairs).rev() {
            orders[k] -= orders[k - m - i];
        }
        for k in i..=pairs {
            orders[k] += orders[k - i];
        }
    }
    let all: f64 = orders.iter().sum();
    let mut sum = 0.0;
    orders[..pairs]
        .iter()
        .map(|n| {
            sum += n;
            sum / all
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_sum_has_the_published_tails() {
        // Four and four: 2 of 70 orders are the outermost two-sided, 0.029.
        let four = rank_sums(4, 4);
        assert!((four[0] - 1.0 / 70.0).abs() < 1e-12 && (four[1] - 2.0 / 70.0).abs() < 1e-12);
        // The critical value of ten and ten at 5 % two-sided is U = 23 (Mann and Whitney's table).
        let ten = rank_sums(10, 10);
        assert!(ten[23] <= 0.025 && ten[24] > 0.025, "{} {}", ten[23], ten[24]);
        // Exact and normal agree where they meet.
        let (exact, normal) = (rank_sums(20, 20), rank_sums(20, 21));
        assert!((exact[127] - 0.025).abs() < 0.002, "{}", exact[127]);
        assert!((normal[134] - 0.025).abs() < 0.003, "{}", normal[134]);
    }

    #[test]
    fn the_shift_is_the_median_of_all_differences_within_its_interval() {
        let baseline = [100.0, 101.0, 99.0, 102.0, 98.0];
        let current: Vec<f64> = baseline.iter().map(|value| value * 1.1).collect();
        let shift = Shift::of_ranks(&baseline, &current, Scale::Relative).unwrap();
        let share = |distance| Scale::Relative.share(distance);
        assert!((share(shift.centre) - 0.1).abs() < 0.001);
        let (low, high) = shift.interval(0.05);
        assert!((0.06..0.1).contains(&share(low)) && (0.1..0.14).contains(&share(high)), "{low} {high}");
        assert!(shift.p_above(0.0) < 0.01 && shift.p_below(0.0) > 0.9);
        assert!(Shift::of_ranks(&baseline[..3], &current[..3], Scale::Relative).is_none());
    }

    #[test]
    fn what_was_lost_is_above_everything_and_equal_to_itself() {
        let lost = [f64::INFINITY; 4];
        let same = Shift::of_ranks(&lost, &lost, Scale::Relative).unwrap();
        assert_eq!((same.centre, same.interval(0.05)), (0.0, (0.0, 0.0)));
        let worse = Shift::of_ranks(&[1.0; 4], &lost, Scale::Relative).unwrap();
        assert_eq!(worse.interval(0.05).0, f64::INFINITY);
        assert_eq!(Scale::Absolute.distance(0.0, 0.01), 0.01);
    }

    #[test]
    fn few_runs_have_a_wide_interval() {
        let shift = Shift::of_means(&[100.0, 102.0], &[110.0, 112.0], Scale::Relative).unwrap();
        let (low, high) = shift.interval(0.05);
        // Two and two: t is 4.303, the error of log(111/101) about 0.0134.
        assert!((low - (0.0944 - 4.303 * 0.0134)).abs() < 0.003, "{low}");
        assert!((high - (0.0944 + 4.303 * 0.0134)).abs() < 0.003, "{high}");
        assert!(Shift::of_means(&[100.0], &[110.0, 111.0], Scale::Relative).is_none());
        // One against three: t of two degrees of freedom, and the spread of the three alone.
        let one = Shift::of_means(&[100.0, 101.0, 99.0], &[110.0], Scale::Relative).unwrap();
        let (low, high) = one.interval(0.05);
        assert!((low - (0.0953 - 4.303 * 0.01155)).abs() < 0.003 && high > 0.14, "{low} {high}");
    }
}
