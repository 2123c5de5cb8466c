//! A diagnosis as people read it: the one thing to change first, then where the time goes, then all bottlenecks by what they cost.
//!
//! Pure: a stored and a fresh run look alike.

use serde_json::Value;

use crate::model::figure::duration;
use crate::model::layout::{Answer, Block, Cell, Column, Note, Table, Waterfall, capitalised};
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
    blocks.push(Block::Table(detection(run)));
    let mut notes: Vec<Note> = ranked.iter().skip(1).map(|finding| Note::new("also", sentence(finding))).collect();
    notes.extend(
        run.findings
            .iter()
            .filter(|finding| VERDICTS.contains(&finding.id.as_str()))
            .map(|finding| Note::new("verified", finding.text.clone())),
    );
    // What could not be seen, and what would show it.
    notes.extend(texts(run, "left").map(|text| Note::new("not seen", text)));
    Layout {
        subject: texts(run, "looked_at").collect(),
        answer: answer(run, &ranked),
        blocks,
        detail: vec![Block::Table(evidence(run))],
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

/// How long until a silent node is called so.
fn detection(run: &Run) -> Table {
    let mut table = Table::new(vec![
        Column::name("a silent node is noticed after"),
        Column::figure("mean"),
        Column::figure("worst"),
    ]);
    let part = |part: &str| run.value("diagnose.detection", &Labels::new().with("part", part));
    let text = |pointer: &str| run.spec.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    let interval =
        run.spec.pointer("/detection/interval_ns").and_then(Value::as_u64).map_or_else(|| "?".to_owned(), duration);
    let assumed = run.spec.pointer("/detection/is_assumed").and_then(Value::as_bool).unwrap_or_default();
    let assumed = if assumed { ", as people have who set nothing" } else { "" };
    let name = format!("a heartbeat each {interval}, {}{assumed}", text("/detection/detector"));
    table.push(vec![Cell::text(name), Cell::span_of(part("mean")), Cell::span_of(part("worst"))]);
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
