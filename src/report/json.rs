//! The two JSON documents: a run, and a report on runs.
//!
//! Separate from the model because the model says what a run is and this file which document a command prints.

use serde::Serialize;

use super::{Report, Reporter, comparison};
use crate::model::{Comparison, GateReport, Run, Trend, Verdict};

/// The schema of the report document.
const REPORT_SCHEMA: &str = "offloadctl.report/1";

/// The report document.
pub struct Json;

impl Reporter for Json {
    fn render(&self, report: &Report) -> String {
        report_document(report)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    runs: Vec<&'a Run>,
    comparisons: &'a [Comparison],
    /// What the comparisons are of, and what must be known about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    sides: Option<Sides<'a>>,
    gate: Option<&'a GateReport>,
    /// A figure over time.
    #[serde(skip_serializing_if = "Option::is_none")]
    trend: Option<&'a Trend>,
}

#[derive(Serialize)]
struct Sides<'a> {
    baseline: &'a [String],
    current: &'a [String],
    tolerance_ratio: f64,
    verdict: Verdict,
    answer: String,
    remarks: &'a [String],
    unmatched: &'a [String],
}

/// One run: what a measuring command prints, and what is kept of it.
#[must_use]
pub fn run_document(run: &Run) -> String {
    pretty(run)
}

/// Runs and what was decided on them: what `report` prints.
#[must_use]
pub fn report_document(report: &Report) -> String {
    pretty(&Document {
        schema: REPORT_SCHEMA,
        runs: report.pages.iter().map(|page| page.run).collect(),
        comparisons: report.comparisons.map_or(&[], |comparisons| &comparisons.all),
        sides: report.comparisons.map(|comparisons| Sides {
            baseline: &comparisons.baseline_runs,
            current: &comparisons.current_runs,
            tolerance_ratio: comparisons.tolerance_ratio,
            verdict: comparisons.verdict(),
            answer: comparison::answer(comparisons),
            remarks: &comparisons.remarks,
            unmatched: &comparisons.unmatched,
        }),
        gate: report.gate,
        trend: report.trend,
    })
}

fn pretty(document: &impl Serialize) -> String {
    // Invariant: every map of ours has text for keys and no type of ours fails to serialise.
    #[expect(clippy::expect_used, reason = "serialising plain data with text keys cannot fail")]
    let mut text = serde_json::to_string_pretty(document).expect("plain data serialises");
    text.push('\n');
    text
}
