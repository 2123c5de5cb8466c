//! What the stamps say about the far ends beyond their series: their clocks, their paths, and why something is missing.
//!
//! Separate because these are words and single numbers about finished lanes, not distributions that grow.

use std::collections::BTreeMap;

use super::offset::FarClock;
use super::operation::RttOperation;
use super::stamps::Absence;
use crate::load::Lane;
use crate::model::{Finding, Labels, Scalar, Severity};

/// Names of the scalars; a gate may ask for them.
pub const SCALARS: [&str; 5] =
    ["rtt.clock_offset", "rtt.clock_offset_bound", "rtt.clock_drift", "rtt.clock_drift_low", "rtt.clock_drift_high"];

/// The far clocks, of each channel that has them.
pub fn scalars(lanes: &[Lane<RttOperation>]) -> Vec<Scalar> {
    let known = lanes.iter().filter_map(|lane| Some((lane, lane.operation.far_clock()?)));
    known
        .flat_map(|(lane, clock)| {
            let labels = labels(lane);
            let FarClock { offset_ns, bound_ns, drift, .. } = clock;
            let drift = [drift.map(|d| d.ppm), drift.map(|d| d.low_ppm), drift.map(|d| d.high_ppm)];
            let values = [Some(offset_ns.round()), Some(bound_ns.round())].into_iter().chain(drift);
            SCALARS.into_iter().zip(["ns", "ns", "ppm", "ppm", "ppm"]).zip(values).map(move |((name, unit), value)| {
                Scalar { name: name.to_owned(), labels: labels.clone(), unit: unit.to_owned(), value }
            })
        })
        .collect()
}

/// Why series are missing, and which paths changed in one direction.
pub fn findings(lanes: &[Lane<RttOperation>]) -> Vec<Finding> {
    absent(lanes).chain(lanes.iter().filter_map(detour)).collect()
}

fn labels(lane: &Lane<RttOperation>) -> Labels {
    lane.labels.clone().with("channel", lane.name.rsplit('.').next().unwrap_or(lane.name))
}

fn detour(lane: &Lane<RttOperation>) -> Option<Finding> {
    let detour = lane.operation.far_clock()?.detour?;
    let (longer, other) = if detour.is_forward { ("there", "back") } else { ("back", "there") };
    let text = format!(
        "{} {}: for {:.0} s the way {longer} took up to {:.3} ms longer than at its best, and the way {other} did not",
        lane.labels.value("target").unwrap_or_default(),
        lane.name,
        detour.span_ns / 1e9,
        detour.extra_ns / 1e6,
    );
    Some(finding("path_asymmetry", Severity::Notice, text))
}

/// One finding for each reason why a series of the kernel's stamps is not there.
fn absent(lanes: &[Lane<RttOperation>]) -> impl Iterator<Item = Finding> {
    let mut reasons: BTreeMap<Absence, Vec<String>> = BTreeMap::new();
    for lane in lanes {
        // Of emulated ones, which have no address, it is said already that there is no far kernel.
        let is_emulated = lane.labels.value("address").is_none();
        if let Some(absence) = lane.operation.absence().filter(|absence| !(is_emulated && *absence == Absence::Untold))
        {
            let target = lane.labels.value("target").unwrap_or_default();
            reasons.entry(absence).or_default().push(format!("{target} {}", lane.name));
        }
    }
    reasons.into_iter().map(|(absence, lanes)| {
        let lanes = lanes.join(", ");
        let (id, text) = match absence {
            Absence::Refused(reason) => (
                "no_kernel_stamps",
                format!("no .kernel, no rtt.wakeup: the kernel gives no stamps ({reason}): {lanes}"),
            ),
            Absence::Unstamped => {
                ("no_kernel_stamps", format!("no .kernel, no rtt.wakeup: the kernel stamped no exchange: {lanes}"))
            }
            Absence::Untold => {
                ("no_network_time", format!("no rtt.network: the far end tells no stamps of its own kernel: {lanes}"))
            }
        };
        finding(id, Severity::Info, text)
    })
}

fn finding(id: &str, severity: Severity, text: String) -> Finding {
    Finding { id: id.to_owned(), severity, text, evidence: Vec::new(), advice: None }
}
