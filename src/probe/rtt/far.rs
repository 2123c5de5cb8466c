//! What the stamps say about the far ends beyond their series: their clocks and their paths.
//!
//! Separate because these are words and single numbers about finished lanes, not distributions that grow.

use super::missing::place;
use super::operation::RttOperation;
use crate::load::{FarClock, Lane};
use crate::model::{Finding, Labels, Scalar, Severity};

/// Names of the scalars.
pub const SCALARS: [&str; 5] =
    ["rtt.clock_offset", "rtt.clock_offset_bound", "rtt.clock_drift", "rtt.clock_drift_low", "rtt.clock_drift_high"];

/// The far clocks, of each channel that has them.
pub fn scalars(lanes: &[Lane<RttOperation>]) -> Vec<Scalar> {
    let known = lanes.iter().filter_map(|lane| Some((lane, lane.operation.far_clock()?)));
    known.flat_map(|(lane, clock)| of_clock(lane.name, &lane.labels, clock)).collect()
}

/// What is known of a far clock, by the lane of this name.
pub fn of_clock(name: &str, labels: &Labels, clock: FarClock) -> impl Iterator<Item = Scalar> {
    let labels = labels.clone().with("channel", name.rsplit('.').next().unwrap_or(name));
    let FarClock { offset_ns, bound_ns, drift, .. } = clock;
    let drift = [drift.map(|d| d.ppm), drift.map(|d| d.low_ppm), drift.map(|d| d.high_ppm)];
    let values = [Some(offset_ns.round()), Some(bound_ns.round())].into_iter().chain(drift);
    let units = ["ns", "ns", "ppm", "ppm", "ppm"];
    let named = SCALARS.into_iter().zip(units).zip(values);
    named.map(move |((name, unit), value)| Scalar::new(name, &labels, unit, value))
}

/// Which paths changed in one direction, and which clocks are not what was said of them.
pub fn findings(lanes: &[Lane<RttOperation>]) -> impl Iterator<Item = Finding> {
    lanes.iter().filter_map(detour).chain(lanes.iter().filter_map(contradiction))
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
    Some(Finding::new("path_asymmetry", Severity::Notice, text))
}

/// The stamps prove the clocks to be further apart than the user said.
fn contradiction(lane: &Lane<RttOperation>) -> Option<Finding> {
    let stated = lane.operation.with_tracks(|tracks| tracks.stated_bound())??;
    let clock = lane.operation.far_clock()?;
    let least_ns = clock.offset_ns.abs() - clock.bound_ns;
    let text = format!(
        "{}: the far clock is at least {:.3} ms from ours, more than the {stated:?} of `--clock-bound`: rtt.oneway is wrong by that",
        place(lane),
        least_ns / 1e6,
    );
    (least_ns > stated.as_nanos() as f64).then(|| Finding::new("clock_bound_contradicted", Severity::Problem, text))
}
