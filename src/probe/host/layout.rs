//! A run of `doctor` as people read it: what works on this host, how well, and what would help.
//!
//! Pure: a stored and a fresh run look alike.

use crate::model::layout::{Answer, Block, Cell, Column, Note, Table, with_advice};
use crate::model::{Finding, Layout, Run, Severity};

/// Lays out a run.
#[must_use]
pub fn layout(run: &Run) -> Layout<'_> {
    let checks: Vec<(&Finding, Option<f64>)> = checks(run);
    let mut table = Table::new(vec![Column::name("what"), Column::name("works"), Column::name("figure")]);
    for (finding, value) in &checks {
        let verdict = Cell::text(match value {
            Some(1.0) => "yes",
            Some(0.0) => "no",
            Some(_) => "limited",
            None => "–",
        });
        table.push(vec![Cell::text(name(finding)), verdict, Cell::text(finding.evidence.join("; "))]);
    }
    let is_check = |finding: &Finding| checks.iter().any(|(check, _)| check.id == finding.id);
    let told = run.findings.iter().filter(|finding| !is_check(finding) || finding.severity != Severity::Info);
    Layout {
        banner: None,
        subject: run.environment.hostname.clone().into_iter().collect(),
        answer: answer(&checks),
        blocks: vec![Block::Table(table)],
        detail: Vec::new(),
        notes: told.map(note).collect(),
    }
}

/// The findings that have a verdict, in its order.
fn checks(run: &Run) -> Vec<(&Finding, Option<f64>)> {
    let able = run.scalars.iter().filter(|scalar| scalar.name == super::ABLE);
    able.filter_map(|scalar| {
        let what = scalar.labels.value("what")?;
        Some((run.findings.iter().find(|finding| finding.id == what)?, scalar.value))
    })
    .collect()
}

fn name(finding: &Finding) -> String {
    finding.id.replace('_', " ")
}

fn answer(checks: &[(&Finding, Option<f64>)]) -> Answer {
    let names = |is: &dyn Fn(&Finding, Option<f64>) -> bool| {
        let all: Vec<String> = checks.iter().filter(|(f, value)| is(f, *value)).map(|(f, _)| name(f)).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let broken = names(&|finding, _| finding.severity == Severity::Problem);
    let lame = names(&|finding, value| finding.severity != Severity::Problem && value.is_some_and(|value| value < 1.0));
    let answer = match broken {
        _ if checks.is_empty() => return Answer::new("Nothing was examined."),
        Some(broken) => Answer::new(format!("Some commands cannot measure here: {broken}.")),
        None => Answer::new("Every command can measure here with its default options."),
    };
    lame.map_or_else(|| answer.clone(), |lame| answer.clone().and(format!("Limited or missing: {lame}.")))
}

/// The reason and the remedy; the table has the figure.
fn note(finding: &Finding) -> Note {
    let what = name(finding);
    let text = finding.text.strip_prefix(&format!("{what}: ")).unwrap_or(&finding.text);
    let text = with_advice(text, finding.advice.as_ref());
    Note::new(what, text)
}
