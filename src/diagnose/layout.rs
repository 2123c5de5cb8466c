//! A diagnosis as people read it: the one thing to change first, then where the time goes, then all bottlenecks by what they cost.
//!
//! Pure: a stored and a fresh run look alike.

use serde_json::Value;

use crate::diagnose::reads::SERIES;
use crate::model::figure::duration;
use crate::model::layout::{Answer, Bar, Block, Cell, Column, Note, Table, Waterfall, capitalised};
use crate::model::{Advice, Finding, Labels, Layout, Run};
use crate::trace;

/// Findings that say how an earlier prediction came out.
const VERDICTS: [&str; 3] = ["prediction_held", "prediction_failed", "prediction_open"];

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let ranked: Vec<&Finding> = run
        .findings
        .iter()
        .filter(|finding| finding.id != "total_fine" && !VERDICTS.contains(&finding.id.as_str()))
        .collect();
    let mut blocks = vec![Block::Waterfall(way(run))];
    if !ranked.is_empty() {
        blocks.push(Block::Table(table(&ranked)));
    }
    blocks.push(Block::Waterfall(detection(run)));
    let mut notes: Vec<Note> = ranked.iter().skip(1).map(|finding| Note::new("also", sentence(finding))).collect();
    notes.extend(
        run.findings
            .iter()
            .filter(|finding| VERDICTS.contains(&finding.id.as_str()))
            .map(|finding| Note::new("verified", finding.text.clone())),
    );
    // What could not be seen, and what would show it.
    notes.extend(texts(run, "left").map(|text| Note::new("not seen", text)));
    let reads = answered(run, SERIES, &[("a read of etcd", "target")], "lost");
    let of_events = [("source of events", "source"), ("event", "event")];
    let events = answered(run, "events.since_act", &of_events, "missed");
    Layout {
        subject: texts(run, "looked_at").collect(),
        answer: answer(run, &ranked),
        blocks,
        detail: vec![Block::Table(evidence(run)), Block::Table(reads), Block::Table(events)],
        notes,
        ..Layout::default()
    }
}

/// The texts of a list in the spec.
fn texts<'a>(run: &'a Run, key: &str) -> impl Iterator<Item = String> + use<'a> {
    let all = run.spec.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str).map(str::to_owned)
}

fn answer(run: &Run, ranked: &[&Finding]) -> Answer {
    match ranked.first() {
        Some(first) => {
            Answer::new(format!("{}.", capitalised(&first.text))).advised(first.advice.as_ref()).and(gain(first))
        }
        None => match run.findings.iter().find(|finding| finding.id == "total_fine") {
            Some(fine) => Answer::new(format!("{}.", capitalised(&fine.text))),
            None => Answer::new("No change came through, so nothing can be said of its way."),
        },
    }
}

/// What the first change should bring.
fn gain(finding: &Finding) -> String {
    let predicted = finding.advice.as_ref().and_then(|advice| advice.predicted.as_ref());
    predicted.map_or_else(String::new, |predicted| {
        let told = |ns: f64| duration(ns.max(0.0).round() as u64);
        format!("Expected then: {} ({} to {}).", told(predicted.value), told(predicted.low), told(predicted.high))
    })
}

fn sentence(finding: &Finding) -> String {
    let advice = finding.advice.as_ref().map(|advice| format!(". Advice: {}", advice.text)).unwrap_or_default();
    format!("{}{advice}", finding.text)
}

/// The mean way of a change; without one the picture is empty and left out.
fn way(run: &Run) -> Waterfall {
    let total = run.value("trace.mean", &Labels::new().with("hop", "total"));
    let total = total.map(|ns| format!(": {}", duration(ns.round() as u64))).unwrap_or_default();
    let title = format!("mean way of a change from the call to a subscriber{total}");
    Waterfall { title, bars: trace::bars(run, None) }
}

/// The bottlenecks, by what they cost.
fn table(ranked: &[&Finding]) -> Table {
    let mut table = Table::new(vec![
        Column::name("bottleneck"),
        Column::figure("setting"),
        Column::figure("now"),
        Column::figure("try"),
        Column::extra("expected then", 1),
    ]);
    for finding in ranked {
        let advice = finding.advice.clone().unwrap_or_default();
        let Advice { setting, old, new, predicted, .. } = advice;
        let text = |text: Option<String>| text.map_or(Cell::Blank, Cell::Text);
        let predicted = predicted.map_or(Cell::Blank, |predicted| Cell::span_of(Some(predicted.value)));
        table.push(vec![Cell::text(&finding.id), text(setting), text(old), text(new), predicted]);
    }
    table.titled("by what they cost").without_empty_columns()
}

/// How long until a silent node is called so, by the closed formula.
fn detection(run: &Run) -> Waterfall {
    let part = |part: &str| run.value("diagnose.detection", &Labels::new().with("part", part));
    let told = |ns: Option<f64>| ns.map_or_else(|| "?".to_owned(), |ns| duration(ns.max(0.0).round() as u64));
    let detector = run.spec.pointer("/detection/detector").and_then(Value::as_str).unwrap_or("?");
    let interval = run.spec.pointer("/detection/interval_ns").and_then(Value::as_u64).map(|ns| ns as f64);
    let assumed = run.spec.pointer("/detection/is_assumed").and_then(Value::as_bool).unwrap_or_default();
    let assumed = if assumed { " (assumed)" } else { "" };
    let title = format!(
        "a silent node is noticed after {}, {} at worst: {detector}, a heartbeat each {}{assumed}",
        told(part("mean")),
        told(part("worst")),
        told(interval),
    );
    let parts = ["interval", "detector", "sweep", "network"].into_iter();
    // A detector that looks at each moment has no sweep.
    let bars =
        parts.filter_map(|name| Some(Bar { name: name.to_owned(), ns: part(name).filter(|ns| *ns > 0.0)? })).collect();
    Waterfall { title, bars }
}

/// The series of this name, a row each: what tells them apart by these labels, and when the answers came.
fn answered(run: &Run, name: &str, labels: &[(&'static str, &str)], lost: &'static str) -> Table {
    let names = labels.iter().map(|(head, _)| Column::name(*head));
    let mut table = Table::new(names.chain(["n", lost, "p50", "max"].map(Column::figure)).collect());
    for series in run.series.iter().filter(|series| series.name == name) {
        let mut row: Vec<Cell> = labels.iter().map(|(_, label)| Cell::text(series.label(label))).collect();
        row.push(Cell::Count(series.counts.attempt_count));
        row.extend([Cell::lost(series), Cell::quantile(series, "p50"), Cell::span(series.summary.max_ns)]);
        table.push(row);
    }
    table
}

/// Every finding with its evidence and where its setting stands.
fn evidence(run: &Run) -> Table {
    let mut table = Table::new(vec![Column::name("finding"), Column::name("evidence"), Column::name("where")]);
    for finding in &run.findings {
        let place = finding.advice.as_ref().and_then(|advice| advice.place.clone());
        table.push(vec![
            Cell::text(&finding.id),
            Cell::text(finding.evidence.join("; ")),
            place.map_or(Cell::Blank, Cell::Text),
        ]);
    }
    table.titled("evidence")
}
