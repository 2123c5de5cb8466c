//! Detection of each setting beside its formula, its mistakes, its cost and the published figures, and the choice as a plot.
//!
//! Separate because a matrix of settings is read across and not down: what a setting gives stands in one line.

use super::grid;
use super::text::{clean, length};
use super::unit::{self, maybe, significant};
use crate::model::{Labels, Run, Series};

/// The series that the table is about.
const DETECTION: &str = "heartbeat.detection";

/// What a setting is called, and how many columns that takes.
const NAMES: [&str; 3] = ["", "interval", "detector"];

/// What it gives.
const FIGURES: [&str; 6] = ["mean", "p50", "p99", "worst", "mistakes/day", "KB/h"];

/// What it is compared with.
const COMPARED: [&str; 2] = ["formula mean / worst", "reference mean / KB"];

/// Letters that settings are called by in the plot; what comes after has none.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// Size of the plot in characters.
const PLOT_WIDTH: usize = 72;
const PLOT_HEIGHT: usize = 12;

/// Tables and plots, one of each a network; `None` for a run of something else.
pub fn text(run: &Run, width: usize) -> Option<String> {
    let all: Vec<&Series> = run.series.iter().filter(|series| series.name == DETECTION).collect();
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
        format!("network {}\n\n{}\n{}", clean(network), tables(run, &here, width), plot(run, &here))
    });
    (!all.is_empty()).then(|| parts.collect::<Vec<_>>().join("\n"))
}

/// One table where the terminal is wide enough, else one of what the settings give and one of what that is compared with.
fn tables(run: &Run, here: &[&Series], width: usize) -> String {
    let whole = table(run, here, true, true);
    if whole.lines().all(|line| length(line) <= width) {
        return whole;
    }
    format!("{}\n{}", table(run, here, true, false), table(run, here, false, true))
}

fn table(run: &Run, here: &[&Series], has_figures: bool, has_compared: bool) -> String {
    let parts = [(true, NAMES.as_slice()), (has_figures, &FIGURES), (has_compared, &COMPARED)];
    let heads = parts.into_iter().filter(|(shown, _)| *shown).flat_map(|(_, heads)| heads.iter());
    let rows = here.iter().enumerate().map(|(at, series)| {
        let mut cells = names(run, series, at);
        cells.extend(has_figures.then(|| figures(run, series)).into_iter().flatten());
        cells
            .extend(has_compared.then(|| [formula(run, series), reference(run, &series.labels)]).into_iter().flatten());
        cells
    });
    grid::left_then_right(heads.map(|head| (*head).to_owned()).collect(), rows, NAMES.len())
}

fn names(run: &Run, series: &Series, at: usize) -> Vec<String> {
    let label = |name| clean(series.labels.value(name).unwrap_or_default());
    vec![letter(at, is_unbeaten(run, &series.labels)).to_string(), label("interval"), label("detector")]
}

fn figures(run: &Run, series: &Series) -> [String; 6] {
    let (labels, summary) = (&series.labels, &series.summary);
    let quantile = |name| unit::quantile(summary, name, None);
    [
        maybe(summary.mean_ns),
        quantile("p50"),
        quantile("p99"),
        maybe(summary.max_ns),
        mistakes(run, labels),
        figure(run, labels, "network_bytes_per_h").map_or_else(absent, |bytes| significant(bytes / 1000.0)),
    ]
}

fn absent() -> String {
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
            format!("{} ({} to {})", significant(seen), significant(low), significant(high))
        }
        (_, _, Some(high)) => format!("< {}", significant(high)),
        _ => absent(),
    }
}

fn reference(run: &Run, labels: &Labels) -> String {
    match (figure(run, labels, "reference_mean"), figure(run, labels, "reference_bytes_per_h")) {
        (Some(mean), Some(bytes)) => {
            format!("{} / {}", unit::duration(mean.round() as u64), significant(bytes / 1000.0))
        }
        _ => String::new(),
    }
}

fn figure(run: &Run, labels: &Labels, name: &str) -> Option<f64> {
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
fn plot(run: &Run, here: &[&Series]) -> String {
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
    let (x, y) =
        (Axis::over(points.iter().map(|p| p.0), PLOT_WIDTH), Axis::over(points.iter().map(|p| p.1), PLOT_HEIGHT));
    let mut sheet = vec![vec![' '; PLOT_WIDTH]; PLOT_HEIGHT];
    for (detection, cost, letter) in &points {
        let place = &mut sheet[PLOT_HEIGHT - 1 - y.place(*cost)][x.place(*detection)];
        // Where several fall on one place, a setting that nothing beats is seen.
        if !place.is_uppercase() {
            *place = *letter;
        }
    }
    let last = PLOT_HEIGHT - 1;
    let lines = sheet.iter().enumerate().map(|(at, line)| {
        let label = match at {
            0 => format!("{} KB/h", significant(y.high / 1000.0)),
            _ if at == last => format!("{} KB/h", significant(y.low / 1000.0)),
            _ => String::new(),
        };
        format!("{label:>12} │{}\n", line.iter().collect::<String>().trim_end())
    });
    let (low, high) = (unit::duration(x.low as u64), unit::duration(x.high as u64));
    let ends = format!("{low}{high:>width$}", width = PLOT_WIDTH - low.chars().count());
    let foot = format!("{:>12} └{}\n{:>14}{ends}\n", "", "─".repeat(PLOT_WIDTH), "");
    let head =
        "cost against mean detection; capital letters: no other setting is better in detection, mistakes and cost\n";
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
