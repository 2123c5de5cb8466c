//! Does the agent hold a change for longer than it means to?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent, way_without};
use crate::model::{Advice, Severity};

/// The agent's own wait for company is 5 ms (docs/guide/agent.md); four times as much is not its own.
const LIMIT_NS: f64 = 20e6;

/// What it takes by itself.
const OWN_NS: f64 = 6e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "agent_holds",
    question: "Does the agent hold a change for longer than it means to?",
    evidence: "the hop `agent` of a trace",
    threshold: "when its mean is above 20 ms: the agent waits 5 ms for company, the rest is a processor that it does not get, or a gateway that does not answer",
    advice: "give the agent a processor (its CPU limit, its niceness), and look why the gateway answers late",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let (Some(way), Some(mean)) = (&facts.way, facts.hop("agent")) else { return Vec::new() };
    if mean <= LIMIT_NS {
        return Vec::new();
    }
    let text = format!("the agent holds a change for {}, {} of its way", ms(mean), percent(mean / way.total_ns));
    let advice = Advice::new(
        "give the agent a processor: raise its CPU limit, and look whether the gateway answers each frame in time",
        Some("offloadctl trace".to_owned()),
    )
    .of_setting(
        "CPUQuota or resources.limits.cpu",
        Some("the agent's unit or Pod".to_owned()),
        None,
        "none, or 100m and more",
    )
    .predicting(way_without(facts, "agent", OWN_NS));
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Problem,
        text,
        evidence: vec![format!("agent mean {} (5 ms of it are its own)", ms(mean))],
        cost_ns: mean,
        budget: Budget::Change,
        advice,
    }]
}
