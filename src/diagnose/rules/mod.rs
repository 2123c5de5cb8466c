//! The rules: each one question, the evidence that it needs, a threshold with its source, an advice and what that should change.
//!
//! Separate files, one a rule, because each is read, tested and explained by itself; the guide's page is made of them. Pure functions
//! from facts to what they cost.

mod agent_holds;
mod busy_host;
mod clock_steps;
mod connections_not_kept;
mod etcd_disk;
mod far_link;
mod late_detection;
mod lossy_link;
mod lost_events;
mod polled_runtime;
mod slow_runtime;
mod slow_store;
mod slow_wire;
mod unexplained;

use super::facts::Facts;
use crate::model::{Advice, Prediction, Severity};

/// One rule.
pub struct Rule {
    /// Its stable name, and that of its findings.
    pub id: &'static str,
    /// What it asks.
    pub question: &'static str,
    /// What must have been measured.
    pub evidence: &'static str,
    /// When it speaks, and by whose word.
    pub threshold: &'static str,
    /// What it advises.
    pub advice: &'static str,
    /// Rules whose advice pulls the other way.
    pub against: &'static [&'static str],
    /// What it finds.
    pub judge: fn(&Facts) -> Vec<Bottleneck>,
}

/// Which promise suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The time of a change from its act to a subscriber.
    Change,
    /// The time until a silent node is called so.
    Detection,
    /// A request to an API server or a store beside the way.
    Request,
    /// The measurement itself: what it says may be wrong.
    Trust,
}

/// Something that makes state late, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// The rule's name.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// The figures that support it.
    pub evidence: Vec<String>,
    /// What it takes from its budget, in nanoseconds; 0 of what cannot be told.
    pub cost_ns: f64,
    /// Which.
    pub budget: Budget,
    /// What to change.
    pub advice: Advice,
}

/// All rules, by name.
pub const ALL: [&Rule; 14] = [
    &agent_holds::RULE,
    &busy_host::RULE,
    &clock_steps::RULE,
    &connections_not_kept::RULE,
    &etcd_disk::RULE,
    &far_link::RULE,
    &late_detection::RULE,
    &lossy_link::RULE,
    &lost_events::RULE,
    &polled_runtime::RULE,
    &slow_runtime::RULE,
    &slow_store::RULE,
    &slow_wire::RULE,
    &unexplained::RULE,
];

/// The rules as the guide shows them.
#[must_use]
pub fn page() -> String {
    let one = |rule: &&Rule| {
        let Rule { id, question, evidence, threshold, advice, .. } = rule;
        format!("### {id}\n\n{question}\n\n- Needs: {evidence}.\n- Speaks {threshold}.\n- Advice: {advice}.\n")
    };
    ALL.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The way of a change without most of one hop: between nothing left of it and what is as good as it gets.
fn way_without(facts: &Facts, hop: &str, best_ns: f64) -> Option<Prediction> {
    let (total, spent) = (facts.way.as_ref()?.total_ns, facts.hop(hop)?);
    let rest = (total - spent).max(0.0);
    let (low, value, high) = (rest, rest + best_ns.min(spent) / 2.0, rest + best_ns.min(spent));
    Some(Prediction { name: "trace.mean{hop=total}".to_owned(), unit: "ns".to_owned(), value, low, high })
}

fn ms(ns: f64) -> String {
    crate::model::figure::duration(ns.max(0.0).round() as u64)
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}
