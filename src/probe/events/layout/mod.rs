//! A run of `probe events` as people read it: who knows first, and what the others lose.
//!
//! Pure: a stored, a merged and a fresh run look alike.

mod steps;
mod ways;

use std::borrow::Cow;

use serde_json::Value;

use crate::model::figure::{count, duration, limit};
use crate::model::layout::{
    Answer, Block, Cell, Column, Histogram, Note, Table, findings, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Run, Series};

/// What was published of a container's start by its runtime (mission: "container started").
const PUBLISHED_START: &str = "50 to 200 ms";

/// The events that the answer is about, the most telling first.
const TELLING: [&str; 3] = ["start", "exit", "create"];

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let name = subject_series(run);
    let event =
        TELLING.into_iter().find(|event| run.series.iter().any(|one| is_of(one, name, event))).unwrap_or("start");
    let all: Vec<&Series> = run.series.iter().filter(|series| series.name == name).collect();
    let sources = ranked(run, name, event);
    let mut notes = notes_on(&run.responses().filter(|series| series.name == "events.launch").collect::<Vec<_>>());
    notes.extend(findings(run, &[]));
    if name == "events.since_act" {
        let text = format!("published, not measured: a container is started in {PUBLISHED_START}");
        notes.push(Note::new("published", text));
    }
    notes.extend(too_few(&all));
    let columns =
        sources.iter().filter_map(|source| Some((source.to_string(), Cow::Borrowed(of(run, name, source, event)?))));
    let what = if name == "events.behind" { "behind the first source" } else { "since the call" };
    Layout {
        subject: subject(run),
        answer: answer(run, name, event, &sources),
        blocks: [
            Some(Block::Table(table(run, name, &sources).titled(format!("known {what}")))),
            steps::table(run).map(Block::Table),
            Some(Block::Table(ways::table(run, name, &sources))),
            Some(Block::Histogram(Histogram { title: format!("{event} known {what}"), columns: columns.collect() })),
        ]
        .into_iter()
        .flatten()
        .collect(),
        detail: vec![Block::Table(parts(run))],
        notes,
        ..Layout::default()
    }
}

/// Since the call where somebody called; else behind the first that knew.
fn subject_series(run: &Run) -> &'static str {
    let has_calls = run.series.iter().any(|series| series.name == "events.since_act");
    if has_calls { "events.since_act" } else { "events.behind" }
}

fn is_of(series: &Series, name: &str, event: &str) -> bool {
    series.name == name && series.label("event") == event
}

fn of<'a>(run: &'a Run, name: &str, source: &str, event: &str) -> Option<&'a Series> {
    run.series.iter().find(|series| is_of(series, name, event) && series.label("source") == source)
}

/// The sources, the one that knows first first.
fn ranked<'a>(run: &'a Run, name: &str, event: &str) -> Vec<&'a str> {
    let all = run.scalars.iter().filter(|scalar| scalar.name == "events.missed");
    let mut all: Vec<&str> = all.filter_map(|scalar| scalar.labels.value("source")).collect();
    all.sort_by_key(|source| of(run, name, source, event).and_then(middle).unwrap_or(u64::MAX));
    all
}

/// The median; of few the mean. Of what was mostly missed there is none.
fn middle(series: &Series) -> Option<u64> {
    let is_mostly_told = series.counts.ok_count > series.counts.attempt_count / 2;
    series.summary.p50_ns.or(series.summary.mean_ns.filter(|_| is_mostly_told))
}

fn scalar(run: &Run, name: &str, source: &str) -> Option<f64> {
    run.value(name, &Labels::new().with("source", source))
}

fn subject(run: &Run) -> Vec<String> {
    let text = |key: &str| run.spec.get(key).and_then(Value::as_str);
    let act = text("act").filter(|act| *act != "docker").map(|act| format!("acts by {act}"));
    let socket = text("docker_socket").or_else(|| text("cri_socket")).map(str::to_owned);
    let ns = |key: &str| run.spec.get(key).and_then(Value::as_u64);
    let load = load_text(&run.spec).map(|load| load.replace("attempts", "starts"));
    let alive = ns("alive_ns").map(|alive| format!("alive for {}", limit(alive)));
    let burst = ns("burst").filter(|burst| *burst > 1).map(|burst| format!("{} containers each", count(burst)));
    let watched = ns("duration_ns").map(|span| format!("{} of whatever happens", limit(span)));
    socket.into_iter().chain(act).chain(load).chain(burst).chain(alive).chain(watched).collect()
}

fn answer(run: &Run, name: &str, event: &str, sources: &[&str]) -> Answer {
    let known = |source: &&&str| of(run, name, source, event).and_then(|series| Some((middle(series)?, series)));
    let told: Vec<(&str, u64)> = sources.iter().filter_map(|source| Some((*source, known(&source)?.0))).collect();
    let Some(((first, first_ns), rest)) = told.split_first() else {
        return Answer::new("No source told of anything.");
    };
    let p =
        if of(run, name, first, event).is_some_and(|series| series.summary.p50_ns.is_some()) { "p50" } else { "mean" };
    let mut answer = match name {
        "events.behind" if rest.is_empty() => Answer::new(format!("{first} alone told of something.")),
        "events.behind" => Answer::new(format!("{first} knows first.")),
        _ => Answer::new(format!("{first} knows of a {event} {} after the call ({p}).", duration(*first_ns))),
    };
    for (source, ns) in rest {
        answer = answer.and(format!("{source}: {} later.", duration(ns.saturating_sub(*first_ns))));
    }
    for source in sources {
        let counted = |name: &str, what: &str| {
            scalar(run, name, source).filter(|n| *n > 0.0).map(|n| format!("{} {what}", count(n as u64)))
        };
        let losses = [counted("events.missed", "acts never"), counted("events.collapsed", "only by what came after")];
        let losses: Vec<String> = losses.into_iter().flatten().collect();
        if !losses.is_empty() {
            answer = answer.and(format!("{source} told {}.", losses.join(", and ")));
        }
    }
    answer
}

/// A row a source, first to last, with the calls themselves and what was published of starts.
fn table(run: &Run, name: &str, sources: &[&str]) -> Table {
    let mut table = Table::new(vec![
        Column::name("source"),
        Column::extra("create p50", 3),
        Column::figure("start p50"),
        Column::extra("start p95", 1),
        Column::extra("start max", 4),
        Column::figure("exit p50"),
        Column::extra("exit p95", 2),
        Column::extra("oom p50", 6),
        Column::extra("destroy p50", 5),
        Column::figure("missed"),
        Column::extra("twice", 4),
        Column::extra("order", 4),
        Column::figure("collapsed"),
    ]);
    for source in sources {
        let quantile = |event: &str, q: &str| {
            of(run, name, source, event).map_or(Cell::Absent, |series| Cell::quantile(series, q))
        };
        let counted = |name: &str| scalar(run, name, source).map_or(Cell::Absent, |n| Cell::Count(n as u64));
        table.push(vec![
            Cell::text(*source),
            quantile("create", "p50"),
            quantile("start", "p50"),
            quantile("start", "p95"),
            Cell::span(of(run, name, source, "start").and_then(|series| series.summary.max_ns)),
            quantile("exit", "p50"),
            quantile("exit", "p95"),
            quantile("oom", "p50"),
            quantile("destroy", "p50"),
            counted("events.missed"),
            counted("events.duplicated"),
            counted("events.reordered"),
            counted("events.collapsed"),
        ]);
    }
    if name == "events.since_act" {
        table.push(beside("(the call)", |column| call(run, column)));
        table.push(beside("(published)", |column| match column {
            "start p50" => Cell::text(PUBLISHED_START),
            _ => Cell::Blank,
        }));
    }
    table.without_empty_columns()
}

/// A row of something that is no source.
fn beside(name: &str, cell: impl Fn(&str) -> Cell) -> Vec<Cell> {
    const FIGURES: [&str; 12] = [
        "create p50",
        "start p50",
        "start p95",
        "start max",
        "exit p50",
        "exit p95",
        "oom p50",
        "destroy p50",
        "",
        "",
        "",
        "",
    ];
    std::iter::once(Cell::text(name)).chain(FIGURES.into_iter().map(cell)).collect()
}

/// How long the call itself took.
fn call(run: &Run, column: &str) -> Cell {
    let Some((event, what)) = column.split_once(' ') else { return Cell::Blank };
    match run.series.iter().find(|series| is_of(series, "events.call", event)) {
        Some(series) if what == "max" => Cell::span(series.summary.max_ns),
        Some(series) => Cell::quantile(series, what),
        None => Cell::Blank,
    }
}

/// The parts: own time and kernel's stamp to the arrival, and how far behind the first.
fn parts(run: &Run) -> Table {
    let mut table = Table::new(vec![
        Column::name("source"),
        Column::name("event"),
        Column::figure("behind the first p50"),
        Column::figure("from its own time p50"),
        Column::figure("from the kernel's stamp p50"),
    ]);
    for behind in run.series.iter().filter(|series| series.name == "events.behind") {
        let (source, event) = (behind.label("source"), behind.label("event"));
        let p50 =
            |name: &str| of(run, name, source, event).map_or(Cell::Absent, |series| Cell::quantile(series, "p50"));
        table.push(vec![
            Cell::text(source),
            Cell::text(event),
            p50("events.behind"),
            p50("events.receipt"),
            p50("events.lag"),
        ]);
    }
    table.without_empty_columns()
}
