//! The rows of the main table: one a response series, and one for what an emulated link was told to do.
//!
//! Separate because the terminal and markdown show the same rows.

use std::collections::BTreeMap;

use super::text::clean;
use super::unit;
use crate::model::{Reference, Run, Series};

/// Heads of the figures, in the order of [`Row::figures`].
pub const FIGURES: [&str; 8] = ["n", "loss", "mean", "p50", "p95", "p99", "max", "jitter"];

/// What the row of programmed delays is called.
pub const PROGRAMMED: &str = "programmed";

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whom it is about.
    pub target: String,
    /// By which way it was asked.
    pub channel: String,
    /// The figures as text.
    pub figures: [String; 8],
    /// Figures that were published elsewhere, as text.
    pub reference: Option<String>,
}

/// The rows of a run, grouped by target in the order in which the targets first appear.
pub fn rows(run: &Run) -> Vec<Row> {
    let programmed = run.beside(PROGRAMMED);
    shown(run)
        .into_iter()
        .flat_map(|response| {
            let programmed = programmed.iter().find(|(of, _)| std::ptr::eq(*of, response)).map(|(_, series)| Row {
                channel: format!("  {PROGRAMMED}"),
                reference: None,
                ..row(series)
            });
            [Some(row(response)), programmed].into_iter().flatten()
        })
        .collect()
}

/// The response series of a run, grouped by target.
pub fn shown(run: &Run) -> Vec<&Series> {
    let mut first = BTreeMap::new();
    let placed = run.responses().enumerate().map(|(at, series)| (*first.entry(target(series)).or_insert(at), series));
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|(first, _)| *first);
    placed.into_iter().map(|(_, series)| series).collect()
}

/// The target, with the labels that tell it from its siblings; its address is said once, below the table.
pub fn target(series: &Series) -> String {
    let name = std::iter::once(series.target().to_owned()).filter(|name| !name.is_empty());
    let labels = series.labels.iter().filter(|(label, _)| !matches!(*label, "target" | "address"));
    clean(&name.chain(labels.map(|(label, value)| format!("{label}={value}"))).collect::<Vec<_>>().join(" "))
}

/// The way the target was asked: the series without the `rtt.` that all of them share.
pub fn channel(series: &Series) -> String {
    clean(series.name.strip_prefix("rtt.").unwrap_or(&series.name))
}

/// Target and channel in a sentence.
pub fn name(series: &Series) -> String {
    format!("{} {}", target(series), channel(series)).trim().to_owned()
}

fn row(series: &Series) -> Row {
    let summary = &series.summary;
    let quantile = |name| unit::quantile(summary, name, series.timeout_ns);
    Row {
        target: target(series),
        channel: channel(series),
        figures: [
            series.counts.attempt_count.to_string(),
            series.counts.loss_ratio().map_or_else(|| unit::ABSENT.to_owned(), unit::ratio),
            unit::maybe(summary.mean_ns),
            quantile("p50"),
            quantile("p95"),
            quantile("p99"),
            unit::maybe(summary.max_ns),
            unit::maybe(summary.ipdv_mean_ns),
        ],
        reference: series.reference.as_ref().map(reference),
    }
}

/// `1.20 / 2.80 / 0.50 ms`: mean, 95th percentile and jitter in one unit, so that they can be compared at a glance.
fn reference(reference: &Reference) -> String {
    let parts = [reference.mean_ns, reference.p95_ns, reference.jitter_ns];
    format!("{} ms", parts.map(|ns| unit::significant(ns as f64 / 1e6)).join(" / "))
}
