//! A run of `bench heartbeat` as people read it: intervals down, detectors across, and which setting to take.
//!
//! Pure: a stored, a merged and a fresh run look alike. What was measured with agents is laid out by [`live`](super::live).

use serde_json::Value;

use super::live;
use crate::model::figure::{count, duration, ratio, significant};
use crate::model::layout::{Answer, Block, Cell, Column, Note, Scatter, Table, capitalised, findings};
use crate::model::{Finding, Labels, Layout, Run, Series};

/// The series that everything is about.
pub const DETECTION: &str = "heartbeat.detection";

/// What stands in the answer or in the picture.
const TOLD: [&str; 4] = ["pareto_set", "reference_law", "cheapest_setting", "no_setting"];

/// Detectors that a narrow page has room for, beside each other.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    if run.spec.get("mode").is_some_and(|mode| mode == "live") {
        return live::layout(run);
    }
    let all: Vec<&Series> = run.series.iter().filter(|series| series.name == DETECTION).collect();
    let networks = distinct(&all, "network");
    let mut blocks = Vec::new();
    for network in &networks {
        let here = of_network(&all, network);
        let matrix = matrix(run, &here);
        blocks.push(Block::Table(if networks.len() > 1 { matrix.titled(format!("on {network}")) } else { matrix }));
    }
    if let [network] = networks.as_slice() {
        blocks.push(Block::Scatter(scatter(run, &of_network(&all, network))));
    }
    let mut notes = findings(run, &TOLD);
    notes.extend(law(run, &all));
    Layout {
        banner: Some("SIMULATION on a virtual clock: nothing was sent".to_owned()),
        subject: subject(run, &networks),
        answer: answer(run, &all),
        blocks,
        detail: vec![Block::Table(settings(run, &all))],
        notes,
    }
}

/// The values of a label in the order in which they first occur.
fn distinct<'a>(all: &[&'a Series], name: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for series in all {
        let value = series.label(name);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn of_network<'a>(all: &[&'a Series], network: &str) -> Vec<&'a Series> {
    all.iter().copied().filter(|series| series.label("network") == network).collect()
}

/// A scalar of a setting.
pub fn figure(run: &Run, labels: &Labels, name: &str) -> Option<f64> {
    run.value(&format!("heartbeat.{name}"), labels)
}

fn subject(run: &Run, networks: &[&str]) -> Vec<String> {
    let crashes = run.spec.get("trials").and_then(Value::as_u64).map(|n| format!("{} crashes a setting", count(n)));
    let loss = run.spec.pointer("/networks/0/loss_ratio").and_then(Value::as_f64).filter(|loss| *loss > 0.0);
    let loss = loss.map(|loss| format!("loss {}", ratio(loss)));
    [networks.join(", ")].into_iter().chain(loss).chain(crashes).collect()
}

/// What one setting gives, for choices and sentences.
struct Setting<'a> {
    series: &'a Series,
    mean: f64,
    bytes: f64,
    mistakes: f64,
    mistakes_upper: f64,
    is_unbeaten: bool,
}

impl<'a> Setting<'a> {
    fn of(run: &Run, series: &'a Series) -> Option<Self> {
        let of = |name| figure(run, &series.labels, name);
        Some(Self {
            series,
            mean: series.summary.mean_ns? as f64,
            bytes: of("network_bytes_per_h")?,
            mistakes: of("mistakes_per_day").unwrap_or(0.0),
            mistakes_upper: of("mistakes_per_day_high").unwrap_or(f64::INFINITY),
            is_unbeaten: of("unbeaten").is_some_and(|flag| flag > 0.0),
        })
    }

    fn name(&self) -> String {
        format!("{} at {}", self.series.label("detector"), self.series.label("interval"))
    }

    fn told(&self) -> String {
        format!("{} to notice, {} KB/h", duration(self.mean.round() as u64), significant(self.bytes / 1000.0))
    }
}

/// The goal's own setting where one was asked for; else the cheapest and the fastest of those that nothing beats.
fn answer(run: &Run, all: &[&Series]) -> Answer {
    let goal = run.findings.iter().find(|finding| matches!(finding.id.as_str(), "cheapest_setting" | "no_setting"));
    if let Some(goal) = goal {
        return told_goal(goal);
    }
    let settings: Vec<Setting> = all.iter().filter_map(|series| Setting::of(run, series)).collect();
    let quiet = settings.iter().filter(|setting| setting.mistakes <= 0.0 && setting.is_unbeaten);
    let key = |setting: &&Setting| (setting.bytes, setting.mean);
    let order = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    let cheapest = quiet.clone().min_by(|a, b| order(&key(a), &key(b)));
    let fastest = quiet.min_by(|a, b| order(&(a.mean, a.bytes), &(b.mean, b.bytes)));
    let answer = match (cheapest, fastest) {
        (Some(cheapest), Some(fastest)) if cheapest.name() == fastest.name() => Answer::new(format!(
            "Without false alarms {} is both cheapest and fastest: {}.",
            cheapest.name(),
            cheapest.told()
        )),
        (Some(cheapest), Some(fastest)) => Answer::new(format!(
            "Cheapest without false alarms: {} ({}). Fastest: {} ({}).",
            cheapest.name(),
            cheapest.told(),
            fastest.name(),
            fastest.told()
        )),
        _ => match settings.iter().min_by(|a, b| a.mistakes.total_cmp(&b.mistakes)) {
            Some(least) => Answer::new(format!(
                "Every setting raises false alarms; {} the fewest, {} a day ({}).",
                least.name(),
                rare(least.mistakes),
                least.told()
            )),
            None => return Answer::new("Nothing was simulated."),
        },
    };
    if settings.len() > 1 { answer.and("Name a goal with --target-detection to get one setting.") } else { answer }
}

fn told_goal(goal: &Finding) -> Answer {
    let text = capitalised(&goal.text);
    let evidence = goal.evidence.first().map_or_else(String::new, |evidence| format!(" ({evidence})"));
    let answer = Answer::new(format!("{text}{evidence}."));
    match &goal.advice {
        Some(advice) if goal.id == "no_setting" => answer.and(format!("To get one, {}.", advice.text)),
        Some(advice) => answer.checked_by(advice.verify.clone()),
        None => answer,
    }
}

/// Intervals down, detectors across: mean and worst detection in seconds; what an interval costs; what was published.
fn matrix(run: &Run, here: &[&Series]) -> Table {
    let (intervals, detectors) = (distinct(here, "interval"), distinct(here, "detector"));
    let mut columns = vec![Column::name("interval")];
    columns.extend(detectors.iter().enumerate().map(|(at, detector)| {
        Column::extra(format!("{} {detector}", letter(at)), 1 + u8::try_from(at).unwrap_or(u8::MAX - 2))
    }));
    columns.extend([Column::figure("KB/h"), Column::extra("published", 1)]);
    let mut table = Table::new(columns).titled("seconds until a crash is noticed, mean / worst; KB an hour and node");
    let find = |interval: &str, detector: &str| {
        here.iter().copied().find(|s| s.label("interval") == interval && s.label("detector") == detector)
    };
    for interval in &intervals {
        let of_interval: Vec<&Series> = detectors.iter().filter_map(|detector| find(interval, detector)).collect();
        let first = |name| of_interval.iter().find_map(|series| figure(run, &series.labels, name));
        let mut row = vec![Cell::text(*interval)];
        row.extend(detectors.iter().map(|detector| match find(interval, detector) {
            Some(series) => seconds(series),
            None => Cell::Absent,
        }));
        row.push(first("network_bytes_per_h").map_or(Cell::Absent, |bytes| Cell::text(significant(bytes / 1000.0))));
        row.push(first("reference_mean").map_or(Cell::Blank, |ns| Cell::text(format!("{} s", significant(ns / 1e9)))));
        table.push(row);
    }
    table.push(alarms(run, here, &detectors));
    table.without_empty_columns()
}

fn seconds(series: &Series) -> Cell {
    let text = |ns: u64| match ns as f64 / 1e9 {
        x if x < 9.95 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    };
    match (series.summary.mean_ns, series.summary.max_ns) {
        (Some(mean), Some(worst)) => Cell::text(format!("{} / {}", text(mean), text(worst))),
        _ => Cell::Absent,
    }
}

/// False alarms a day and node at the shortest interval, where there are most.
fn alarms(run: &Run, here: &[&Series], detectors: &[&str]) -> Vec<Cell> {
    let of = |detector: &&str| {
        let all = here.iter().filter(|series| series.label("detector") == *detector);
        let settings: Vec<Setting> = all.filter_map(|series| Setting::of(run, series)).collect();
        let seen = settings.iter().map(|setting| setting.mistakes).fold(0.0, f64::max);
        let upper = settings.iter().map(|setting| setting.mistakes_upper).fold(0.0, f64::max);
        match seen > 0.0 {
            true => Cell::text(rare(seen)),
            false if upper.is_finite() && upper > 0.0 => Cell::text(format!("< {}", rare(upper))),
            false => Cell::Absent,
        }
    };
    let cells = detectors.iter().map(of);
    std::iter::once(Cell::text("alarms a day")).chain(cells).chain([Cell::Blank, Cell::Blank]).collect()
}

/// A rate that may be far below one, and is not nothing for that.
fn rare(rate: f64) -> String {
    match rate {
        x if x < 0.01 => format!("{x:.1e}"),
        x if x < 99.5 => significant(x),
        x => count(x.round() as u64),
    }
}

fn letter(at: usize) -> char {
    LETTERS.get(at).map_or('.', |letter| char::from(*letter))
}

/// Cost against detection.
fn scatter(run: &Run, here: &[&Series]) -> Scatter {
    let detectors = distinct(here, "detector");
    let point = |series: &&Series| {
        let setting = Setting::of(run, series)?;
        let at = detectors.iter().position(|detector| *detector == series.label("detector"))?;
        let mark = if setting.is_unbeaten { letter(at).to_ascii_uppercase() } else { letter(at) };
        Some((setting.mean, setting.bytes, mark))
    };
    Scatter {
        title: "cost against mean detection; capital letters: nothing is better in detection, alarms and cost"
            .to_owned(),
        points: here.iter().filter_map(point).collect(),
        unit: "ns",
        up: (1e-3, "KB/h"),
    }
}

/// A row a setting, with everything that is known of it.
fn settings(run: &Run, all: &[&Series]) -> Table {
    let mut table = Table::new(vec![
        Column::name("interval"),
        Column::name("detector"),
        Column::name("network"),
        Column::figure("mean"),
        Column::extra("p99", 1),
        Column::figure("worst"),
        Column::figure("formula mean/worst"),
        Column::figure("alarms a day"),
        Column::extra("received", 2),
        Column::extra("lease writes", 3),
        Column::extra("gateway writes", 4),
    ]);
    for series in all {
        let of = |name| figure(run, &series.labels, name);
        let span = |ns: f64| duration(ns.round() as u64);
        let formula = of("formula_mean").zip(of("formula_worst"));
        let alarms = match (of("mistakes_per_day"), of("mistakes_per_day_low"), of("mistakes_per_day_high")) {
            (Some(seen), Some(low), Some(high)) => format!("{} ({} to {})", rare(seen), rare(low), rare(high)),
            (_, _, Some(high)) => format!("< {}", rare(high)),
            _ => String::new(),
        };
        table.push(vec![
            Cell::text(series.label("interval")),
            Cell::text(series.label("detector")),
            Cell::text(series.label("network")),
            Cell::span(series.summary.mean_ns),
            Cell::quantile(series, "p99"),
            Cell::span(series.summary.max_ns),
            formula.map_or(Cell::Absent, |(mean, worst)| Cell::text(format!("{} / {}", span(mean), span(worst)))),
            Cell::text(alarms),
            Cell::quantity(of("received"), "per_s"),
            Cell::quantity(of("lease_writes"), "per_s"),
            Cell::quantity(of("gateway_writes"), "per_s"),
        ]);
    }
    table.without_empty_columns()
}

/// Which law the published figures follow, where they are shown.
pub fn law(run: &Run, all: &[&Series]) -> Option<Note> {
    let is_shown = all.iter().any(|series| figure(run, &series.labels, "reference_mean").is_some());
    let text = "the published figures follow 1.5 intervals and 200 bytes a heartbeat; three missed in a row take 2.5";
    is_shown.then(|| Note::new("published", text))
}
