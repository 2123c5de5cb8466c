//! Does the source of events lose some of them?

use super::{Bottleneck, Budget, Facts, Rule, percent};
use crate::model::{Advice, Severity};

/// Until the next list of an agent that watches Docker, on average: it lists once a minute.
const UNTIL_LIST_NS: f64 = 30e9;

/// The rule.
pub const RULE: Rule = Rule {
    id: "lost_events",
    question: "Does the source of events lose some of them?",
    evidence: "`probe events`: containers or control groups of our own, what each source told of them, and a final listing",
    threshold: "when a source that tells events never told of an act that the final listing proves; what a list misses between two looks is `polled_runtime`",
    advice: "let the agent watch a second source beside it: the first to see wins, the others confirm",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let losing = |heard: &&crate::diagnose::facts::Heard| heard.missed > 0 && !heard.source.starts_with("poll");
    let bottleneck = |heard: &crate::diagnose::facts::Heard| {
        let ratio = heard.missed as f64 / heard.acts.max(1) as f64;
        let second = if heard.source == "ebpf" { "\"docker\": {}" } else { "\"ebpf\": {}" };
        let check = format!("offloadctl probe events --source {},ebpf --count 100", heard.source);
        Bottleneck {
            id: RULE.id,
            severity: Severity::Problem,
            text: format!("`{}` never told of {} of {} acts", heard.source, heard.missed, heard.acts),
            evidence: vec![format!(
                "events.missed{{source={}}} is {} ({})",
                heard.source,
                heard.missed,
                percent(ratio)
            )],
            cost_ns: ratio * UNTIL_LIST_NS,
            budget: Budget::Change,
            advice: Advice::new("let the agent watch a second source beside it", Some(check)).of_setting(
                "sources",
                Some("agent.conf".to_owned()),
                Some(heard.source.clone()),
                second,
            ),
        }
    };
    facts.events.iter().filter(losing).map(bottleneck).collect()
}
