//! Was the wall clock set while it was watched?

use super::{Bottleneck, Budget, Facts, Rule};
use crate::model::{Advice, Severity};

/// The rule.
pub const RULE: Rule = Rule {
    id: "clock_steps",
    question: "Was the wall clock set while it was watched?",
    evidence: "bracketed readings of the wall clock and the monotonic clock, before and after",
    threshold: "when the distance of the two changed by more than a reading can be wrong: the kernel slews both alike",
    advice: "let a time service slew the clock (chrony's makestep only at the start), and keep virtual machines from setting it",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let steps = facts.host.clock_steps;
    if steps == 0 {
        return Vec::new();
    }
    let advice =
        Advice::new("let a time service slew the clock instead of setting it", Some("chronyc tracking".to_owned()))
            .of_setting("makestep", Some("chrony.conf".to_owned()), None, "1 3");
    vec![Bottleneck {
        id: RULE.id,
        severity: Severity::Notice,
        text: format!(
            "the wall clock of this host was set {steps} times meanwhile: times of events before and after do not compare"
        ),
        evidence: vec![format!("{steps} steps")],
        cost_ns: 0.0,
        budget: Budget::Trust,
        advice,
    }]
}
