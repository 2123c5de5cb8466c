//! Is there time that no part of the way claims?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent};
use crate::model::{Advice, Severity};

/// Above this share, advice by the other hops may miss the cause.
const LIMIT: f64 = 0.1;

/// The rule.
pub const RULE: Rule = Rule {
    id: "unexplained",
    question: "Is there time that no part of the way claims?",
    evidence: "a trace",
    threshold: "when over 10 % of the way lie between the stamps of its parts, or in parts that took none",
    advice: "let every part take stamps: `\"trace\": true` in agent.conf, `offloadctl gateway --trace`",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let Some(way) = facts.way.as_ref().filter(|way| way.unexplained_ratio > LIMIT) else { return Vec::new() };
    let spent = facts.hop("unexplained").unwrap_or(0.0);
    let text = format!("nobody claims {} of a change's way, {}", percent(way.unexplained_ratio), ms(spent));
    let advice = Advice::new(
        "let every part take stamps: `\"trace\": true` in agent.conf, and the gateway with --trace",
        Some("offloadctl trace".to_owned()),
    )
    .of_setting("trace", Some("agent.conf and the gateway's command line".to_owned()), None, "true");
    let hops: Vec<&str> = way.hops.iter().map(|(hop, _)| hop.as_str()).filter(|hop| *hop != "unexplained").collect();
    let stamped =
        if hops.is_empty() { "no part took stamps".to_owned() } else { format!("stamped: {}", hops.join(", ")) };
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Notice,
        text,
        evidence: vec![stamped],
        cost_ns: spent,
        budget: Budget::Change,
        advice,
    }]
}
