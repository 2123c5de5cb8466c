//! What the user meant with `bench heartbeat`: intervals, detectors, networks and goals; knows no command line.

use std::time::Duration;

use serde::Serialize;

use super::choice::Goal;
use super::network::Network;
use crate::detect::{DetectorSpec, Rule};

/// Longest interval: a day.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Shortest interval: below it the virtual clock's nanoseconds are no longer fine.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A spec that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Too short or too long.
    #[error("an interval of {} is not simulated: from 1ms to 24h", humantime::format_duration(*.0))]
    Interval(Duration),
    /// Somebody typed one twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// The controller would look less often than the lease is renewed twice.
    #[error(
        "`{detector}` cannot work with an interval of {}: its grace must be longer than the interval; the smallest that would is grace={}",
        humantime::format_duration(*interval),
        humantime::format_duration(*least).to_string().replace(' ', "")
    )]
    Lease {
        /// As typed.
        detector: String,
        /// Too long for it.
        interval: Duration,
        /// The smallest grace that would do.
        least: Duration,
    },
}

/// The whole of a `bench heartbeat`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeartbeatSpec {
    /// Always `simulated`; a live mode says `live`.
    pub mode: &'static str,
    /// Spans between heartbeats.
    pub intervals: Vec<Duration>,
    /// Detectors.
    pub detectors: Vec<DetectorSpec>,
    /// Networks.
    pub networks: Vec<Network>,
    /// Crashes of each cell.
    pub trials: u64,
    /// Heartbeats of each cell that are watched for mistakes.
    pub mistake_beats: u64,
    /// Bytes of a heartbeat on the wire, assumed.
    pub heartbeat_bytes: u64,
    /// Nodes for which the load of the store is worked out.
    pub nodes: Option<u64>,
    /// What the setting must meet.
    pub goal: Goal,
    /// Seed of everything random; not part of the spec hash.
    #[serde(skip)]
    pub seed: u64,
}

/// One setting on one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Span between two heartbeats.
    pub interval: Duration,
    /// The detector, with the margin that this network gives it.
    pub detector: DetectorSpec,
    /// The network.
    pub network: Network,
}

impl HeartbeatSpec {
    /// Checks what no single argument shows.
    ///
    /// # Errors
    /// With intervals out of range, anything twice, or a detector that an interval is too long for.
    pub fn checked(self) -> Result<Self, SpecError> {
        let range = SHORTEST_INTERVAL..=LONGEST_INTERVAL;
        if let Some(interval) = self.intervals.iter().find(|interval| !range.contains(*interval)) {
            return Err(SpecError::Interval(*interval));
        }
        let texts: [Vec<String>; 3] = [
            self.intervals.iter().map(|span| humantime::format_duration(*span).to_string()).collect(),
            self.detectors.iter().map(ToString::to_string).collect(),
            self.networks.iter().map(|network| network.name.clone()).collect(),
        ];
        for texts in &texts {
            let twice = texts.iter().enumerate().find(|(at, text)| texts[..*at].contains(text));
            if let Some((_, text)) = twice {
                return Err(SpecError::Twice(text.clone()));
            }
        }
        for interval in &self.intervals {
            self.detectors.iter().try_for_each(|detector| check_lease(detector, *interval))?;
        }
        Ok(self)
    }

    /// Every setting on every network, in the order given.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for network in &self.networks {
            for &interval in &self.intervals {
                cells.extend(self.detectors.iter().map(|detector| Cell {
                    interval,
                    detector: detector.clone().with_margin(network.margin),
                    network: network.clone(),
                }));
            }
        }
        cells
    }
}

/// A lease whose grace is shorter than its renewal accuses everybody always.
fn check_lease(detector: &DetectorSpec, interval: Duration) -> Result<(), SpecError> {
    match detector.rule {
        Rule::Lease { grace, period } if grace <= interval => {
            Err(SpecError::Lease { detector: detector.to_string(), interval, least: interval + period })
        }
        _ => Ok(()),
    }
}
