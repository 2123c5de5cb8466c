//! What the user meant with `bench heartbeat --live`: intervals, faults, agents, and whose gateway; knows no command line.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::detect::{DetectorSpec, Rule, silence_ns};
use crate::model::span::{all_as_nanos, as_nanos};
use crate::model::words;
use crate::wire::Url;

/// Intervals that are measured: below, scheduling is a good part of them; above, nobody waits for the result.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Most agents of all cells together: each needs up to four file descriptors on this host.
const MOST_AGENTS: u64 = 10_000;

/// Longest silence that is waited for.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// The margin of a gateway whose detector was given none.
const MARGIN: &str = "200ms";

/// Names of hosts that a relay of ours can stand in for, because a certificate for them is one for us.
const OWN_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Leases that are measured; etcd makes what is below its least longer.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// How often etcd looks for leases that have ended (server/lease/lessor.go).
const ETCD_LOOKS: Duration = Duration::from_millis(500);

/// Heartbeats that a detector which learns hears before the fault.
const LEARNING_BEATS: u32 = 20;

/// What befalls the agents of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed; the kernel closes its connections.
    Kill,
    /// The process is stopped; its connections stay open.
    Freeze,
    /// The process lives and its event loop does nothing any more.
    Stuck,
    /// What is sent vanishes, in both directions and without word of it.
    Partition,
    /// Everything arrives, later than the detector waits.
    SlowLink,
    /// The process is killed, and with it the gateway that it is connected to; another one finds it.
    Gateway,
}

words!(Fault {
    Kill = "kill",
    Freeze = "freeze",
    Stuck = "stuck",
    Partition = "partition",
    SlowLink = "slow-link",
    Gateway = "gateway"
});

/// Where the gateways of a run keep what they know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdOfOurs {
    /// The program that is started.
    pub program: PathBuf,
    /// The lease of each of the two gateways.
    #[serde(rename = "lease_ns", serialize_with = "as_nanos")]
    pub lease: Duration,
}

/// A live run that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LiveSpecError {
    /// Too short or too long.
    #[error("an interval of {} is not measured live: from 100ms to 1m", humantime::format_duration(*.0))]
    Interval(Duration),
    /// A gateway has one detector.
    #[error("a gateway has one detector, and these are {0}")]
    Detectors(usize),
    /// More than this host can be asked to run.
    #[error("{cells} cells of {nodes} agents are {} agents; at most {MOST_AGENTS} are started", *cells as u64 * nodes)]
    Agents {
        /// Intervals times faults.
        cells: usize,
        /// Agents of each.
        nodes: u64,
    },
    /// One agent has no phases to be spread over.
    #[error("a cell of one agent has no phases to be spread over")]
    Alone,
    /// Nobody waits for so long.
    #[error(
        "`{detector}` waits longer than {} at an interval of {}",
        humantime::format_duration(LONGEST_SILENCE),
        humantime::format_duration(*interval)
    )]
    Silence {
        /// As typed.
        detector: String,
        /// At this interval.
        interval: Duration,
    },
    /// A dying gateway takes all agents with it.
    #[error("`gateway` is measured alone: one --interval, no other --fault, with --store etcd and no --target")]
    GatewayAlone,
    /// What etcd does not grant.
    #[error("a lease of {} is not measured live: from 1s to 1m", humantime::format_duration(*.0))]
    Lease(Duration),
    /// A relay would have to show a certificate that it has not.
    #[error("`{fault}` needs a relay on this host, and a certificate of `{host}` is not one for it")]
    Relay {
        /// Which fault.
        fault: Fault,
        /// Whose certificate it would need.
        host: String,
    },
}

impl LiveSpecError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Relay { .. } => "leave out partition and slow-link, or let --target name this host",
            Self::GatewayAlone => "give --store etcd --fault gateway with one --interval, and run once for each",
            Self::Lease(_) => "give a --lease of some seconds",
            Self::Detectors(_) => "give one --detector, and run once for each",
            Self::Agents { .. } => "lower --nodes, or give fewer intervals and faults",
            _ => "see `offloadctl bench heartbeat --help`",
        }
    }
}

/// A gateway that is there already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Where it is.
    pub url: Url,
    /// Lines `NODE_ID TOKEN` of our agents, and `* TOKEN` for us.
    pub token_file: PathBuf,
    /// Whom to trust instead of the authorities that this host knows.
    pub ca_file: Option<PathBuf>,
}

/// The whole of a live run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveSpec {
    /// Always `live`.
    pub mode: &'static str,
    /// Spans between heartbeats.
    #[serde(rename = "intervals_ns", serialize_with = "all_as_nanos")]
    pub intervals: Vec<Duration>,
    /// The detector of the gateway, its margin said.
    pub detector: DetectorSpec,
    /// What befalls the agents.
    pub faults: Vec<Fault>,
    /// Agents of each cell.
    pub nodes: u64,
    /// Somebody else's gateway; `None` starts one of our own.
    pub target: Option<Target>,
    /// Two gateways of our own on an etcd of our own; `None` is one with an embedded store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdOfOurs>,
    /// Seed of the simulation beside it; not part of the spec hash.
    #[serde(skip)]
    pub seed: u64,
}

/// One interval with one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveCell {
    /// Span between two heartbeats.
    pub interval: Duration,
    /// What befalls its agents.
    pub fault: Fault,
}

impl LiveSpec {
    /// The one detector of a gateway, with the margin said that it would have.
    ///
    /// # Errors
    /// When there are several.
    pub fn detector(given: &[DetectorSpec]) -> Result<DetectorSpec, LiveSpecError> {
        let [only] = given else { return Err(LiveSpecError::Detectors(given.len())) };
        match only.rule {
            Rule::Missed { .. } if !only.has_margin => {
                // Invariant: a detector without a margin takes one.
                Ok(format!("{only}/margin={MARGIN}").parse().unwrap_or_else(|_| only.clone()))
            }
            _ => Ok(only.clone()),
        }
    }

    /// Checks what no single argument shows.
    ///
    /// # Errors
    /// With intervals out of range, too many agents, or a fault that the target does not allow.
    pub fn checked(self) -> Result<Self, LiveSpecError> {
        if let Some(interval) = self.intervals.iter().find(|interval| !INTERVALS.contains(*interval)) {
            return Err(LiveSpecError::Interval(*interval));
        }
        let cells = self.intervals.len() * self.faults.len();
        if (cells as u64).saturating_mul(self.nodes) > MOST_AGENTS {
            return Err(LiveSpecError::Agents { cells, nodes: self.nodes });
        }
        if self.nodes < 2 {
            return Err(LiveSpecError::Alone);
        }
        if let Some(interval) =
            self.intervals.iter().find(|interval| self.longest_silence(**interval) > LONGEST_SILENCE)
        {
            return Err(LiveSpecError::Silence { detector: self.detector.to_string(), interval: *interval });
        }
        self.check_relay()?;
        self.check_gateway()?;
        Ok(self)
    }

    fn check_relay(&self) -> Result<(), LiveSpecError> {
        let Some(target) = &self.target else { return Ok(()) };
        let relayed = self.faults.iter().find(|fault| fault.is_of_link());
        match relayed.filter(|_| !OWN_HOSTS.contains(&target.url.host.as_str())) {
            Some(fault) => Err(LiveSpecError::Relay { fault: *fault, host: target.url.host.clone() }),
            None => Ok(()),
        }
    }

    fn check_gateway(&self) -> Result<(), LiveSpecError> {
        if let Some(etcd) = self.etcd.as_ref().filter(|etcd| !LEASES.contains(&etcd.lease)) {
            return Err(LiveSpecError::Lease(etcd.lease));
        }
        let is_alone = self.faults.len() == 1 && self.intervals.len() == 1 && self.etcd.is_some();
        if (self.faults.contains(&Fault::Gateway) && !is_alone) || (self.etcd.is_some() && self.target.is_some()) {
            return Err(LiveSpecError::GatewayAlone);
        }
        Ok(())
    }

    /// How long a gateway that has died keeps its nodes at least and at most: its lease was kept alive a third of its time ago at
    /// most, and etcd looks for those that have ended twice a second. Nothing where no gateway dies.
    #[must_use]
    pub fn kept_by_the_dead(&self, fault: Fault) -> Option<(Duration, Duration)> {
        let lease = self.etcd.as_ref().filter(|_| fault == Fault::Gateway)?.lease;
        Some((lease * 2 / 3, lease + ETCD_LOOKS))
    }

    /// The interval that the detector of a gateway waits for that has taken a node over: that of its record.
    #[must_use]
    pub fn written(interval: Duration) -> Duration {
        Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).next_power_of_two())
    }

    /// Every interval with every fault, in the order given.
    #[must_use]
    pub fn cells(&self) -> Vec<LiveCell> {
        let of = |&interval| self.faults.iter().map(move |&fault| LiveCell { interval, fault });
        self.intervals.iter().flat_map(of).collect()
    }

    /// The longest time from the last heartbeat of a node to word of its silence.
    #[must_use]
    pub fn longest_silence(&self, interval: Duration) -> Duration {
        let check = match self.detector.rule {
            Rule::Lease { period, .. } => period,
            _ => self.detector.check,
        };
        // A thousand years are as good as for ever.
        let kept = self.kept_by_the_dead(self.faults.first().copied().unwrap_or(Fault::Kill));
        let waited = if kept.is_some() { Self::written(interval) } else { interval };
        let silence = Duration::from_secs_f64((silence_ns(&self.detector, waited) / 1e9).clamp(0.0, 3.2e10));
        silence.saturating_add(check).saturating_add(kept.map_or(Duration::ZERO, |(_, most)| most))
    }

    /// How long the agents of a cell are only watched.
    #[must_use]
    pub fn settling(&self, interval: Duration) -> Duration {
        match self.detector.rule {
            Rule::Phi { .. } | Rule::Chen { .. } => interval * LEARNING_BEATS,
            _ => (interval * 3 / 2).max(Duration::from_secs(1)),
        }
    }
}

impl Fault {
    /// Whether it happens between agents and gateway, where a relay has to stand.
    #[must_use]
    pub const fn is_of_link(self) -> bool {
        matches!(self, Self::Partition | Self::SlowLink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(intervals: &[&str], faults: &[Fault]) -> LiveSpec {
        LiveSpec {
            mode: "live",
            intervals: intervals.iter().map(|text| humantime::parse_duration(text).unwrap()).collect(),
            detector: LiveSpec::detector(&["missed:3".parse().unwrap()]).unwrap(),
            faults: faults.to_vec(),
            nodes: 400,
            target: None,
            etcd: None,
            seed: 1,
        }
    }

    fn refused(spec: LiveSpec) -> String {
        spec.checked().unwrap_err().to_string()
    }

    #[test]
    fn a_gateway_has_one_detector_and_says_its_margin() {
        let one = |text: &str| LiveSpec::detector(&[text.parse().unwrap()]).unwrap().to_string();
        assert_eq!(one("missed:3"), "missed:3/margin=200ms");
        assert_eq!(one("missed:2/check=1s"), "missed:2/check=1s/margin=200ms");
        assert_eq!(one("missed:3/margin=1s"), "missed:3/margin=1s");
        assert_eq!(one("chen:1s"), "chen:1s");
        let two = ["missed:3", "chen:1s"].map(|text| text.parse().unwrap());
        assert_eq!(LiveSpec::detector(&two), Err(LiveSpecError::Detectors(2)));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(refused(spec(&["50ms"], &[Fault::Kill])).contains("from 100ms to 1m"));
        assert!(refused(LiveSpec { nodes: 10_001, ..spec(&["2s"], &[Fault::Kill]) }).contains("10001 agents"));
        assert!(refused(LiveSpec { nodes: 1, ..spec(&["2s"], &[Fault::Kill]) }).contains("no phases"));
        let patient = LiveSpec { detector: "missed:99".parse().unwrap(), ..spec(&["10s"], &[Fault::Kill]) };
        assert_eq!(refused(patient), "`missed:99` waits longer than 10m at an interval of 10s");
    }

    #[test]
    fn a_relay_stands_only_before_a_gateway_whose_certificate_is_for_this_host() {
        let with = |url: &str, fault| {
            let (url, token_file) = (url.parse().unwrap(), PathBuf::from("tokens"));
            let target = Some(Target { url, token_file, ca_file: None });
            LiveSpec { target, ..spec(&["2s"], &[fault]) }.checked().map(drop)
        };
        assert!(with("https://hub.example:7443", Fault::Kill).is_ok());
        assert!(with("https://localhost:7443", Fault::Partition).is_ok());
        assert!(with("https://hub.example:7443", Fault::Partition).is_err());
    }

    #[test]
    fn a_gateway_dies_alone_and_on_etcd() {
        let etcd = |seconds| Some(EtcdOfOurs { program: PathBuf::from("etcd"), lease: Duration::from_secs(seconds) });
        assert!(refused(spec(&["2s"], &[Fault::Gateway])).contains("--store etcd"));
        let with = |etcd, intervals: &[&str], faults: &[Fault]| LiveSpec { etcd, ..spec(intervals, faults) };
        assert!(refused(with(etcd(3), &["2s", "5s"], &[Fault::Gateway])).contains("one --interval"));
        assert!(refused(with(etcd(3), &["2s"], &[Fault::Gateway, Fault::Kill])).contains("measured alone"));
        assert!(refused(with(etcd(90), &["2s"], &[Fault::Kill])).contains("a lease of 1m 30s"));
        let spec = with(etcd(3), &["2s"], &[Fault::Gateway]).checked().unwrap();
        assert_eq!(spec.kept_by_the_dead(Fault::Gateway), Some((Duration::from_secs(2), Duration::from_millis(3_500))));
        // Three intervals as they are written, the margin, the lease and etcd's look.
        assert_eq!(spec.longest_silence(Duration::from_secs(2)), Duration::from_millis(3 * 2_048 + 200 + 3_500));
        assert_eq!(spec.kept_by_the_dead(Fault::Kill), None);
    }

    #[test]
    fn cells_are_settled_for_longer_where_the_detector_learns() {
        let short = spec(&["300ms", "2s"], &[Fault::Kill, Fault::SlowLink]).checked().unwrap();
        assert_eq!(short.cells().len(), 4);
        let settling =
            |spec: &LiveSpec| spec.intervals.iter().map(|interval| spec.settling(*interval)).collect::<Vec<_>>();
        assert_eq!(settling(&short), [1, 3].map(Duration::from_secs));
        let learning = LiveSpec { detector: "chen:1s".parse().unwrap(), ..short };
        assert_eq!(settling(&learning), [6, 40].map(Duration::from_secs));
        assert_eq!(learning.longest_silence(Duration::from_secs(2)), Duration::from_secs(3));
    }
}
