//! Did the host that measured have a processor to spare?

use super::{Bottleneck, Budget, Facts, Rule, ms};
use crate::model::{Advice, Severity};

/// Starts that are this late were not late by the timer.
const SLIP_NS: u64 = 10_000_000;

/// The rule.
pub const RULE: Rule = Rule {
    id: "busy_host",
    question: "Did the host that measured have a processor to spare?",
    evidence: "how late planned starts were, and the load of the host",
    threshold: "when 5 % of the starts were over 10 ms late; the load stands beside it",
    advice: "measure again when it is quiet, or give agent and gateway processors of their own",
    against: &["late_detection"],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let Some(slip) = facts.host.slip_p95_ns.filter(|slip| *slip > SLIP_NS) else { return Vec::new() };
    let mut evidence = vec![format!("starts were late by {} (p95)", ms(slip as f64))];
    evidence.extend(facts.host.load.map(|load| format!("{load:.1} processes a processor want to run")));
    let advice = Advice::new(
        "find what keeps the processors of this host busy, and measure again; every hop waits for them",
        Some("offloadctl doctor".to_owned()),
    )
    .of_setting(
        "CPUQuota or resources.limits.cpu",
        Some("whatever runs here beside it".to_owned()),
        None,
        "less, or another host",
    );
    // Every part of the way waits for a processor about as long as a start does.
    let cost_ns = slip as f64 * 5.0;
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Problem,
        text: "the processors of this host are busy: everything on it is late, and so are these figures".to_owned(),
        evidence,
        cost_ns,
        budget: Budget::Change,
        advice,
    }]
}
