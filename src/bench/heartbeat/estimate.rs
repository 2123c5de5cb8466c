//! How long a run will take, from a short simulation of each of its detectors.
//!
//! Separate because it is the only part of the simulation that looks at a real clock, and it changes nothing of the result.

use std::time::Duration;

use super::plan::{NODES, Plan};
use super::spec::{Cell, HeartbeatSpec};
use super::trial::{self, Hooks};
use crate::sys::clock;

/// Runs of fewer heartbeats are not estimated: they end before it would be worth knowing.
const WORTH_ESTIMATING: u64 = 50_000_000;

/// Heartbeats of a node before the copy, and of those watched, in the short simulation.
const SHORT: u64 = 60;

/// What a run will take, about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// How long it will take.
    pub span: Duration,
    /// Settings.
    pub settings: usize,
    /// Heartbeats.
    pub beats: u64,
    /// Heartbeats a second of one thread.
    pub beats_per_s: f64,
}

/// Heartbeats that a run is planned to simulate.
#[must_use]
pub fn planned_beats(spec: &HeartbeatSpec) -> u64 {
    spec.cells().iter().map(|cell| Plan::of(spec, cell).beats()).fold(0, u64::saturating_add)
}

/// About how long a run will take on so many threads; `None` for one that is short in any case.
#[must_use]
pub fn estimate(spec: &HeartbeatSpec, threads: usize) -> Option<Estimate> {
    let beats = planned_beats(spec);
    if beats < WORTH_ESTIMATING {
        return None;
    }
    let cells = spec.cells();
    // The first cell of each detector stands for all of them: what a heartbeat costs depends little on the rest.
    let costs: Vec<f64> = spec.detectors.iter().zip(&cells).map(|(_, cell)| seconds_per_beat(spec, cell)).collect();
    let one = |(at, cell): (usize, &Cell)| Plan::of(spec, cell).beats() as f64 * costs[at % costs.len()];
    let seconds: f64 = cells.iter().enumerate().map(one).sum();
    let threads = threads.clamp(1, cells.len()) as f64;
    // A thousand years are as good as for ever.
    let span = Duration::from_secs_f64((seconds / threads).min(3.2e10));
    Some(Estimate { span, settings: cells.len(), beats, beats_per_s: beats as f64 / seconds })
}

fn seconds_per_beat(spec: &HeartbeatSpec, cell: &Cell) -> f64 {
    let spec = HeartbeatSpec { trials: NODES as u64, mistake_beats: SHORT * NODES as u64, ..spec.clone() };
    let whole = Plan::of(&spec, cell);
    let plan = Plan { history: whole.history.min(SHORT), settle: whole.settle.min(SHORT), ..whole };
    let began = clock::now();
    trial::run(&spec, cell, 0, &plan, Hooks { advance: &|_| {}, is_over: &|| false });
    clock::now().since(began).as_secs_f64() / plan.beats() as f64
}
