//! Does a link lose what is sent over it?

use super::{Bottleneck, Budget, Facts, Rule, percent};
use crate::model::{Advice, NORMAL_975, Severity};

/// A share of loss at which three heartbeats in a row are lost once in a million beats where losses are independent.
const LIMIT: f64 = 0.01;

/// The rule.
pub const RULE: Rule = Rule {
    id: "lossy_link",
    question: "Does a link lose what is sent over it?",
    evidence: "`probe rtt` to the targets of offload.toml",
    threshold: "when the whole 95 % interval of the loss ratio (Wilson's) lies above 1 %",
    advice: "mend the link; until then, let the detector wait for more missed heartbeats",
    against: &["late_detection"],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let lossy = |link: &crate::diagnose::facts::Link| {
        let low = wilson_low(link.lost, link.attempts)?;
        if low <= LIMIT {
            return None;
        }
        let ratio = link.lost as f64 / link.attempts as f64;
        let text = format!("the link to `{}` loses {} of what is sent", link.name, percent(ratio));
        let check = format!("offloadctl probe rtt {}=ADDRESS --duration 5m", link.name);
        let advice =
            Advice::new("mend the link; until then let the detector forgive more missed heartbeats", Some(check))
                .of_setting(
                    "--detector",
                    Some("the gateway's command line".to_owned()),
                    Some(facts.detection.detector.to_string()),
                    "missed:5",
                );
        // A lost segment of a connection comes a retransmission later: 200 ms at least on Linux.
        let cost_ns = ratio * 200e6;
        let evidence = vec![format!(
            "{} of {} by {} (at least {} with 95 %)",
            link.lost,
            link.attempts,
            link.series,
            percent(low)
        )];
        Some(Bottleneck {
            id: RULE.id,
            severity: Severity::Problem,
            text,
            evidence,
            cost_ns,
            budget: Budget::Change,
            advice,
        })
    };
    facts.links.iter().filter_map(lossy).collect()
}

/// The lower end of Wilson's interval of a ratio (Wilson 1927).
fn wilson_low(lost: u64, attempts: u64) -> Option<f64> {
    if attempts == 0 {
        return None;
    }
    let (n, p, z) = (attempts as f64, lost as f64 / attempts as f64, NORMAL_975);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Some((middle - half) / (1.0 + z * z / n))
}
