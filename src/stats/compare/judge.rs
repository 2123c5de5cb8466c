//! Gates whose limit is the baseline: `rtt.echo.p95 > baseline + 10%`, judged by the interval of the shift.
//!
//! Separate from the verdicts because a gate has its own limit and no tolerance.

use super::side::{Side, items};
use super::{Judged, judged};
use crate::model::{GateDecision, GateResult, Run};
use crate::stats::GateError;
use crate::stats::evaluate::Catalogue;
use crate::stats::gate::Gate;

/// What an interval of 95 % leaves out, as all gates are judged by.
const LEFT_OUT: f64 = 0.05;

/// Judges the relative ones of these gates.
///
/// # Errors
/// When a gate matches nothing that both sides have.
pub fn judge_relative(
    gates: &[Gate],
    [baseline, current]: [&[Run]; 2],
    seed: u64,
    catalogue: Catalogue,
) -> Result<Vec<GateResult>, GateError> {
    let sides = [baseline, current].map(Side::of);
    let mut results = Vec::new();
    for gate in gates.iter().filter(|gate| gate.is_relative) {
        let items = items(&sides, std::slice::from_ref(gate), catalogue);
        let run_id = sides[1].ids().into_iter().next_back().unwrap_or_default();
        let could_have = |run: &Run| catalogue(&run.command).is_some_and(|one| one.find(gate.subject_name()).is_some());
        if items.is_empty() && baseline.iter().chain(current).any(could_have) {
            results.push(absent(gate, &run_id));
        } else if items.is_empty() {
            let known = current.iter().flat_map(|run| &run.series).map(|series| series.full_name());
            return Err(GateError::NoSuchSeries {
                expression: gate.expression().to_owned(),
                name: gate.name(),
                known: known.collect(),
            });
        }
        results.extend(items.into_iter().map(|item| result(gate, &judged(item, &sides, seed), &run_id)));
    }
    Ok(results)
}

/// What both sides could have and do not have in common decides nothing.
fn absent(gate: &Gate, run_id: &str) -> GateResult {
    GateResult {
        expression: gate.expression().to_owned(),
        run_id: run_id.to_owned(),
        series: gate.name(),
        unit: "ratio".to_owned(),
        decision: GateDecision::Inconclusive,
        value: None,
        low: None,
        high: None,
        reason: "the two sides do not have it in common: nothing of it was answered, or it was not measured".to_owned(),
    }
}

fn result(gate: &Gate, judged: &Judged, run_id: &str) -> GateResult {
    let scale = judged.item.scale();
    let interval = judged.shift.as_ref().map(|shift| {
        let (low, high) = shift.interval(LEFT_OUT);
        (scale.share(shift.centre), scale.share(low), scale.share(high))
    });
    let (decision, reason) = match &interval {
        Ok((_, low, high)) => decide(gate, *low, *high),
        Err((reason, _)) => (GateDecision::Inconclusive, reason.clone()),
    };
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let interval = interval.ok();
    GateResult {
        expression: gate.expression().to_owned(),
        run_id: run_id.to_owned(),
        series: format!("{}{}", judged.item.key.name, judged.item.key.labels),
        unit: "ratio".to_owned(),
        decision,
        value: finite(interval.map(|(value, ..)| value)),
        low: finite(interval.map(|(_, low, _)| low)),
        high: finite(interval.map(|(.., high)| high)),
        reason,
    }
}

fn decide(gate: &Gate, low: f64, high: f64) -> (GateDecision, String) {
    match gate.verdict_on(low, high) {
        (true, _) => (
            GateDecision::Fail,
            "the whole 95 % interval of the change against the baseline violates the limit".to_owned(),
        ),
        (_, true) => (
            GateDecision::Pass,
            "the whole 95 % interval of the change against the baseline satisfies the limit".to_owned(),
        ),
        _ => (
            GateDecision::Inconclusive,
            "the 95 % interval of the change against the baseline straddles the limit; give more runs a side"
                .to_owned(),
        ),
    }
}
