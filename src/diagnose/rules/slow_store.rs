//! Is the gateway's store what a change waits for?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent, way_without};
use crate::model::{Advice, Severity};

/// etcd's own limit for the 99th percentile of a WAL's fsync (etcd.io, FAQ): what a healthy disk keeps.
const LIMIT_NS: f64 = 10e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "slow_store",
    question: "Is the gateway's store what a change waits for?",
    evidence: "the hop `store` of a trace",
    threshold: "when its 95th percentile is above 10 ms, etcd's limit for a healthy disk's fsync",
    advice: "put the folder of --data-dir on a faster disk; --store memory where nothing must outlive the gateway",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let (Some(way), Some(mean), Some(p95)) = (&facts.way, facts.hop("store"), facts.hop_p95("store")) else {
        return Vec::new();
    };
    if p95 <= LIMIT_NS {
        return Vec::new();
    }
    let text =
        format!("the gateway's store takes {} of a change, {} of its way", ms(mean), percent(mean / way.total_ns));
    let advice = Advice::new(
        "put the folder of --data-dir on a faster disk",
        Some("offloadctl trace --compare store=memory,embedded".to_owned()),
    )
    .of_setting(
        "--data-dir",
        Some("the gateway's command line".to_owned()),
        way.store.clone(),
        "a folder on a faster disk",
    )
    .predicting(way_without(facts, "store", LIMIT_NS));
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Problem,
        text,
        evidence: vec![format!("store p95 {} (limit {})", ms(p95), ms(LIMIT_NS))],
        cost_ns: mean,
        budget: Budget::Change,
        advice,
    }]
}
