//! One line a series and one a scalar, for spreadsheets: every count, every figure, in nanoseconds.
//!
//! Separate because a machine reads it: no units, no rounding, and what is missing is an empty field (RFC 4180).

use super::{Report, Reporter};
use crate::model::{Clock, Labels, Run, Scalar, Series, Summary, Unit};

/// Comma-separated values.
pub struct Csv;

const HEAD: [&str; 27] = [
    "run_id",
    "command",
    "name",
    "labels",
    "unit",
    "clock",
    "timeout_ns",
    "attempt_count",
    "ok_count",
    "lost_count",
    "refused_count",
    "failed_count",
    "skipped_count",
    "min_ns",
    "mean_ns",
    "stddev_ns",
    "p50_ns",
    "p90_ns",
    "p95_ns",
    "p99_ns",
    "p999_ns",
    "max_ns",
    "ipdv_mean_ns",
    "jitter_rfc3550_ns",
    "pdv_p999_ns",
    "beyond_timeout",
    "value",
];

impl Reporter for Csv {
    fn render(&self, report: &Report) -> String {
        let runs = report.pages.iter().map(|page| page.run);
        let lines = runs.flat_map(|run| {
            let scalars = run.scalars.iter().map(move |scalar| scalar_line(run, scalar));
            run.series.iter().map(move |series| line(run, series)).chain(scalars)
        });
        std::iter::once(HEAD.join(",")).chain(lines).map(|line| line + "\r\n").collect()
    }
}

fn line(run: &Run, series: &Series) -> String {
    let texts = [&run.id, &run.command, &series.name, &pairs(&series.labels), unit(series.unit), clock(series.clock)];
    let mut fields: Vec<String> = texts.into_iter().map(quoted).collect();
    fields.push(number(series.timeout_ns));
    fields.extend(counts(series).map(|n| n.to_string()));
    fields.extend(figures(&series.summary).map(number));
    fields.push(quoted(&series.summary.beyond_timeout.join(";")));
    fields.push(String::new());
    fields.join(",")
}

/// A single number stands in the last column, in its own unit.
fn scalar_line(run: &Run, scalar: &Scalar) -> String {
    let mut fields: Vec<String> =
        [&run.id, &run.command, &scalar.name, &pairs(&scalar.labels), &scalar.unit].map(|text| quoted(text)).to_vec();
    fields.resize(HEAD.len() - 1, String::new());
    fields.push(scalar.value.map_or_else(String::new, |value| value.to_string()));
    fields.join(",")
}

fn pairs(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ns => "ns",
    }
}

const fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::User => "user",
        Clock::Kernel => "kernel",
    }
}

const fn counts(series: &Series) -> [u64; 6] {
    let counts = &series.counts;
    [
        counts.attempt_count,
        counts.ok_count,
        counts.lost_count,
        counts.refused_count,
        counts.failed_count,
        counts.skipped_count,
    ]
}

const fn figures(summary: &Summary) -> [Option<u64>; 12] {
    [
        summary.min_ns,
        summary.mean_ns,
        summary.stddev_ns,
        summary.p50_ns,
        summary.p90_ns,
        summary.p95_ns,
        summary.p99_ns,
        summary.p999_ns,
        summary.max_ns,
        summary.ipdv_mean_ns,
        summary.jitter_rfc3550_ns,
        summary.pdv_p999_ns,
    ]
}

fn number(n: Option<u64>) -> String {
    n.map_or_else(String::new, |n| n.to_string())
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
