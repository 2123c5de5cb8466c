//! Merges runs of one specification into one, so that a rare quantile has the sample it needs.
//!
//! Separate because it must say what it could not keep: what depends on the order of attempts is null afterwards.

use crate::model::{Run, Scalar, SelfCost, Series};

/// What every merged run's id begins with.
const PREFIX: &str = "merged-";

/// Merges the valid runs of equal command, spec hash and labels, each group in the place of its first run.
///
/// Invalid runs and runs without a partner stay as they are, and so does a run that is given twice.
#[must_use]
pub fn merge_runs(runs: Vec<Run>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    for run in runs {
        match merged.iter_mut().find(|first| are_mergeable(first, &run)) {
            Some(first) => absorb(first, run),
            None => merged.push(run),
        }
    }
    merged
}

fn are_mergeable(a: &Run, b: &Run) -> bool {
    let is_alike = a.command == b.command && a.spec_hash == b.spec_hash && a.labels == b.labels;
    let is_new = origins(b).iter().all(|id| !origins(a).contains(id));
    a.validity.valid && b.validity.valid && is_alike && is_new
}

fn absorb(into: &mut Run, run: Run) {
    let run_ids = origins(&run);
    into.merged_from = origins(into);
    into.merged_from.extend(run_ids);
    if !into.id.starts_with(PREFIX) {
        into.id = format!("{PREFIX}{}", into.id);
    }
    into.started_at = into.started_at.min(run.started_at);
    into.elapsed_ns = into.elapsed_ns.saturating_add(run.elapsed_ns);
    into.complete &= run.complete;
    into.seed = None;
    into.self_cost = SelfCost::default();
    into.series = merge_series(std::mem::take(&mut into.series), run.series);
    into.scalars = merge_scalars(std::mem::take(&mut into.scalars), run.scalars);
    add_new(&mut into.warnings, run.warnings, |a, b| a == b);
    add_new(&mut into.findings, run.findings, |a, b| a.id == b.id && a.text == b.text);
}

/// The runs as measured that this one stands for.
fn origins(run: &Run) -> Vec<String> {
    if run.merged_from.is_empty() { vec![run.id.clone()] } else { run.merged_from.clone() }
}

fn add_new<T>(into: &mut Vec<T>, more: Vec<T>, same: impl Fn(&T, &T) -> bool) {
    for item in more {
        if !into.iter().any(|known| same(known, &item)) {
            into.push(item);
        }
    }
}

/// Series of equal name and labels become one; those that only one run has are kept. Order in time is gone for all.
fn merge_series(left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let mut all = left;
    let mut added = Vec::new();
    for series in right {
        match all.iter_mut().find(|known| known.name == series.name && known.labels == series.labels) {
            Some(known) => known.absorb(&series),
            None => added.push(series),
        }
    }
    all.extend(added);
    all.into_iter().map(Series::without_order).collect()
}

/// A scalar of both runs keeps its name and loses its value: nothing says how two of them combine.
fn merge_scalars(left: Vec<Scalar>, right: Vec<Scalar>) -> Vec<Scalar> {
    let mut all = left;
    let mut added = Vec::new();
    for scalar in right {
        match all.iter_mut().find(|known| known.name == scalar.name && known.labels == scalar.labels) {
            Some(known) => known.value = None,
            None => added.push(scalar),
        }
    }
    all.extend(added);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample;
    use super::*;
    use crate::model::{Labels, Outage, Warning};

    fn run(id: &str, values: &[u64], lost: u64) -> Run {
        sample::run(id, vec![sample::series("rtt.echo", "dc", values, lost)])
    }

    #[test]
    fn equal_runs_become_one_in_the_place_of_the_first() {
        let other = Run { command: "probe api".into(), ..run("x", &[1], 0) };
        let merged = merge_runs(vec![run("a", &[10, 20], 1), other, run("b", &[30], 2), run("c", &[40], 0)]);
        assert_eq!(merged.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["merged-a", "x"]);
        let (run, series) = (&merged[0], &merged[0].series[0]);
        assert_eq!(run.merged_from, ["a", "b", "c"]);
        assert_eq!((run.elapsed_ns, run.seed, run.complete), (3_000_000_000, None, true));
        assert_eq!((series.counts.attempt_count, series.counts.lost_count, series.histogram.len()), (7, 3, 4));
        assert_eq!(
            (series.summary.mean_ns, series.summary.min_ns, series.summary.max_ns),
            (Some(25), Some(10), Some(40))
        );
    }

    #[test]
    fn what_differs_or_is_invalid_stays_alone() {
        let mut invalid = run("b", &[1], 0);
        invalid.validity.valid = false;
        let other = Run { spec_hash: "other".into(), ..run("c", &[1], 0) };
        let labelled = Run { labels: [("build".to_owned(), "after".to_owned())].into(), ..run("d", &[1], 0) };
        let runs = vec![run("a", &[1], 0), invalid, other, labelled];
        assert_eq!(merge_runs(runs.clone()), runs);
        assert_eq!(merge_runs(vec![]), vec![]);
        let twice = vec![run("a", &[1], 0), run("a", &[1], 0)];
        assert_eq!(merge_runs(twice.clone()), twice);
    }

    #[test]
    fn what_needs_an_order_is_gone_and_the_rest_is_kept() {
        let mut left = run("a", &[10, 20], 0);
        left.series[0].summary.ipdv_mean_ns = Some(10);
        left.series[0].outages = vec![Outage { start_ns: 0, length_ns: 1, unanswered_count: 3 }];
        left.series[0].outage_count = 1;
        left.series[0].failure_kinds = [("reset".to_owned(), 2)].into();
        left.labels = [("site".to_owned(), "x".to_owned()), ("who".to_owned(), "me".to_owned())].into();
        left.warnings = vec![Warning::new("slip", "it slipped")];
        let mut right = Run { id: "b".into(), complete: false, ..left.clone() };
        right.series.push(sample::series("rtt.tcp", "dc", &[5], 0));
        right.series[1].summary.ipdv_mean_ns = Some(1);
        let merged = merge_runs(vec![left, right]).remove(0);
        let series = &merged.series[0];
        assert_eq!((series.outage_count, series.outages.len(), series.failure_kinds["reset"]), (2, 0, 4));
        assert_eq!((merged.complete, merged.warnings.len(), merged.labels.len()), (false, 1, 2));
        assert_eq!(merged.series[1].name, "rtt.tcp");
        assert!(merged.series.iter().all(|series| series.summary.ipdv_mean_ns.is_none()));
    }

    #[test]
    fn a_scalar_of_two_runs_has_no_value() {
        let scalar = |name: &str| Scalar::new(name, &Labels::new(), "x", 1.0);
        let left = Run { scalars: vec![scalar("both")], ..run("a", &[1], 0) };
        let right = Run { scalars: vec![scalar("both"), scalar("one")], ..run("b", &[1], 0) };
        let merged = merge_runs(vec![left, right]).remove(0);
        assert_eq!(merged.scalars.iter().map(|s| s.value).collect::<Vec<_>>(), [None, Some(1.0)]);
    }

    proptest! {
        #[test]
        fn merging_is_recording_all(
            left in prop::collection::vec(1u64..5_000_000_000, 0..300),
            right in prop::collection::vec(1u64..5_000_000_000, 0..300),
            lost in (0u64..50, 0u64..50),
        ) {
            let merged = merge_runs(vec![run("a", &left, lost.0), run("b", &right, lost.1)]).remove(0);
            let whole = run("c", &[left, right].concat(), lost.0 + lost.1);
            let (merged, whole) = (&merged.series[0], &whole.series[0]);
            prop_assert_eq!(&merged.histogram, &whole.histogram);
            prop_assert_eq!(merged.counts, whole.counts);
            for name in ["p50", "p90", "p95", "p99", "p999"] {
                prop_assert_eq!(merged.summary.quantile(name), whole.summary.quantile(name));
            }
            let close = |a: Option<u64>, b: Option<u64>| a.is_some() == b.is_some() && a.zip(b).is_none_or(|(a, b)| a.abs_diff(b) <= 2);
            prop_assert!(close(merged.summary.mean_ns, whole.summary.mean_ns));
            prop_assert!(close(merged.summary.stddev_ns, whole.summary.stddev_ns));
        }
    }
}
