//! The ways to learn of an act side by side by what was measured of them: how late, what they miss, what they cost whom, and
//! what right each needs.
//!
//! Separate from who was first: a way may be slow and worth it.

use super::{of, scalar};
use crate::model::Run;
use crate::model::figure::significant;
use crate::model::layout::{Cell, Column, Table};

/// Kinds of sources by what their word begins with: the right that they need, and what was published of them (mission: real time,
/// intrusive, privilege).
const KINDS: [(&str, &str, &str); 7] = [
    ("docker", "its group, as good as root", "medium, high, high"),
    ("poll=", "its group, as good as root", "medium, high, high"),
    ("containerd", "root", ""),
    ("poll-containerd=", "root", ""),
    ("cri", "root", ""),
    ("poll-cri=", "root", ""),
    ("ebpf", "CAP_BPF, CAP_PERFMON", "high, low, kernel"),
];

/// A row a source.
pub fn table(run: &Run, name: &str, sources: &[&str]) -> Table {
    let mut table = Table::new(vec![
        Column::name("way"),
        Column::figure("start lag p50"),
        Column::extra("max", 3),
        Column::figure("missed"),
        Column::extra("of", 4),
        Column::figure("our CPU"),
        Column::figure("daemon's CPU"),
        Column::extra("needs", 1),
        Column::extra("published", 2),
    ]);
    for source in sources {
        let lag = of(run, "events.lag", source, "start");
        let kind = KINDS.iter().find(|(word, _, _)| match word.strip_suffix('=') {
            Some(_) => source.starts_with(word),
            None => source == word,
        });
        let cores = |name: &str| {
            scalar(run, name, source)
                .map_or(Cell::Absent, |cores| Cell::text(format!("{} %", significant(cores * 100.0))))
        };
        let told = |text: Option<&str>| text.filter(|text| !text.is_empty()).map_or(Cell::Blank, Cell::text);
        let of_all = run.series.iter().filter(|series| series.name == name && series.label("source") == *source);
        table.push(vec![
            Cell::text(*source),
            lag.map_or(Cell::Absent, |lag| Cell::quantile(lag, "p50")),
            Cell::span(lag.and_then(|lag| lag.summary.max_ns)),
            scalar(run, "events.missed", source).map_or(Cell::Absent, |n| Cell::Count(n as u64)),
            Cell::Count(of_all.map(|series| series.counts.attempt_count).sum()),
            cores("events.watcher_cpu"),
            cores("events.daemon_cpu"),
            told(kind.map(|(_, right, _)| *right)),
            told(kind.map(|(_, _, published)| *published)),
        ]);
    }
    table.without_empty_columns().titled("ways to know: late by the kernel's stamp, losses, cost in a core, rights; published: real time, intrusive, privilege")
}
