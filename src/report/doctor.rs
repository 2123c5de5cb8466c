//! An examination of a host as a table: what was looked at, whether it works, and the figure; what does not work has its
//! reason and its remedy below.
//!
//! Separate because its checks are findings that belong together, where those of a measurement stand below its table.

use super::note::{Note, cost, note, sentence};
use super::text::{clean, hang, length};
use super::unit;
use crate::model::{Finding, Run, Severity};

/// The scalar that carries a verdict, and the label that names its finding.
const ABLE: &str = "doctor.able";
const WHAT: &str = "what";

/// Heads of the columns, of which the last is as wide as the terminal lets it.
const HEADS: [&str; 3] = ["what", "works", "figure"];

/// The table; `None` for a run that examined no host.
pub fn text(run: &Run, width: usize) -> Option<String> {
    let heads = HEADS.map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(heads).chain(checks(run).map(row)).collect();
    let column = |at: usize| rows.iter().map(|row| length(&row[at])).max().unwrap_or_default();
    let (what, works) = (column(0), column(1));
    let line = |row: &[String; 3]| hang(&format!("{:<what$}  {:<works$}  ", row[0], row[1]), &row[2], width);
    (rows.len() > 1).then(|| rows.iter().map(line).collect())
}

fn row((finding, value): (&Finding, Option<f64>)) -> [String; 3] {
    let verdict = match value {
        Some(1.0) => "yes",
        Some(0.0) => "no",
        Some(_) => "limited",
        None => unit::ABSENT,
    };
    [clean(&finding.id.replace('_', " ")), verdict.to_owned(), clean(&finding.evidence.join("; "))]
}

/// Reasons and remedies, what was noticed beside the checks, and what looking cost.
pub fn notes(run: &Run) -> Vec<Note> {
    let is_check = |finding: &&Finding| checks(run).any(|(check, _)| check.id == finding.id);
    let lame = run.findings.iter().filter(|finding| !is_check(finding) || finding.severity != Severity::Info);
    let mut notes: Vec<Note> = lame
        .map(|finding| {
            let what = finding.id.replace('_', " ");
            // The label says what it is about, and the table the figure.
            let text = finding.text.strip_prefix(&format!("{what}: ")).unwrap_or(&finding.text).to_owned();
            note(what, sentence(&Finding { text, evidence: Vec::new(), ..finding.clone() }))
        })
        .collect();
    notes.extend(run.warnings.iter().map(|warning| note("warning", &warning.text)));
    notes.extend(cost(run));
    notes
}

/// The findings that have a verdict, in its order.
fn checks(run: &Run) -> impl Iterator<Item = (&Finding, Option<f64>)> {
    run.scalars.iter().filter(|scalar| scalar.name == ABLE).filter_map(|scalar| {
        let what = scalar.labels.value(WHAT)?;
        Some((run.findings.iter().find(|finding| finding.id == what)?, scalar.value))
    })
}
