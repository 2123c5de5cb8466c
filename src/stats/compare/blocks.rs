//! A bootstrap of quantiles: runs are drawn, then blocks within runs, because attempts within a run depend on each other.
//!
//! Separate because only here histograms are taken apart: counts lie in arrays over the buckets that both sides have in
//! common, so that a replicate is a sum of arrays.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::shift::{Scale, Shift};
use crate::model::{Histogram, Series, rank_of};

/// Replicates; an interval of 95 % has 50 beyond each end.
const REPLICATES: usize = 2_000;

/// Blocks that a run is cut into at most: each then holds many times the span over which attempts depend on each other.
const MOST_BLOCKS: usize = 24;

/// Blocks of a single run below which its own timeline says nothing about how it varies.
const FEWEST_BLOCKS: usize = 6;

/// Attempts of a block over the buckets of both sides; what was lost or an error lies in the last place.
type Counts = Vec<u32>;

/// The runs of one side, each cut into blocks.
struct Side {
    runs: Vec<Vec<Counts>>,
}

/// The shift of a quantile between two sides of runs.
///
/// # Errors
/// A sentence that says why there is none.
pub fn quantile_shift(baseline: &[&Series], current: &[&Series], p: f64, seed: u64) -> Result<Shift, String> {
    let is_single = baseline.len().min(current.len()) == 1;
    let mut edges: Vec<u64> = baseline.iter().chain(current).flat_map(|series| edges(series)).collect();
    edges.sort_unstable();
    edges.dedup();
    let sides = [baseline, current].map(|side| Side::of(side, &edges));
    for side in &sides {
        let n: u64 = side.runs.iter().flatten().flatten().map(|n| u64::from(*n)).sum();
        if (n as f64) * (1.0 - p) < 10.0 {
            return Err(format!("{n} attempts are too few for it: ten must lie above it"));
        }
        if is_single && side.runs.iter().any(|run| run.len() < FEWEST_BLOCKS) {
            return Err("a single run of a few seconds does not say how much it varies: give several runs".to_owned());
        }
    }
    let values: Vec<f64> = edges.iter().map(|edge| *edge as f64).chain([f64::INFINITY]).collect();
    let quantile = |sums: &[u64]| values[place(sums, p)];
    let wholes = sides.each_ref().map(|side| quantile(&side.whole(values.len())));
    let centre = Scale::Relative.distance(wholes[0], wholes[1]);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |side: &Side| quantile(&side.drawn(values.len(), &mut random));
    let replicates = (0..REPLICATES).map(|_| {
        let drawn = sides.each_ref().map(&mut draw);
        Scale::Relative.distance(drawn[0], drawn[1])
    });
    let runs = if is_single { 0 } else { baseline.len() + current.len() };
    Shift::of_replicates(replicates.collect(), centre, runs).ok_or_else(|| "nothing was answered".to_owned())
}

fn edges(series: &Series) -> impl Iterator<Item = u64> {
    let blocks = series.timeline.iter().map(|interval| &interval.histogram);
    let all: Vec<&Histogram> = if series.timeline.is_empty() { vec![&series.histogram] } else { blocks.collect() };
    all.into_iter().flat_map(|histogram| histogram.buckets().map(|(_, high, _)| high)).collect::<Vec<_>>().into_iter()
}

impl Side {
    fn of(side: &[&Series], edges: &[u64]) -> Self {
        Self { runs: side.iter().map(|series| blocks(series, edges)).collect() }
    }

    fn whole(&self, length: usize) -> Vec<u64> {
        let mut sums = vec![0; length];
        self.runs.iter().flatten().for_each(|block| add(&mut sums, block, 1));
        sums
    }

    /// As many runs as there are, drawn with replacement, and of each as many blocks.
    fn drawn(&self, length: usize, random: &mut ChaCha8Rng) -> Vec<u64> {
        let mut times: Vec<Vec<u32>> = self.runs.iter().map(|run| vec![0; run.len()]).collect();
        for _ in 0..self.runs.len() {
            let drawn = &mut times[random.random_range(0..self.runs.len())];
            for _ in 0..drawn.len() {
                let at = random.random_range(0..drawn.len());
                drawn[at] += 1;
            }
        }
        let mut sums = vec![0; length];
        for (block, times) in self.runs.iter().flatten().zip(times.into_iter().flatten()).filter(|(_, n)| *n > 0) {
            add(&mut sums, block, times);
        }
        sums
    }
}

fn add(sums: &mut [u64], block: &Counts, times: u32) {
    for (sum, n) in sums.iter_mut().zip(block) {
        *sum += u64::from(*n) * u64::from(times);
    }
}

/// The bucket in which a quantile lies; the last one is of what was lost.
fn place(sums: &[u64], p: f64) -> usize {
    let rank = rank_of(p, sums.iter().sum());
    let mut seen = 0;
    sums.iter()
        .position(|n| {
            seen += n;
            seen >= rank
        })
        .unwrap_or(sums.len() - 1)
}

/// A run in blocks of neighbouring intervals; in one where no timeline is kept.
fn blocks(series: &Series, edges: &[u64]) -> Vec<Counts> {
    let counts = |histogram: &Histogram, beyond: u64, into: &mut Counts| {
        for (_, high, n) in histogram.buckets() {
            let at = edges.partition_point(|edge| *edge < high);
            into[at] = into[at].saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        }
        into[edges.len()] = into[edges.len()].saturating_add(u32::try_from(beyond).unwrap_or(u32::MAX));
    };
    let empty = || vec![0; edges.len() + 1];
    if series.timeline.is_empty() {
        let mut whole = empty();
        counts(&series.histogram, series.counts.beyond_count(), &mut whole);
        return vec![whole];
    }
    let intervals = series.timeline.chunks(series.timeline.len().div_ceil(MOST_BLOCKS));
    let block = |intervals: &[crate::model::Interval]| {
        let mut block = empty();
        for interval in intervals {
            counts(&interval.histogram, interval.counts.beyond_count(), &mut block);
        }
        block
    };
    intervals.map(block).collect()
}
