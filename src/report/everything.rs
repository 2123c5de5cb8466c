//! Everything that a run holds, for `--detail`: each series, each scalar, each distribution, each finding with its evidence.
//!
//! Separate from the layouts because it needs no knowledge of a command: whatever is measured is shown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::unit;
use crate::model::layout::{Block, Cell, Column, Histogram, Names, Note, Table};
use crate::model::{Finding, Role, Run, Series};

/// Series that are listed one by one; CSV and JSON have every one.
const MOST_SERIES: usize = 200;

/// Tables of all series and scalars, and a histogram for each measurement.
pub fn blocks(run: &Run) -> Vec<Block<'_>> {
    let tables = [series(run), scalars(run)].into_iter().flatten().map(Block::Table);
    tables.chain(histograms(run)).collect()
}

fn series(run: &Run) -> Option<Table> {
    let heads = ["n", "lost", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "jitter"];
    let figures = heads.into_iter().map(|head| match head {
        "p90" => Column::extra(head, 4),
        "p99.9" => Column::extra(head, 3),
        "min" => Column::extra(head, 2),
        "mean" | "jitter" => Column::extra(head, 1),
        _ => Column::figure(head),
    });
    let mut table = Table::new(std::iter::once(Column::name("series")).chain(figures).collect()).titled("all series");
    for series in run.series.iter().take(MOST_SERIES) {
        let summary = &series.summary;
        let quantile = |name| Cell::quantile(series, name);
        table.push(vec![
            Cell::text(series.full_name()),
            Cell::Count(series.counts.attempt_count),
            Cell::lost(series),
            Cell::span(summary.min_ns),
            Cell::span(summary.mean_ns),
            quantile("p50"),
            quantile("p90"),
            quantile("p95"),
            quantile("p99"),
            quantile("p999"),
            Cell::span(summary.max_ns),
            Cell::span(summary.ipdv_mean_ns),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn scalars(run: &Run) -> Option<Table> {
    let columns = vec![Column::name("scalar"), Column::figure("value")];
    let mut table = Table::new(columns).titled("all scalars");
    for scalar in run.scalars.iter().take(MOST_SERIES) {
        let value = scalar.value.map_or(Cell::Absent, |value| Cell::text(unit::quantity(value, &scalar.unit)));
        table.push(vec![Cell::text(format!("{}{}", scalar.name, scalar.labels)), value]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// One for each name of a response, with a column for each of its series.
fn histograms(run: &Run) -> impl Iterator<Item = Block<'_>> {
    let mut by_name: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    let is_shown =
        |series: &&Series| matches!(series.role, Role::Response | Role::Phase) && !series.histogram.is_empty();
    for series in run.series.iter().filter(is_shown) {
        by_name.entry(&series.name).or_default().push(series);
    }
    by_name.into_iter().map(|(name, all)| {
        let names = Names::of(&all);
        let columns = all.iter().map(|series| (names.tell(series), Cow::Borrowed(*series))).collect();
        Block::Histogram(Histogram { title: name.to_owned(), columns })
    })
}

/// Each finding with what supports it, how to read the figures, and the machine.
pub fn notes(run: &Run) -> Vec<Note> {
    let has_jitter = run.series.iter().any(|series| series.summary.ipdv_mean_ns.is_some());
    let jitter = "mean |IPDV|, the mean difference between neighbouring answers (RFC 5481), of round trips";
    let has_loss = run.series.iter().any(|series| series.counts.lost_count > 0);
    let loss = "mean, max and jitter are of the answered attempts; the quantiles rank the lost above the timeout";
    let is_merged = !run.merged_from.is_empty();
    let merged = "jitter is not known of merged runs: it depends on the order of the attempts";
    [(has_jitter, "jitter", jitter), (has_loss, "figures", loss), (is_merged, "merged", merged)]
        .into_iter()
        .filter(|(is_needed, ..)| *is_needed)
        .map(|(_, label, text)| Note::new(label, text))
        .chain(run.findings.iter().filter(|finding| !finding.evidence.is_empty()).map(evidence))
        .chain(host(run))
        .collect()
}

fn evidence(finding: &Finding) -> Note {
    Note::new(finding.id.replace('_', " "), finding.evidence.join("; "))
}

fn host(run: &Run) -> Option<Note> {
    let environment = &run.environment;
    let cores = environment.cpu_count.map(|count| format!("{count} processors"));
    let parts = [environment.hostname.clone(), environment.kernel.clone(), environment.cpu_model.clone(), cores];
    let known: Vec<String> = parts.into_iter().flatten().chain([run.started_at.to_string()]).collect();
    Some(Note::new("host", format!("{}; offloadctl {} ({})", known.join(", "), run.version, environment.build)))
}
