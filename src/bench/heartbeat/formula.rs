//! The closed formulas of detection time, from measurement.md section 6: what the simulation is compared with.
//!
//! Pure, and used by nothing that simulates. `I` is the interval, `D` the one-way delay, `C` the check period, and the age
//! of the last heartbeat at the crash is uniform over the interval.

use std::time::Duration;

use super::spec::Cell;
use crate::detect::{Model, Rule, reach};

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
    let check = nanos(cell.detector.check);
    let delay = nanos(cell.network.delay_mean);
    let spread = nanos(cell.network.margin);
    // Silence after the last receipt at which the node is suspected.
    let silence = match cell.detector.rule {
        Rule::Missed { count, margin } => f64::from(count) * interval + nanos(margin),
        Rule::Overdue { timeout } => interval + nanos(timeout),
        Rule::Lease { grace, period } => {
            let period = nanos(period);
            let (mean, worst) = (nanos(grace) + period / 2.0 - interval / 2.0, nanos(grace) + period);
            return Some(Formula { mean_ns: mean + delay, worst_ns: worst + delay + spread });
        }
        Rule::Chen { margin, .. } => interval + nanos(margin),
        Rule::Phi { model: Model::Exponential, threshold, .. } => reach(Model::Exponential, threshold) * interval,
        // The deviation is the floor where the network's own is below it; above it no closed form is exact.
        Rule::Phi { model, threshold, settings } if spread < nanos(settings.floor) => {
            interval + nanos(settings.pause) + reach(model, threshold) * nanos(settings.floor)
        }
        Rule::Phi { .. } => return None,
    };
    let mean_ns = delay + silence - interval / 2.0 + check / 2.0;
    Some(Formula { mean_ns, worst_ns: delay + spread + silence + check })
}

fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}
