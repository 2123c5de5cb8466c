//! Two sides of runs as they are read: what must be known first, the verdict in a sentence, each comparison in a row.
//!
//! Separate from a run's sheet because its subject is two sides, and every command's comparison looks the same.

use super::sheet::Sheet;
use super::unit::{quantity, ratio, significant};
use crate::model::layout::{Block, Cell, Column, Note, Table};
use crate::model::{Comparison, Comparisons, Verdict};

/// Scenarios of one side that are named; the rest is counted.
const NAMED: usize = 4;

/// The comparison as a page of its own.
pub fn sheet<'a>(comparisons: &Comparisons, detail: bool) -> Sheet<'a> {
    let sides = [&comparisons.current_runs, &comparisons.baseline_runs].map(Vec::len);
    let runs = |n: usize| if n == 1 { "1 run".to_owned() } else { format!("{n} runs") };
    let title = format!(
        "comparison · {} against {} of the baseline · tolerance {}",
        runs(sides[0]),
        runs(sides[1]),
        ratio(comparisons.tolerance_ratio)
    );
    let unmatched = comparisons.unmatched.iter().take(NAMED).map(|text| Note::new("one side", text));
    let more = comparisons.unmatched.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| Note::new("one side", format!("{more} more on one side only")));
    let explained = comparisons.all.iter().any(|one| one.shift_ratio.is_some()).then(|| {
        Note::new(
            "change",
            "of the current side against the baseline, with its 90 % interval: 5 % lie beyond either end",
        )
    });
    let nothing = comparisons.all.iter().filter(|one| !detail && is_nothing(one)).count();
    let nothing = (nothing > 0).then(|| {
        let what = if nothing == 1 { "one ratio was".to_owned() } else { format!("{nothing} ratios were") };
        Note::new("no loss", format!("{what} 0 on both sides, surely enough, and not shown; --detail shows them"))
    });
    Sheet {
        alarms: comparisons.remarks.iter().map(|remark| format!("note: {remark}")).collect(),
        title,
        answer: answer(comparisons),
        check: None,
        blocks: vec![Block::Table(table(comparisons, detail))],
        notes: explained.into_iter().chain(nothing).chain(unmatched).chain(more).collect(),
    }
}

/// What the reader should know or do.
pub fn answer(comparisons: &Comparisons) -> String {
    let of = |verdict| comparisons.all.iter().filter(|one| one.verdict == verdict).collect::<Vec<_>>();
    let (worse, better, open) = (of(Verdict::Regression), of(Verdict::Improvement), of(Verdict::NotEnoughData));
    let furthest = |all: &[&Comparison]| {
        let size = |one: &&&Comparison| one.shift_ratio.map_or(f64::INFINITY, f64::abs);
        all.iter().max_by(|a, b| size(a).total_cmp(&size(b))).map(|one| told(one))
    };
    let count = |all: &[&Comparison], what: &str| match all.len() {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    if let Some(worst) = furthest(&worse) {
        return format!("{}: {worst}.", count(&worse, "regression"));
    }
    if comparisons.all.is_empty() {
        return "Nothing was compared: the two sides have no response in common.".to_owned();
    }
    if let Some(first) = open.first() {
        let runs = open.iter().filter_map(|one| one.runs_needed).max();
        let advice = runs.map_or_else(
            || "the change lies at the edge of the tolerance, where no number of runs decides".to_owned(),
            |runs| format!("about {runs} more a side would probably decide"),
        );
        return format!(
            "Not enough data for {} of {}, such as {}: {advice}.",
            open.len(),
            comparisons.all.len(),
            told(first)
        );
    }
    if let Some(best) = furthest(&better) {
        return format!("{}, nothing got worse: {best}.", capital(&count(&better, "improvement")));
    }
    let all: Vec<&Comparison> = comparisons.all.iter().collect();
    let largest = furthest(&all).map_or_else(String::new, |largest| format!(" The largest change: {largest}."));
    format!("No regression in {}.{largest}", count(&all, "comparison"))
}

/// One comparison in a sentence: what moved, how surely, and what follows.
pub fn sentence(one: &Comparison) -> String {
    let interval = match interval(one) {
        Cell::Text(text) => format!(" (90 %: {text})"),
        _ => String::new(),
    };
    let reason = if one.reason.is_empty() { String::new() } else { format!("; {}", one.reason) };
    let needed =
        one.runs_needed.map_or_else(String::new, |runs| format!("; about {runs} more runs a side would decide"));
    format!("{}{interval}: {}{reason}{needed}", told(one), word(one.verdict))
}

fn capital(text: &str) -> String {
    crate::model::layout::capitalised(text)
}

/// `p50 of rtt.echo{target=dc} is 12 % higher`.
fn told(one: &Comparison) -> String {
    let what = match one.statistic.as_str() {
        "value" => one.full_name(),
        statistic => format!("{statistic} of {}", one.full_name()),
    };
    match one.shift_ratio {
        Some(shift) => format!("{what} is {}", moved(one, shift)),
        None if one.current.is_none() && one.baseline.is_some() => format!("{what} lies beyond the timeout now"),
        None => what,
    }
}

fn moved(one: &Comparison, shift: f64) -> String {
    let points = if one.unit == "ratio" { " points" } else { "" };
    match shift {
        0.0 => "the same".to_owned(),
        shift if shift > 0.0 => format!("{}{points} higher", ratio(shift)),
        shift => format!("{}{points} lower", ratio(-shift)),
    }
}

fn table(comparisons: &Comparisons, detail: bool) -> Table {
    let mut table = Table::new(vec![
        Column::name("series"),
        Column::name("statistic"),
        Column::figure("baseline"),
        Column::figure("now"),
        Column::figure("change"),
        Column::extra("90 % interval", 1),
        Column::name("verdict"),
    ]);
    for one in comparisons.all.iter().filter(|one| detail || !is_nothing(one)) {
        let figure = |value: Option<f64>| match value {
            Some(value) => Cell::text(quantity(value, &one.unit)),
            None => Cell::Absent,
        };
        let needed = match (one.verdict, one.runs_needed) {
            (Verdict::NotEnoughData, Some(1)) => ": 1 more run".to_owned(),
            (Verdict::NotEnoughData, Some(runs)) => format!(": {runs} more runs"),
            _ => String::new(),
        };
        table.push(vec![
            Cell::text(one.full_name()),
            Cell::text(one.statistic.clone()),
            figure(one.baseline),
            figure(one.current),
            one.shift_ratio.map_or(Cell::Absent, |shift| Cell::text(signed(shift))),
            interval(one),
            Cell::text(format!("{}{needed}", word(one.verdict))),
        ]);
    }
    table
}

/// Losses or errors that neither side has.
fn is_nothing(one: &Comparison) -> bool {
    one.unit == "ratio" && one.verdict == Verdict::NoRegression && one.baseline == Some(0.0) && one.current == Some(0.0)
}

fn interval(one: &Comparison) -> Cell {
    let end = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), signed);
    match (one.low_ratio, one.high_ratio) {
        (None, None) => Cell::Absent,
        (low, high) => Cell::text(format!("{} to {}", end(low), end(high))),
    }
}

fn signed(shift: f64) -> String {
    let sign = if shift < 0.0 { "−" } else { "+" };
    if shift == 0.0 { "0 %".to_owned() } else { format!("{sign}{} %", significant(shift.abs() * 100.0)) }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Improvement => "improvement",
        Verdict::NoRegression => "no regression",
        Verdict::NotEnoughData => "not enough data",
        Verdict::Regression => "REGRESSION",
    }
}
