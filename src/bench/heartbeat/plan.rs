//! How many heartbeats a cell takes: of its history, of each batch of trials, and of the watch for mistakes.
//!
//! Separate from the trials so that a run can be estimated, and its progress shown, before and while it is simulated.

use super::spec::{Cell, HeartbeatSpec};
use crate::detect::Rule;
use crate::sim::Loss;

/// Nodes of one world, which are the trials of one batch.
pub const NODES: usize = 1000;

/// Heartbeats of the history: a whole window for detectors that learn, and a few for those that do not.
const HISTORY_LEARNING: u64 = 1_000;
const HISTORY_FIXED: u64 = 3;

/// How much of a link's state at the copy may be left at the crash: every batch is copied from the same thousand states.
const LEFT_OF_STATE: f64 = 0.01;

/// Longest settling: a link that never forgets, because it takes turns, would never settle.
const LONGEST_SETTLING: f64 = 10_000.0;

/// What one cell takes; all in heartbeats of one node but for the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Before the copy that every future begins with.
    pub history: u64,
    /// From the copy to the earliest crash.
    pub settle: u64,
    /// Batches of trials.
    pub batches: u64,
    /// Watched for mistakes.
    pub watched: u64,
}

impl Plan {
    /// Of a cell of a run.
    pub fn of(spec: &HeartbeatSpec, cell: &Cell) -> Self {
        let learns = matches!(cell.detector.rule, Rule::Phi { .. } | Rule::Chen { .. });
        let settle = match cell.network.link.loss {
            // Bursts last: a state is forgotten after so many messages.
            Loss::Burst(burst) => {
                let messages = LEFT_OF_STATE.ln() / burst.memory().abs().max(f64::EPSILON).ln();
                messages.ceil().clamp(0.0, LONGEST_SETTLING) as u64
            }
            Loss::Never | Loss::Independent(_) => 0,
        };
        Self {
            history: if learns { HISTORY_LEARNING } else { HISTORY_FIXED },
            settle: settle + 1,
            batches: spec.trials.div_ceil(NODES as u64),
            watched: spec.mistake_beats.div_ceil(NODES as u64),
        }
    }

    /// Heartbeats of the history of all nodes.
    pub const fn history_beats(&self) -> u64 {
        self.history.saturating_mul(NODES as u64)
    }

    /// Heartbeats of a batch: each node crashes within the interval after it has settled.
    pub const fn batch_beats(&self) -> u64 {
        (self.settle + 1).saturating_mul(NODES as u64)
    }

    /// Heartbeats of the whole cell.
    pub const fn beats(&self) -> u64 {
        let watched = self.watched.saturating_mul(NODES as u64);
        self.history_beats().saturating_add(self.batches.saturating_mul(self.batch_beats())).saturating_add(watched)
    }

    /// Intervals from the beginning of the world to the end of its longest future, but for the last detections.
    pub const fn intervals(&self) -> u64 {
        self.history.saturating_add(if self.watched > self.settle { self.watched } else { self.settle + 1 })
    }
}
