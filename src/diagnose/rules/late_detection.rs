//! Is a silent node called so in time?

use std::time::Duration;

use super::{Bottleneck, Budget, Facts, Rule, ms};
use crate::model::{Advice, Prediction, Severity};

/// Mean detection of Kubernetes with its long-standing defaults (renewal 10 s, grace 40 s, check 5 s): 37.5 s. What takes longer is
/// later than what people live with.
const LIMIT_NS: f64 = 37.5e9;

/// Intervals that are tried, from the cheapest: the one that keeps to the limit is advised.
const INTERVALS_S: [u64; 5] = [10, 5, 2, 1, 0];

/// Bytes of a heartbeat as published (200), for the price.
const BYTES: f64 = 200.0;

/// The rule.
pub const RULE: Rule = Rule {
    id: "late_detection",
    question: "Is a silent node called so in time?",
    evidence: "the agent's interval and the gateway's detector, as configured",
    threshold: "when the mean by the closed formula (k - 1/2 intervals, the margin, half a check) is above 37.5 s, what Kubernetes' defaults give",
    advice: "shorten `interval` in agent.conf; the price is network and heartbeats at the gateway",
    against: &["busy_host"],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let detection = &facts.detection;
    let (mean, worst) = detection.time_ns(0.0);
    if mean <= LIMIT_NS {
        return Vec::new();
    }
    let good = INTERVALS_S.into_iter().filter(|s| *s > 0).map(Duration::from_secs);
    let new = good.clone().find(|interval| detection.at(*interval).time_ns(0.0).0 <= LIMIT_NS);
    let interval = |span: Duration| humantime::format_duration(span).to_string();
    let text = format!(
        "a node that died is called unreachable after {} in the mean: a heartbeat each {}, and {}",
        ms(mean),
        interval(detection.interval),
        detection.detector
    );
    let per_hour = |span: Duration| 3_600.0 / span.as_secs_f64() * BYTES / 1_000.0;
    let advice = match new {
        Some(new) => {
            let (value, high) = detection.at(new).time_ns(0.0);
            // A crash just before a heartbeat is noticed one interval sooner than one just after it.
            let low = high - new.as_secs_f64() * 1e9;
            let predicted = Prediction {
                name: "diagnose.detection{part=mean}".to_owned(),
                unit: "ns".to_owned(),
                value,
                low,
                high,
            };
            let text = format!(
                "send a heartbeat each {} ({:.0} instead of {:.0} KB an hour and node)",
                interval(new),
                per_hour(new),
                per_hour(detection.interval)
            );
            let check =
                format!("offloadctl bench heartbeat --interval {},{}", interval(new), interval(detection.interval));
            Advice::new(text, Some(check))
                .of_setting(
                    "interval",
                    detection.place.clone().or(Some("agent.conf".to_owned())),
                    Some(interval(detection.interval)),
                    &interval(new),
                )
                .predicting(Some(predicted))
        }
        None => Advice::new(
            "choose a detector that waits less: `bench heartbeat` compares them",
            Some("offloadctl bench heartbeat".to_owned()),
        ),
    };
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Problem,
        text,
        evidence: vec![format!("by the formula: mean {}, worst {} (limit {})", ms(mean), ms(worst), ms(LIMIT_NS))],
        cost_ns: mean,
        budget: Budget::Detection,
        advice,
    }]
}
