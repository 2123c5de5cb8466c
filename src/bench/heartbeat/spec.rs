//! What the user meant with `bench heartbeat`: intervals, detectors, networks and goals; knows no command line.

use std::time::Duration;

use serde::Serialize;

use super::choice::Goal;
use super::condition::Condition;
use super::network::Network;
use super::plan::Plan;
use crate::detect::{DetectorSpec, Model, Rule, silence_ns};
use crate::model::span::all_as_nanos;

/// Longest interval: a day.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// Shortest interval: below it the virtual clock's nanoseconds are no longer fine.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// Longest silence that a detector may wait for; the virtual clock has room for it after any history.
const LONGEST_SILENCE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Longest life of a world: half of what a virtual clock of nanoseconds holds is left for the last detections.
const LONGEST_WORLD: Duration = Duration::from_secs(70 * 365 * 86_400);

/// Thresholds below which suspicion comes before the next heartbeat is due, to three digits: where half of all silences
/// are longer, 10^-P is one half; where silences are exponential, P ln 10 is one.
const LEAST_PHI: f64 = 0.302;
const LEAST_PHI_EXPONENTIAL: f64 = 0.435;

/// A spec that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SpecError {
    /// Too short or too long.
    #[error("an interval of {} is not simulated: from 1ms to 24h", humantime::format_duration(*.0))]
    Interval(Duration),
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
    /// A threshold that is crossed before the next heartbeat is due.
    #[error(
        "`{detector}` cannot work with any interval: it suspects before the next heartbeat is due; the smallest threshold that would work is {least}"
    )]
    Threshold {
        /// As typed.
        detector: String,
        /// The smallest threshold that would do.
        least: f64,
    },
    /// Nobody waits for so long.
    #[error(
        "`{detector}` waits longer than {} years at an interval of {}",
        LONGEST_SILENCE.as_secs() / 31_536_000,
        humantime::format_duration(*interval)
    )]
    Silence {
        /// As typed.
        detector: String,
        /// At this interval.
        interval: Duration,
    },
    /// The virtual clock would come to its end.
    #[error(
        "at an interval of {} so many heartbeats last longer than {} years for each of {} nodes: at most {most} are watched",
        humantime::format_duration(*interval),
        LONGEST_WORLD.as_secs() / 31_536_000,
        super::plan::NODES
    )]
    World {
        /// The interval.
        interval: Duration,
        /// Most heartbeats to watch at it.
        most: u64,
    },
    /// A trial that there is none of.
    #[error("there is no trial {number} of {trials}")]
    Trial {
        /// The one asked for.
        number: u64,
        /// How many there are.
        trials: u64,
    },
    /// More settings than one.
    #[error(
        "one trial is of one setting, and these are {count}: {intervals} intervals, {detectors} detectors and {networks} networks"
    )]
    Settings {
        /// How many settings.
        count: usize,
        /// How many intervals.
        intervals: usize,
        /// How many detectors.
        detectors: usize,
        /// How many networks.
        networks: usize,
    },
}

/// The whole of a `bench heartbeat`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeartbeatSpec {
    /// Always `simulated`; a live mode says `live`.
    pub mode: &'static str,
    /// Spans between heartbeats.
    #[serde(rename = "intervals_ns", serialize_with = "all_as_nanos")]
    pub intervals: Vec<Duration>,
    /// Detectors.
    pub detectors: Vec<DetectorSpec>,
    /// Detectors that nobody asked for by name and that do not fit, with the reason.
    #[serde(skip)]
    pub left_out: Vec<String>,
    /// Networks.
    pub networks: Vec<Network>,
    /// What was put on top of them, to say it again; what they are with it stands in them.
    #[serde(skip)]
    pub condition: Condition,
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
    /// With intervals out of range, or a detector that an interval is too long for.
    pub fn checked(self) -> Result<Self, SpecError> {
        let range = SHORTEST_INTERVAL..=LONGEST_INTERVAL;
        if let Some(interval) = self.intervals.iter().find(|interval| !range.contains(*interval)) {
            return Err(SpecError::Interval(*interval));
        }
        self.cells().iter().try_for_each(|cell| self.check_cell(cell))?;
        Ok(self)
    }

    /// Leaves out the detectors that do not fit one of the intervals, where nobody asked for them by name and others are left.
    #[must_use]
    pub fn fitting(mut self) -> Self {
        let misfit = |detector: &DetectorSpec| {
            self.intervals.iter().find_map(|interval| check_detector(detector, *interval).err())
        };
        let reasons: Vec<Option<SpecError>> = self.detectors.iter().map(misfit).collect();
        if reasons.iter().any(Option::is_none) {
            self.left_out = reasons.iter().flatten().map(|error| format!("left out: {error}")).collect();
            let mut kept = reasons.iter().map(Option::is_none);
            self.detectors.retain(|_| kept.next().unwrap_or(true));
        }
        self
    }

    /// Checks that a trial of this number exists and is of one setting.
    ///
    /// # Errors
    /// When it does not, or there are several settings.
    pub const fn check_trial(&self, number: u64) -> Result<(), SpecError> {
        let (intervals, detectors, networks) = (self.intervals.len(), self.detectors.len(), self.networks.len());
        let count = intervals * detectors * networks;
        if count != 1 {
            return Err(SpecError::Settings { count, intervals, detectors, networks });
        }
        if number == 0 || number > self.trials {
            return Err(SpecError::Trial { number, trials: self.trials });
        }
        Ok(())
    }

    fn check_cell(&self, cell: &Cell) -> Result<(), SpecError> {
        check_detector(&cell.detector, cell.interval)?;
        let plan = Plan::of(self, cell);
        let intervals = (LONGEST_WORLD.as_nanos() / cell.interval.as_nanos()) as u64;
        if plan.intervals() <= intervals {
            return Ok(());
        }
        let most = intervals.saturating_sub(plan.history).saturating_mul(super::plan::NODES as u64);
        Err(SpecError::World { interval: cell.interval, most })
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

/// What accuses everybody always, or nobody ever. `missed`, `overdue` and `chen` wait for the interval and some more,
/// whatever the interval is, so there is none that is too long for them.
fn check_detector(detector: &DetectorSpec, interval: Duration) -> Result<(), SpecError> {
    let (text, silence) = (detector.to_string(), silence_ns(detector, interval));
    if silence > LONGEST_SILENCE.as_nanos() as f64 {
        return Err(SpecError::Silence { detector: text, interval });
    }
    match detector.rule {
        Rule::Lease { grace, period } if grace <= interval => {
            Err(SpecError::Lease { detector: text, interval, least: interval + period })
        }
        Rule::Phi { model, threshold, .. } => {
            let least = if model == Model::Exponential { LEAST_PHI_EXPONENTIAL } else { LEAST_PHI };
            // A pause on top hides it where heartbeats are regular, and not where they are late.
            if threshold < least { Err(SpecError::Threshold { detector: text, least }) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(interval: &str, detector: &str) -> HeartbeatSpec {
        HeartbeatSpec {
            mode: "simulated",
            intervals: vec![humantime::parse_duration(interval).unwrap()],
            detectors: vec![detector.parse().unwrap()],
            left_out: Vec::new(),
            networks: vec![Network::ideal()],
            condition: Condition::default(),
            trials: 1000,
            mistake_beats: 1000,
            heartbeat_bytes: 200,
            nodes: None,
            goal: Goal::default(),
            seed: 1,
        }
    }

    fn refused(interval: &str, detector: &str) -> String {
        spec(interval, detector).checked().unwrap_err().to_string()
    }

    #[test]
    fn a_detector_that_cannot_work_is_told_with_the_smallest_that_would() {
        assert!(refused("1m", "k8s-lease/grace=40s").ends_with("the smallest that would is grace=1m5s"));
        assert!(refused("1s", "phi:0.3/pause=0s").ends_with("that would work is 0.302"));
        for detector in ["phi:0.1", "phi-akka:0.3"] {
            assert!(refused("1s", detector).ends_with("that would work is 0.302"), "{detector}");
        }
        assert!(refused("1s", "phi-exp:0.4").ends_with("that would work is 0.435"));
        for detector in ["k8s-lease/grace=65s", "phi:0.302/pause=0s", "phi-akka:0.302/pause=0s", "phi-exp:0.435"] {
            assert!(spec("1m", detector).checked().is_ok(), "{detector}");
        }
        // These wait for the interval and some more, so that it is never above their timeout.
        for detector in ["overdue:0s", "overdue:3s", "missed:1", "chen:0s"] {
            assert!(spec("24h", detector).checked().is_ok(), "{detector}");
        }
    }

    #[test]
    fn what_nobody_asked_for_and_does_not_fit_is_left_out_with_its_reason() {
        let detectors = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<DetectorSpec>>();
        let given = HeartbeatSpec { detectors: detectors(&["missed:3", "k8s-lease", "phi:8"]), ..spec("1h", "phi:8") };
        let fitting = given.clone().fitting();
        assert_eq!(fitting.detectors, detectors(&["missed:3", "phi:8"]));
        assert!(fitting.left_out.len() == 1 && fitting.left_out[0].starts_with("left out: `k8s-lease` cannot work"));
        assert!(fitting.checked().is_ok());
        let lease = HeartbeatSpec { detectors: detectors(&["k8s-lease"]), ..given };
        assert!(lease.fitting().checked().is_err(), "nothing would be left");
    }

    #[test]
    fn what_no_clock_lives_to_see_is_refused() {
        for detector in ["missed:4000000000", "overdue:99years", "phi:8/floor=10years", "chen:20years"] {
            assert!(refused("24h", detector).contains("waits longer than 10 years"), "{detector}");
        }
        let long = HeartbeatSpec { mistake_beats: u64::MAX, ..spec("24h", "missed:1") };
        let refused = long.checked().unwrap_err().to_string();
        assert!(refused.ends_with("at most 25547000 are watched"), "{refused}");
        assert!(HeartbeatSpec { mistake_beats: 25_547_000, ..spec("24h", "missed:1") }.checked().is_ok());
    }

    #[test]
    fn a_trial_is_one_of_one_setting() {
        let one = spec("1s", "missed:1");
        assert_eq!((one.check_trial(1), one.check_trial(1000)), (Ok(()), Ok(())));
        assert!(matches!(one.check_trial(1001), Err(SpecError::Trial { .. })));
        let two = HeartbeatSpec { intervals: vec![Duration::from_secs(1); 2], ..one };
        assert!(matches!(two.check_trial(1), Err(SpecError::Settings { count: 2, .. })));
    }
}
