//! The closed formulas of detection time after a crash at a random phase: what the simulation is compared with.
//!
//! Used by nothing that simulates, only by what stands beside the result and by what refuses a detector beforehand. `I` is the interval, `D` the one-way delay, `C` the check period, and the age
//! of the last heartbeat at the crash is uniform over the interval.

use std::time::Duration;

use super::spec::Cell;
use crate::detect::{Model, Rule, silence_ns};

/// Mean and worst detection time, where no heartbeat is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Formula {
    /// In nanoseconds.
    pub mean_ns: f64,
    /// In nanoseconds, at a delay of the network's p99.9.
    pub worst_ns: f64,
}

/// The formula of a cell; `None` for models whose figures depend on a history that no formula has.
#[must_use]
pub fn of(cell: &Cell) -> Option<Formula> {
    let interval = nanos(cell.interval);
    let delay = nanos(cell.network.delay_mean);
    let spread = nanos(cell.network.margin);
    let check = match cell.detector.rule {
        Rule::Lease { period, .. } => nanos(period),
        // The deviation is the floor where the network's own is below it; above it no closed form is exact, nor is one
        // where silences after losses are among the samples.
        Rule::Phi { model: Model::Normal | Model::Akka, settings, .. }
            if spread >= nanos(settings.floor) || cell.network.loss_ratio > 0.0 =>
        {
            return None;
        }
        _ => nanos(cell.detector.check),
    };
    let silence = silence_ns(&cell.detector, cell.interval);
    let mean_ns = delay + silence - interval / 2.0 + check / 2.0;
    Some(Formula { mean_ns, worst_ns: delay + spread + silence + check })
}

fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}
