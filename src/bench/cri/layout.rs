//! A run of `bench cri` as people read it: how late a relist knows, beside the formula, and what can be set.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use super::spec::EVENTS;
use crate::model::figure::{count, duration, limit, significant};
use crate::model::layout::{
    Answer, Block, Cell, Column, Histogram, Note, Table, findings, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Run, Series};

/// What a kubelet has: the constant between two relists, and what it is with the gate EventedPLEG
/// (`genericPlegRelistPeriod` and `eventedPlegRelistPeriod` in pkg/kubelet/kubelet.go).
const KUBELET: &str = "relist=1s";

/// What was published (mission: kubelet and CRI cadence).
const PUBLISHED: &str = "published, not measured: syncFrequency from its default of 1 min to 30 s. It only bounds how long a lost event costs; no \
     start and no end is known sooner by it";

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let levels = levels(run);
    let top = levels.last().copied().unwrap_or_default();
    let shown: Vec<&Series> = run.series.iter().filter(|series| series.name == "cri.detection").collect();
    let watchers = watchers(run, top);
    let columns = watchers
        .iter()
        .filter_map(|word| Some(((*word).to_owned(), Cow::Borrowed(detection(run, word, "start", top)?))));
    let mut notes = notes_on(&run.responses().filter(|series| series.name == "cri.launch").collect::<Vec<_>>());
    notes.extend(findings(run, &[]));
    notes.push(Note::new("published", PUBLISHED));
    notes.extend(too_few(&shown).into_iter().take(1));
    Layout {
        subject: subject(run),
        answer: answer(run, top),
        blocks: vec![
            Block::Table(table(run, &levels)),
            Block::Histogram(Histogram {
                title: format!("start known after, beside {top} containers"),
                columns: columns.collect(),
            }),
        ],
        detail: vec![Block::Table(lists(run, &levels))],
        notes,
        ..Layout::default()
    }
}

/// The numbers of containers, fewest first.
fn levels(run: &Run) -> Vec<&str> {
    let mut all: Vec<&str> =
        run.series.iter().filter(|series| series.name == "cri.list").map(|series| series.label("containers")).collect();
    all.sort_by_key(|text| text.parse::<u64>().unwrap_or(u64::MAX));
    all.dedup();
    all
}

/// The watchers at one of them, in the order of the run.
fn watchers<'a>(run: &'a Run, level: &str) -> Vec<&'a str> {
    let of_level = run.series.iter().filter(|series| is_detection(series, "start", level));
    of_level.map(|series| series.label("watcher")).collect()
}

fn is_detection(series: &Series, event: &str, level: &str) -> bool {
    series.name == "cri.detection" && series.label("event") == event && series.label("containers") == level
}

fn detection<'a>(run: &'a Run, watcher: &str, event: &str, level: &str) -> Option<&'a Series> {
    run.series.iter().find(|series| is_detection(series, event, level) && series.label("watcher") == watcher)
}

fn scalar(run: &Run, name: &str, watcher: &str, level: &str) -> Option<f64> {
    run.value(name, &Labels::new().with("watcher", watcher).with("containers", level))
}

fn of_level(run: &Run, name: &str, level: &str) -> Option<f64> {
    run.value(name, &Labels::new().with("containers", level))
}

fn list<'a>(run: &'a Run, level: &str) -> Option<&'a Series> {
    run.series.iter().find(|series| series.name == "cri.list" && series.label("containers") == level)
}

fn subject(run: &Run) -> Vec<String> {
    let socket = run.spec.get("cri_socket").and_then(Value::as_str).map(str::to_owned);
    let load = load_text(&run.spec).map(|load| load.replace("attempts", "lives"));
    let alive = run.spec.get("alive_ns").and_then(Value::as_u64).map(|alive| format!("of {}", limit(alive)));
    socket.into_iter().chain(load).chain(alive).collect()
}

fn answer(run: &Run, top: &str) -> Answer {
    let known = |watcher: &str| detection(run, watcher, "start", top).and_then(|series| series.summary.mean_ns);
    let mut answer = match known(KUBELET) {
        Some(mean) => {
            let worst = scalar(run, "cri.predicted_worst", KUBELET, top).unwrap_or_default();
            Answer::new(format!(
                "A kubelet, which relists each second, knows of a start {} after it, {} at worst.",
                duration(mean),
                duration(worst as u64)
            ))
        }
        None => match watchers(run, top).first().and_then(|first| Some((first, known(first)?))) {
            Some((first, mean)) => Answer::new(format!("{first} knows of a start {} after it (mean).", duration(mean))),
            None => Answer::new("No watcher told of anything."),
        },
    };
    if let Some(mean) = known(EVENTS) {
        answer = answer.and(format!("By events it would be {}.", duration(mean)));
    }
    if let Some(growth) = growth(run) {
        answer = answer.and(growth);
    }
    answer.and(
        "What can be set: not the second, which is a constant of the kubelet; its gate EventedPLEG (off by default) takes the \
         runtime's events and relists each 300 s.",
    )
}

/// What more containers cost.
fn growth(run: &Run) -> Option<String> {
    let levels = levels(run);
    let (few, many) = (levels.first()?, levels.last()?);
    let mean = |level: &str| list(run, level).and_then(|series| series.summary.mean_ns);
    let share = scalar(run, "cri.relist_cores", KUBELET, many).map(|cores| {
        format!(", and a relist each second keeps {} % of a core of the runtime busy", significant(cores * 100.0))
    });
    let share = share.unwrap_or_default();
    let many_ns = mean(many)?;
    Some(match few == many {
        true => format!("The lists of {many} containers take {}{share}.", duration(many_ns)),
        false => format!(
            "The lists take {} with {few} containers and {} with {many}{share}.",
            duration(mean(few)?),
            duration(many_ns)
        ),
    })
}

/// A row a watcher at each number of containers, with the formula beside what was measured.
fn table(run: &Run, levels: &[&str]) -> Table {
    let mut table = Table::new(vec![
        Column::name("containers"),
        Column::name("known by"),
        Column::figure("start mean"),
        Column::figure("formula"),
        Column::extra("start max", 2),
        Column::extra("at worst", 2),
        Column::figure("exit mean"),
        Column::extra("exit max", 3),
        Column::figure("missed"),
        Column::extra("runtime's CPU", 1),
        Column::extra("our CPU", 4),
    ]);
    for level in levels {
        for watcher in watchers(run, level) {
            let of = |event: &str| detection(run, watcher, event, level);
            let mean = |event: &str| Cell::span(of(event).and_then(|series| series.summary.mean_ns));
            let most = |event: &str| Cell::span(of(event).and_then(|series| series.summary.max_ns));
            let formula = |name: &str| match scalar(run, name, watcher, level) {
                None if watcher == EVENTS => Cell::Blank,
                value => Cell::span_of(value),
            };
            let cores = |name: &str| match scalar(run, name, watcher, level) {
                None if watcher == EVENTS => Cell::Blank,
                None => Cell::Absent,
                Some(cores) => Cell::text(format!("{} %", significant(cores * 100.0))),
            };
            table.push(vec![
                Cell::text(*level),
                Cell::text(watcher),
                mean("start"),
                formula("cri.predicted_mean"),
                most("start"),
                formula("cri.predicted_worst"),
                mean("exit"),
                most("exit"),
                scalar(run, "cri.missed", watcher, level).map_or(Cell::Absent, |n| Cell::Count(n as u64)),
                cores("cri.relist_cores"),
                cores("cri.watcher_cpu"),
            ]);
        }
    }
    table.without_empty_columns()
}

/// What the lists take.
fn lists(run: &Run, levels: &[&str]) -> Table {
    let mut table = Table::new(vec![
        Column::name("containers"),
        Column::figure("lists"),
        Column::figure("mean"),
        Column::figure("p95"),
        Column::figure("max"),
        Column::figure("runtime's CPU for one"),
    ]);
    for level in levels {
        let Some(series) = list(run, level) else { continue };
        table.push(vec![
            Cell::text(*level),
            Cell::text(count(series.counts.ok_count)),
            Cell::span(series.summary.mean_ns),
            Cell::quantile(series, "p95"),
            Cell::span(series.summary.max_ns),
            Cell::span_of(of_level(run, "cri.relist_cpu", level)),
        ]);
    }
    table.titled("the two lists of a relist")
}
