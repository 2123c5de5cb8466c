//! How long a run will take, from a short simulation of each of its detectors.
//!
//! Separate because it is the only part of the simulation that looks at a real clock, and it changes nothing of the result.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::plan::{NODES, Plan};
use super::spec::{Cell, HeartbeatSpec};
use super::trial::{self, Hooks};
use crate::sys::clock;

/// Runs of fewer heartbeats are not estimated: they end before it would be worth knowing.
const WORTH_ESTIMATING: u64 = 50_000_000;

/// Batches of the short simulation, and heartbeats of a node that it watches.
const BATCHES: u64 = 2;
const WATCHED: u64 = 50;

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
    let costs: Vec<Cost> = spec.detectors.iter().zip(&cells).map(|(_, cell)| Cost::of(spec, cell)).collect();
    let one = |(at, cell): (usize, &Cell)| costs[at % costs.len()].of_plan(&Plan::of(spec, cell));
    let seconds: f64 = cells.iter().enumerate().map(one).sum();
    let threads = threads.clamp(1, cells.len()) as f64;
    // A thousand years are as good as for ever.
    let span = Duration::from_secs_f64((seconds / threads).min(3.2e10));
    Some(Estimate { span, settings: cells.len(), beats, beats_per_s: beats as f64 / seconds })
}

/// Seconds that a heartbeat takes in each part of a cell: a batch begins with a copy of the world, which costs more where
/// detectors remember much.
struct Cost {
    history: f64,
    batch: f64,
    watched: f64,
}

impl Cost {
    fn of(spec: &HeartbeatSpec, cell: &Cell) -> Self {
        let nodes = NODES as u64;
        let spec = HeartbeatSpec { trials: BATCHES * nodes, mistake_beats: WATCHED * nodes, ..spec.clone() };
        // Whatever the link has to forget, one heartbeat of it is like another.
        let plan = Plan { settle: 1, ..Plan::of(&spec, cell) };
        let marks = Mutex::new(vec![clock::now()]);
        let mark = |_| marks.lock().unwrap_or_else(PoisonError::into_inner).push(clock::now());
        trial::run(&spec, cell, 0, &plan, Hooks { advance: &mark, is_over: &|| false });
        let marks = marks.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seconds = |from: usize, to: usize| match (marks.get(from), marks.get(to)) {
            (Some(from), Some(to)) => to.since(*from).as_secs_f64(),
            _ => 0.0,
        };
        let trials_end = 1 + BATCHES as usize;
        Self {
            history: seconds(0, 1) / plan.history_beats() as f64,
            batch: seconds(1, trials_end) / (BATCHES * plan.batch_beats()) as f64,
            watched: seconds(trials_end, trials_end + 1) / (WATCHED * nodes) as f64,
        }
    }

    fn of_plan(&self, plan: &Plan) -> f64 {
        let trials = plan.batches.saturating_mul(plan.batch_beats()) as f64;
        let watched = plan.beats() as f64 - trials - plan.history_beats() as f64;
        self.history * plan.history_beats() as f64 + self.batch * trials + self.watched * watched.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::Condition;
    use super::super::{Goal, Network};
    use super::*;

    fn spec(trials: u64) -> HeartbeatSpec {
        HeartbeatSpec {
            mode: "simulated",
            intervals: vec![Duration::from_secs(2)],
            detectors: ["missed:3", "phi:8/window=10"].map(|detector| detector.parse().unwrap()).to_vec(),
            left_out: Vec::new(),
            networks: vec![Network::ideal()],
            condition: Condition::default(),
            trials,
            mistake_beats: 1000,
            heartbeat_bytes: 200,
            nodes: None,
            goal: Goal::default(),
            seed: 1,
        }
    }

    #[test]
    fn what_is_short_is_not_estimated_and_what_is_longer_takes_longer() {
        assert_eq!(estimate(&spec(1000), 1), None);
        let (day, week) = (estimate(&spec(1_000_000_000), 1).unwrap(), estimate(&spec(7_000_000_000), 1).unwrap());
        assert_eq!((day.settings, day.beats), (2, planned_beats(&spec(1_000_000_000))));
        // The same work at the same speed, but for what else the machine does meanwhile.
        let ratio = week.span.as_secs_f64() / day.span.as_secs_f64();
        assert!(day.span > Duration::from_secs(1) && (1.0..50.0).contains(&ratio), "{ratio}: {day:?}, {week:?}");
        assert_eq!(estimate(&spec(u64::MAX), 1).unwrap().span, Duration::from_secs_f64(3.2e10));
    }
}
