//! One figure of stored runs over time, as data: `stats::trend` finds it, the reports show it.
//!
//! Separate from a comparison, which has two sides and no time.

use serde::Serialize;

use super::WallTime;

/// One run's figure with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrendPoint {
    /// The run.
    pub run_id: String,
    /// When it began.
    pub started_at: WallTime,
    /// The figure; null where it lies among what was lost or cannot be told.
    pub value: Option<f64>,
    /// Lower end of its interval; null where nothing bounds it.
    pub low: Option<f64>,
    /// Upper end of its interval; null where nothing bounds it.
    pub high: Option<f64>,
}

/// A figure over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trend {
    /// What it is of, as typed.
    pub subject: String,
    /// Unit of every figure.
    pub unit: String,
    /// Each run, the oldest first.
    pub points: Vec<TrendPoint>,
    /// The first run whose whole interval lies outside of the band of those before it, and that band.
    pub left: Option<Departure>,
}

/// The run with which something changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Departure {
    /// The run.
    pub run_id: String,
    /// Lower end of the band of the runs before it.
    pub band_low: f64,
    /// Upper end of that band.
    pub band_high: f64,
}
