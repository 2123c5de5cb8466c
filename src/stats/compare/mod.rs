//! Two sides of runs: did it get worse?
//!
//! The run is the unit of replication, because attempts within a run depend on each other: a rank test on the attempts of
//! identical systems cries wolf in three of four cases. Decision 0023 has the methods and what they were tried on.

mod blocks;
mod judge;
mod shift;
mod side;
#[cfg(test)]
mod tests;

pub use judge::judge_relative;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::blocks::quantile_shift;
use self::shift::{FEWEST_FOR_RANKS, Scale, Shift};
use self::side::{Item, Side, remarks, unmatched};
use super::evaluate::Catalogue;
use super::gate::{Gate, Statistic};
use crate::model::{Comparison, Comparisons, Run, Series, Verdict};

/// Part of the tolerance that ratios get, as a difference: 5 % of tolerance are 0.5 percentage points of loss.
const RATIO_PART: f64 = 0.1;

/// Probability of a false alarm that is accepted for the primary statistic, and for all others together. A shift can be beyond
/// one edge only, so the interval leaves out this much on either side, as equivalence tests do (Schuirmann 1987).
const ALPHA: f64 = 0.05;

/// More runs than this are not proposed: the shift is at the edge of the tolerance.
const MOST_RUNS: f64 = 1_000.0;

/// How two sides are compared.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    /// Shifts up to which nobody cares, as a ratio.
    pub tolerance: f64,
    /// What is judged; without any, p50, loss, errors of each response, and each throughput.
    pub gates: &'a [Gate],
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// What one comparison rests on.
struct Judged {
    item: Item,
    /// Runs of the side that has fewer.
    runs: usize,
    figures: [f64; 2],
    shift: Result<Shift, (String, Option<u64>)>,
}

/// Compares the current runs with those of the baseline. Invalid runs are left out, and it is said.
#[must_use]
pub fn compare(baseline: &[Run], current: &[Run], policy: &Policy, catalogue: Catalogue) -> Comparisons {
    let sides = [baseline, current].map(Side::of);
    let items = side::items(&sides, policy.gates, catalogue);
    let judged: Vec<Judged> = items.into_iter().map(|item| judged(item, &sides, policy.seed)).collect();
    let mut all: Vec<(Comparison, f64, bool)> = judged.iter().map(|one| verdict(one, policy.tolerance)).collect();
    hold_together(&mut all);
    Comparisons {
        baseline_runs: sides[0].ids(),
        current_runs: sides[1].ids(),
        tolerance_ratio: policy.tolerance,
        remarks: remarks(baseline, current),
        unmatched: unmatched(&sides),
        all: all.into_iter().map(|(comparison, ..)| comparison).collect(),
    }
}

fn judged(item: Item, sides: &[Side; 2], seed: u64) -> Judged {
    let values = sides.each_ref().map(|side| side.values(&item));
    let runs = values[0].len().min(values[1].len());
    let mut figures = values.each_ref().map(|values| middle(values));
    let scale = item.scale();
    let all = values[0].len() + values[1].len();
    let series = sides.each_ref().map(|side| side.series(&item.key));
    let shift = match item.statistic {
        _ if runs > 0 && runs < FEWEST_FOR_RANKS && all >= FEWEST_FOR_RANKS => {
            Shift::of_means(&values[0], &values[1], scale).ok_or_else(|| ("nothing was answered".to_owned(), None))
        }
        Some(Statistic::Quantile(p)) if runs < FEWEST_FOR_RANKS || p != 0.5 => {
            figures = series.each_ref().map(|all| side::pooled(all, p));
            let [baseline, current] = series.each_ref().map(Vec::as_slice);
            quantile_shift(baseline, current, p, seed).map_err(|why| (why, attempts_needed(&series, p, runs)))
        }
        Some(Statistic::LossRatio | Statistic::ErrorRatio) if runs > 0 && runs < FEWEST_FOR_RANKS => {
            let counted = series.each_ref().map(|all| side::counted(all, item.statistic));
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            Shift::of_ratios(counted, &mut random).ok_or_else(|| ("no attempt was made".to_owned(), None))
        }
        _ => Shift::of_ranks(&values[0], &values[1], scale).ok_or_else(|| {
            let missing = (FEWEST_FOR_RANKS - runs.min(FEWEST_FOR_RANKS - 1)) as u64;
            ("a single run does not say how much it varies between runs".to_owned(), Some(missing))
        }),
    };
    Judged { item, runs, figures, shift }
}

/// Runs a side after which ten attempts lie above the quantile.
fn attempts_needed(series: &[Vec<&Series>; 2], p: f64, runs: usize) -> Option<u64> {
    let n = series.each_ref().map(|all| all.iter().map(|one| one.counts.attempt_count).sum::<u64>());
    let of_one = n[0].min(n[1]).max(1) as f64 / runs.max(1) as f64;
    let needed = (10.0 / (1.0 - p) / of_one).ceil() - runs as f64;
    Some(needed.max((FEWEST_FOR_RANKS.saturating_sub(runs)).max(1) as f64))
        .filter(|needed| *needed <= MOST_RUNS)
        .map(|needed| needed as u64)
}

fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => f64::NAN,
        sorted => sorted[(sorted.len() - 1) / 2],
    }
}

/// The comparison, the smaller of its one-sided probabilities, and whether it is a primary one.
fn verdict(judged: &Judged, tolerance: f64) -> (Comparison, f64, bool) {
    let Judged { item, runs, figures, shift } = judged;
    let finite = |value: f64| value.is_finite().then_some(value);
    let mut comparison = Comparison {
        series: item.key.name.clone(),
        labels: item.key.labels.clone(),
        statistic: item.word(),
        unit: item.unit.clone(),
        baseline: finite(figures[0]),
        current: finite(figures[1]),
        shift_ratio: None,
        low_ratio: None,
        high_ratio: None,
        verdict: Verdict::NotEnoughData,
        reason: String::new(),
        runs_needed: None,
    };
    let is_primary = matches!(item.statistic, Some(Statistic::Quantile(p)) if p == 0.5);
    let shift = match shift {
        Ok(shift) => shift,
        Err((reason, needed)) => {
            (comparison.reason, comparison.runs_needed) = (reason.clone(), *needed);
            return (comparison, 1.0, is_primary);
        }
    };
    let scale = item.scale();
    let tolerated = if scale == Scale::Absolute { tolerance * RATIO_PART } else { tolerance };
    let band = item.allowed.unwrap_or(tolerated);
    let (low, high) = shift.interval(2.0 * ALPHA);
    comparison.shift_ratio = finite(scale.share(shift.centre));
    comparison.low_ratio = finite(low).map(|low| scale.share(low)).and_then(finite);
    comparison.high_ratio = finite(high).map(|high| scale.share(high)).and_then(finite);
    let (up, down) = (scale.of_share(band), scale.of_share(-band));
    let (above, below) = (low > up, high < down);
    let (worse, better, fine) = match item.is_up_bad {
        true => (above, below, high <= up),
        false => (below, above, low >= down),
    };
    comparison.verdict = match (worse, better, fine) {
        (true, ..) => Verdict::Regression,
        (_, true, _) => Verdict::Improvement,
        (.., true) => Verdict::NoRegression,
        _ => Verdict::NotEnoughData,
    };
    if comparison.verdict == Verdict::NotEnoughData {
        let edge = if item.is_up_bad { up } else { down };
        comparison.runs_needed = further(*runs, (high - low) / 2.0, (shift.centre - edge).abs());
        "the interval straddles the tolerance".clone_into(&mut comparison.reason);
    }
    (comparison, shift.p_above(up).min(shift.p_below(down)), is_primary)
}

/// Runs after which the interval is as narrow as the distance to the edge: its width falls with the root of their number.
fn further(runs: usize, half: f64, distance: f64) -> Option<u64> {
    if !half.is_finite() {
        return Some((FEWEST_FOR_RANKS.saturating_sub(runs)).max(1) as u64);
    }
    let needed = (runs as f64 * (half / distance).powi(2)).ceil() - runs as f64;
    let least = FEWEST_FOR_RANKS.saturating_sub(runs).max(1) as f64;
    Some(needed.max(least)).filter(|needed| *needed <= MOST_RUNS).map(|needed| needed as u64)
}

/// Holm's step-down over everything but the primary statistics: of many comparisons some are extreme by chance.
fn hold_together(all: &mut [(Comparison, f64, bool)]) {
    let mut others: Vec<&mut (Comparison, f64, bool)> = all.iter_mut().filter(|(.., is_primary)| !is_primary).collect();
    others.sort_by(|a, b| a.1.total_cmp(&b.1));
    let count = others.len();
    let mut holds = true;
    for (at, (comparison, p, _)) in others.into_iter().enumerate() {
        holds &= *p * (count - at) as f64 <= ALPHA;
        if !holds && matches!(comparison.verdict, Verdict::Regression | Verdict::Improvement) {
            comparison.reason =
                format!("alone it would be a sure {}, among {count} comparisons it is not", comparison.verdict);
            comparison.verdict = Verdict::NotEnoughData;
            comparison.runs_needed = Some(comparison.runs_needed.unwrap_or(1));
        }
    }
}
