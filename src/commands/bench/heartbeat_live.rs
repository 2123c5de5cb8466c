//! `offloadctl bench heartbeat --live`: arguments to spec, and the run around the measurement.
//!
//! Separate from the simulation, which needs neither a gateway nor agents; only intervals and detectors are said for both.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::bench::heartbeat::live::{EtcdOfOurs, Fault, LiveSpec, LiveSpecError, Target, measure};
use crate::bench::heartbeat::{Condition, Goal, HeartbeatSpec, Network, OF_LIVE, simulate};
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{one_of, parse_positive, seed, unique};
use crate::detect::DetectorSpec;
use crate::error::{Exit, Failure};
use crate::model::Series;
use crate::wire::Url;

/// Agents of each interval and fault: enough for a mean that is known to some 3 % of the interval.
const NODES: u64 = 400;

/// The detector of a gateway that is told nothing.
const DETECTOR: &str = "missed:3";

/// Crashes of the simulation that stands beside each cell: its mean is known ten times better than the measured one.
const TRIALS: u64 = 40_000;

#[derive(Debug, Args)]
#[command(next_help_heading = "Live")]
pub struct LiveArgs {
    /// Measure with a real gateway and real agents on this host instead of simulating
    #[arg(
        long,
        conflicts_with_all = [
            "network", "loss", "duplicate", "reorder", "trials", "mistake_beats", "heartbeat_bytes",
            "target_detection", "max_mistakes", "max_cost", "dump_trial",
        ]
    )]
    live: bool,
    /// What happens to the agents; each is measured at each interval
    #[arg(
        long,
        value_name = "FAULT,...",
        value_delimiter = ',',
        default_value = "kill",
        value_parser = one_of::<Fault>(Fault::NAMES),
        requires = "live"
    )]
    fault: Vec<Fault>,
    /// Where gateways of our own keep what they know; with etcd there are two on an etcd of our own, and agents are connected to one
    #[arg(long, value_name = "STORE", default_value = "embedded", value_parser = ["embedded", "etcd"], requires = "live")]
    store: String,
    /// With --store etcd: the lease of each gateway
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_positive, requires = "live")]
    lease: Duration,
    /// With --store etcd: the program to start
    #[arg(long, value_name = "PATH", default_value = "etcd", requires = "live")]
    etcd: PathBuf,
    /// Use this gateway, whose detector is --detector, instead of one of our own
    #[arg(long, value_name = "URL", requires = "live", requires = "token_file")]
    target: Option<Url>,
    /// Its tokens: `live-C-N TOKEN` for agent N of cell C, `* TOKEN`, and `live-probe TOKEN` for reports of our own
    #[arg(long, value_name = "FILE", requires = "target")]
    token_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the host's
    #[arg(long, value_name = "FILE", requires = "target")]
    ca_file: Option<PathBuf>,
}

/// What is said for a simulation and a live run alike.
pub struct Asked<'a> {
    /// Spans between heartbeats.
    pub intervals: &'a [Duration],
    /// Detectors, if any were given.
    pub detectors: &'a [DetectorSpec],
    /// Agents of each cell, if said.
    pub nodes: Option<u64>,
    /// The seed of the simulation, if said.
    pub seed: Option<u64>,
}

impl LiveArgs {
    /// Whether this is a live run.
    pub const fn is_asked_for(&self) -> bool {
        self.live
    }

    /// Measures, and ends with the verdict.
    ///
    /// # Errors
    /// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
    pub fn run(&self, asked: &Asked, output: &OutputArgs) -> Result<Exit, Failure> {
        let spec = self.spec(asked)?;
        let beside = simulated(&spec);
        let conduct = Conduct { seed: Some(spec.seed), ..Conduct::steps(&OF_LIVE, &spec, output) };
        conduct.run(async |session| {
            let mut measured =
                measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint()))?;
            // What the simulation knows nothing of has no twin there.
            if !spec.faults.contains(&Fault::Gateway) {
                measured.series.extend(beside);
            }
            Ok(measured)
        })
    }

    fn spec(&self, asked: &Asked) -> Result<LiveSpec, Failure> {
        let wrong = |error: LiveSpecError| Failure::usage(&error).hint(error.hint());
        let detector = match asked.detectors {
            [] => LiveSpec::detector(&[DETECTOR.parse().map_err(Failure::usage)?]),
            given => LiveSpec::detector(given),
        };
        let target = self.target.clone().zip(self.token_file.clone());
        let target = target.map(|(url, token_file)| Target { url, token_file, ca_file: self.ca_file.clone() });
        if let Some(target) = target.as_ref().filter(|target| !target.url.is_tls()) {
            let what = format!("`{}`: a gateway is spoken to over TLS", target.url);
            return Err(Failure::plain(Exit::Usage, what).hint("write https:// in --target"));
        }
        let spec = LiveSpec {
            mode: "live",
            intervals: unique(asked.intervals.iter().copied()),
            detector: detector.map_err(wrong)?,
            faults: unique(self.fault.iter().copied()),
            nodes: asked.nodes.unwrap_or(NODES),
            target,
            etcd: (self.store == "etcd").then(|| EtcdOfOurs { program: self.etcd.clone(), lease: self.lease }),
            seed: seed(asked.seed),
        };
        spec.checked().map_err(wrong)
    }
}

/// The detections of the same intervals and detector in the simulated world, on a network without delay or loss: the
/// loopback is as good as that.
fn simulated(spec: &LiveSpec) -> impl Iterator<Item = Series> {
    let simulated = HeartbeatSpec {
        mode: "simulated",
        intervals: spec.intervals.clone(),
        detectors: vec![spec.detector.clone()],
        left_out: Vec::new(),
        networks: vec![Network::ideal()],
        condition: Condition::default(),
        trials: TRIALS,
        mistake_beats: 1,
        heartbeat_bytes: 200,
        nodes: None,
        goal: Goal::default(),
        seed: spec.seed,
    };
    let series = simulate(&simulated, 1).series;
    series.into_iter().filter(|series| series.name == "heartbeat.detection")
}
