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

/// From this share of the answered exchanges on it is said that stamps are missing. Fewer than so many are the first ones,
/// sent before the kernel had begun to stamp.
const MISSING_SHARE: f64 = 0.01;
const FEWEST_MISSING: u64 = 10;

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
    let of_lanes = lanes.iter().filter_map(detour).chain(lanes.iter().filter_map(contradiction));
    absent(lanes).chain(selection(lanes)).chain(of_lanes).collect()
}

fn labels(lane: &Lane<RttOperation>) -> Labels {
    lane.labels.clone().with("channel", lane.name.rsplit('.').next().unwrap_or(lane.name))
}

fn detour(lane: &Lane<RttOperation>) -> Option<Finding> {
    let detour = lane.operation.far_clock()?.detour?;
    let (longer, other) = if detour.is_forward { ("there", "back") } else { ("back", "there") };
    let text = format!(
        "{}: for {:.0} s the way {longer} took up to {:.3} ms longer than at its best, and the way {other} did not",
        place(lane),
        detour.span_ns / 1e9,
        detour.extra_ns / 1e6,
    );
    Some(finding("path_asymmetry", Severity::Notice, text))
}

/// The stamps are not of all exchanges: those that are missing are no random choice.
fn selection(lanes: &[Lane<RttOperation>]) -> Option<Finding> {
    let missing = lanes.iter().filter_map(|lane| {
        let (answered, missing) = lane.operation.tracks()?.missing();
        let is_many = missing >= FEWEST_MISSING && missing as f64 > answered as f64 * MISSING_SHARE;
        (is_many && missing < answered).then_some((lane, missing as f64 / answered as f64))
    });
    let mut missing: Vec<_> = missing.collect();
    missing.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (worst, share) = missing.first()?;
    let more = match missing.len() {
        1 => String::new(),
        lanes => format!(", and of more than {:.0} % on {} others", MISSING_SHARE * 100.0, lanes - 1),
    };
    let text = format!(
        "stamps are missing of {:.1} % of the answered exchanges of {}{more}: .kernel, rtt.wakeup and rtt.network are a selection, and of the quicker ones, for what waits together in a stream has one stamp; a lower rate or `--channel udp` has them all",
        share * 100.0,
        place(worst),
    );
    Some(finding("stamped_selection", Severity::Notice, text))
}

/// The stamps prove the clocks to be further apart than the user said.
fn contradiction(lane: &Lane<RttOperation>) -> Option<Finding> {
    let stated = lane.operation.tracks()?.stated_bound()?;
    let clock = lane.operation.far_clock()?;
    let least_ns = clock.offset_ns.abs() - clock.bound_ns;
    let text = format!(
        "{}: the far clock is at least {:.3} ms from ours, more than the {stated:?} of `--clock-bound`: rtt.oneway is wrong by that",
        place(lane),
        least_ns / 1e6,
    );
    (least_ns > stated.as_nanos() as f64).then(|| finding("clock_bound_contradicted", Severity::Problem, text))
}

fn place(lane: &Lane<RttOperation>) -> String {
    format!("{} {}", lane.labels.value("target").unwrap_or_default(), lane.name)
}

/// One finding for each reason why a series of the kernel's stamps is not there.
fn absent(lanes: &[Lane<RttOperation>]) -> impl Iterator<Item = Finding> {
    let mut reasons: BTreeMap<Absence, Vec<String>> = BTreeMap::new();
    for lane in lanes {
        // Of emulated ones, which have no address, it is said already that there is no far kernel.
        let is_emulated = lane.labels.value("address").is_none();
        if let Some(absence) = lane.operation.absence().filter(|absence| !(is_emulated && *absence == Absence::Untold))
        {
            reasons.entry(absence).or_default().push(place(lane));
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
