//! A live run as people read it: when deaths were really noticed, beside formula and simulation, and what heartbeats cost.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use crate::bench::heartbeat::layout::{DETECTION, figure, law};
use crate::model::figure::{duration, significant};
use crate::model::layout::{Answer, Block, Cell, Column, Histogram, Note, Table, findings, notes_on, too_few};
use crate::model::{Layout, Run, Series};

/// Lays out a live run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let is_live = |series: &&Series| series.name == DETECTION && series.labels.value("mode") == Some("live");
    let cells: Vec<&Series> = run.series.iter().filter(is_live).collect();
    let mut notes = notes_on(&cells);
    notes.extend(findings(run, &["formula_holds", "reference_law"]));
    notes.extend(reports(run));
    notes.extend(law(run, &cells));
    notes.extend(too_few(&cells));
    let columns = cells.iter().map(|cell| (name(cell), Cow::Borrowed(*cell))).collect();
    let picture = Histogram { title: "from the fault to the subscriber".to_owned(), columns };
    Layout {
        banner: None,
        subject: subject(run, &cells),
        answer: answer(run, &cells),
        blocks: vec![Block::Table(table(run, &cells)), Block::Histogram(picture)],
        detail: Vec::new(),
        notes,
    }
}

fn name(cell: &Series) -> String {
    format!("{} {}", cell.label("interval"), cell.label("fault"))
}

fn subject(run: &Run, cells: &[&Series]) -> Vec<String> {
    let detector = cells.first().map(|cell| format!("live, {}", cell.label("detector")));
    let nodes = run.spec.get("nodes").and_then(serde_json::Value::as_u64);
    detector.into_iter().chain(nodes.map(|nodes| format!("{nodes} agents a row"))).collect()
}

fn answer(run: &Run, cells: &[&Series]) -> Answer {
    let fastest = cells.iter().filter(|cell| cell.summary.mean_ns.is_some()).min_by_key(|cell| cell.summary.mean_ns);
    let Some(fastest) = fastest else { return Answer::new("No death was noticed.") };
    let cost = figure(run, &fastest.labels, "network_bytes_per_h");
    let cost = cost.map_or_else(String::new, |bytes| format!(" for {} KB/h", significant(bytes / 1000.0)));
    let mean = fastest.summary.mean_ns.map_or_else(String::new, duration);
    let held = cells.iter().filter_map(|cell| figure(run, &cell.labels, "formula_holds"));
    let (held, all) = held.fold((0, 0), |(held, all), flag| (held + u32::from(flag > 0.0), all + 1));
    let formula = match all {
        0 => String::new(),
        _ if held == all => " The formula holds in every row.".to_owned(),
        _ => format!(" The formula holds in {held} of {all} rows."),
    };
    let what = format!("A death is noticed after {mean} (mean) at {}{cost}.{formula}", fastest.label("interval"));
    Answer::new(what)
}

fn table(run: &Run, cells: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("interval"),
        Column::name("fault"),
        Column::figure("noticed"),
        Column::figure("mean (95 %)"),
        Column::figure("worst"),
        Column::figure("formula"),
        Column::extra("simulated", 3),
        Column::extra("KB/h sent", 1),
        Column::extra("KB/h received", 4),
        Column::extra("published", 2),
    ]);
    for cell in cells {
        let of = |name| figure(run, &cell.labels, name);
        let kilobytes = |name| of(name).map_or(Cell::Absent, |bytes| Cell::text(significant(bytes / 1000.0)));
        let span = |ns: f64| duration(ns.round() as u64);
        let mean = cell.summary.mean_ns.map_or_else(String::new, duration);
        let interval = of("mean_low").zip(of("mean_high"));
        let interval = interval.map_or_else(String::new, |(low, high)| format!(" ± {}", span((high - low) / 2.0)));
        let published = of("reference_mean").zip(of("reference_bytes_per_h"));
        let published = published.map(|(mean, bytes)| format!("{}, {} KB/h", span(mean), significant(bytes / 1000.0)));
        table.push(vec![
            Cell::text(cell.label("interval")),
            Cell::text(cell.label("fault")),
            noticed(cell),
            Cell::text(format!("{mean}{interval}")),
            Cell::span(cell.summary.max_ns),
            Cell::span_of(of("formula_mean")),
            Cell::span(simulated(run, cell)),
            kilobytes("sent_bytes_per_h"),
            kilobytes("received_bytes_per_h"),
            published.map_or(Cell::Blank, Cell::Text),
        ]);
    }
    table.without_empty_columns()
}

/// `400`, or `398 of 400` where nodes were not noticed.
fn noticed(cell: &Series) -> Cell {
    match cell.counts.unanswered_count() {
        0 => Cell::Count(cell.counts.ok_count),
        _ => Cell::text(format!("{} of {}", cell.counts.ok_count, cell.counts.attempt_count)),
    }
}

/// The mean of the simulation of the same interval.
fn simulated(run: &Run, cell: &Series) -> Option<u64> {
    let is_it = |other: &&Series| {
        other.name == cell.name
            && other.labels.value("mode") == Some("simulated")
            && other.labels.value("interval") == cell.labels.value("interval")
    };
    run.series.iter().find(is_it)?.summary.mean_ns
}

/// How soon a report is stored and seen.
fn reports(run: &Run) -> Option<Note> {
    let p50 = |name: &str| run.series.iter().find(|series| series.name == name)?.summary.p50_ns.map(duration);
    let (stored, seen) = (p50("heartbeat.change_stored")?, p50("heartbeat.change_seen")?);
    Some(Note::new("changes", format!("a change is stored after {stored} and seen by a subscriber after {seen} (p50)")))
}
