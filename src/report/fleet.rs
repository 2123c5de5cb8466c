//! Runs of very many targets, as people read them: all together, and those that were worst.
//!
//! Separate because it is done once, before anything is laid out: what tables and histograms then show is a run like any
//! other, of series that have a target. CSV and JSON keep every one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::unit::count;
use crate::model::{Labels, Run, Series};

/// Targets from which on nobody reads them one by one, and how many are then shown.
const MANY: usize = 40;
const SHOWN: usize = 20;

/// What says how to read it.
pub const LEGEND: &str = "the attempts of all targets together; below it the targets that were worst: by loss, then by p95 or else by the maximum";

/// The run as it is shown: as it stands, or with all targets as one before the worst of them.
pub fn condensed(run: &Run) -> Cow<'_, Run> {
    let targets: BTreeSet<&str> = run.responses().map(Series::target).collect();
    if targets.len() <= MANY {
        return Cow::Borrowed(run);
    }
    let all = format!("all {}", count(targets.len() as u64));
    let worst = worst(run);
    let mut series = together(run, &all);
    let kept = run.series.iter().filter(|series| series.floor || worst.contains(&series.target()));
    let mut kept: Vec<Series> = kept.cloned().collect();
    let place = |series: &Series| worst.iter().position(|target| *target == series.target());
    kept.sort_by_key(place);
    series.append(&mut kept);
    Cow::Owned(run.with_series(series))
}

/// The targets that were worst, the worst first.
fn worst(run: &Run) -> Vec<&str> {
    let mut badness: BTreeMap<&str, (f64, Option<u64>)> = BTreeMap::new();
    for series in run.responses() {
        let bad = (series.counts.loss_ratio().unwrap_or(0.0), series.summary.p95_ns.or(series.summary.max_ns));
        let known = badness.entry(series.target()).or_insert(bad);
        if order(bad, *known).is_gt() {
            *known = bad;
        }
    }
    let mut targets: Vec<_> = badness.into_iter().collect();
    targets.sort_by(|a, b| order(b.1, a.1));
    targets.into_iter().take(SHOWN).map(|(target, _)| target).collect()
}

fn order(a: (f64, Option<u64>), b: (f64, Option<u64>)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// One series for those of each name, whatever their targets.
fn together(run: &Run, all: &str) -> Vec<Series> {
    let mut merged: Vec<Series> = Vec::new();
    let mut places = BTreeMap::new();
    for series in run.series.iter().filter(|series| !series.floor && !series.target().is_empty()) {
        let labels = series.labels.iter().filter(|(name, _)| !matches!(*name, "target" | "address"));
        let labels = labels.fold(Labels::new().with("target", all), |labels, (name, value)| labels.with(name, value));
        match places.get(&(&series.name, labels.clone())) {
            Some(at) => {
                let known: &mut Series = &mut merged[*at];
                known.absorb(series);
            }
            None => {
                places.insert((&series.name, labels.clone()), merged.len());
                merged.push(Series { labels, reference: None, ..series.clone() });
            }
        }
    }
    merged.into_iter().map(Series::without_order).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn run(targets: u64) -> Run {
        // Each a millisecond slower than the one before; the first has lost one of ten.
        let of =
            |at: u64| sample::series("rtt.echo", &format!("t{at}"), &[1_000_000 * (at + 1); 9], u64::from(at == 0));
        Run { series: (0..targets).map(of).collect(), ..sample::topologies() }
    }

    #[test]
    fn a_run_that_can_be_read_stays_as_it_is() {
        let run = run(40);
        assert!(matches!(condensed(&run), Cow::Borrowed(_)));
    }

    #[test]
    fn of_many_targets_all_stand_together_and_the_worst_below() {
        let run = run(50);
        let shown = condensed(&run);
        let targets: Vec<&str> = shown.series.iter().map(Series::target).collect();
        assert_eq!(targets[..4], ["all 50", "t0", "t49", "t48"]);
        assert_eq!(targets.len(), 1 + SHOWN);
        let all = &shown.series[0];
        assert_eq!((all.counts.attempt_count, all.counts.lost_count), (451, 1));
        assert_eq!((all.summary.min_ns, all.summary.max_ns), (Some(1_000_000), Some(50_000_000)));
        assert_eq!(all.summary.ipdv_mean_ns, None, "neighbours are of different targets");
    }
}
