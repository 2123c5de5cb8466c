//! What a gate decided, as data: `stats::gate` decides it, the reports show it.

use serde::{Deserialize, Serialize};

/// The three answers of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateDecision {
    /// The whole interval satisfies the limit.
    Pass,
    /// The interval straddles the limit, or there is nothing valid to judge.
    Inconclusive,
    /// The whole interval violates the limit.
    Fail,
}

/// One expression judged on one series or scalar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// The expression as typed.
    pub expression: String,
    /// The run it was judged in.
    pub run_id: String,
    /// The series or scalar it was judged on, with its labels.
    pub series: String,
    /// Unit of the figures: `ns`, `ratio`, or the unit of the scalar.
    pub unit: String,
    /// The decision.
    pub decision: GateDecision,
    /// The point estimate; null where it lies beyond the timeout or is unknown.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval; null when unbounded or unknown.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval; null when unbounded or beyond the timeout.
    pub high: Option<f64>,
    /// The reason in one sentence.
    pub reason: String,
}

/// All gates of one invocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// The worst of the results: fail, then inconclusive, then pass.
    pub decision: GateDecision,
    /// Each expression on each series it matched.
    pub results: Vec<GateResult>,
}

impl GateReport {
    /// Of these results: the worst of them decides.
    #[must_use]
    pub fn of(results: Vec<GateResult>) -> Self {
        let decision = results.iter().map(|result| result.decision).max().unwrap_or(GateDecision::Pass);
        Self { decision, results }
    }
}
