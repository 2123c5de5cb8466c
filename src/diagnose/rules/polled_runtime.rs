//! Does the agent list where it could listen?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent, way_without};
use crate::model::{Advice, Severity};

/// What an event takes from an engine to its reader, generously: 0.35 ms were measured.
const EVENT_NS: f64 = 5e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "polled_runtime",
    question: "Does the agent list where it could listen?",
    evidence: "a trace whose source is `poll=TIME`",
    threshold: "whenever the agent polls: a change waits for the next list, half of the period in the mean (P/2 + list, worst P + list)",
    advice: "watch the runtime's events: leave `poll` out of `sources` in agent.conf",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let Some(way) = &facts.way else { return Vec::new() };
    let Some(period) = way.source.strip_prefix("poll=") else { return Vec::new() };
    let Some(mean) = facts.hop("event") else { return Vec::new() };
    let text = format!(
        "the agent lists every {period} instead of watching events: {}, {} of a change's way",
        ms(mean),
        percent(mean / way.total_ns)
    );
    let check = format!("offloadctl trace --compare source=docker,poll={period}");
    let advice = Advice::new("watch the runtime's events: leave `poll` out", Some(check))
        .of_setting("sources.docker.poll", Some("agent.conf".to_owned()), Some(period.to_owned()), "absent")
        .predicting(way_without(facts, "event", EVENT_NS));
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Problem,
        text,
        evidence: vec![format!("event mean {}; half of the period is expected", ms(mean))],
        cost_ns: mean,
        budget: Budget::Change,
        advice,
    }]
}
