//! A run of `probe api` as people read it: how long a request takes, which part of it decides, and what would save it.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use super::cache;
use super::evaluate::{Part, SHARE};
use super::phases::{PHASES, Phase};
use crate::model::figure::{count, duration};
use crate::model::layout::{Answer, Block, Cell, Column, Histogram, Table, findings, load_text, notes_on, too_few};
use crate::model::{Finding, Labels, Layout, Run, Series};

/// The finding that the answer tells; it stands nowhere else.
const SPLIT: &str = "time_split";

/// Paths that have a table each; of more there is one table with a row a path.
const MOST_WHOLE: usize = 2;

/// Parts named in the answer.
const NAMED: usize = 4;

/// What the server says of itself, in the order of a request.
const INSIDE: [Part; 4] = [Part::Network, Part::Queue, Part::Work, Part::Etcd];
const ALL: [Part; 9] = [
    Part::Lookup,
    Part::Handshake,
    Part::Tls,
    Part::Network,
    Part::Answer,
    Part::Queue,
    Part::Work,
    Part::Etcd,
    Part::Transfer,
];

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    if run.spec.get("cache").is_some_and(Value::is_object) {
        return cache::layout(run);
    }
    let requests: Vec<&Series> = run.series.iter().filter(|series| series.name == "api.request").collect();
    let asked = asked(run, &requests);
    let mut notes = notes_on(&requests);
    notes.extend(findings(run, &[SPLIT]));
    notes.extend(too_few(&asked));
    let whole = |paths: &[&Series]| paths.iter().map(|request| Block::Table(phases(run, request))).collect::<Vec<_>>();
    let is_few = asked.len() <= MOST_WHOLE;
    let mut blocks = if is_few { whole(&asked) } else { vec![Block::Table(overview(run, &asked))] };
    let columns = asked.iter().map(|request| (path(request).to_owned(), Cow::Borrowed(*request))).collect();
    blocks.push(Block::Histogram(Histogram { title: "whole request".to_owned(), columns }));
    let others: Vec<&Series> = requests.iter().filter(|other| !asked.contains(other)).copied().collect();
    let detail = if is_few { whole(&others) } else { whole(&requests) };
    Layout { banner: None, subject: subject(run, &requests), answer: answer(run, &asked), blocks, detail, notes }
}

fn path(series: &Series) -> &str {
    series.label("path")
}

/// The paths that the user named; those that we ask for beside them say what etcd costs.
fn asked<'a>(run: &Run, requests: &[&'a Series]) -> Vec<&'a Series> {
    let named: Vec<&str> =
        run.spec.get("paths").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let all: Vec<&Series> = requests.iter().filter(|request| named.contains(&path(request))).copied().collect();
    if all.is_empty() { requests.to_vec() } else { all }
}

fn subject(run: &Run, requests: &[&Series]) -> Vec<String> {
    let server = run.spec.get("server");
    let at = |key: &str| server.and_then(|server| server.get(key));
    let named = at("url").and_then(Value::as_str).map(|url| url.trim_end_matches('/').to_owned());
    let named = named.or_else(|| requests.first()?.labels.value("address").map(str::to_owned));
    let label = |name: &str| requests.first().and_then(|series| series.labels.value(name));
    let connection = match label("connection") {
        Some("cold") => Some("a new connection each"),
        Some("reused") => Some("kept connections"),
        _ => None,
    };
    let load = load_text(&run.spec).into_iter().chain(connection.map(str::to_owned));
    let load = load.chain(label("http").map(|version| format!("HTTP/{version}"))).collect::<Vec<_>>().join(", ");
    named.into_iter().chain([load]).collect()
}

/// The share of a part of the mean time of requests to this path.
fn share(run: &Run, path: &str, part: Part) -> Option<f64> {
    run.value(SHARE, &Labels::new().with("path", path).with("part", part.label()))
}

fn of<'a>(run: &'a Run, request: &Series, name: &str) -> Option<&'a Series> {
    run.find(name, &request.labels)
}

fn mean_total(run: &Run, request: &Series) -> Option<f64> {
    of(run, request, "api.total")?.summary.mean_ns.map(|ns| ns as f64)
}

/// A row for each phase in its order, so that the table is a waterfall.
fn phases(run: &Run, request: &Series) -> Table {
    let mut table = Table::new(vec![
        Column::name(path(request)),
        Column::figure("n"),
        Column::extra("lost", 1),
        Column::figure("mean"),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("max", 2),
        Column::figure("share of the mean        "),
    ]);
    let total = mean_total(run, request);
    for phase in PHASES {
        let Some(series) = of(run, request, phase.series()) else { continue };
        let mean = series.summary.mean_ns.map(|ns| ns as f64);
        table.push(row(format!("  {}", word(phase)), series, mean.zip(total).map(|(mean, total)| mean / total)));
        if phase == Phase::Ttfb {
            inside(run, request, total).for_each(|row| table.push(row));
        }
    }
    table.push(row("  whole request".to_owned(), request, total.map(|_| 1.0)));
    table
}

const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Dns => "name lookup",
        Phase::Tcp => "TCP handshake",
        Phase::Tls => "TLS handshake",
        Phase::Ttfb => "first byte",
        Phase::Transfer => "transfer",
    }
}

fn row(name: String, series: &Series, share: Option<f64>) -> Vec<Cell> {
    vec![
        Cell::Text(name),
        Cell::Count(series.counts.attempt_count),
        Cell::lost(series),
        Cell::span(series.summary.mean_ns),
        Cell::quantile(series, "p50"),
        Cell::quantile(series, "p95"),
        Cell::span(series.summary.max_ns),
        share.map_or(Cell::Blank, Cell::Share),
    ]
}

/// What the first byte waited for, by the server's own account.
fn inside(run: &Run, request: &Series, total: Option<f64>) -> impl Iterator<Item = Vec<Cell>> {
    INSIDE.into_iter().filter_map(move |part| {
        let share = share(run, path(request), part)?;
        let mut row = vec![Cell::Blank; 8];
        row[0] = Cell::Text(format!("    {}", part.name()));
        row[3] = Cell::span_of(total.map(|total| total * share));
        row[7] = Cell::Share(share);
        Some(row)
    })
}

/// A row a path.
fn overview(run: &Run, asked: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("path"),
        Column::figure("n"),
        Column::figure("lost"),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("max", 1),
        Column::extra("mostly", 2),
    ]);
    for request in asked {
        let largest = parts(run, path(request)).into_iter().next();
        table.push(vec![
            Cell::text(path(request)),
            Cell::Count(request.counts.attempt_count),
            Cell::lost(request),
            Cell::quantile(request, "p50"),
            Cell::quantile(request, "p95"),
            Cell::span(request.summary.max_ns),
            largest.map_or(Cell::Absent, |(part, share)| Cell::text(told(part, share))),
        ]);
    }
    table
}

/// The known parts of the time of a path, the largest first.
fn parts(run: &Run, path: &str) -> Vec<(Part, f64)> {
    let mut known: Vec<(Part, f64)> =
        ALL.into_iter().filter_map(|part| Some((part, share(run, path, part)?))).collect();
    known.sort_by(|a, b| b.1.total_cmp(&a.1));
    known
}

fn told(part: Part, share: f64) -> String {
    let per_cent = if share > 0.0 && share < 0.01 { "under 1".to_owned() } else { format!("{:.0}", share * 100.0) };
    format!("{per_cent} % {}", part.name())
}

fn answer(run: &Run, asked: &[&Series]) -> Answer {
    let answered = asked.iter().filter(|request| request.counts.ok_count > 0);
    let Some(slowest) = answered.max_by_key(|request| request.summary.mean_ns) else {
        let attempts: u64 = asked.iter().map(|request| request.counts.attempt_count).sum();
        return Answer::new(format!("No request was served, of {}.", count(attempts)));
    };
    let whole = slowest.summary.p50_ns.or(slowest.summary.mean_ns).map_or_else(String::new, duration);
    let p95 = slowest.summary.p95_ns.map_or_else(String::new, |p95| format!(" (p95 {})", duration(p95)));
    let what = if asked.len() > 1 { format!("A request of {}", path(slowest)) } else { "A request".to_owned() };
    let known = parts(run, path(slowest));
    // Whether etcd is at fault is what people ask, so it is said also where it is not.
    let is_told = |(at, (part, share)): &(usize, &(Part, f64))| *at < NAMED && *share > 0.0 || *part == Part::Etcd;
    let shares: Vec<String> =
        known.iter().enumerate().filter(is_told).map(|(_, (part, share))| told(*part, *share)).collect();
    let shares = if shares.is_empty() { String::new() } else { format!(": {}", shares.join(", ")) };
    let answer = Answer::new(format!("{what} takes {whole}{p95}{shares}."));
    let answer = match errors(asked) {
        Some(text) => answer.and(text),
        None => answer,
    };
    let is_its = |finding: &&Finding| finding.id == SPLIT && finding.text.starts_with(&format!("{} ", path(slowest)));
    answer.advised(run.findings.iter().find(is_its).and_then(|finding| finding.advice.as_ref()))
}

/// What was not served.
fn errors(asked: &[&Series]) -> Option<String> {
    let unanswered: u64 = asked.iter().map(|request| request.counts.unanswered_count()).sum();
    let all: u64 = asked.iter().map(|request| request.counts.attempt_count).sum();
    (unanswered > 0).then(|| format!("{} of {} requests were not answered.", count(unanswered), count(all)))
}
