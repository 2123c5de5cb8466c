//! A run of `bench etcd` as people read it: what the cluster takes, what holds it back, what its members say of themselves.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use super::evaluate::{BACKEND_COMMIT_LIMIT_NS, WAL_FSYNC_LIMIT_NS};
use crate::model::figure::{bytes, count, duration, limit};
use crate::model::layout::{
    Answer, Block, Cell, Column, Histogram, Names, Note, Table, capitalised, findings, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Run, Series};

/// The verdict, which is the answer and stands nowhere else.
const VERDICT: &str = "etcd_verdict";

/// How often a node renews its lease: the kubelet's own interval (nodeLeaseDurationSeconds 40 s, of which a quarter).
const RENEWED_EACH_S: u64 = 10;

/// Rows that a default report shows; a long list is for `--detail`.
const MOST_ROWS: usize = 24;

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let rows: Vec<&Series> = run.responses().filter(|series| series.name.starts_with("etcd.")).collect();
    let names = Names::of(&rows);
    let mut notes = notes_on(&rows);
    notes.extend(disks(run));
    notes.extend(findings(run, &[VERDICT, "etcd_watch_order"]));
    notes.extend(too_few(&rows));
    let (shown, rest) = rows.split_at(rows.len().min(MOST_ROWS));
    if !rest.is_empty() {
        notes.push(Note::new("…", format!("{} more rows with --detail", rest.len())));
    }
    let mut blocks = vec![Block::Table(table(run, shown, &names))];
    blocks.extend(servers(run).map(Block::Table));
    blocks.push(Block::Histogram(picture(&rows, &names)));
    Layout {
        banner: None,
        subject: subject(run, &names),
        answer: answer(run, &rows, &names),
        blocks,
        detail: (!rest.is_empty()).then(|| Block::Table(table(run, rest, &names))).into_iter().collect(),
        notes,
    }
}

/// The operation of a series.
fn operation(series: &Series) -> &str {
    series.name.strip_prefix("etcd.").unwrap_or(&series.name)
}

fn throughput(run: &Run, series: &Series) -> Option<f64> {
    run.value(&format!("{}.throughput", series.name), &series.labels)
}

fn subject(run: &Run, names: &Names) -> Vec<String> {
    let endpoints = run.spec.get("endpoints").and_then(Value::as_array).filter(|all| !all.is_empty());
    let endpoints = endpoints.map(|all| {
        all.iter().filter_map(Value::as_str).map(|url| url.trim_end_matches('/')).collect::<Vec<_>>().join(",")
    });
    let load = load_text(&run.spec).map(|load| match run.spec.get("clients").and_then(Value::as_array) {
        // Each row has clients of its own.
        Some(clients) if clients.len() > 1 => {
            format!("{} a row", load.split_once(", ").map_or(load.as_str(), |(length, _)| length))
        }
        _ => load,
    });
    let shared: Vec<String> = names.shared().iter().filter_map(|(name, value)| shared_text(name, value)).collect();
    endpoints.into_iter().chain(load).chain((!shared.is_empty()).then(|| shared.join(", "))).collect()
}

fn shared_text(name: &str, value: &str) -> Option<String> {
    match (name, value) {
        ("value_size", size) => Some(format!("values of {}", size.parse().map_or_else(|_| size.to_owned(), bytes))),
        ("batch", "1") => None,
        ("clients", n) => Some(format!("{n} clients")),
        ("leases", n) => Some(format!("{n} leases")),
        (name, value) => Some(format!("{name} {value}")),
    }
}

fn answer(run: &Run, rows: &[&Series], names: &Names) -> Answer {
    let keys = |series: &&&Series| {
        let puts = run.value("etcd.put.keys", &series.labels).filter(|_| series.name == "etcd.put");
        puts.or_else(|| throughput(run, series)).unwrap_or(0.0)
    };
    // A lease is granted once and kept alive for ever.
    let told = ["etcd.put", "etcd.lease_keepalive"].map(|name| of_name(rows, name));
    let rows = told.iter().find(|rows| !rows.is_empty()).map_or(rows, Vec::as_slice);
    let Some(best) = rows.iter().max_by(|a, b| keys(a).total_cmp(&keys(b))).filter(|best| keys(best) > 0.0) else {
        let is_served = rows.iter().any(|series| series.counts.ok_count > 0);
        return Answer::new(if is_served { "" } else { "No request was answered." });
    };
    let told = names.tell(best);
    let at = match told.is_empty() {
        true => best.labels.value("clients").map_or_else(String::new, |n| format!(" with {n} client{}", plural(n))),
        false => format!(" with {told}"),
    };
    let p95 = best.summary.p95_ns.map_or_else(String::new, |p95| format!(", each in {} (p95)", duration(p95)));
    let noun = match operation(best) {
        "put" => "puts",
        "range" => "reads",
        "lease_keepalive" => "keepalives",
        "lease_grant" => "leases",
        _ => "events",
    };
    let what = format!("{} {noun}/s{at}{p95}.", count(keys(&best).round() as u64));
    let answer = Answer::new(what);
    let answer = match noun {
        "keepalives" => answer.and(format!(
            "That is what {} nodes ask which renew their lease each {RENEWED_EACH_S} s.",
            count((keys(&best) * RENEWED_EACH_S as f64).round() as u64)
        )),
        _ => answer,
    };
    match run.findings.iter().find(|finding| finding.id == VERDICT) {
        Some(verdict) => answer.and(format!("{}.", capitalised(&verdict.text))).advised(verdict.advice.as_ref()),
        None => answer,
    }
}

fn of_name<'a>(rows: &[&'a Series], name: &str) -> Vec<&'a Series> {
    rows.iter().filter(|series| series.name == name).copied().collect()
}

fn plural(n: &str) -> &'static str {
    if n == "1" { "" } else { "s" }
}

/// A row a measurement, its settings in columns of their own.
fn table(run: &Run, rows: &[&Series], names: &Names) -> Table {
    let has_names = rows.windows(2).any(|pair| pair[0].name != pair[1].name);
    let settings: Vec<&String> = names.differing().iter().collect();
    let mut columns: Vec<Column> = has_names.then(|| Column::name("operation")).into_iter().collect();
    columns.extend(settings.iter().map(|name| match name.as_str() {
        "value_size" => Column::figure("value B"),
        "setting" | "consistency" | "workload" => Column::name(name.as_str()),
        name => Column::figure(name),
    }));
    columns.sort_by_key(|column| !column.is_name);
    columns.extend([
        Column::figure("requests/s"),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("p99", 1),
        Column::extra("max", 2),
        Column::figure("lost"),
        Column::extra("predicted floor", 3),
    ]);
    let heads: Vec<String> = columns.iter().map(|column| column.head.clone()).collect();
    let mut table = Table::new(columns);
    for series in rows {
        let cell = |head: &String| match head.as_str() {
            "operation" => Cell::text(operation(series)),
            "requests/s" => throughput(run, series).map_or(Cell::Absent, |n| Cell::Count(n.round() as u64)),
            "p50" | "p95" | "p99" => Cell::quantile(series, head),
            "max" => Cell::span(series.summary.max_ns),
            "lost" => Cell::lost(series),
            "predicted floor" => Cell::span_of(run.value("etcd.put.floor", &series.labels)),
            "value B" => Cell::text(series.labels.value("value_size").unwrap_or_default()),
            name => Cell::text(series.labels.value(name).unwrap_or_default()),
        };
        table.push(heads.iter().map(cell).collect());
    }
    table.without_empty_columns()
}

/// What each member says of itself, beside etcd's own limits.
fn servers(run: &Run) -> Option<Table> {
    let mut members: Vec<&Labels> = Vec::new();
    for scalar in run.scalars.iter().filter(|scalar| scalar.name.starts_with("etcd.server.")) {
        if !members.contains(&&scalar.labels) {
            members.push(&scalar.labels);
        }
    }
    let mut table = Table::new(vec![Column::name("server"), Column::name("says of itself")]);
    for labels in members {
        let of = |name: &str| run.value(&format!("etcd.server.{name}"), labels);
        let span = |ns: f64| duration(ns.round() as u64);
        let disk = |what: &str, name: &str, most: f64| {
            let mean = of(&format!("{name}_mean")).map(|mean| format!("{what} mean {}", span(mean)));
            let p99 = of(&format!("{name}_p99_upper"));
            let p99 = p99.map(|p99| format!("p99 below {} (limit {})", limit(p99.round() as u64), limit(most as u64)));
            let both: Vec<String> = mean.into_iter().chain(p99).collect();
            (!both.is_empty()).then(|| both.join(", "))
        };
        let counted = |what: &str, name: &str| of(name).map(|n| format!("{what} {}", count(n.round() as u64)));
        let size = of("db_size_bytes").map(|size| {
            let quota = of("quota_bytes").map_or_else(String::new, |quota| format!(" of {}", bytes(quota as u64)));
            format!("database {}{quota}", bytes(size as u64))
        });
        let parts = [
            disk("WAL fsync", "wal_fsync", WAL_FSYNC_LIMIT_NS),
            disk("commit", "backend_commit", BACKEND_COMMIT_LIMIT_NS),
            counted("leader changes", "leader_changes"),
            counted("slow applies", "slow_applies"),
            size,
            of("cpu_cores").map(|cores| format!("{cores:.2} cores")),
        ];
        let said: Vec<String> = parts.into_iter().flatten().collect();
        if !said.is_empty() {
            // The setting before the endpoint.
            let mut values: Vec<&str> = labels.iter().map(|(_, value)| value).collect();
            values.reverse();
            let name = values.join(" ");
            table.push(vec![Cell::text(name), Cell::text(said.join(" · "))]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// How long one synced write takes in each folder.
fn disks(run: &Run) -> impl Iterator<Item = Note> {
    let all = run.series.iter().filter(|series| series.name == "disk.fdatasync");
    all.filter_map(|series| {
        let folder = series.labels.iter().map(|(_, value)| value).collect::<Vec<_>>().join(" ");
        let p99 = series.summary.p99_ns.map_or_else(String::new, |p99| format!(", p99 {}", duration(p99)));
        let text = format!("a synced write in {folder} takes {} (p50){p99}", duration(series.summary.p50_ns?));
        Some(Note::new("disk", text))
    })
}

fn picture<'a>(rows: &[&'a Series], names: &Names) -> Histogram<'a> {
    let is_once = |series: &&&Series| series.name == "etcd.lease_grant";
    let first = rows.iter().find(|series| !is_once(series)).or_else(|| rows.first());
    let first = first.map(|series| series.name.as_str()).unwrap_or_default();
    let of = rows.iter().filter(|series| series.name == first);
    let columns = of.map(|series| (names.tell(series), Cow::Borrowed(*series))).collect();
    Histogram { title: first.to_owned(), columns }
}
