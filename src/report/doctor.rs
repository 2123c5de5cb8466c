//! An examination of a host as a table: what was looked at, whether it works, and the figure; what does not work has its
//! reason and its remedy below.
//!
//! Separate because its checks are findings that belong together, where those of a measurement stand below its table.

use super::grid::plain_table;
use super::note::{Note, cost, note, sentence};
use super::text::clean;
use crate::model::{Finding, Run, Severity};

/// The scalar that carries a verdict, and the label that names its finding.
const ABLE: &str = "doctor.able";
const WHAT: &str = "what";

/// The table; `None` for a run that examined no host.
pub fn text(run: &Run) -> Option<String> {
    let rows: Vec<Vec<String>> = checks(run)
        .map(|(finding, value)| {
            let verdict = match value {
                Some(1.0) => "yes",
                Some(0.0) => "no",
                Some(_) => "limited",
                None => super::unit::ABSENT,
            };
            vec![clean(&finding.id.replace('_', " ")), verdict.to_owned(), clean(&finding.evidence.join("; "))]
        })
        .collect();
    (!rows.is_empty()).then(|| plain_table(&["what", "works", "figure"], rows.into_iter()) + "\n")
}

/// Reasons and remedies, what was noticed beside the checks, and what looking cost.
pub fn notes(run: &Run) -> Vec<Note> {
    let is_check = |finding: &&Finding| checks(run).any(|(check, _)| check.id == finding.id);
    let lame = run.findings.iter().filter(|finding| !is_check(finding) || finding.severity != Severity::Info);
    let mut notes: Vec<Note> = lame
        .map(|finding| {
            let bare = Finding { evidence: Vec::new(), ..finding.clone() };
            note(finding.id.replace('_', " "), sentence(&bare))
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
