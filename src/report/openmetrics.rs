//! OpenMetrics text for a scraper or a push gateway: base units, classic buckets, one family a series name.
//!
//! Separate because its reader is Prometheus: seconds and ratios, cumulative buckets, names without dots,
//! each figure at the time at which its run began.

use std::collections::BTreeMap;

use super::{Report, Reporter};
use crate::model::{Labels, Scalar, Series};

/// OpenMetrics 1.0.
pub struct OpenMetrics;

/// Upper edges of the buckets in nanoseconds: 1, 2 and 5 of each decade from 1 us to 50 s.
fn edges() -> impl Iterator<Item = u64> {
    (3..11).flat_map(|decade| [1, 2, 5].map(|step| step * 10_u64.pow(decade)))
}

impl Reporter for OpenMetrics {
    fn render(&self, report: &Report) -> String {
        let many = report.pages.len() > 1;
        let mut families: BTreeMap<String, (&str, String)> = BTreeMap::new();
        for page in report.pages {
            let at = page.run.started_at.unix_nanos() / 1_000_000;
            let run = Of { id: if many { &page.run.id } else { "" }, at: format!("{}.{:03}", at / 1_000, at % 1_000) };
            for series in &page.run.series {
                let name = format!("{}_seconds", family(&series.name));
                families
                    .entry(name.clone())
                    .or_insert(("histogram", String::new()))
                    .1
                    .push_str(&histogram(&name, series, &run));
                let name = format!("{}_attempts", family(&series.name));
                families
                    .entry(name.clone())
                    .or_insert(("counter", String::new()))
                    .1
                    .push_str(&attempts(&name, series, &run));
            }
            for scalar in page.run.scalars.iter().filter(|scalar| scalar.value.is_some()) {
                let (name, line) = gauge(scalar, &run);
                families.entry(name).or_insert(("gauge", String::new())).1.push_str(&line);
            }
        }
        let text = families.into_iter().map(|(name, (kind, lines))| format!("# TYPE {name} {kind}\n{lines}"));
        text.collect::<String>() + "# EOF\n"
    }
}

/// Which run a line is of, where there are several, and when that began.
struct Of<'a> {
    id: &'a str,
    at: String,
}

fn histogram(name: &str, series: &Series, run: &Of) -> String {
    let n = series.histogram.len();
    let mut lines = String::new();
    let mut buckets = series.histogram.buckets().peekable();
    let mut seen = 0;
    for edge in edges() {
        while let Some((_, _, count)) = buckets.next_if(|(_, high, _)| *high <= edge) {
            seen += count;
        }
        let edge = format!("{:?}", edge as f64 / 1e9);
        lines.push_str(&format!(
            "{name}_bucket{} {seen} {}\n",
            braces(&series.labels, run.id, Some(("le", &edge))),
            run.at
        ));
    }
    lines.push_str(&format!("{name}_bucket{} {n} {}\n", braces(&series.labels, run.id, Some(("le", "+Inf"))), run.at));
    let labels = braces(&series.labels, run.id, None);
    let sum = series.summary.mean_ns.unwrap_or(0) as f64 * n as f64 / 1e9;
    lines + &format!("{name}_count{labels} {n} {at}\n{name}_sum{labels} {sum} {at}\n", at = run.at)
}

/// How the attempts ended, by outcome.
fn attempts(name: &str, series: &Series, run: &Of) -> String {
    let counts = &series.counts;
    let outcomes = [
        ("ok", counts.ok_count),
        ("error", counts.error_count),
        ("lost", counts.lost_count),
        ("refused", counts.refused_count),
        ("failed", counts.failed_count),
    ];
    let line = |(outcome, n)| {
        format!("{name}_total{} {n} {}\n", braces(&series.labels, run.id, Some(("outcome", outcome))), run.at)
    };
    outcomes.map(line).concat()
}

fn gauge(scalar: &Scalar, run: &Of) -> (String, String) {
    let (unit, factor) = match scalar.unit.as_str() {
        "ns" => ("_seconds", 1e-9),
        "bytes" => ("_bytes", 1.0),
        "ratio" => ("_ratio", 1.0),
        "per_s" => ("_per_second", 1.0),
        _ => ("", 1.0),
    };
    let name = family(&scalar.name);
    let name = if name.ends_with(unit) { name } else { format!("{name}{unit}") };
    let line = format!(
        "{name}{} {} {}\n",
        braces(&scalar.labels, run.id, None),
        scalar.value.unwrap_or(f64::NAN) * factor,
        run.at
    );
    (name, line)
}

/// `rtt.echo` as `offloadctl_rtt_echo`.
fn family(name: &str) -> String {
    format!("offloadctl_{}", plain(name))
}

fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn braces(labels: &Labels, run: &str, more: Option<(&str, &str)>) -> String {
    let run = (!run.is_empty()).then_some(("run", run));
    let pairs = labels.iter().chain(run).chain(more);
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{}=\"{}\"", plain(name), escape(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
