//! What stands below a table: how to read it, what was lost, how far to trust it, what it cost.
//!
//! Separate because the terminal and markdown say the same, and because a figure without these is half a figure.

use super::fleet;
use super::row::{PROGRAMMED, channel, name, shown};
use super::scalar;
use super::split;
use super::text::clean;
use super::unit::{self, count, duration, maybe};
use crate::model::{Counts, Finding, Outage, Quantile, Role, Run, Series, Severity};

/// Outages that are named one by one.
const NAMED_OUTAGES: usize = 3;

/// Addresses, and notes on what was not answered, that are said in words.
const NAMED_ADDRESSES: usize = 8;
const NAMED_SHORTFALLS: usize = 16;

/// The quantiles of the table, and the attempts that each needs (n >= 10 / (1 - p)).
const NEEDS: [(&str, u64); 3] = [("p50", 20), ("p95", 200), ("p99", 1_000)];

/// A label and a sentence.
#[derive(Clone, Debug)]
pub struct Note {
    /// What it is about, in a word or two.
    pub label: String,
    /// The sentence.
    pub text: String,
}

pub fn note(label: impl Into<String>, text: impl AsRef<str>) -> Note {
    Note { label: label.into(), text: clean(text.as_ref()) }
}

/// All notes of a whole run, of which so much is shown.
pub fn notes(whole: &Run, condensed: &Run) -> Vec<Note> {
    let of_all = (condensed.series.len() < whole.series.len()).then(|| note("all", fleet::LEGEND));
    of_all.into_iter().chain(notes_beside(whole, condensed, &shown(condensed))).collect()
}

/// All notes of a whole run, of which so much is shown, these series in it as rows.
pub fn notes_beside(whole: &Run, run: &Run, shown: &[&Series]) -> Vec<Note> {
    let mut notes = legend(run, shown);
    if let Some(split) = split::split(run) {
        notes.extend(split.legend().map(|(label, text)| note(label, text)));
    }
    notes.extend(addresses(shown));
    notes.extend(floors(run));
    notes.extend(slip(whole));
    notes.extend(shortfalls(shown));
    notes.extend(scalar::noted(run).iter().map(|one| note(format!("{}{}", one.name, one.labels), scalar::value(one))));
    notes.extend(run.findings.iter().map(finding));
    notes.extend(run.warnings.iter().map(|warning| note("warning", &warning.text)));
    notes.extend(cost(run));
    notes
}

/// How to read the signs and columns that occur.
fn legend(run: &Run, shown: &[&Series]) -> Vec<Note> {
    let programmed: Vec<&Series> = run.beside(PROGRAMMED).into_iter().map(|(_, programmed)| programmed).collect();
    let rows: Vec<&Series> = shown.iter().chain(&programmed).copied().collect();
    let quantile_is = |name: &str, wanted| {
        let answered = rows.iter().filter(|series| series.counts.ok_count > 0);
        answered.clone().any(|series| series.summary.quantile(name) == wanted)
    };
    let missing: Vec<String> = NEEDS
        .iter()
        .filter(|(name, _)| quantile_is(name, Quantile::TooFew))
        .enumerate()
        .map(|(at, (name, n))| match at {
            0 => format!("{name} needs {} attempts", count(*n)),
            _ => format!("{name} {}", count(*n)),
        })
        .collect();
    let beyond = rows.iter().find(|series| !series.summary.beyond_timeout.is_empty());
    let any = |is: fn(&Counts) -> bool| shown.iter().any(|series| is(&series.counts) && series.counts.ok_count > 0);
    let is_silent = rows.iter().any(|series| series.counts.ok_count == 0);
    let has_jitter = shown.iter().any(|series| series.summary.ipdv_mean_ns.is_some());
    [
        (!missing.is_empty()).then(|| note(unit::ABSENT, format!("sample too small: {}", missing.join(", ")))),
        is_silent.then(|| note(unit::ABSENT, "nothing was answered, so there is no mean, maximum or jitter")),
        beyond.map(|series| {
            let text = "the rank falls among the lost attempts, of which only this is known";
            note(unit::beyond(series.timeout_ns), text)
        }),
        has_jitter.then(|| note("jitter", "mean |IPDV|, the mean difference between neighbouring answers (RFC 5481)")),
        (!run.merged_from.is_empty() && !shown.is_empty())
            .then(|| note("jitter", "not known of merged runs: it depends on the order of the attempts")),
        any(|counts| counts.lost_count > 0).then(|| {
            note("mean, max, jitter", "of the answered attempts only; the quantiles rank the lost above the timeout")
        }),
        any(|counts| counts.lost_count == 0 && counts.unanswered_count() > 0).then(|| {
            note(
                "all figures",
                "of the answered attempts only: refused and failed ones have no latency, and stand under loss",
            )
        }),
        shown.iter().any(|series| series.reference.is_some()).then(|| {
            note("reference", "mean / p95 / jitter as published for a target of this name; context, not a limit")
        }),
        (!programmed.is_empty()).then(|| {
            note(PROGRAMMED, "what the emulated link was told to add in this very run; the rest is path and tool")
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Which address each target had.
fn addresses(shown: &[&Series]) -> Option<Note> {
    let mut pairs: Vec<String> = Vec::new();
    for series in shown {
        let pair =
            series.labels.value("address").map(|address| format!("{} {address}", series.target()).trim().to_owned());
        pairs.extend(pair.filter(|pair| !pairs.contains(pair)));
    }
    let rest = pairs.split_off(pairs.len().min(NAMED_ADDRESSES)).len();
    let dots = if rest > 0 { format!(" and {} more", count(rest as u64)) } else { String::new() };
    (!pairs.is_empty()).then(|| note("address", pairs.join(", ") + &dots))
}

/// The tool's own floor: what it measures where there is nothing to measure.
fn floors(run: &Run) -> Option<Note> {
    let floors: Vec<String> = run
        .series
        .iter()
        .filter(|series| series.floor && series.role() == Role::Response)
        .map(|series| {
            let figures = three(series, "p99");
            format!("{} {figures}", channel(series).trim_start_matches("floor."))
        })
        .collect();
    let is_closed = run.spec.pointer("/load/arrival/loop").is_some_and(|kind| kind == "closed");
    let when = if is_closed { "back to back just before" } else { "on the same schedule" };
    let text = format!("loopback {when}: {}; smaller differences are the tool's own", floors.join("; "));
    (!floors.is_empty()).then(|| note("noise floor", text))
}

/// The generator's own delay, of the series where it was worst.
fn slip(run: &Run) -> Option<Note> {
    let slips = run.beside("slip").into_iter();
    let (response, worst) = slips.max_by_key(|(_, slip)| slip.summary.p95_ns.or(slip.summary.max_ns))?;
    let text = format!("{}; the generator's own delay, worst on {}", three(worst, "p95"), name(response));
    worst.summary.max_ns.map(|_| note("slip", text))
}

/// `p50 38.1 µs, p99 64.0 µs, max 71.2 µs`.
fn three(series: &Series, tail: &str) -> String {
    let quantile = |name| unit::quantile(&series.summary, name, series.timeout_ns);
    format!("p50 {}, {tail} {}, max {}", quantile("p50"), quantile(tail), maybe(series.summary.max_ns))
}

/// What the series did not get, the first of them in words.
fn shortfalls(shown: &[&Series]) -> Vec<Note> {
    let mut all: Vec<Note> = shown.iter().flat_map(|series| shortfall(series)).collect();
    let rest = all.split_off(all.len().min(NAMED_SHORTFALLS)).len();
    if rest > 0 {
        all.push(note("…", format!("{} more notes of this kind; CSV and JSON have every series", count(rest as u64))));
    }
    all
}

/// What one series did not get: lost, refused, failed, skipped, silent for a while, beyond the histogram.
fn shortfall(series: &Series) -> Vec<Note> {
    let counts = &series.counts;
    let name = name(series);
    let skipped = (counts.skipped_count > 0).then(|| {
        let text = format!(
            "{name}: {} planned attempts were never started: they could not be in time, or too many were in flight",
            count(counts.skipped_count)
        );
        note("skipped", text)
    });
    let saturated = (series.saturated_count > 0).then(|| {
        note("saturated", format!("{name}: {} values are above the histogram's highest", count(series.saturated_count)))
    });
    [unanswered(series, &name), outages(series, &name), skipped, saturated].into_iter().flatten().collect()
}

fn unanswered(series: &Series, name: &str) -> Option<Note> {
    let counts = &series.counts;
    let kinds: Vec<String> = series.failure_kinds.iter().map(|(kind, n)| format!("{} {kind}", count(*n))).collect();
    let failed = if kinds.is_empty() { "failed".to_owned() } else { format!("failed ({})", kinds.join(", ")) };
    let parts: Vec<String> =
        [(counts.lost_count, "lost"), (counts.refused_count, "refused"), (counts.failed_count, failed.as_str())]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{} {what}", count(n)))
            .collect();
    let text = format!("{name}: {} of {} attempts", parts.join(", "), count(counts.attempt_count));
    (!parts.is_empty()).then(|| note("loss", text))
}

fn outages(series: &Series, name: &str) -> Option<Note> {
    let longest = series.outages.iter().map(|outage| outage.length_ns).max().filter(|_| series.outage_count > 1);
    let longest = longest.map_or_else(String::new, |length| format!(", the longest {}", duration(length)));
    let one = |outage: &Outage| {
        let Outage { start_ns, length_ns, unanswered_count } = outage;
        let start = if *start_ns == 0 { "the start".to_owned() } else { format!("+{}", duration(*start_ns)) };
        format!("{} at {start} ({} unanswered)", duration(*length_ns), count(*unanswered_count))
    };
    let named: Vec<String> = series.outages.iter().take(NAMED_OUTAGES).map(one).collect();
    let listed = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    let dots = if series.outage_count > named.len() as u64 && !named.is_empty() { ", …" } else { "" };
    let text = match (series.outage_count, named.as_slice()) {
        (1, [only]) => format!("{name}: {only}"),
        (n, _) => format!("{name}: {}{longest}{listed}{dots}", count(n)),
    };
    (series.outage_count > 0).then(|| note("outages", text))
}

fn finding(finding: &Finding) -> Note {
    let label = match finding.severity {
        Severity::Info => "info",
        Severity::Notice => "notice",
        Severity::Problem => "problem",
    };
    note(label, sentence(finding))
}

/// What was found, on what evidence, and what to do.
pub fn sentence(finding: &Finding) -> String {
    let evidence =
        if finding.evidence.is_empty() { String::new() } else { format!(" ({})", finding.evidence.join("; ")) };
    let advice = finding.advice.as_ref().map_or_else(String::new, |advice| {
        let verify = advice.verify.as_ref().map_or_else(String::new, |command| format!(" Check with `{command}`."));
        format!(" Advice: {}.{verify}", advice.text.trim_end_matches('.'))
    });
    let stop = if advice.is_empty() { "" } else { "." };
    format!("{}{evidence}{stop}{advice}", finding.text.trim_end_matches('.'))
}

/// What measuring cost the machine that measured.
pub fn cost(run: &Run) -> Option<Note> {
    let cost = &run.self_cost;
    let cpu = cost.cpu_user_ns.zip(cost.cpu_system_ns).map(|(user, system)| {
        let used = user.saturating_add(system);
        // What comes before and after is in the cost and not in the span: of a short run it would be most of it.
        let share = (run.elapsed_ns >= 1_000_000_000).then(|| used as f64 / run.elapsed_ns as f64);
        let share = share.map_or_else(String::new, |share| match share > 1.0 {
            true => format!(" ({} cores)", unit::significant(share)),
            false => format!(" ({} of one core)", unit::ratio(share)),
        });
        format!("{} CPU{share}", duration(used))
    });
    let memory = cost.memory_peak_bytes.map(|bytes| format!("{} peak", unit::bytes(bytes)));
    let switches = cost.context_switch_voluntary_count.zip(cost.context_switch_involuntary_count);
    let switches = switches.map(|(given, taken)| format!("{} context switches", count(given.saturating_add(taken))));
    let parts: Vec<String> = [cpu, memory, switches].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| note("cost of measuring", parts.join(", ")))
}
