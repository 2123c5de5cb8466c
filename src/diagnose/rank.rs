//! From bottlenecks to findings, the one first that costs most of what it spends from.
//!
//! Separate from the rules, none of which knows the others. By effect and not by alarm: each cost is a share of the time that people
//! live with for its budget, so that a slow disk and a slow detector can be told in one list. Pure.

use super::facts::Facts;
use super::rules::{ALL, Bottleneck, Budget};
use crate::model::figure::duration;
use crate::model::{Finding, Severity};

/// What people live with: a change within 100 ms (what a person takes for at once; Nielsen 1993), a silent node within 37.5 s (the mean
/// of Kubernetes' defaults), a request within a second (Kubernetes' own objective for single objects, p99).
const CHANGE_NS: f64 = 100e6;
const DETECTION_NS: f64 = 37.5e9;
const REQUEST_NS: f64 = 1e9;

/// What the rules find, in the order of what it costs; that nothing is to be changed is a finding too.
#[must_use]
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Bottleneck> = ALL.iter().flat_map(|rule| (rule.judge)(facts)).collect();
    all.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let ids: Vec<&str> = all.iter().map(|one| one.id).collect();
    if all.iter().all(|one| one.budget == Budget::Trust) {
        return fine(facts).into_iter().chain(all.into_iter().map(|one| finding(one, &[]))).collect();
    }
    all.into_iter().map(|one| finding(one, &ids)).collect()
}

/// The share of its budget that it costs.
fn score(one: &Bottleneck) -> f64 {
    match one.budget {
        Budget::Change => one.cost_ns / CHANGE_NS,
        Budget::Detection => one.cost_ns / DETECTION_NS,
        Budget::Request => one.cost_ns / REQUEST_NS,
        Budget::Trust => 0.0,
    }
}

/// Two that advise against each other say so.
fn finding(one: Bottleneck, ids: &[&str]) -> Finding {
    let rule = ALL.iter().find(|rule| rule.id == one.id);
    let against = rule.into_iter().flat_map(|rule| rule.against).filter(|id| ids.contains(id));
    let mut evidence = one.evidence;
    evidence.extend(against.map(|id| format!("its advice pulls against that of `{id}`: try one at a time")));
    Finding::new(one.id, one.severity, one.text).with_evidence(evidence).with_advice(one.advice)
}

/// Nothing to change, with what that rests on.
fn fine(facts: &Facts) -> Option<Finding> {
    let way = facts.way.as_ref()?;
    let (hop, ns) = way.hops.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let told = |ns: f64| duration(ns.max(0.0).round() as u64);
    let text = format!(
        "nothing to change: a change takes {}, and its largest part is {hop} ({})",
        told(way.total_ns),
        told(*ns)
    );
    let (mean, _) = facts.detection.time_ns(facts.hop("wire").unwrap_or(0.0));
    let evidence = vec![
        format!("{} of {} changes arrived", way.arrived, way.made),
        format!("a silent node is noticed after {} in the mean, by the formula", told(mean)),
    ];
    Some(Finding::new("total_fine", Severity::Info, text).with_evidence(evidence))
}
