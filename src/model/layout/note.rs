//! What every measurement has to say beside its figures: what was lost, how far to trust it, what was found.
//!
//! Separate because each command says it in the same words, and because a figure without these is half a figure.

use super::Names;
use crate::model::figure::{count, duration, limit};
use crate::model::{Advice, Finding, Outage, Quantile, Role, Run, Series, Severity};

/// Outages that are named one by one, and series whose losses are.
const NAMED_OUTAGES: usize = 2;
const NAMED_LOSSES: usize = 4;

/// Quantiles that people look for, and the attempts that each needs (n >= 10 / (1 - p)).
const NEEDS: [(&str, u64); 3] = [("p50", 20), ("p95", 200), ("p99", 1_000)];

/// A word or two, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub label: String,
    /// The sentence.
    pub text: String,
}

impl Note {
    /// About this, that.
    #[must_use]
    pub fn new(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self { label: label.into(), text: text.into() }
    }
}

/// What these series did not get: lost, refused, failed, skipped, silent for a while, beyond the histogram.
#[must_use]
pub fn notes_on(shown: &[&Series]) -> Vec<Note> {
    let names = Names::of(shown);
    let mut all: Vec<Note> = shown.iter().flat_map(|series| shortfall(series, &names)).collect();
    let rest = all.split_off(all.len().min(NAMED_LOSSES)).len();
    if rest > 0 {
        all.push(Note::new("lost", format!("{} more series lost attempts; --detail names them", count(rest as u64))));
    }
    all
}

fn shortfall(series: &Series, names: &Names) -> Vec<Note> {
    let told = names.tell(series);
    let name = if told.is_empty() { String::new() } else { format!("{told}: ") };
    let skipped = (series.counts.skipped_count > 0).then(|| {
        let text = format!(
            "{name}{} planned attempts never started: too late, or too many were in flight",
            count(series.counts.skipped_count)
        );
        Note::new("skipped", text)
    });
    let saturated = (series.saturated_count > 0).then(|| {
        let text = format!("{name}{} values are above the histogram's highest", count(series.saturated_count));
        Note::new("saturated", text)
    });
    [unanswered(series, &name), outages(series, &name), skipped, saturated].into_iter().flatten().collect()
}

fn unanswered(series: &Series, name: &str) -> Option<Note> {
    let counts = &series.counts;
    let kinds: Vec<String> = series.failure_kinds.iter().map(|(kind, n)| format!("{} {kind}", count(*n))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let parts: Vec<String> = [
        (counts.error_count, "answered with an error"),
        (counts.lost_count, "lost"),
        (counts.refused_count, "refused"),
        (counts.failed_count, "failed"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{} {what}", count(n)))
    .collect();
    let text = format!("{name}{} of {} attempts{kinds}", parts.join(", "), count(counts.attempt_count));
    (!parts.is_empty()).then(|| Note::new("lost", text))
}

fn outages(series: &Series, name: &str) -> Option<Note> {
    let one = |outage: &Outage| {
        let Outage { start_ns, length_ns, unanswered_count } = outage;
        let start = if *start_ns == 0 { "the start".to_owned() } else { format!("+{}", duration(*start_ns)) };
        format!("{} at {start} ({} unanswered)", duration(*length_ns), count(*unanswered_count))
    };
    let named: Vec<String> = series.outages.iter().take(NAMED_OUTAGES).map(one).collect();
    let dots = if series.outage_count > named.len() as u64 { ", …" } else { "" };
    let text = match series.outage_count {
        1 => format!("{name}{}", named.join("")),
        n if named.is_empty() => format!("{name}{}", count(n)),
        n => format!("{name}{}: {}{dots}", count(n), named.join(", ")),
    };
    (series.outage_count > 0).then(|| Note::new("outage", text))
}

/// What the tool measures where there is nothing to measure.
#[must_use]
pub fn floor(run: &Run) -> Option<Note> {
    let floors = run.series.iter().filter(|series| series.role == Role::Floor);
    let floors: Vec<String> = floors
        .filter_map(|series| {
            let p50 = series.summary.p50_ns.or(series.summary.mean_ns)?;
            let channel = series.name.trim_start_matches("rtt.floor.").replace('_', " ");
            Some(format!("{channel} {} (p50)", duration(p50)))
        })
        .collect();
    let text = format!("loopback {}; smaller differences are the tool's own", floors.join(", "));
    (!floors.is_empty()).then(|| Note::new("noise floor", text))
}

/// Which quantiles these series are too small for, and which lie beyond the timeout.
#[must_use]
pub fn too_few(shown: &[&Series]) -> Vec<Note> {
    let answered = || shown.iter().filter(|series| series.counts.ok_count > 0);
    let least = answered().map(|series| series.counts.attempt_count).min();
    let is_missing = |name: &str| answered().any(|series| series.summary.quantile(name) == Quantile::TooFew);
    let missing: Vec<String> = NEEDS
        .iter()
        .filter(|(name, _)| is_missing(name))
        .map(|(name, n)| format!("{name} needs {}", count(*n)))
        .collect();
    let few = least.filter(|_| !missing.is_empty());
    let few = few.map(|least| Note::new("–", format!("{} attempts, there were {}", missing.join(", "), count(least))));
    let beyond = shown.iter().find(|series| !series.summary.beyond_timeout.is_empty());
    let beyond = beyond.and_then(|series| series.timeout_ns).map(|timeout| {
        Note::new(
            format!("> {}", limit(timeout)),
            "the rank falls among lost attempts and errors, which rank above every answer",
        )
    });
    few.into_iter().chain(beyond).collect()
}

/// What was found, problems first, without those that stand elsewhere in the report.
#[must_use]
pub fn findings(run: &Run, told: &[&str]) -> Vec<Note> {
    let mut all: Vec<&Finding> = run.findings.iter().filter(|finding| !told.contains(&finding.id.as_str())).collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    all.into_iter().map(note).collect()
}

fn note(finding: &Finding) -> Note {
    let label = match finding.severity {
        Severity::Info => "note",
        Severity::Notice => "notice",
        Severity::Problem => "problem",
    };
    Note::new(label, with_advice(&finding.text, finding.advice.as_ref()))
}

/// A sentence, and what to do about it where something can be done.
#[must_use]
pub fn with_advice(text: &str, advice: Option<&Advice>) -> String {
    let advice = advice.map_or_else(String::new, |advice| {
        let verify = advice.verify.as_ref().map_or_else(String::new, |command| format!(" Check: {command}"));
        format!(". Advice: {}.{verify}", advice.text.trim_end_matches('.'))
    });
    format!("{}{advice}", text.trim_end_matches('.'))
}
