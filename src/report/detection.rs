//! Detection of each setting beside its formula, its mistakes, its cost and the published figures, and the choice as a plot.
//!
//! Separate because a matrix of settings is read across and not down: what a setting gives stands in one line, or where the
//! terminal is too narrow for that, in one line of each of several tables.

use serde_json::Value;

use super::text::{clean, length, wrap};
use super::unit::{self, count, maybe, significant};
use super::{grid, live};
use crate::model::{Labels, Run, Series};

/// The series that the table is about.
const DETECTION: &str = "heartbeat.detection";

/// What a setting is called.
const NAMES: Names = (&["", "interval", "detector"], names);

/// What it gives and what that is compared with: the head, and what a setting has below it. The reference figures are named
/// by the law that they follow.
const FIGURES: [(&str, Figure); 8] = [
    ("mean", |_, series| maybe(series.summary.mean_ns)),
    ("p50", |_, series| unit::quantile(&series.summary, "p50", None)),
    ("p99", |_, series| unit::quantile(&series.summary, "p99", None)),
    ("worst", |_, series| maybe(series.summary.max_ns)),
    ("KB/h", |run, series| kilobytes(figure(run, &series.labels, "network_bytes_per_h"))),
    ("mistakes/day", |run, series| mistakes(run, &series.labels)),
    ("formula: mean / worst", formula),
    ("reference: 1.5 I / 200 B", |run, series| reference(run, &series.labels)),
];

/// What it asks of the monitor and its store.
const LOAD: [(&str, Figure); 3] = [
    ("received", |run, series| per_second(figure(run, &series.labels, "received"))),
    ("writes as leases", |run, series| per_second(figure(run, &series.labels, "lease_writes"))),
    ("writes of a gateway", |run, series| at_most(figure(run, &series.labels, "gateway_writes"))),
];

/// A cell of a setting.
pub(super) type Figure = fn(&Run, &Series) -> String;

/// The heads of the columns that name a setting, and what stands in them for the setting of a number.
pub(super) type Names = (&'static [&'static str], fn(&Run, &Series, usize) -> Vec<String>);

/// Letters that settings are called by in the plot; what comes after has none.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// Size of the plot in characters, without its labels, and the columns that these take.
const PLOT_WIDTH: usize = 72;
const PLOT_HEIGHT: usize = 12;
const LABEL_WIDTH: usize = 14;

/// Longer lines are not readable.
const PROSE_WIDTH: usize = 120;

/// Tables and plots, one of each a network; `None` for a run of something else.
pub fn text(run: &Run, width: usize) -> Option<String> {
    let all = shown(run);
    if is_live(run) {
        return (!all.is_empty()).then(|| live::text(run, &all, width));
    }
    let mut networks: Vec<&str> = Vec::new();
    for series in &all {
        let network = series.labels.value("network").unwrap_or_default();
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let parts = networks.iter().map(|network| {
        let here: Vec<&Series> = all
            .iter()
            .copied()
            .filter(|series| series.labels.value("network").unwrap_or_default() == *network)
            .collect();
        let blocks = [figures(run, &here, width), load(run, &here, width), plot(run, &here, width)];
        let blocks: Vec<String> = blocks.into_iter().filter(|block| !block.is_empty()).collect();
        format!("{}\n{}", paragraph(&head(run, network), width), blocks.join("\n"))
    });
    (!all.is_empty()).then(|| parts.collect::<Vec<_>>().join("\n"))
}

/// `network hybrid, loss 1.0 % in bursts of 5: 100,000 crashes and 1,000,000 watched heartbeats of each setting`.
fn head(run: &Run, network: &str) -> String {
    let is_it = |one: &&Value| one.get("name").is_some_and(|name| name == network);
    let spec = run.spec.get("networks").and_then(Value::as_array).and_then(|all| all.iter().find(is_it));
    let of = |key| spec?.get(key)?.as_f64().filter(|figure| *figure > 0.0);
    let bursts = of("loss_burst_count").map_or_else(String::new, |length| format!(" in bursts of {length}"));
    let loss = of("loss_ratio").map_or_else(String::new, |share| format!(", loss {}{bursts}", unit::ratio(share)));
    let twice = of("duplicate_ratio").map_or_else(String::new, |share| format!(", {} twice", unit::ratio(share)));
    let disorder = spec.and_then(|spec| spec.get("in_order")).is_some_and(|in_order| in_order == false);
    let disorder = if disorder { ", in any order" } else { "" };
    let planned = |key| run.spec.get(key).and_then(Value::as_u64).map(count);
    let work = planned("trials").zip(planned("mistake_beats")).map_or_else(String::new, |(crashes, beats)| {
        format!(": {crashes} crashes and {beats} watched heartbeats of each setting")
    });
    format!("network {}{loss}{twice}{disorder}{work}", clean(network))
}

/// The series that the tables are about.
pub fn shown(run: &Run) -> Vec<&Series> {
    let is_shown = |series: &&Series| !is_live(run) || series.labels.value("mode") == Some("live");
    run.series.iter().filter(|series| series.name == DETECTION).filter(is_shown).collect()
}

/// Whether it was measured: a simulation then stands beside it and is no setting of its own.
fn is_live(run: &Run) -> bool {
    run.spec.get("mode").is_some_and(|mode| mode == "live")
}

/// What the settings give, and how to read what they are compared with.
fn figures(run: &Run, here: &[&Series], width: usize) -> String {
    let has = |name| here.iter().any(|series| figure(run, &series.labels, name).is_some());
    let lacks = here.iter().any(|series| figure(run, &series.labels, "formula_mean").is_none());
    let loss = has("formula_mean")
        .then_some("formula: of a network that loses nothing, with the simulation's difference to it");
    let none = lacks.then_some("– where the detector learns from silences that no formula knows");
    let notes: Vec<&str> = loss.into_iter().chain(none).collect();
    format!("{}\n{}", tables((run, here), NAMES, &FIGURES, width), paragraph(&notes.join("; "), width))
}

/// What the monitor and its store must bear, where it was asked for.
fn load(run: &Run, here: &[&Series], width: usize) -> String {
    let Some(nodes) = run.spec.get("nodes").and_then(Value::as_u64) else { return String::new() };
    let head = format!(
        "{} nodes: what the monitor receives, and what its store writes where every heartbeat renews a Kubernetes lease, and \
         where a gateway writes transitions only",
        count(nodes)
    );
    format!("{}\n{}", paragraph(&head, width), tables((run, here), NAMES, &LOAD, width))
}

/// As many columns beside the names as the terminal is wide enough for, and the rest in tables below.
pub(super) fn tables(of: (&Run, &[&Series]), names: Names, columns: &[(&str, Figure)], width: usize) -> String {
    let fits = |columns: &[(&str, Figure)]| table(of, names, columns).lines().all(|line| length(line) <= width);
    let (mut parts, mut left) = (Vec::new(), columns);
    while !left.is_empty() {
        // One column is shown in any case.
        let most = (2..=left.len()).take_while(|most| fits(&left[..*most])).last().unwrap_or(1);
        parts.push(table(of, names, &left[..most]));
        left = &left[most..];
    }
    parts.join("\n")
}

fn table((run, here): (&Run, &[&Series]), (heads, name): Names, columns: &[(&str, Figure)]) -> String {
    let all = heads.iter().chain(columns.iter().map(|(head, _)| head));
    let rows = here.iter().enumerate().map(|(at, series)| {
        let mut cells = name(run, series, at);
        cells.extend(columns.iter().map(|(_, figure)| figure(run, series)));
        cells
    });
    grid::left_then_right(all.map(|head| (*head).to_owned()).collect(), rows, heads.len())
}

fn names(run: &Run, series: &Series, at: usize) -> Vec<String> {
    let label = |name| clean(series.labels.value(name).unwrap_or_default());
    vec![letter(at, is_unbeaten(run, &series.labels)).to_string(), label("interval"), label("detector")]
}

/// Lines of a sentence.
pub(super) fn paragraph(text: &str, width: usize) -> String {
    wrap(text, width.min(PROSE_WIDTH)).iter().map(|line| format!("{line}\n")).collect()
}

fn kilobytes(bytes: Option<f64>) -> String {
    bytes.map_or_else(absent, |bytes| significant(bytes / 1000.0))
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(absent, |rate| unit::quantity(rate, "per_s"))
}

fn at_most(rate: Option<f64>) -> String {
    rate.map_or_else(absent, |rate| match rate {
        x if x < 0.01 => "< 0.01 /s".to_owned(),
        x => format!("≤ {}", unit::quantity(x, "per_s")),
    })
}

pub(super) fn absent() -> String {
    unit::ABSENT.to_owned()
}

/// `5.00 s (+0.1 %) / 6.01 s`: the difference is the simulation's to the formula.
fn formula(run: &Run, series: &Series) -> String {
    let duration = |ns: f64| unit::duration(ns.round() as u64);
    let mean = figure(run, &series.labels, "formula_mean");
    let worst = figure(run, &series.labels, "formula_worst");
    match (mean, worst, series.summary.mean_ns) {
        (Some(mean), Some(worst), Some(seen)) => {
            let difference = (seen as f64 / mean - 1.0) * 100.0;
            format!("{} ({difference:+.1} %) / {}", duration(mean), duration(worst))
        }
        _ => absent(),
    }
}

/// `20.5 (18.7 to 22.4)`, or the upper bound of a rate that was not seen.
fn mistakes(run: &Run, labels: &Labels) -> String {
    let of = |name| figure(run, labels, name);
    match (of("mistakes_per_day"), of("mistakes_per_day_low"), of("mistakes_per_day_high")) {
        (Some(seen), Some(low), Some(high)) => {
            format!("{} ({} to {})", rare(seen), rare(low), rare(high))
        }
        (_, _, Some(high)) => format!("< {}", rare(high)),
        _ => absent(),
    }
}

/// A rate that may be far below one, and is not nothing for that.
fn rare(rate: f64) -> String {
    if rate < 0.01 { format!("{rate:.1e}") } else { significant(rate) }
}

pub(super) fn reference(run: &Run, labels: &Labels) -> String {
    match (figure(run, labels, "reference_mean"), figure(run, labels, "reference_bytes_per_h")) {
        (Some(mean), Some(bytes)) => {
            format!("{} / {} KB/h", unit::duration(mean.round() as u64), significant(bytes / 1000.0))
        }
        _ => String::new(),
    }
}

pub(super) fn figure(run: &Run, labels: &Labels, name: &str) -> Option<f64> {
    let is_it = |full: &str| full.strip_prefix("heartbeat.") == Some(name);
    run.scalars.iter().find(|scalar| is_it(&scalar.name) && scalar.labels == *labels).and_then(|scalar| scalar.value)
}

fn is_unbeaten(run: &Run, labels: &Labels) -> bool {
    figure(run, labels, "unbeaten").is_some_and(|flag| flag > 0.0)
}

/// A setting that nothing beats has a capital letter.
fn letter(at: usize, is_unbeaten: bool) -> char {
    match (LETTERS.get(at), is_unbeaten) {
        (Some(letter), true) => char::from(letter.to_ascii_uppercase()),
        (Some(letter), false) => char::from(*letter),
        (None, true) => '*',
        (None, false) => '.',
    }
}

/// Detection against cost on logarithmic axes.
fn plot(run: &Run, here: &[&Series], width: usize) -> String {
    let points: Vec<(f64, f64, char)> = here
        .iter()
        .enumerate()
        .filter_map(|(at, series)| {
            let cost = figure(run, &series.labels, "network_bytes_per_h")?;
            Some((series.summary.mean_ns? as f64, cost, letter(at, is_unbeaten(run, &series.labels))))
        })
        .collect();
    if points.len() < 2 {
        return String::new();
    }
    let columns = PLOT_WIDTH.min(width.saturating_sub(LABEL_WIDTH)).max(2);
    let (x, y) = (Axis::over(points.iter().map(|p| p.0), columns), Axis::over(points.iter().map(|p| p.1), PLOT_HEIGHT));
    // Settings that all cost the same need no axis for it.
    let height = if y.high > y.low { PLOT_HEIGHT } else { 1 };
    let mut sheet = vec![vec![' '; columns]; height];
    for (detection, cost, letter) in &points {
        let place = &mut sheet[height - 1 - y.place(*cost)][x.place(*detection)];
        // Where several fall on one place, a setting that nothing beats is seen.
        if !place.is_uppercase() {
            *place = *letter;
        }
    }
    let last = height - 1;
    let lines = sheet.iter().enumerate().map(|(at, line)| {
        let label = match at {
            0 => format!("{} KB/h", significant(y.high / 1000.0)),
            _ if at == last => format!("{} KB/h", significant(y.low / 1000.0)),
            _ => String::new(),
        };
        format!("{label:>12} │{}\n", line.iter().collect::<String>().trim_end())
    });
    let (low, high) = (unit::duration(x.low as u64), unit::duration(x.high as u64));
    let ends = format!("{low}{high:>rest$}", rest = columns.saturating_sub(length(&low)));
    let foot = format!("{:>12} └{}\n{:>LABEL_WIDTH$}{ends}\n", "", "─".repeat(columns), "");
    let head =
        "cost against mean detection; capital letters: no other setting is better in detection, mistakes and cost";
    let head = paragraph(head, width);
    format!("{head}{}{foot}", lines.collect::<String>())
}

/// A logarithmic axis of so many characters.
struct Axis {
    low: f64,
    high: f64,
    steps: usize,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, steps: usize) -> Self {
        let high = values.clone().fold(1.0, f64::max);
        Self { low: values.fold(high, f64::min).max(1.0), high, steps }
    }

    fn place(&self, value: f64) -> usize {
        let span = (self.high / self.low).ln();
        let share = if span > 0.0 { (value.max(self.low) / self.low).ln() / span } else { 0.0 };
        ((share * (self.steps - 1) as f64).round() as usize).min(self.steps - 1)
    }
}
