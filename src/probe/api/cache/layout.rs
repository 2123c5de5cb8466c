//! A run of `probe api --cache` as people read it: what a cache saves, and how late it is.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::figure::{count, duration, significant};
use crate::model::layout::{Answer, Block, Cell, Column, Histogram, Table, findings, load_text, notes_on, too_few};
use crate::model::{Layout, Run, Series};

const SERIES: &str = "api.cache";

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let reads: Vec<&Series> = run.series.iter().filter(|series| series.name == SERIES).collect();
    let mut notes = notes_on(&reads);
    notes.extend(findings(run, &[]));
    notes.extend(too_few(&reads));
    let columns = reads.iter().filter_map(|read| Some((name(read), Cow::Borrowed(service(run, read)?)))).collect();
    let picture = Histogram { title: "one read".to_owned(), columns };
    Layout {
        banner: None,
        subject: subject(run),
        answer: answer(run, &reads),
        blocks: vec![Block::Table(table(run, &reads)), Block::Histogram(picture)],
        detail: Vec::new(),
        notes,
    }
}

fn subject(run: &Run) -> Vec<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let url = text(run.spec.get("server").and_then(|server| server.get("url")));
    let path = text(run.spec.get("paths").and_then(|paths| paths.get(0)));
    let load = load_text(&run.spec).map(|load| format!("{load}, kept connections"));
    url.map(|url| url.trim_end_matches('/').to_owned()).into_iter().chain(path).chain(load).collect()
}

/// The word of a way to read, as people say it.
fn name(read: &Series) -> String {
    let word = match read.label("read") {
        "quorum" => "etcd (quorum)",
        "watch_cache" => "watch cache",
        other => other,
    };
    match read.label("via") {
        "" => word.to_owned(),
        via => format!("{word} via {via}"),
    }
}

fn service<'a>(run: &'a Run, read: &Series) -> Option<&'a Series> {
    run.find("api.cache.service", &read.labels)
}

fn figure(run: &Run, read: &Series, name: &str) -> Option<f64> {
    run.value(&format!("{SERIES}.{name}"), &read.labels)
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    if value >= 999.5 { count(value.round() as u64) } else { significant(value) }
}

/// How stale the stalest answer was.
fn latest(run: &Run, read: &Series) -> Option<u64> {
    run.find("api.cache.staleness", &read.labels)?.summary.max_ns
}

fn table(run: &Run, reads: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("read"),
        Column::figure("n"),
        Column::extra("lost", 2),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::figure("at most late"),
        Column::extra("event lag p50", 3),
        Column::extra("hits", 1),
        Column::figure("requests/h"),
        Column::extra("KB/h", 1),
    ]);
    for read in reads {
        let service = service(run, read);
        let an_hour = |name, by: f64| figure(run, read, name).map(|value| Cell::text(number(value / by)));
        let lag = run.find("api.cache.lag", &read.labels);
        table.push(vec![
            Cell::Text(name(read)),
            Cell::Count(read.counts.attempt_count),
            Cell::lost(read),
            service.map_or(Cell::Absent, |service| Cell::quantile(service, "p50")),
            service.map_or(Cell::Absent, |service| Cell::quantile(service, "p95")),
            late_cell(run, reads, read),
            match (read.label("read"), lag) {
                ("informer", Some(lag)) => Cell::quantile(lag, "p50"),
                ("informer", None) => Cell::Absent,
                _ => Cell::Blank,
            },
            match (read.label("via"), figure(run, read, "hit_ratio")) {
                (_, Some(hits)) => Cell::Ratio(hits),
                ("", None) => Cell::Blank,
                (_, None) if read.label("read") == "informer" => Cell::Blank,
                (_, None) => Cell::Absent,
            },
            an_hour("requests_per_h", 1.0).unwrap_or(Cell::Absent),
            an_hour("bytes_per_h", 1000.0).unwrap_or(Cell::Absent),
        ]);
    }
    table.without_empty_columns()
}

fn late_cell(run: &Run, reads: &[&Series], read: &Series) -> Cell {
    match latest(run, read) {
        _ if is_truth(read) => Cell::Blank,
        Some(0) => blind(run, reads).map_or(Cell::Absent, |ns| Cell::text(format!("< {}", duration(ns)))),
        late => Cell::span(late),
    }
}

fn is_truth(read: &Series) -> bool {
    read.label("read") == "quorum" && read.label("via").is_empty()
}

/// What is late by less than this looks as if it were not: the gap between two quorum reads, and the longest of them.
fn blind(run: &Run, reads: &[&Series]) -> Option<u64> {
    let quorum = reads.iter().find(|read| is_truth(read))?;
    let longest = service(run, quorum)?.summary.max_ns?;
    Some(run.elapsed_ns.checked_div(quorum.counts.attempt_count)? + longest)
}

fn answer(run: &Run, reads: &[&Series]) -> Answer {
    let of = |word: &str| reads.iter().find(|read| read.label("read") == word && read.label("via").is_empty());
    let (Some(quorum), Some(informer)) = (of("quorum"), of("informer")) else {
        return Answer::new("Nothing was read.");
    };
    let p50 = |read: &Series| service(run, read).and_then(|service| service.summary.p50_ns.or(service.summary.mean_ns));
    let Some((slow, fast)) = p50(quorum).zip(p50(informer)) else {
        return Answer::new("No read through etcd was answered, so there is nothing to compare with.");
    };
    let saved = |read: &Series| {
        let before = figure(run, quorum, "requests_per_h")?;
        Some((before - figure(run, read, "requests_per_h")?, before))
    };
    let interval = run.spec.get("cache").and_then(|cache| cache.get("interval_ns")).and_then(Value::as_u64);
    let interval = interval.map_or_else(String::new, |ns| format!(" (one read each {})", duration(ns)));
    let late = |read: &Series| {
        latest(run, read).map_or_else(String::new, |ns| match ns {
            0 => blind(run, reads).map_or_else(String::new, |ns| format!(", late by less than {}", duration(ns))),
            ns => format!(", at most {} late", duration(ns)),
        })
    };
    let figures =
        |read: &Series, took: u64| format!("{} instead of {} (p50){}", duration(took), duration(slow), late(read));
    let answer = match saved(informer) {
        Some((saved, before)) if saved > 0.0 => Answer::new(format!(
            "An informer saves {} of {} requests an hour{interval}: a read takes {}.",
            number(saved),
            number(before),
            figures(informer, fast)
        )),
        _ => Answer::new(format!(
            "An informer saves no requests at this interval: a read takes {}.",
            figures(informer, fast)
        )),
    };
    let through = reads.iter().filter(|read| read.label("read") == "watch_cache" && !read.label("via").is_empty());
    through.fold(answer, |answer, read| {
        let via = read.label("via");
        let Some((saved, took)) = saved(read).map(|(saved, _)| saved).zip(p50(read)) else {
            return answer.and(format!("What the proxy at {via} saves is not known."));
        };
        let figures = figures(read, took);
        let hits = figure(run, read, "hit_ratio").unwrap_or(0.0);
        match figure(run, read, "passed_on_per_h") {
            _ if hits == 0.0 => answer.and(format!("The proxy at {via} saves none.")),
            _ if saved > 0.0 => answer.and(format!("The cache at {via} saves {}: {figures}.", number(saved))),
            passed_on => answer.and(format!(
                "The cache at {via} saves one such client none, and passes on {} requests an hour of however many: {figures}.",
                passed_on.map_or_else(String::new, number)
            )),
        }
    })
}
