//! Did the host that measured have a processor to spare?

use super::{Bottleneck, Budget, Facts, Rule, ms};
use crate::model::{Advice, Severity};

/// Starts that are this late were not late by the timer.
const SLIP_NS: u64 = 10_000_000;

/// Processes that want a processor, for each one: above it everybody waits.
const LOAD: f64 = 1.5;

/// The rule.
pub const RULE: Rule = Rule {
    id: "busy_host",
    question: "Did the host that measured have a processor to spare?",
    evidence: "how late planned starts were, and the load of the host",
    threshold: "when 5 % of the starts were over 10 ms late, or more than 1.5 processes a processor wanted to run",
    advice: "measure again when it is quiet, or give agent and gateway processors of their own",
    against: &["late_detection"],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let slip = facts.host.slip_p95_ns.filter(|slip| *slip > SLIP_NS);
    let load = facts.host.load.filter(|load| *load > LOAD);
    if slip.is_none() && load.is_none() {
        return Vec::new();
    }
    let mut evidence = Vec::new();
    evidence.extend(facts.host.slip_p95_ns.map(|slip| format!("starts were late by {} (p95)", ms(slip as f64))));
    evidence.extend(facts.host.load.map(|load| format!("{load:.1} processes a processor want to run")));
    let advice = Advice::new(
        "find what keeps the processors of this host busy, and measure again; every hop waits for them",
        Some("offloadctl doctor".to_owned()),
    )
    .of_setting("CPUQuota or resources.limits.cpu", Some("whatever runs here beside it".to_owned()), None, "less, or another host");
    // Every part of the way waits for a processor about as long as a start does.
    let cost_ns = slip.or(facts.host.slip_p95_ns).unwrap_or(0) as f64 * 5.0;
    vec![Bottleneck {
        id: RULE.id,
        severity: if slip.is_some() { Severity::Problem } else { Severity::Notice },
        text: "the processors of this host are busy: everything on it is late, and so are these figures".to_owned(),
        evidence,
        cost_ns,
        budget: Budget::Change,
        advice,
    }]
}
