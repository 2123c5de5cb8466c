//! What is known of a system: the figures of the runs that were made for a diagnosis, and what was read beside them.
//!
//! Separate from the rules, which see nothing else: the same facts give the same findings. Pure; what is not known is absent.

use std::time::Duration;

use crate::detect::{DetectorSpec, Parts, detection_ns, detection_parts};
use crate::model::{Labels, Run, Scalar, Series};

/// Everything that rules judge.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The way of a change, where one was followed.
    pub way: Option<Way>,
    /// The links to the targets.
    pub links: Vec<Link>,
    /// What the sources of events told of acts of our own.
    pub events: Vec<Heard>,
    /// API servers, or others of HTTP.
    pub servers: Vec<ApiServer>,
    /// Members of etcd.
    pub members: Vec<Member>,
    /// How a silent node is noticed.
    pub detection: Detection,
    /// The host that measured.
    pub host: Host,
}

/// Where the time of a change goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// How the agent learns of changes.
    pub source: String,
    /// Where our gateway keeps them; absent of somebody's.
    pub store: Option<String>,
    /// Mean of the whole way, in nanoseconds.
    pub total_ns: f64,
    /// Means of the hops, and of what is unexplained, in nanoseconds, in the order of the way.
    pub hops: Vec<(String, f64)>,
    /// The 95th percentile of each hop, where there were enough changes.
    pub p95: Vec<(String, f64)>,
    /// The share that no part claims.
    pub unexplained_ratio: f64,
    /// Changes that were made, and that arrived.
    pub made: u64,
    /// Those that arrived.
    pub arrived: u64,
}

/// A link to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The target.
    pub name: String,
    /// The series that lost most: a stream hides what its retransmissions heal.
    pub series: String,
    /// Its attempts.
    pub attempts: u64,
    /// Those that stayed unanswered.
    pub lost: u64,
    /// The median round trip to the far end itself.
    pub p50_ns: Option<u64>,
}

/// What a source told of acts of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The source.
    pub source: String,
    /// Acts that it tells of at all.
    pub acts: u64,
    /// Those that it never told.
    pub missed: u64,
}

/// A server of HTTP, asked on new connections.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiServer {
    /// The target.
    pub name: String,
    /// Means of the phases in nanoseconds: dns, tcp, tls, ttfb, transfer, total.
    pub phases: Vec<(String, f64)>,
}

/// What a member of etcd counted while it was watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its endpoint.
    pub name: String,
    /// The bounds of the bucket with the 99th percentile of its WAL's fsyncs; the last bucket has no upper one.
    pub fsync_p99: Option<(f64, Option<f64>)>,
    /// Fsyncs in the window, or since its start where the window had too few.
    pub fsyncs: f64,
    /// The same of its backend's commits.
    pub commit_p99: Option<(f64, Option<f64>)>,
    /// Whether these are of its whole life, because the window had too few.
    pub is_since_start: bool,
}

/// Interval and detector, and where they come from.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Time between two heartbeats.
    pub interval: Duration,
    /// When silence is a failure.
    pub detector: DetectorSpec,
    /// File and line of the interval, where it was read; otherwise it is the usual one.
    pub place: Option<String>,
    /// Whether they were read, or are what people have who set nothing.
    pub is_assumed: bool,
}

/// The host that measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Steps of its wall clock meanwhile.
    pub clock_steps: u64,
    /// How late planned starts were, by the 95th percentile.
    pub slip_p95_ns: Option<u64>,
    /// Processes that want a processor, for each processor.
    pub load: Option<f64>,
}

impl Facts {
    /// The mean of a hop.
    #[must_use]
    pub fn hop(&self, name: &str) -> Option<f64> {
        self.way.as_ref()?.hops.iter().find(|(hop, _)| hop == name).map(|(_, ns)| *ns)
    }

    /// The 95th percentile of a hop, or its mean where there were too few.
    #[must_use]
    pub fn hop_p95(&self, name: &str) -> Option<f64> {
        let way = self.way.as_ref()?;
        way.p95.iter().find(|(hop, _)| hop == name).map(|(_, ns)| *ns).or_else(|| self.hop(name))
    }
}

impl Way {
    /// Of a run of `trace`; `None` where no change arrived.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let total = run.series.iter().find(|series| series.name == "trace.total")?;
        let mean = |hop: &str| run.value("trace.mean", &Labels::new().with("hop", hop));
        let hops = run.scalars.iter().filter(|scalar| scalar.name == "trace.mean");
        let hops = hops.filter_map(|scalar| Some((scalar.labels.value("hop")?.to_owned(), scalar.value?)));
        let p95 = run.series.iter().filter(|series| series.name == "trace.hop");
        let p95 =
            p95.filter_map(|series| Some((series.labels.value("hop")?.to_owned(), series.summary.p95_ns? as f64)));
        let text = |pointer: &str| run.spec.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
        let is_ours = run.spec.get("gateway").is_none_or(serde_json::Value::is_null);
        Some(Self {
            source: text("/settings/0/source").unwrap_or_default(),
            store: text("/settings/0/store").filter(|_| is_ours),
            total_ns: mean("total")?,
            hops: hops.filter(|(hop, _)| hop != "total").collect(),
            p95: p95.collect(),
            unexplained_ratio: run.value("trace.unexplained_ratio", &Labels::new()).unwrap_or(0.0),
            made: total.counts.attempt_count,
            arrived: total.counts.ok_count,
        })
    }
}

impl Link {
    /// Of a run of `probe rtt`, each target once.
    #[must_use]
    pub fn all(run: &Run) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for series in run.responses().filter(|series| !series.floor) {
            let Some(name) = series.labels.value("target") else { continue };
            let one = Self {
                name: name.to_owned(),
                series: series.name.clone(),
                attempts: series.counts.attempt_count,
                lost: series.counts.unanswered_count(),
                p50_ns: distance(run, name),
            };
            match all.iter_mut().find(|link| link.name == name) {
                Some(known) if one.loss() > known.loss() => *known = one,
                Some(_) => {}
                None => all.push(one),
            }
        }
        all
    }

    fn loss(&self) -> f64 {
        self.lost as f64 / self.attempts.max(1) as f64
    }
}

/// The median round trip to the far end itself, by the quicker of both echoes: of a stream that loses, retransmissions are inside. A
/// handshake and ICMP count where there is no echo, because something in between may answer them.
fn distance(run: &Run, target: &str) -> Option<u64> {
    let of_target = |series: &&Series| !series.floor && series.labels.value("target") == Some(target);
    let (far, near): (Vec<&Series>, Vec<&Series>) =
        run.responses().filter(of_target).partition(|series| series.name.starts_with("rtt.echo"));
    let least = |all: Vec<&Series>| all.into_iter().filter_map(|series| series.summary.p50_ns).min();
    least(far).or_else(|| least(near))
}

impl Heard {
    /// Of a run of `probe events`, each source once.
    #[must_use]
    pub fn all(run: &Run) -> Vec<Self> {
        let missed = run.scalars.iter().filter(|scalar| scalar.name == "events.missed");
        let of = |scalar: &Scalar| {
            let source = scalar.labels.value("source")?.to_owned();
            let of_source = |series: &&Series| {
                series.name == "events.since_act" && series.labels.value("source") == Some(source.as_str())
            };
            let acts = run.series.iter().filter(of_source).map(|series| series.counts.attempt_count).sum();
            Some(Self { acts, missed: scalar.value?.round() as u64, source })
        };
        missed.filter_map(of).collect()
    }
}

impl ApiServer {
    /// Of a run of `probe api`, by its first path.
    #[must_use]
    pub fn of(run: &Run, name: &str) -> Option<Self> {
        let path = run.series.iter().find(|series| series.name == "api.request")?.labels.value("path")?.to_owned();
        let phase = |phase: &str| {
            let name = format!("api.{phase}");
            let series = run.series.iter().find(|one| one.name == name && one.labels.value("path") == Some(&path))?;
            Some((phase.to_owned(), series.summary.mean_ns? as f64))
        };
        let phases = ["dns", "tcp", "tls", "ttfb", "transfer", "total"].into_iter().filter_map(phase).collect();
        Some(Self { name: name.to_owned(), phases })
    }

    /// The mean of a phase.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<f64> {
        self.phases.iter().find(|(phase, _)| phase == name).map(|(_, ns)| *ns)
    }
}

impl Detection {
    /// What people have who set nothing: a heartbeat each 5 s, and three missed in a row.
    #[must_use]
    pub fn usual(detector: DetectorSpec) -> Self {
        Self { interval: Duration::from_secs(5), detector, place: None, is_assumed: true }
    }

    /// Mean and worst time until a node that died is called unreachable, with this delay of the network.
    #[must_use]
    pub fn time_ns(&self, delay_ns: f64) -> (f64, f64) {
        let (mean, worst) = detection_ns(&self.detector, self.interval);
        (mean + delay_ns, worst + delay_ns)
    }

    /// The parts of the mean, without the network.
    #[must_use]
    pub fn parts(&self) -> Parts {
        detection_parts(&self.detector, self.interval)
    }

    /// The same with another interval.
    #[must_use]
    pub fn at(&self, interval: Duration) -> Self {
        Self { interval, ..self.clone() }
    }
}
