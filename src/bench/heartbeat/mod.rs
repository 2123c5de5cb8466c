//! How soon is a dead node known, how often is a living one accused, and what does that cost?
//!
//! ## Question
//! At which heartbeat interval, with which failure detector, over which network, is a crash noticed soon enough without
//! too many false alarms, and what does each choice cost in messages and bytes?
//!
//! ## Timed
//! Virtual time. `heartbeat.detection` runs from the crash, at a random phase of the interval, to the suspicion that
//! stays; `heartbeat.mistake_duration` from a false suspicion to the heartbeat that ends it. Every send, delivery and
//! deadline is an event of the simulated world; the closed formulas stand beside the result and take no part in it.
//!
//! ## Needs
//! Nothing: it is a simulation, and its first line says so. [`live`] measures the same.
//!
//! ## Blind spots
//! It knows what the network profile says and no more: losses are independent unless bursts are asked for, the monitor
//! itself never stalls, and the size of a heartbeat is assumed. Rare mistakes are extrapolated from a bounded number of
//! heartbeats: where none was seen there is an upper bound and no rate.

mod assemble;
mod choice;
mod condition;
mod dump;
mod estimate;
mod formula;
mod layout;
pub mod live;
mod metrics;
mod network;
mod plan;
mod poisson;
mod reference;
mod spec;
mod trial;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use choice::Goal;
pub use condition::{Condition, LossError, Lost};
pub use dump::{Dump, dump};
pub use estimate::{Estimate, estimate, planned_beats};
pub use metrics::{MEASUREMENT, OF_LIVE, OF_SIMULATION};
pub use network::{Network, NetworkError};
pub use spec::{Cell, HeartbeatSpec, SpecError};

use crate::model::Measured;
use plan::Plan;
use trial::{Hooks, Outcome};

/// Simulates every cell of the matrix on `threads` threads; `advance` hears of heartbeats that are done, which in the end
/// are those of [`planned_beats`]. How long that takes is the caller's to measure.
#[must_use]
pub fn simulate(
    spec: &HeartbeatSpec,
    threads: usize,
    advance: &(dyn Fn(u64) + Sync),
    is_over: &(dyn Fn() -> bool + Sync),
) -> Measured {
    let cells = spec.cells();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let hooks = Hooks { advance, is_over };
    let work = || {
        while let Some((at, cell)) = take(&next, &cells).filter(|_| !is_over()) {
            // The seed of a cell depends on its place alone, so the number of threads changes nothing.
            let outcome = trial::run(spec, cell, at, &Plan::of(spec, cell), hooks);
            if !outcome.is_empty() {
                done.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, cells.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut outcomes: Vec<(usize, Outcome)> = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_unstable_by_key(|(at, _)| *at);
    let interrupted = outcomes.len() < cells.len() || outcomes.iter().any(|(_, outcome)| outcome.is_partial);
    let results: Vec<(&Cell, Outcome)> = outcomes.into_iter().map(|(at, outcome)| (&cells[at], outcome)).collect();
    Measured { interrupted, ..assemble::measured(spec, &results) }
}

fn take<'a>(next: &AtomicUsize, cells: &'a [Cell]) -> Option<(usize, &'a Cell)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    cells.get(at).map(|cell| (at, cell))
}
