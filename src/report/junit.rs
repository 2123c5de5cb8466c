//! Gates and comparisons as JUnit XML, which every pipeline shows as a list of tests.
//!
//! Separate because a pipeline reads it: each judgement is a test case; what could not be decided is an error and no failure.

use std::fmt::Write as _;

use super::text::clean;
use super::{Report, Reporter, verdict};
use crate::model::{Comparison, GateDecision, Verdict};

/// JUnit XML, as its consumers agree on it: testsuites, testsuite, testcase, failure, error.
pub struct Junit;

/// One test case: its name, what is wrong with it, and a sentence.
struct Case {
    name: String,
    fault: Option<&'static str>,
    text: String,
}

impl Reporter for Junit {
    fn render(&self, report: &Report) -> String {
        let suites = [("gates", gates(report)), ("comparisons", comparisons(report)), ("runs", runs(report))];
        let suites: Vec<(&str, Vec<Case>)> = suites.into_iter().filter(|(_, cases)| !cases.is_empty()).collect();
        let all = || suites.iter().flat_map(|(_, cases)| cases);
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        text.push_str(&format!("<testsuites name=\"offloadctl\" {}>\n", counts(all())));
        for (name, cases) in &suites {
            text.push_str(&format!("  <testsuite name=\"{name}\" {}>\n", counts(cases.iter())));
            cases.iter().for_each(|case| text.push_str(&case_text(name, case)));
            text.push_str("  </testsuite>\n");
        }
        text + "</testsuites>\n"
    }
}

fn gates(report: &Report) -> Vec<Case> {
    let Some(gate) = report.gate else { return Vec::new() };
    let texts = verdict::results(gate);
    let case = |(result, (_, text)): (&crate::model::GateResult, (&str, String))| {
        let fault = match result.decision {
            GateDecision::Pass => None,
            GateDecision::Fail => Some("failure"),
            GateDecision::Inconclusive => Some("error"),
        };
        Case { name: format!("{} on {}", result.expression, result.series), fault, text }
    };
    gate.results.iter().zip(texts).map(case).collect()
}

fn comparisons(report: &Report) -> Vec<Case> {
    let case = |one: &Comparison| {
        let fault = match one.verdict {
            Verdict::Regression => Some("failure"),
            Verdict::NotEnoughData => Some("error"),
            Verdict::NoRegression | Verdict::Improvement => None,
        };
        let name = format!("{} {}", one.full_name(), one.statistic);
        Case { name, fault, text: super::comparison::sentence(one) }
    };
    report.comparisons.into_iter().flat_map(|comparisons| comparisons.all.iter().map(case)).collect()
}

/// Whether each run may be judged at all.
fn runs(report: &Report) -> Vec<Case> {
    let case = |page: &super::Page| {
        let run = page.run;
        let text = match (run.validity.valid, run.complete) {
            (false, _) => format!("the run is invalid: {}", run.validity.reasons.join("; ")),
            (true, false) => "the run is incomplete: it was interrupted".to_owned(),
            (true, true) => run.answer.clone().unwrap_or_default(),
        };
        let fault = (!run.validity.valid || !run.complete).then_some("error");
        Case { name: format!("{} {}", run.command, run.id), fault, text }
    };
    report.pages.iter().map(case).collect()
}

fn counts<'a>(cases: impl Iterator<Item = &'a Case> + Clone) -> String {
    let of = |fault| cases.clone().filter(|case| case.fault == Some(fault)).count();
    format!("tests=\"{}\" failures=\"{}\" errors=\"{}\"", cases.clone().count(), of("failure"), of("error"))
}

fn case_text(suite: &str, case: &Case) -> String {
    let (name, text) = (escape(&case.name), escape(&case.text));
    match case.fault {
        None => format!(
            "    <testcase classname=\"offloadctl.{suite}\" name=\"{name}\"><system-out>{text}</system-out></testcase>\n"
        ),
        Some(fault) => format!(
            "    <testcase classname=\"offloadctl.{suite}\" name=\"{name}\"><{fault} message=\"{text}\"/></testcase>\n"
        ),
    }
}

/// Text that is XML of itself: what XML 1.0 does not allow has been made visible before.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in clean(text).chars().filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}')) {
        // Writing to a text cannot fail.
        let _ = match c {
            '&' => escaped.write_str("&amp;"),
            '<' => escaped.write_str("&lt;"),
            '>' => escaped.write_str("&gt;"),
            '"' => escaped.write_str("&quot;"),
            c => escaped.write_char(c),
        };
    }
    escaped
}
