//! A run of `trace` as people read it: where the time of a change goes, hop by hop.
//!
//! Pure: a stored, a merged and a fresh run look alike.

use std::borrow::Cow;

use serde_json::Value;

use super::hops::Hop;
use crate::model::figure::duration;
use crate::model::layout::{
    Answer, Bar, Block, Cell, Column, Histogram, Table, Waterfall, findings, load_text, notes_on, too_few,
};
use crate::model::{Labels, Layout, Run, Series};

/// Shares of the way that the answer names.
const NAMED: usize = 3;

/// Below this share a part is not worth a name in the answer.
const WORTH_A_NAME: f64 = 0.02;

/// Below this share a part is no bar of its own where several settings stand below each other.
const WORTH_A_BAR: f64 = 0.01;

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let totals: Vec<&Series> = run.series.iter().filter(|series| series.name == "trace.total").collect();
    let mut notes = notes_on(&totals);
    notes.extend(findings(run, &[]));
    notes.extend(too_few(&totals));
    let are_several = totals.len() > 1;
    let waterfalls = |is_short: bool| {
        totals.iter().map(move |total| {
            let whole = waterfall(run, setting_of(total));
            Block::Waterfall(if is_short { shortened(whole) } else { whole })
        })
    };
    let table = match totals.as_slice() {
        [_] => hops(run),
        _ => side_by_side(run, &totals),
    };
    let mut detail: Vec<Block<'_>> = totals.iter().map(|total| Block::Table(slowest(run, setting_of(total)))).collect();
    let columns =
        totals.iter().map(|total| (setting_of(total).unwrap_or("a change").to_owned(), Cow::Borrowed(*total)));
    detail.extend(waterfalls(false).filter(|_| are_several));
    detail.push(Block::Histogram(Histogram { title: "whole way".to_owned(), columns: columns.collect() }));
    Layout {
        subject: subject(run),
        answer: answer(run, &totals),
        blocks: [Block::Table(table)].into_iter().chain(waterfalls(are_several)).collect(),
        detail,
        notes,
        ..Layout::default()
    }
}

fn setting_of(series: &Series) -> Option<&str> {
    series.labels.value("setting")
}

fn labels(setting: Option<&str>, hop: &str) -> Labels {
    super::assemble::labels(setting).with("hop", hop)
}

fn mean(run: &Run, setting: Option<&str>, hop: &str) -> Option<f64> {
    run.value("trace.mean", &labels(setting, hop))
}

fn hop<'a>(run: &'a Run, setting: Option<&str>, hop: Hop) -> Option<&'a Series> {
    run.find("trace.hop", &labels(setting, hop.name()))
}

fn subject(run: &Run) -> Vec<String> {
    let text = |key: &str| run.spec.pointer(key).and_then(Value::as_str).map(str::to_owned);
    let gateway = text("/gateway/url").unwrap_or_else(|| "a gateway of our own".to_owned());
    let agent = text("/node").map_or_else(|| "an agent of our own".to_owned(), |node| format!("the agent of {node}"));
    let load = load_text(&run.spec).map(|load| load.replace("attempts", "changes"));
    let settings = run.spec.get("settings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let one = match settings {
        [one] => {
            let word = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(format!("source {}, store {}", word("source"), word("store")))
        }
        _ => None,
    };
    [Some(agent), Some(gateway), one, load].into_iter().flatten().collect()
}

/// The parts of the way by their means, the largest first; what is unexplained is one of them.
fn parts(run: &Run, setting: Option<&str>) -> Vec<(&'static str, f64)> {
    let named = Hop::ALL.into_iter().map(Hop::name).chain(["unexplained"]);
    let mut all: Vec<(&str, f64)> = named.filter_map(|hop| Some((hop, mean(run, setting, hop)?))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn answer(run: &Run, totals: &[&Series]) -> Answer {
    let middle = |series: &Series| series.summary.p50_ns.or(series.summary.mean_ns);
    let mut known: Vec<(&Series, u64)> = totals.iter().filter_map(|total| Some((*total, middle(total)?))).collect();
    known.sort_by_key(|(_, ns)| *ns);
    let Some(((best, best_ns), rest)) = known.split_first() else {
        return Answer::new("No change arrived at the subscriber.");
    };
    if totals.len() > 1 {
        let name = |series: &Series| setting_of(series).unwrap_or("?").to_owned();
        let mut answer = Answer::new(format!("{} is fastest: a change takes {}.", name(best), duration(*best_ns)));
        for (series, ns) in rest {
            answer = answer.and(format!("{}: {}.", name(series), duration(*ns)));
        }
        return answer;
    }
    let p95 = best.summary.p95_ns.map(|ns| format!(" (p95 {})", duration(ns))).unwrap_or_default();
    let total = mean(run, None, "total").filter(|total| *total > 0.0);
    let all = parts(run, None);
    let share = |ns: f64| total.map_or(0.0, |total| ns / total);
    let named = all.iter().filter(|(_, ns)| share(*ns) >= WORTH_A_NAME).take(NAMED);
    let named: Vec<String> = named.map(|(hop, ns)| format!("{:.0} % {hop}", share(*ns) * 100.0)).collect();
    let answer = Answer::new(format!("A change takes {}{p95}: {}.", duration(*best_ns), named.join(", ")));
    match all.first() {
        Some((largest, _)) => decided(run, largest, answer),
        None => answer,
    }
}

/// With what governs the largest part.
fn decided(run: &Run, largest: &str, answer: Answer) -> Answer {
    let source = run.spec.pointer("/settings/0/source").and_then(Value::as_str).unwrap_or_default();
    let (text, check) = match largest {
        "kernel" if source == "ebpf" => {
            ("Starting a process is this host's own work; no setting on the way changes it.", None)
        }
        "kernel" | "runtime" => {
            ("Starting a container is the runtime's own work; no setting on the way changes it.", None)
        }
        "event" if source.starts_with("poll=") => (
            "The agent lists instead of listening: let it watch events.",
            Some(format!("offloadctl trace --compare source=docker,{source}")),
        ),
        "agent" => ("The agent holds a change for 5 ms, so that others can join its frame.", None),
        "wire" | "subscriber" => ("The network and TLS decide; `offloadctl probe rtt` measures them alone.", None),
        "store" => (
            "Durability decides: a faster disk below --data-dir helps.",
            Some("offloadctl trace --compare store=memory,embedded".to_owned()),
        ),
        "unexplained" => ("Parts that took no stamps decide: see the warnings.", None),
        _ => return answer,
    };
    answer.and(text).checked_by(check)
}

/// One setting: a row a hop.
fn hops(run: &Run) -> Table {
    let mut table = Table::new(vec![
        Column::name("hop"),
        Column::name("what happens"),
        Column::figure("p50"),
        Column::figure("p95"),
        Column::extra("p99", 2),
        Column::extra("max", 1),
        Column::figure("share of the mean"),
    ]);
    let total = mean(run, None, "total");
    let share = |name: &str| match (mean(run, None, name), total) {
        (Some(ns), Some(total)) if total > 0.0 => Cell::Share(ns / total),
        _ => Cell::Absent,
    };
    let mut row = |name: &str, about: &str, series: Option<&Series>, share: Cell| {
        let Some(series) = series else { return };
        let [p50, p95, p99] = ["p50", "p95", "p99"].map(|word| Cell::quantile(series, word));
        table.push(vec![Cell::text(name), Cell::text(about), p50, p95, p99, Cell::span(series.summary.max_ns), share]);
    };
    for one in Hop::ALL {
        row(one.name(), one.about(), hop(run, None, one), share(one.name()));
    }
    let none = Labels::new();
    row("unexplained", "nobody claims it", run.find("trace.unexplained", &none), share("unexplained"));
    row("whole way", "call to subscriber", run.find("trace.total.service", &none), Cell::Blank);
    table.without_empty_columns()
}

/// Several settings: a column each.
fn side_by_side(run: &Run, totals: &[&Series]) -> Table {
    let names = totals.iter().map(|total| Column::figure(setting_of(total).unwrap_or("?")));
    let mut table = Table::new([Column::name("mean of")].into_iter().chain(names).collect());
    let named = Hop::ALL.into_iter().map(Hop::name).chain(["unexplained", "total"]);
    for name in named {
        let cells: Vec<Cell> = totals.iter().map(|total| Cell::span_of(mean(run, setting_of(total), name))).collect();
        // A hop that no setting has is no row; one that this setting has not is blank.
        if cells.iter().any(|cell| *cell != Cell::Absent) {
            let cells = cells.into_iter().map(|cell| if cell == Cell::Absent { Cell::Blank } else { cell });
            let name = if name == "total" { "whole way" } else { name };
            table.push([Cell::text(name)].into_iter().chain(cells).collect());
        }
    }
    for (word, name) in [("p50", "whole way p50"), ("p99", "whole way p99")] {
        let cells: Vec<Cell> = totals.iter().map(|total| Cell::quantile(total, word)).collect();
        if cells.iter().any(|cell| *cell != Cell::Absent) {
            table.push([Cell::text(name)].into_iter().chain(cells).collect());
        }
    }
    table
}

/// The means below each other, each beginning where those before it end.
fn waterfall(run: &Run, setting: Option<&str>) -> Waterfall {
    let of = setting.map(|setting| format!("{setting}: ")).unwrap_or_default();
    Waterfall { title: format!("{of}mean way of a change"), bars: bars(run, setting) }
}

/// The same with neighbours that nobody would see joined to one bar: the table has them all.
fn shortened(whole: Waterfall) -> Waterfall {
    let total = whole.total();
    let mut bars: Vec<Bar> = Vec::new();
    // The first name of a bar that joins, and whether the last bar is such a one.
    let mut first = None;
    for bar in whole.bars {
        let is_small = bar.ns < total * WORTH_A_BAR;
        match (first.take().filter(|_| is_small), bars.last_mut()) {
            (Some(name), Some(last)) => {
                last.ns += bar.ns;
                last.name = format!("{name} … {}", bar.name);
                first = Some(name);
            }
            _ => {
                first = is_small.then(|| bar.name.clone());
                bars.push(bar);
            }
        }
    }
    Waterfall { bars, ..whole }
}

/// The mean of each part of the way, in its order, with what is unexplained last.
#[must_use]
pub fn bars(run: &Run, setting: Option<&str>) -> Vec<Bar> {
    let named = Hop::ALL.into_iter().map(Hop::name).chain(["unexplained"]);
    named.filter_map(|hop| Some(Bar { name: hop.to_owned(), ns: mean(run, setting, hop)? })).collect()
}

/// The slowest single change in full.
fn slowest(run: &Run, setting: Option<&str>) -> Table {
    let mut table = Table::new(vec![Column::name("hop"), Column::figure("took")]);
    let of = setting.map(|setting| format!("{setting}: ")).unwrap_or_default();
    for name in Hop::ALL.into_iter().map(Hop::name).chain(["unexplained", "total"]) {
        if let Some(ns) = run.value("trace.slowest", &labels(setting, name)) {
            table.push(vec![Cell::text(if name == "total" { "whole way" } else { name }), Cell::span_of(Some(ns))]);
        }
    }
    table.titled(format!("{of}the slowest single change"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_nobody_sees_are_one_bar_and_nothing_is_lost() {
        let of = |parts: &[(&str, f64)]| {
            let bars = parts.iter().map(|(name, ns)| Bar { name: (*name).to_owned(), ns: *ns }).collect();
            let short = shortened(Waterfall { title: String::new(), bars });
            short.bars.into_iter().map(|bar| (bar.name, bar.ns)).collect::<Vec<_>>()
        };
        let told =
            of(&[("kernel", 900.0), ("event", 5.0), ("agent", 85.0), ("wire", 2.0), ("store", 4.0), ("rest", 4.0)]);
        let told: Vec<_> = told.iter().map(|(name, ns)| (name.as_str(), *ns)).collect();
        assert_eq!(told, [("kernel", 900.0), ("event", 5.0), ("agent", 85.0), ("wire … rest", 10.0)]);
        assert!(of(&[]).is_empty());
    }
}
