//! The figures that were published for some intervals: context beside what is simulated or measured, never a result of ours.
//!
//! Separate because the simulation and the live run stand beside the same figures.

use std::time::Duration;

/// Interval in seconds, mean detection in seconds, bytes an hour and node.
const PUBLISHED: [(u64, f64, f64); 3] = [(2, 3.1, 360_000.0), (5, 7.2, 144_000.0), (10, 14.8, 72_000.0)];

/// What was published for one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Mean detection, in nanoseconds.
    pub mean_ns: f64,
    /// Bytes an hour and node.
    pub bytes_per_h: f64,
}

/// What was published for this interval, if anything was.
#[must_use]
pub fn of(interval: Duration) -> Option<Reference> {
    let found = PUBLISHED.iter().find(|(seconds, ..)| interval == Duration::from_secs(*seconds));
    found.map(|(_, seconds, bytes)| Reference { mean_ns: seconds * 1e9, bytes_per_h: *bytes })
}
