//! Accrual detectors: suspicion grows with the silence, measured against the silences seen before.
//!
//! With `mu` and `sigma` of the intervals between receipts and `t` the silence so far:
//!
//! - `phi:P`, the normal model (Hayashibara et al., "The phi accrual failure detector", SRDS 2004):
//!   `phi(t) = -log10(1 - F((t - mu - pause) / sigma))`, `F` the normal distribution. Suspicion at `mu + pause + z sigma`,
//!   where `z` is the normal quantile of `1 - 10^-P`: 5.612 at 8.
//! - `phi-akka:P`, the same with Akka's logistic approximation of `F`, `1 / (1 + exp(-y (1.5976 + 0.070566 y^2)))`
//!   (`PhiAccrualFailureDetector.scala`): 5.226 at 8, so it accuses earlier than its threshold says.
//! - `phi-exp:P`, the exponential model (Cassandra, `FailureDetector.java`): `phi(t) = t / (mu ln 10)`, so suspicion at
//!   `P ln 10 mu`: 18.42 mu at 8. It knows neither sigma nor pause.
//!
//! Defaults: Akka's for the first two (window 1000, sigma at least 100 ms, pause 3 s; its threshold is 8), Cassandra's
//! window of 1000 for the third. Akka starts from two made-up intervals, a quarter below and above the first estimate;
//! so do we, but we forget them once ten real ones have been seen. And where those systems average intervals, we average
//! how late each heartbeat is against its promise, which is the same for a constant interval and right for a changing
//! one. After lost heartbeats their silence is a sample too, as it is there; a silence that was suspected is none, nor is what
//! comes in a bunch after it (Akka as well leaves out the first interval after a failure).

use std::f64::consts::{LN_10, SQRT_2};
use std::time::Duration;

use serde::Serialize;
use statrs::function::erf::erfc_inv;

use super::Beat;
use super::window::Window;
use crate::model::Stamp;

/// Real samples that replace the made-up ones.
const ENOUGH: usize = 10;

/// Which distribution silences are taken to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// Normal, exact.
    Normal,
    /// Normal, in Akka's approximation.
    Akka,
    /// Exponential.
    Exponential,
}

/// What an accrual detector may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Silences remembered.
    pub window: usize,
    /// Silence that is always forgiven.
    pub pause: Duration,
    /// Least standard deviation that is believed.
    pub floor: Duration,
}

/// An accrual detector.
#[derive(Clone, Debug)]
pub struct Phi {
    last: Beat,
    model: Model,
    /// Standard deviations, or for the exponential model means, at which the threshold is reached.
    reach: f64,
    settings: Settings,
    /// A suspected silence has ended, and no heartbeat has come at its own time since.
    is_settling: bool,
    /// How late heartbeats were, or for the exponential model the silences themselves, in thousandths of the promise.
    samples: Window,
}

impl Phi {
    /// A detector that has seen `first`.
    pub fn new(first: Beat, model: Model, threshold: f64, settings: Settings) -> Self {
        let samples = Window::new(settings.window);
        Self { last: first, model, reach: reach(model, threshold), settings, is_settling: false, samples }
    }

    /// Takes a heartbeat that is newer than the last.
    pub fn heartbeat(&mut self, beat: Beat) {
        let silence = signed(beat.at.nanos_since(self.last.at));
        let promised = signed_span(self.last.promised);
        self.last = beat;
        // What waited somewhere during an outage comes at once: it says nothing about intervals either.
        self.is_settling &= silence < promised / 2;
        if !self.is_settling {
            self.samples.push(match self.model {
                Model::Exponential => per_mille(silence, promised),
                Model::Normal | Model::Akka => silence - promised,
            });
        }
    }

    /// An outage has ended with this heartbeat: its silence is no interval.
    pub const fn resume(&mut self, beat: Beat) {
        (self.last, self.is_settling) = (beat, true);
    }

    /// The moment of suspicion.
    pub fn deadline(&self) -> Stamp {
        let promised = self.last.promised.as_nanos() as f64;
        let wait = match self.model {
            Model::Exponential => self.reach * promised * self.mean_share(),
            Model::Normal | Model::Akka => {
                let (late, deviation) = self.lateness(promised);
                let deviation = deviation.max(self.settings.floor.as_nanos() as f64);
                promised + late + self.settings.pause.as_nanos() as f64 + self.reach * deviation
            }
        };
        self.last.at + Duration::from_nanos(wait.max(0.0).round() as u64)
    }

    /// Mean and deviation of the lateness; made up from the promise at first.
    fn lateness(&self, promised: f64) -> (f64, f64) {
        if self.samples.len() < ENOUGH {
            return (0.0, promised / 4.0);
        }
        (self.samples.mean().unwrap_or(0.0), self.samples.deviation().unwrap_or(0.0))
    }

    /// Mean silence as a share of what was promised; the promise itself at first.
    fn mean_share(&self) -> f64 {
        if self.samples.len() < ENOUGH { 1.0 } else { self.samples.mean().unwrap_or(1000.0) / 1000.0 }
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn signed_span(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn per_mille(silence: i64, promised: i64) -> i64 {
    i64::try_from(i128::from(silence) * 1000 / i128::from(promised.max(1))).unwrap_or(i64::MAX)
}

/// How far out a threshold is: in standard deviations, or for the exponential model in means.
#[must_use]
pub fn reach(model: Model, threshold: f64) -> f64 {
    let tail = 10_f64.powf(-threshold);
    match model {
        Model::Exponential => threshold * LN_10,
        Model::Normal => SQRT_2 * erfc_inv(2.0 * tail),
        Model::Akka => akka_reach(tail),
    }
}

/// Solves `1 / (1 + exp(y (1.5976 + 0.070566 y^2))) = tail` for `y` by Newton's method; the left side falls in `y`.
fn akka_reach(tail: f64) -> f64 {
    let exponent = ((1.0 - tail) / tail).ln();
    let mut y = 1.0;
    for _ in 0..50 {
        y -= (y * (1.5976 + 0.070_566 * y * y) - exponent) / (1.5976 + 3.0 * 0.070_566 * y * y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_where_they_were_published() {
        for (threshold, z) in [(1.0, 1.282), (3.0, 3.090), (5.0, 4.265), (8.0, 5.612), (12.0, 7.034)] {
            assert!((reach(Model::Normal, threshold) - z).abs() < 0.001, "{threshold}");
        }
        assert!((reach(Model::Akka, 8.0) - 5.226).abs() < 0.001);
        assert!((reach(Model::Exponential, 8.0) - 18.42).abs() < 0.01);
    }

    #[test]
    fn akka_at_its_defaults_waits_for_four_and_a_half_seconds() {
        let second = Duration::from_secs(1);
        let beat = |n| Beat { at: Stamp::from_nanos(n * 1_000_000_000), sequence: n, promised: second };
        let settings = Settings { window: 1000, pause: second * 3, floor: Duration::from_millis(100) };
        let mut phi = Phi::new(beat(0), Model::Akka, 8.0, settings);
        (1..=20).for_each(|n| phi.heartbeat(beat(n)));
        let wait = phi.deadline().since(beat(20).at).as_secs_f64();
        assert!((wait - 4.5226).abs() < 0.001, "{wait}");
    }
}
