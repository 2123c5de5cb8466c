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

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use choice::Goal;
pub use condition::{Condition, LossError, Lost};
pub use dump::{Dump, dump};
pub use estimate::{Estimate, estimate, planned_beats};
pub use metrics::{MEASUREMENT, OF_LIVE, OF_SIMULATION};
pub use network::{Network, NetworkError};
pub use spec::{Cell, HeartbeatSpec, SpecError};

use crate::load::Session;
use crate::model::{Measured, Warning};
use plan::Plan;
use trial::{Hooks, Outcome};

/// A simulation of every cell of the matrix, of which what is done can be looked at while it goes on.
pub struct Simulation {
    spec: HeartbeatSpec,
    cells: Vec<Cell>,
    next: AtomicUsize,
    done: Mutex<Vec<(usize, Outcome)>>,
}

impl Simulation {
    /// One that has not begun.
    #[must_use]
    pub fn new(spec: HeartbeatSpec) -> Self {
        Self { cells: spec.cells(), spec, next: AtomicUsize::new(0), done: Mutex::default() }
    }

    /// Simulates on so many threads; `advance` hears of heartbeats that are done, which in the end are those of
    /// [`planned_beats`].
    pub fn run(&self, threads: usize, advance: &(dyn Fn(u64) + Sync), is_over: &(dyn Fn() -> bool + Sync)) {
        let hooks = Hooks { advance, is_over };
        let work = || {
            while let Some((at, cell)) = self.take().filter(|_| !is_over()) {
                // The seed of a cell depends on its place alone, so the number of threads changes nothing.
                let outcome = trial::run(&self.spec, cell, at, &Plan::of(&self.spec, cell), hooks);
                if !outcome.is_empty() {
                    self.done.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, self.cells.len().max(1)) {
                scope.spawn(work);
            }
        });
    }

    /// What is done so far.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let mut outcomes = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcomes.sort_unstable_by_key(|(at, _)| *at);
        let interrupted = outcomes.len() < self.cells.len() || outcomes.iter().any(|(_, outcome)| outcome.is_partial);
        let results: Vec<(&Cell, Outcome)> =
            outcomes.into_iter().map(|(at, outcome)| (&self.cells[at], outcome)).collect();
        let mut measured = Measured { interrupted, ..assemble::measured(&self.spec, &results) };
        measured.warnings.extend(self.spec.left_out.iter().map(|text| Warning::new("left_out", text.clone())));
        measured
    }

    fn take(&self) -> Option<(usize, &Cell)> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.cells.get(at).map(|cell| (at, cell))
    }
}

/// Simulates the whole matrix, and waits for it.
#[must_use]
pub fn simulate(spec: &HeartbeatSpec, threads: usize) -> Measured {
    let simulation = Simulation::new(spec.clone());
    simulation.run(threads, &|_| {}, &|| false);
    simulation.measured()
}

/// Simulates until the end, or until the user stops it.
pub async fn measure(spec: &HeartbeatSpec, threads: usize, session: &mut Session<'_>) -> Measured {
    let (simulation, steps) = (Arc::new(Simulation::new(spec.clone())), session.steps(planned_beats(spec)));
    let (running, counted) = (Arc::clone(&simulation), steps.clone());
    let work = tokio::task::spawn_blocking(move || {
        running.run(threads, &|beats| counted.advance(beats), &|| counted.is_over());
    });
    if let Err(error) = session.watch(&steps, work, || simulation.measured()).await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    simulation.measured()
}
