//! Is a target further away than a region?

use super::{Bottleneck, Budget, Facts, Rule, ms};
use crate::model::{Advice, Severity};

/// The published 95th percentile of a cross-region link.
const LIMIT_NS: u64 = 62_100_000;

/// The rule.
pub const RULE: Rule = Rule {
    id: "far_link",
    question: "Is a target further away than a region?",
    evidence: "`probe rtt` to the targets of offload.toml",
    threshold: "when the median round trip is above 62.1 ms, the published 95th percentile of a cross-region link",
    advice: "place what must know soon nearer: a gateway a site, subscribers beside it",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let far = |link: &crate::diagnose::facts::Link| {
        let p50 = link.p50_ns.filter(|ns| *ns > LIMIT_NS)?;
        let text = format!("`{}` is {} away: every exchange with it costs that much", link.name, ms(p50 as f64));
        let check = format!("offloadctl probe rtt {}=ADDRESS", link.name);
        let advice = Advice::new("place a gateway at the site of the nodes, and let agents report to it", Some(check))
            .of_setting("server", Some("agent.conf".to_owned()), None, "a gateway of the same site");
        let evidence = vec![format!("p50 {} by {} over {} exchanges", ms(p50 as f64), link.series, link.attempts)];
        let cost_ns = p50 as f64 / 2.0;
        Some(Bottleneck {
            id: RULE.id,
            severity: Severity::Notice,
            text,
            evidence,
            cost_ns,
            budget: Budget::Change,
            advice,
        })
    };
    facts.links.iter().filter_map(far).collect()
}
