//! Is the network between agent, gateway and subscriber what a change waits for?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent, way_without};
use crate::model::{Advice, Severity};

/// Half of the published mean round trip of a cross-region link (38.7 ms): a gateway in the same region is nearer.
const LIMIT_NS: f64 = 19.35e6;

/// The published mean round trip of a local data centre, halved.
const NEAR_NS: f64 = 0.6e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "slow_wire",
    question: "Is the network between agent, gateway and subscriber what a change waits for?",
    evidence: "the hops `wire` and `subscriber` of a trace",
    threshold: "when the mean of one is above 19.4 ms, half of a published cross-region round trip",
    advice: "let agents report to a gateway that is nearer (`server` in agent.conf), or look for what delays the link",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let Some(way) = &facts.way else { return Vec::new() };
    let slow = |(hop, between): (&'static str, &'static str)| {
        let mean = facts.hop(hop).filter(|mean| *mean > LIMIT_NS)?;
        let text = format!(
            "the network from {between} takes {}, {} of a change's way",
            ms(mean),
            percent(mean / way.total_ns)
        );
        let advice = Advice::new(
            "use a gateway that is nearer, or look for what delays the link",
            Some("offloadctl probe rtt gateway=HOST:PORT".to_owned()),
        )
        .of_setting("server", Some("agent.conf".to_owned()), None, "a gateway of the same site")
        .predicting(way_without(facts, hop, NEAR_NS * 2.0));
        Some(Bottleneck {
            id: RULE.id,
            severity: Severity::Problem,
            text,
            evidence: vec![format!("{hop} mean {} (limit {})", ms(mean), ms(LIMIT_NS))],
            cost_ns: mean,
            budget: Budget::Change,
            advice,
        })
    };
    [("wire", "agent to gateway"), ("subscriber", "gateway to subscriber")].into_iter().filter_map(slow).collect()
}
