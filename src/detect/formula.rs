//! How long a detector waits, in closed form, where heartbeats come as regularly as they are sent.
//!
//! Separate from the detectors, which wait for what really comes: this is what a setting promises beforehand.

use std::time::Duration;

use super::{DetectorSpec, Model, Rule, reach};

/// The silence after the last receipt at which a node is suspected, where heartbeats come as regularly as they are sent.
#[must_use]
pub fn silence_ns(detector: &DetectorSpec, interval: Duration) -> f64 {
    let interval = nanos(interval);
    match detector.rule {
        Rule::Missed { count, margin } => f64::from(count) * interval + nanos(margin),
        Rule::Overdue { timeout } => interval + nanos(timeout),
        Rule::Lease { grace, .. } => nanos(grace),
        Rule::Chen { margin, .. } => interval + nanos(margin),
        Rule::Phi { model: Model::Exponential, threshold, .. } => reach(Model::Exponential, threshold) * interval,
        Rule::Phi { model, threshold, settings } => {
            interval + nanos(settings.pause) + reach(model, threshold) * nanos(settings.floor)
        }
    }
}

/// The parts of the mean time from a crash to the suspicion, in nanoseconds, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// From the crash to the moment of the heartbeat that did not come: half an interval.
    pub interval_ns: f64,
    /// The detector's own patience from then on.
    pub detector_ns: f64,
    /// Until a monitor that looks periodically looks: half its period.
    pub sweep_ns: f64,
}

/// The parts of the mean of [`detection_ns`].
#[must_use]
pub fn detection_parts(detector: &DetectorSpec, interval: Duration) -> Parts {
    let silence = silence_ns(detector, interval);
    // A detector that is less patient than the interval calls every node dead before its heartbeat is due.
    let interval_ns = silence.min(nanos(interval)) - nanos(interval) / 2.0;
    Parts {
        interval_ns,
        detector_ns: silence - nanos(interval) / 2.0 - interval_ns,
        sweep_ns: check_ns(detector) / 2.0,
    }
}

/// Mean and worst time from a crash at a random phase to the suspicion, without the network's delay: the silence less the age of
/// the last heartbeat, and the phase of a monitor that looks periodically (Chen, Toueg and Aguilera 2002 for a fixed timeout).
#[must_use]
pub fn detection_ns(detector: &DetectorSpec, interval: Duration) -> (f64, f64) {
    let (silence, check) = (silence_ns(detector, interval), check_ns(detector));
    (silence - nanos(interval) / 2.0 + check / 2.0, silence + check)
}

/// How often a monitor looks.
fn check_ns(detector: &DetectorSpec) -> f64 {
    match detector.rule {
        Rule::Lease { period, .. } => nanos(period),
        _ => nanos(detector.check),
    }
}

fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_missed_in_a_row_take_two_and_a_half_intervals_and_the_margin() {
        let detector: DetectorSpec = "missed:3".parse().unwrap();
        let detector = detector.with_margin(Duration::from_millis(200));
        let (mean, worst) = detection_ns(&detector, Duration::from_secs(5));
        assert_eq!((mean, worst), (12.7e9, 15.2e9));
        let parts = detection_parts(&detector, Duration::from_secs(5));
        assert_eq!(parts, Parts { interval_ns: 2.5e9, detector_ns: 10.2e9, sweep_ns: 0.0 });
    }
}
