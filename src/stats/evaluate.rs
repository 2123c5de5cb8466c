//! Judges runs by their gates: an interval that violates wholly fails, one that straddles the limit decides nothing.
//!
//! Separate from the expressions because the rules of caution live here: nothing is decided on too little, and a
//! run that the generator spoilt is not judged.

use super::GateError;
use super::estimate::{Estimate, estimate};
use super::gate::{Gate, Statistic, Subject};
use crate::model::{GateDecision, GateReport, GateResult, Measurement, Role, Run, Scalar, Series};

/// What the command of a name can measure.
pub type Catalogue = fn(&str) -> Option<&'static Measurement>;

/// Judges every run by every gate; the decision is the worst of all results.
///
/// Every series of the exact name whose labels include the gate's is judged. The tool's own floor is judged only where
/// nothing else matches.
///
/// What a run has not is decided by the catalogue of its command: a count that did not occur is 0, and a series that the run
/// could have had decides nothing.
///
/// # Errors
/// When a gate matches nothing in any of the runs, and none of their commands measures such a thing.
pub fn judge(gates: &[Gate], runs: &[Run], catalogue: Catalogue) -> Result<GateReport, GateError> {
    let mut results = Vec::new();
    for gate in gates.iter().filter(|gate| !gate.is_relative) {
        let mut judged = judge_one(gate, runs);
        if judged.is_empty() {
            judged.extend(runs.iter().filter_map(|run| absent(gate, run, catalogue(&run.command)?)));
        }
        if judged.is_empty() {
            return Err(no_such_series(gate, runs));
        }
        results.extend(judged);
    }
    Ok(GateReport::of(results))
}

/// What a run that could have had it says by not having it.
fn absent(gate: &Gate, run: &Run, measurement: &Measurement) -> Option<GateResult> {
    let (metric, role) = measurement.find(gate.subject_name())?;
    if gate.is_of_series() == (role == Role::Scalar) {
        return None;
    }
    let estimate = match metric.unit {
        "count" => Ok(Estimate::exactly(0.0)),
        _ => Err("the run has none: nothing of it was answered, or it could not be measured".to_owned()),
    };
    Some(result(gate, run, estimate, [gate.name(), metric.unit.to_owned()]))
}

fn judge_one(gate: &Gate, runs: &[Run]) -> Vec<GateResult> {
    match &gate.subject {
        Subject::Series(name, statistic) => {
            let matching = |series: &&Series| series.name == *name && series.labels.matches(&gate.labels);
            let all = runs.iter().flat_map(|run| run.series.iter().filter(matching).map(move |series| (run, series)));
            let (floor, targets): (Vec<_>, Vec<_>) = all.partition(|(_, series)| series.floor);
            let judged = if targets.is_empty() { floor } else { targets };
            judged.into_iter().map(|(run, series)| judge_series(gate, *statistic, run, series)).collect()
        }
        Subject::Scalar(name) => {
            let matching = |scalar: &&Scalar| scalar.name == *name && scalar.labels.matches(&gate.labels);
            let all = runs.iter().flat_map(|run| run.scalars.iter().filter(matching).map(move |scalar| (run, scalar)));
            all.map(|(run, scalar)| judge_scalar(gate, run, scalar)).collect()
        }
    }
}

fn no_such_series(gate: &Gate, runs: &[Run]) -> GateError {
    let mut known: Vec<String> = match gate.subject {
        Subject::Series(..) => runs.iter().flat_map(|run| &run.series).map(Series::full_name).collect(),
        Subject::Scalar(_) => {
            runs.iter().flat_map(|run| &run.scalars).map(|s| format!("{}{}", s.name, s.labels)).collect()
        }
    };
    known.sort();
    known.dedup();
    GateError::NoSuchSeries { expression: gate.expression().to_owned(), name: gate.name(), known }
}

fn judge_series(gate: &Gate, statistic: Statistic, run: &Run, series: &Series) -> GateResult {
    let estimate = match series.counts.attempt_count {
        0 => Err("no attempt was made".to_owned()),
        _ => estimate(statistic, series, gate.operator.is_upward()),
    };
    let unit = if statistic.is_ratio() { "ratio" } else { "ns" };
    result(gate, run, estimate, [series.full_name(), unit.to_owned()])
}

fn judge_scalar(gate: &Gate, run: &Run, scalar: &Scalar) -> GateResult {
    let estimate = scalar.value.map(Estimate::exactly).ok_or_else(|| "it could not be measured".to_owned());
    result(gate, run, estimate, [format!("{}{}", scalar.name, scalar.labels), scalar.unit.clone()])
}

fn result(gate: &Gate, run: &Run, estimate: Result<Estimate, String>, [series, unit]: [String; 2]) -> GateResult {
    let (decision, reason) = match &estimate {
        _ if !run.validity.valid => {
            let reasons = run.validity.reasons.join("; ");
            (GateDecision::Inconclusive, format!("the run is invalid: {reasons}"))
        }
        Ok(estimate) => decide(gate, *estimate),
        Err(reason) => (GateDecision::Inconclusive, reason.clone()),
    };
    let finite = |part: fn(Estimate) -> f64| estimate.as_ref().ok().map(|e| part(*e)).filter(|x| x.is_finite());
    GateResult {
        expression: gate.expression().to_owned(),
        run_id: run.id.clone(),
        series,
        unit,
        decision,
        value: finite(|e| e.value),
        low: finite(|e| e.low),
        high: finite(|e| e.high),
        reason,
    }
}

fn decide(gate: &Gate, estimate: Estimate) -> (GateDecision, String) {
    let Estimate { low, high, .. } = estimate;
    let (violates, satisfies) = gate.verdict_on(low, high);
    let subject = if low < high { "the whole 95 % interval" } else { "the value" };
    match (violates, satisfies) {
        (true, _) if low.is_infinite() && low > 0.0 => {
            (GateDecision::Fail, "it lies among the lost attempts or the errors".to_owned())
        }
        (true, _) => (GateDecision::Fail, format!("{subject} violates the limit")),
        (_, true) => (GateDecision::Pass, format!("{subject} satisfies the limit")),
        _ if low == f64::NEG_INFINITY || high == f64::INFINITY => {
            (GateDecision::Inconclusive, "too few answers to bound it; measure longer".to_owned())
        }
        _ => (GateDecision::Inconclusive, "the 95 % interval straddles the limit; measure longer".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::model::{Counts, Labels};

    fn judged(gates: &[&str], runs: &[Run]) -> GateReport {
        let gates: Vec<Gate> = gates.iter().map(|gate| gate.parse().unwrap()).collect();
        judge(&gates, runs, |_| None).unwrap()
    }

    fn decision(gate: &str, series: Series) -> GateDecision {
        judged(&[gate], &[sample::run("a", vec![series])]).decision
    }

    /// Values 1 to `answered` ms, and so many lost.
    fn ramp(answered: u64, lost: u64) -> Series {
        sample::series("rtt.echo", "dc", &(1..=answered).map(|ms| ms * 1_000_000).collect::<Vec<_>>(), lost)
    }

    #[test]
    fn a_quantile_is_judged_by_its_whole_interval() {
        use GateDecision::{Fail, Inconclusive, Pass};
        // The interval of the median of 1 to 100 ms is 40 to 61 ms.
        for (gate, expected) in [
            ("rtt.echo.p50 > 39ms", Fail),
            ("rtt.echo.p50 > 45ms", Inconclusive),
            ("rtt.echo.p50 > 62ms", Pass),
            ("rtt.echo.p50 < 62ms", Fail),
            ("rtt.echo.p50 < 39ms", Pass),
            ("rtt.echo.p50 >= 40ms", Fail),
            ("rtt.echo.p99 > 200ms", Inconclusive),
            ("rtt.echo.p99 > 50ms", Fail),
            ("rtt.echo.max > 99ms", Fail),
            ("rtt.echo.max > 100ms", Pass),
            ("rtt.echo.min < 1ms", Pass),
            ("rtt.echo.mean > 40ms", Fail),
            ("rtt.echo.mean > 51ms", Inconclusive),
            ("rtt.echo.stddev > 1s", Pass),
            ("rtt.echo.ipdv_mean > 1s", Inconclusive),
        ] {
            assert_eq!(decision(gate, ramp(100, 0)), expected, "{gate}");
        }
    }

    #[test]
    fn the_lost_rank_above_every_limit() {
        use GateDecision::{Fail, Inconclusive, Pass};
        for (gate, answered, lost, expected) in [
            ("rtt.echo.p50 > 10s", 0, 100, Fail),
            ("rtt.echo.p50 < 10s", 0, 100, Pass),
            ("rtt.echo.p95 > 10s", 80, 20, Fail),
            ("rtt.echo.p50 > 10s", 80, 20, Pass),
            ("rtt.echo.max > 10s", 999, 1, Fail),
            ("rtt.echo.mean > 10s", 0, 10, Fail),
            ("rtt.echo.mean < 10s", 0, 10, Inconclusive),
            ("rtt.echo.min > 1ms", 0, 10, Inconclusive),
            ("rtt.echo.loss_ratio > 1%", 2_000, 1, Pass),
            ("rtt.echo.loss_ratio > 1%", 100, 1, Inconclusive),
            ("rtt.echo.loss_ratio > 1%", 100, 20, Fail),
            ("rtt.echo.p50 > 1ms", 0, 0, Inconclusive),
            ("rtt.echo.loss_ratio > 1%", 0, 0, Inconclusive),
        ] {
            assert_eq!(decision(gate, ramp(answered, lost)), expected, "{gate} at {answered} + {lost}");
        }
    }

    #[test]
    fn what_could_have_been_measured_and_was_not_is_no_usage_error() {
        use crate::model::{Layout, Metric};
        const METRICS: [Metric; 2] = [
            Metric::series("rtt.icmp", Role::Response, &["target"], "an exchange"),
            Metric::scalar("rtt.status", "count", &["code"], "answers"),
        ];
        const MEASUREMENT: Measurement =
            Measurement { command: "probe rtt", metrics: &[&METRICS], layout: |_| Layout::default() };
        let runs = [sample::run("a", vec![ramp(10, 0)])];
        let decision = |gate: &str| judge(&[gate.parse().unwrap()], &runs, |_| Some(&MEASUREMENT)).map(|r| r.decision);
        assert_eq!(decision("rtt.status{code=500} > 0"), Ok(GateDecision::Pass));
        assert_eq!(decision("rtt.status{code=500} < 1"), Ok(GateDecision::Fail));
        assert_eq!(decision("rtt.icmp.p95 > 1ms"), Ok(GateDecision::Inconclusive));
        assert!(decision("rtt.imcp.p95 > 1ms").is_err());
    }

    #[test]
    fn errors_rank_above_every_answer_and_have_a_ratio_of_their_own() {
        use GateDecision::{Fail, Pass};
        // Ten quick refusals beside ten answers: a gate on the median is not green for them.
        let mut series = ramp(10, 0);
        series.counts = Counts { attempt_count: 20, error_count: 10, ..series.counts };
        for (gate, expected) in [
            ("rtt.echo.p90 > 10s", Fail),
            ("rtt.echo.max > 10s", Fail),
            ("rtt.echo.error_ratio > 10%", Fail),
            ("rtt.echo.loss_ratio > 50%", Pass),
        ] {
            assert_eq!(decision(gate, series.clone()), expected, "{gate}");
        }
    }

    #[test]
    fn a_gate_that_matches_nothing_is_an_error_that_lists_what_there_is() {
        let runs = [sample::run("a", vec![ramp(10, 0)])];
        let error = |gate: &str| judge(&[gate.parse().unwrap()], &runs, |_| None).unwrap_err().to_string();
        assert_eq!(
            error("rtt.ecko.p50 > 1ms"),
            "`rtt.ecko.p50 > 1ms`: there is no `rtt.ecko` here; there is `rtt.echo{target=dc}`"
        );
        assert!(error("rtt.echo{target=edge}.p50 > 1ms").contains("no `rtt.echo{target=edge}`"));
        assert!(error("throughput > 1").contains("nothing of its kind"));
    }

    #[test]
    fn an_invalid_run_is_not_judged_and_a_failure_outweighs_it() {
        let mut invalid = sample::run("a", vec![ramp(100, 0)]);
        invalid.validity = crate::model::Validity { valid: false, reasons: vec!["starts slipped".to_owned()] };
        let alone = judged(&["rtt.echo.p50 > 1ms"], std::slice::from_ref(&invalid));
        assert_eq!(alone.decision, GateDecision::Inconclusive);
        assert_eq!(alone.results[0].reason, "the run is invalid: starts slipped");
        let both = judged(&["rtt.echo.p50 > 1ms"], &[invalid, sample::run("b", vec![ramp(100, 0)])]);
        assert_eq!((both.decision, both.results.len()), (GateDecision::Fail, 2));
    }

    #[test]
    fn any_matching_series_may_fail_and_the_floor_is_left_out() {
        let slow = Series { labels: Labels::new().with("target", "edge"), ..ramp(100, 0) };
        let fast = sample::series("rtt.echo", "dc", &[1_000; 100], 0);
        let floor = Series { floor: true, ..sample::series("rtt.echo", "loopback", &[10; 100], 0) };
        let runs = [sample::run("a", vec![fast, slow, floor])];
        let report = judged(&["rtt.echo.p50 > 10ms"], &runs);
        assert_eq!(
            report.results.iter().map(|r| r.decision).collect::<Vec<_>>(),
            [GateDecision::Pass, GateDecision::Fail]
        );
        let narrowed = judged(&["rtt.echo{target=dc}.p50 > 10ms", "rtt.echo{target=loopback}.max > 1us"], &runs);
        assert_eq!((narrowed.decision, narrowed.results.len()), (GateDecision::Pass, 2));
    }

    #[test]
    fn a_scalar_is_judged_as_it_is() {
        let mut run = sample::run("a", vec![]);
        let scalar = |value: Option<f64>| Scalar::new("etcd.rate", &Labels::new(), "per_s", value);
        run.scalars = vec![scalar(Some(900.0))];
        let report = judged(&["etcd.rate < 1000"], &[run.clone()]);
        assert_eq!((report.decision, report.results[0].unit.as_str()), (GateDecision::Fail, "per_s"));
        run.scalars = vec![scalar(None)];
        assert_eq!(judged(&["etcd.rate < 1000"], &[run]).decision, GateDecision::Inconclusive);
    }
}
