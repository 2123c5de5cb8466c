//! The two JSON documents: a run, and a report on runs.
//!
//! Separate from the model because the model says what a run is and this file which document a command prints.

use serde::Serialize;

use super::{Report, Reporter};
use crate::model::{GateReport, Run};

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
    /// Filled once runs can be compared; the key is part of the contract.
    comparisons: [(); 0],
    gate: Option<&'a GateReport>,
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
        comparisons: [],
        gate: report.gate,
    })
}

fn pretty(document: &impl Serialize) -> String {
    // Invariant: every map of ours has text for keys and no type of ours fails to serialise.
    #[expect(clippy::expect_used, reason = "serialising plain data with text keys cannot fail")]
    let mut text = serde_json::to_string_pretty(document).expect("plain data serialises");
    text.push('\n');
    text
}
