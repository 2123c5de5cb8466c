//! What the figures mean: throughput, and later the verdict.

use std::time::Duration;

use crate::load::LaneRecord;
use crate::model::Scalar;

/// Answered requests and written keys a second.
#[must_use]
pub fn throughput(lanes: &[LaneRecord], batch: usize, recorded: Duration) -> Vec<Scalar> {
    let seconds = recorded.as_secs_f64();
    let scalar = |lane: &LaneRecord, name: &str, factor: usize| Scalar {
        name: format!("{}.{name}", lane.name()),
        labels: lane.labels().clone(),
        unit: "per_s".to_owned(),
        value: (seconds > 0.0).then(|| lane.counts().ok_count as f64 * factor as f64 / seconds),
    };
    let mut scalars = Vec::new();
    for lane in lanes {
        scalars.push(scalar(lane, "throughput", 1));
        if lane.name() == "etcd.put" {
            scalars.push(scalar(lane, "keys", batch));
        }
    }
    scalars
}
