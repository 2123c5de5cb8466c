//! What the gates decided, in sentences.
//!
//! Separate because it belongs to the report as a whole and not to one of its runs.

use super::text::clean;
use super::unit::quantity;
use crate::model::{GateDecision, GateReport, GateResult};

/// The decision in one line.
pub fn headline(gate: &GateReport) -> String {
    let n = |decision| gate.results.iter().filter(|result| result.decision == decision).count();
    format!(
        "gate: {} ({} failed, {} inconclusive, {} passed)",
        word(gate.decision),
        n(GateDecision::Fail),
        n(GateDecision::Inconclusive),
        n(GateDecision::Pass)
    )
}

/// Each judgement: the decision, and on what it rests.
pub fn results(gate: &GateReport) -> Vec<(&'static str, String)> {
    let run_count = gate.results.windows(2).filter(|pair| pair[0].run_id != pair[1].run_id).count();
    let sentence = |result: &GateResult| {
        let run = if run_count > 0 { format!(" of run {}", result.run_id) } else { String::new() };
        let GateResult { expression, series, reason, .. } = result;
        clean(&format!("`{expression}` on {series}{run}: {}{reason}", figure(result)))
    };
    gate.results.iter().map(|result| (word(result.decision), sentence(result))).collect()
}

const fn word(decision: GateDecision) -> &'static str {
    match decision {
        GateDecision::Pass => "PASS",
        GateDecision::Fail => "FAIL",
        GateDecision::Inconclusive => "INCONCLUSIVE",
    }
}

/// `47.1 ms (95 %: 45.2 ms to 49.0 ms); `, as far as it is known.
fn figure(result: &GateResult) -> String {
    let shown = |value: f64| quantity(value, &result.unit);
    let interval = match (result.low, result.high) {
        (Some(low), Some(high)) if low < high => format!(" (95 %: {} to {})", shown(low), shown(high)),
        (Some(low), None) => format!(" (95 %: {} or more)", shown(low)),
        (None, Some(high)) => format!(" (95 %: {} or less)", shown(high)),
        _ => String::new(),
    };
    result.value.map_or_else(String::new, |value| format!("{}{interval}; ", shown(value)))
}
