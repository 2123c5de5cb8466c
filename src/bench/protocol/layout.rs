//! A run of `bench protocol` as people read it: which protocol for which job, then all of them side by side.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::figure::{count, duration};
use crate::model::layout::{
    Answer, Block, Cell, Column, Histogram, Note, Table, findings, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Run, Series};

/// Mean latency and rate that were published (mission, protocol choice), by protocol.
const PUBLISHED: [(&str, &str); 2] = [("grpc", "5 ms, 12,000/s"), ("websocket", "8 ms, 8,500/s")];

/// Series at a rate: what is not as it should be is told of these. Faults are meant to hurt.
const LOADED: [&str; 3] = ["protocol.heartbeat", "protocol.report", "protocol.cold"];

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let beats: Vec<&Series> = of(run, "protocol.heartbeat").collect();
    let columns = beats.iter().map(|series| (series.label("protocol").to_owned(), Cow::Borrowed(*series)));
    let mut notes =
        notes_on(&run.responses().filter(|series| LOADED.contains(&series.name.as_str())).collect::<Vec<_>>());
    notes.extend(findings(run, &[]));
    if run.spec.get("target").is_none_or(Value::is_null) {
        notes.push(Note::new("note", "both ends share this host: there is no distance in these figures"));
    }
    notes.extend(faults_told(run));
    notes.extend(too_few(&beats).into_iter().take(1));
    Layout {
        subject: subject(run),
        answer: answer(run, &beats),
        blocks: vec![
            Block::Table(table(run, &beats)),
            Block::Histogram(Histogram { title: "heartbeat".to_owned(), columns: columns.collect() }),
        ],
        detail: vec![Block::Table(reports(run)), Block::Table(faults(run))],
        notes,
        ..Layout::default()
    }
}

fn of<'a>(run: &'a Run, name: &'a str) -> impl Iterator<Item = &'a Series> + use<'a> {
    run.series.iter().filter(move |series| series.name == name)
}

fn subject(run: &Run) -> Vec<String> {
    let target = run.spec.get("target").and_then(Value::as_str).map(str::to_owned);
    target.into_iter().chain(load_text(&run.spec)).collect()
}

fn scalar(run: &Run, name: &str, protocol: &str) -> Option<f64> {
    run.value(name, &Labels::new().with("protocol", protocol))
}

/// The series of a protocol; of reports that of the most containers.
fn find<'a>(run: &'a Run, name: &'a str, protocol: &str) -> Option<&'a Series> {
    of(run, name)
        .filter(|series| series.label("protocol") == protocol)
        .max_by_key(|series| series.label("containers").parse::<u64>().unwrap_or_default())
}

fn answer(run: &Run, beats: &[&Series]) -> Answer {
    let mean = |series: &&&Series| series.summary.mean_ns;
    // A cluster is no way to one server: it agrees, and says so beside the others.
    let beats: Vec<&Series> = beats.iter().copied().filter(|series| series.label("protocol") != "raft").collect();
    let Some(first) = beats.iter().filter(|series| mean(series).is_some()).min_by_key(mean) else {
        if let Some(commit) = find(run, "protocol.report", "raft").and_then(|series| series.summary.mean_ns) {
            return Answer::new(format!("Three members of raft commit a report in {} (mean).", duration(commit)));
        }
        return Answer::new("No heartbeat was receipted.");
    };
    let word = first.label("protocol");
    let took = duration(first.summary.mean_ns.unwrap_or_default());
    let mut answer = Answer::new(format!("For heartbeats take {word}: {took} a receipt (mean)."));
    let rates = beats.iter().filter_map(|series| Some((series.label("protocol"), rate(run, series)?)));
    if let Some((fastest, most)) = rates.max_by(|(_, a), (_, b)| a.total_cmp(b)) {
        answer = answer.and(format!("Most messages go over {fastest}: {}/s.", count(most.round() as u64)));
    }
    let cold = find(run, "protocol.cold", word).and_then(|series| series.summary.mean_ns);
    if let Some(cold) = cold {
        answer = answer.and(format!("A new connection costs {}: keep it.", duration(cold)));
    }
    match find(run, "protocol.report", "raft").and_then(|series| series.summary.mean_ns) {
        Some(commit) => answer.and(format!("What three must agree on takes {} over raft.", duration(commit))),
        None => answer,
    }
}

/// What a silent peer, a cut and the loss of a leader cost, in a line each.
fn faults_told(run: &Run) -> Vec<Note> {
    let mut notes = Vec::new();
    let most = |name: &str, is: &dyn Fn(&str) -> bool| {
        let of = of(run, name).filter(|series| is(series.label("protocol")));
        of.filter_map(|series| series.summary.max_ns).max()
    };
    let keepalive = run.spec.get("keepalive_ns").and_then(Value::as_u64);
    if let Some((worst, keepalive)) = most("protocol.silent_peer", &|protocol| protocol != "http1").zip(keepalive) {
        let http1 = most("protocol.silent_peer", &|protocol| protocol == "http1");
        let http1 = http1.map(|took| format!("; http1 by the timeout of a message, {}", duration(took)));
        notes.push(Note::new(
            "silent peer",
            format!(
                "noticed in {} at most, with a keepalive of {}{}",
                duration(worst),
                duration(keepalive),
                http1.unwrap_or_default()
            ),
        ));
    }
    if let Some(worst) = most("protocol.cut", &|_| true) {
        let sum = |name: &str| {
            run.scalars.iter().filter(|scalar| scalar.name == name).filter_map(|scalar| scalar.value).sum::<f64>()
        };
        let (again, twice) = (sum("protocol.sent_again"), sum("protocol.duplicated"));
        notes.push(Note::new(
            "cut",
            format!(
                "the next receipt came within {}; {again} heartbeats were sent again, {twice} arrived twice",
                duration(worst)
            ),
        ));
    }
    if let Some(series) = of(run, "protocol.election").next()
        && let (Some(mean), Some(max)) = (series.summary.mean_ns, series.summary.max_ns)
    {
        notes.push(Note::new(
            "election",
            format!(
                "after the loss of its leader raft had none for {} (mean of {}), {} at most",
                duration(mean),
                series.counts.ok_count,
                duration(max)
            ),
        ));
    }
    notes
}

/// Bytes and faults by protocol.
fn faults(run: &Run) -> Table {
    let mut table = Table::new(vec![
        Column::name("fault of"),
        Column::figure("bytes a heartbeat"),
        Column::figure("silent peer"),
        Column::figure("cut to receipt"),
        Column::figure("longest gap"),
        Column::figure("sent again"),
        Column::figure("twice"),
    ]);
    for series in of(run, "protocol.heartbeat") {
        let word = series.label("protocol");
        let mean = |name: &str| Cell::span(find(run, name, word).and_then(|series| series.summary.mean_ns));
        let number =
            |name: &str| scalar(run, name, word).map_or(Cell::Blank, |value| Cell::Count(value.round() as u64));
        table.push(vec![
            Cell::text(word),
            number("protocol.heartbeat_bytes"),
            mean("protocol.silent_peer"),
            mean("protocol.cut"),
            Cell::span_of(scalar(run, "protocol.cut_gap", word)),
            number("protocol.sent_again"),
            number("protocol.duplicated"),
        ]);
    }
    table
}

fn rate(run: &Run, series: &Series) -> Option<f64> {
    scalar(run, "protocol.highest_rate", series.label("protocol"))
}

fn table(run: &Run, beats: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("protocol"),
        Column::figure("lost"),
        Column::figure("mean"),
        Column::figure("p50"),
        Column::figure("p99"),
        Column::figure("report"),
        Column::figure("cold"),
        Column::figure("most/s"),
        Column::extra("bytes", 1),
        Column::extra("CPU here", 2),
        Column::extra("CPU there", 2),
        Column::extra("published", 3),
    ]);
    for series in beats {
        let word = series.label("protocol");
        let mean = |name: &str| Cell::span(find(run, name, word).and_then(|series| series.summary.mean_ns));
        let published = PUBLISHED.iter().find(|(protocol, _)| *protocol == word);
        table.push(vec![
            Cell::text(word),
            Cell::lost(series),
            Cell::span(series.summary.mean_ns),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p99"),
            mean("protocol.report"),
            mean("protocol.cold"),
            rate(run, series).map_or(Cell::Blank, |rate| Cell::Count(rate.round() as u64)),
            scalar(run, "protocol.heartbeat_bytes", word)
                .map_or(Cell::Blank, |bytes| Cell::Count(bytes.round() as u64)),
            Cell::span_of(scalar(run, "protocol.client_cpu", word)),
            Cell::span_of(scalar(run, "protocol.server_cpu", word)),
            published.map_or(Cell::Blank, |(_, text)| Cell::text(*text)),
        ]);
    }
    table
}

/// Reports by their size.
fn reports(run: &Run) -> Table {
    let mut table = Table::new(vec![
        Column::name("report over"),
        Column::name("containers"),
        Column::figure("n"),
        Column::figure("lost"),
        Column::figure("mean"),
        Column::figure("p50"),
        Column::figure("p99"),
    ]);
    for series in of(run, "protocol.report") {
        table.push(vec![
            Cell::text(series.label("protocol")),
            Cell::text(series.label("containers")),
            Cell::Count(series.counts.attempt_count),
            Cell::lost(series),
            Cell::span(series.summary.mean_ns),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p99"),
        ]);
    }
    table
}
