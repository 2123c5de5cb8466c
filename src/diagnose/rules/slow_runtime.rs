//! Does the runtime itself take longer to start a container than runtimes do?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent};
use crate::model::{Advice, Severity};

/// The upper end of what is published for a container's start: 50 to 200 ms; twice that is another matter.
const LIMIT_NS: f64 = 400e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "slow_runtime",
    question: "Does the runtime itself take longer to start a container than runtimes do?",
    evidence: "the hops `kernel` and `runtime` of a trace on containers",
    threshold: "when they take over 400 ms together, twice what is published for a container's start (50 to 200 ms)",
    advice: "look at the engine's host (disk, storage driver, image layers); no setting between agent and gateway changes it",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let Some(way) = &facts.way else { return Vec::new() };
    let spent: f64 = ["kernel", "runtime"].into_iter().filter_map(|hop| facts.hop(hop)).sum();
    if spent <= LIMIT_NS {
        return Vec::new();
    }
    let text = format!(
        "the runtime takes {} to start a container, {} of a change's way",
        ms(spent),
        percent(spent / way.total_ns)
    );
    let advice = Advice::new(
        "look at the engine's host: its disk, its storage driver, the layers of the image",
        Some("offloadctl probe events --source docker,containerd,ebpf".to_owned()),
    );
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Notice,
        text,
        evidence: vec![format!("published: 50 to 200 ms; here {}", ms(spent))],
        cost_ns: spent,
        budget: Budget::Change,
        advice,
    }]
}
