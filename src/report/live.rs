//! Detection as it was measured, beside simulation, formula and published figures, and the bytes that were really sent.
//!
//! Separate from the simulation's tables because here the simulation is only one of the columns.

use super::detection::{Figure, Names, absent, figure, paragraph, reference, tables};
use super::text::clean;
use super::unit::{self, duration, maybe, significant};
use crate::model::{Run, Series};

const NAMES: Names = (&["interval", "fault"], |_, series, _| {
    ["interval", "fault"].map(|label| clean(series.labels.value(label).unwrap_or_default())).to_vec()
});

/// What was noticed, and what was expected.
const NOTICED: [(&str, Figure); 7] = [
    ("noticed", |_, series| noticed(series)),
    ("live: mean (95 %)", mean),
    ("worst", |_, series| maybe(series.summary.max_ns)),
    ("simulated: mean / worst", simulated),
    ("formula: mean / worst", |run, series| pair(run, series, ["formula_mean", "formula_worst"], " / ")),
    ("holds", holds),
    ("reference: 1.5 I / 200 B", |run, series| reference(run, &series.labels)),
];

/// What one node costs the network.
const COST: [(&str, Figure); 4] = [
    ("payload", |run, series| kilobytes(run, series, "payload_bytes_per_h")),
    ("sent on the wire", |run, series| kilobytes(run, series, "sent_bytes_per_h")),
    ("received on the wire", |run, series| kilobytes(run, series, "received_bytes_per_h")),
    ("reference", |run, series| kilobytes(run, series, "reference_bytes_per_h")),
];

/// The tables of a live run of which these are the detections.
pub fn text(run: &Run, shown: &[&Series], width: usize) -> String {
    let detector = shown.first().and_then(|series| series.labels.value("detector")).unwrap_or_default();
    let network = shown.first().and_then(|series| series.labels.value("network")).unwrap_or_default();
    let head = format!(
        "network {}, detector {}: agents of a gateway, faulted at phases spread over the interval",
        clean(network),
        clean(detector)
    );
    let holds =
        "holds: whether the formula's mean lies within the 95 % of the measured one, widened by the measured delay";
    let cost = "KB a node and hour: JSON of the heartbeats, then with TLS, TCP and IP as the kernel counted them, then the answers";
    let blocks = [
        paragraph(&head, width),
        tables((run, shown), NAMES, &NOTICED, width),
        paragraph(holds, width),
        "\n".to_owned(),
        paragraph(cost, width),
        tables((run, shown), NAMES, &COST, width),
        reports(run, width),
    ];
    blocks.concat()
}

/// How soon a report is stored and seen.
fn reports(run: &Run, width: usize) -> String {
    let line = |(name, what): (&str, &str)| {
        let series = run.series.iter().find(|series| series.name == name)?;
        let quantile = |name| unit::quantile(&series.summary, name, None);
        let text = format!(
            "{what}: p50 {}, p99 {}, mean {}, worst {} of {} reports during the run",
            quantile("p50"),
            quantile("p99"),
            maybe(series.summary.mean_ns),
            maybe(series.summary.max_ns),
            unit::count(series.counts.ok_count)
        );
        Some(paragraph(&text, width))
    };
    let lines = [
        ("heartbeat.change_stored", "a change until it is stored"),
        ("heartbeat.change_seen", "a change until a subscriber sees it"),
    ];
    let lines: String = lines.into_iter().filter_map(line).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// `400`, or `398 of 400` where nodes were not noticed.
fn noticed(series: &Series) -> String {
    let counts = &series.counts;
    match counts.unanswered_count() {
        0 => unit::count(counts.ok_count),
        _ => format!("{} of {}", unit::count(counts.ok_count), unit::count(counts.attempt_count)),
    }
}

/// `5.21 s (5.15 s to 5.27 s)`.
fn mean(run: &Run, series: &Series) -> String {
    let mean = maybe(series.summary.mean_ns);
    match figure(run, &series.labels, "mean_low") {
        Some(_) => format!("{mean} ({})", pair(run, series, ["mean_low", "mean_high"], " to ")),
        None => mean,
    }
}

/// What the simulation of the same interval gave.
fn simulated(run: &Run, series: &Series) -> String {
    let interval = series.labels.value("interval");
    let is_it = |other: &&Series| {
        other.name == series.name
            && other.labels.value("mode") == Some("simulated")
            && other.labels.value("interval") == interval
    };
    let summary = run.series.iter().find(is_it).map(|series| &series.summary);
    summary.map_or_else(absent, |summary| format!("{} / {}", maybe(summary.mean_ns), maybe(summary.max_ns)))
}

fn holds(run: &Run, series: &Series) -> String {
    match figure(run, &series.labels, "formula_holds") {
        Some(flag) if flag > 0.0 => "yes".to_owned(),
        Some(_) => "no".to_owned(),
        None => absent(),
    }
}

fn pair(run: &Run, series: &Series, names: [&str; 2], between: &str) -> String {
    let shown = |name| figure(run, &series.labels, name).map_or_else(absent, |ns: f64| duration(ns.round() as u64));
    names.map(shown).join(between)
}

fn kilobytes(run: &Run, series: &Series, name: &str) -> String {
    figure(run, &series.labels, name).map_or_else(absent, |bytes| significant(bytes / 1000.0))
}
