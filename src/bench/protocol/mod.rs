//! The same heartbeat and the same report over gRPC, WebSocket and HTTP, side by side.
//!
//! ## Question
//! Which protocol should carry heartbeats, and which reports: what does a message cost at a fixed rate, how many are there at most,
//! and what does a new connection cost?
//!
//! ## Timed
//! From the planned start of a message to its receipt, on connections that were opened before. All protocols run at the same time on
//! the same schedule, so that whatever the host does meets them alike; the highest rate is measured one after another. Messages are
//! encoded inside. `protocol.cold` has name, TCP and TLS inside, and never resumes a session.
//!
//! Then, on connections of their own, bytes are counted, peers fall silent, connections are cut, and leaders of Raft are lost.
//!
//! ## Needs
//! An `offloadctl echo --protocols`, on another host; without a target one of our own in this process. Raft: the feature `raft`.
//!
//! ## Blind spots
//! The far end stores nothing and has one thread: a gateway of many threads and a store answers otherwise. On one host both ends share
//! its processors, and there is no distance. Messages are protobuf everywhere: JSON costs more. HTTP/1.1 carries one message at a time
//! and opens further connections where the rate asks for them, inside what is timed. A report over Raft is on two disks before its
//! receipt, and the others store nothing. Faults are those of a link of our own on this host, in front of the far end.

mod call;
mod fault;
mod layout;
mod message;
mod metrics;
#[cfg_attr(not(feature = "raft"), path = "no_raft.rs")]
mod raft;
mod spec;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

pub use call::{DialError, What};
pub use metrics::MEASUREMENT;
pub use raft::Members;
pub use spec::ProtocolSpec;

use self::call::{Caller, Cold, Target, Warm};
use self::fault::Limits;
use crate::echo::protocol::{Offer, Protocol, ProtocolLimits, ProtocolServer};
use crate::load::{DriverError, Lane, LaneRecord, LoadSpec, Operation, Session};
use crate::model::{Labels, Measured, Scalar, Series};
use crate::sync::gateway::tls::{Identity, OWN_CERTIFICATE, TlsError, TlsFiles};
use crate::sys::clock;
use crate::wire::{self, Fetch, TlsSpec, Trust, Url, UrlError, fetch};

/// How long a question beside the measured path may take, and how long its answer may be.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 64 << 10;

/// How to get what this build lacks.
pub const NOT_BUILT: &str = "build it with: cargo build --release --features full";

/// Where a far end of our own listens.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The target is no URL.
    #[error("the target is no URL")]
    Url(#[from] UrlError),
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(#[from] wire::TlsError),
    /// Our own far end could not be started.
    #[error("no far end of our own could be started")]
    Own(#[source] std::io::Error),
    /// It has no certificate.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The target cannot be asked.
    #[error("the target cannot be asked what it offers")]
    Ask(#[from] wire::FetchError),
    /// The target answers, and is no echo.
    #[error("the target is no `offloadctl echo --protocols`: it answers {0} to /protocols")]
    NoEcho(u16),
    /// It lacks a protocol.
    #[error("the target does not offer {wanted}; it offers {offered}")]
    Lacks {
        /// What was asked for.
        wanted: String,
        /// What it has.
        offered: String,
    },
    /// A connection cannot be made.
    #[error("{protocol} cannot be spoken to the target")]
    Dial {
        /// Over which.
        protocol: Protocol,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl ProtocolError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Ask(wire::FetchError::Tls(_)) => {
                "trust its certificate: --ca-file with the path that the echo said at its start"
            }
            Self::Dial { source: DialError::NotBuilt, .. } => NOT_BUILT,
            Self::Lacks { .. } => "start the echo with these --protocols, or name those that it has",
            Self::Ask(_) | Self::NoEcho(_) | Self::Url(_) => {
                "start `offloadctl echo --protocols grpc,websocket` there, and give https://HOST:7778"
            }
            _ => "see `offloadctl bench protocol --help`",
        }
    }
}

/// What an echo says of itself.
#[derive(Deserialize)]
struct Offered {
    protocols: Vec<String>,
    #[serde(default)]
    raft_ports: Vec<u16>,
}

/// What its answers have cost so far.
#[derive(Clone, Copy, Deserialize)]
struct Usage {
    cpu_ns: u64,
    answered_count: u64,
}

/// The far end, and our own for as long as this lives.
struct Far {
    url: Url,
    trust: Trust,
    own: Option<Own>,
}

/// A far end in this process.
struct Own {
    _server: ProtocolServer,
    members: Members,
    _folder: TempDir,
}

impl Far {
    async fn find(spec: &ProtocolSpec) -> Result<Self, ProtocolError> {
        if let Some(target) = &spec.target {
            let trust = Trust::load(&TlsSpec { ca_file: spec.ca_file.clone(), ..TlsSpec::default() })?;
            return Ok(Self { url: target.parse()?, trust, own: None });
        }
        let folder = tempfile::tempdir().map_err(ProtocolError::Own)?;
        let identity = Identity::load(&TlsFiles { kept_in: Some(folder.path().to_owned()), ..TlsFiles::default() })?;
        let members = Members::start(&spec.protocols, (HERE, None), Arc::clone(&identity.config), folder.path()).await;
        let members = members.map_err(ProtocolError::Own)?;
        let offer = Offer { protocols: spec.protocols.clone(), raft_ports: members.ports() };
        let listener = TcpListener::bind((HERE, 0)).map_err(ProtocolError::Own)?;
        let server = ProtocolServer::start(listener, identity.config, offer, ProtocolLimits::default())
            .map_err(ProtocolError::Own)?;
        let ca_file = Some(folder.path().join(OWN_CERTIFICATE));
        let trust = Trust::load(&TlsSpec { ca_file, ..TlsSpec::default() })?;
        let url = format!("https://localhost:{}", server.address().port()).parse()?;
        Ok(Self { url, trust, own: Some(Own { _server: server, members, _folder: folder }) })
    }

    async fn get(&self, path: &str) -> Result<(u16, Vec<u8>), ProtocolError> {
        let url = self.url.with_path(path)?;
        let asked = Fetch {
            url: &url,
            address: None,
            server_name: None,
            trust: &self.trust,
            headers: &[],
            timeout: PATIENCE,
            max_body: LONGEST,
        };
        let fetched = fetch(asked).await?;
        Ok((fetched.status, fetched.body))
    }

    /// The way to it, if it has everything that is asked for: told before anything is measured.
    async fn check(&self, protocols: &[Protocol]) -> Result<Target, ProtocolError> {
        let (status, body) = self.get("/protocols").await?;
        let offered: Offered = match serde_json::from_slice(&body) {
            Ok(offered) if status == 200 => offered,
            _ => return Err(ProtocolError::NoEcho(status)),
        };
        let lacking = protocols.iter().map(|protocol| protocol.word());
        let lacking: Vec<&str> = lacking.filter(|word| !offered.protocols.iter().any(|one| one == word)).collect();
        if lacking.is_empty() {
            return Ok(Target::new(&self.url, &self.trust, &offered.raft_ports));
        }
        Err(ProtocolError::Lacks { wanted: lacking.join(", "), offered: offered.protocols.join(", ") })
    }

    async fn usage(&self) -> Option<Usage> {
        let (_, body) = self.get("/usage").await.ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// Measures until the end of the spec, or until the user stops it.
///
/// # Errors
/// When the far end is not there, or lacks a protocol.
pub async fn measure(spec: &ProtocolSpec, session: &mut Session<'_>) -> Result<Measured, ProtocolError> {
    let prepared = async {
        let far = Far::find(spec).await?;
        let target = far.check(&spec.protocols).await?;
        Ok::<_, ProtocolError>((far, target))
    };
    let Some(prepared) = session.prepare(prepared).await else { return Ok(Measured::default()) };
    let (mut far, mut target) = prepared?;
    let mut measured = Measured::default();
    let mut whats = vec![What::Heartbeat];
    whats.extend(spec.containers.iter().map(|count| What::Report(*count)));
    for what in whats {
        let Some(lanes) = session.prepare(warm(&spec.protocols, &mut target, what)).await else { break };
        measured.series.extend(drive(&lanes?, &spec.load, session).await?.0);
    }
    if !session.is_over() {
        let cold = |protocol: &Protocol| {
            lane(Cold { protocol: *protocol, target: target.clone() }, "protocol.cold", of(*protocol))
        };
        let lanes: Vec<_> = spec.protocols.iter().map(cold).collect();
        measured.series.extend(drive(&lanes, &spec.cold, session).await?.0);
    }
    for protocol in &spec.protocols {
        if session.is_over() {
            break;
        }
        let (series, scalars) = busy(*protocol, &target, &far, &spec.busy, session).await?;
        measured.series.extend(series);
        measured.scalars.extend(scalars);
    }
    let limits = Limits { keepalive: spec.keepalive, timeout: spec.load.timeout };
    if !session.is_over()
        && let Some(weighed) = session.prepare(fault::weigh(&spec.protocols, &target, &spec.containers)).await
    {
        measured.scalars.extend(weighed?);
    }
    if !session.is_over() {
        measured.series.extend(fault::silent(&spec.protocols, &target, limits, session).await?.series);
    }
    if !session.is_over() {
        let cut = fault::cut(&spec.protocols, &target, &far, limits, session).await?;
        measured.series.extend(cut.series);
        measured.scalars.extend(cut.scalars);
    }
    if let Some(own) = far.own.as_mut()
        && !session.is_over()
    {
        measured.series.extend(own.members.lose_leaders(session).await);
    }
    measured.interrupted = session.is_over();
    Ok(measured)
}

/// As many as go through, over one protocol.
async fn busy(
    protocol: Protocol,
    target: &Target,
    far: &Far,
    load: &LoadSpec,
    session: &mut Session<'_>,
) -> Result<(Vec<Series>, Vec<Scalar>), ProtocolError> {
    let Some(caller) = session.prepare(connect(protocol, target, What::Heartbeat)).await else {
        return Ok(Default::default());
    };
    let lanes = [lane(Warm { caller: caller?, what: What::Heartbeat }, "protocol.busy", of(protocol))];
    let (before, began) = (far.usage().await, clock::thread_cpu());
    let (series, elapsed) = drive(&lanes, load, session).await?;
    let (after, client) = (far.usage().await, clock::thread_cpu().saturating_sub(began));
    let served: u64 = series.iter().filter(|one| one.name == "protocol.busy").map(|one| one.counts.ok_count).sum();
    let mut scalars = Vec::new();
    if served > 0 && !elapsed.is_zero() {
        let rate = served as f64 / elapsed.as_secs_f64();
        scalars.push(Scalar::new("protocol.highest_rate", &of(protocol), "per_s", rate));
        let cost = client.as_nanos() as f64 / served as f64;
        scalars.push(Scalar::new("protocol.client_cpu", &of(protocol), "ns", cost));
    }
    if let Some((before, after)) = before.zip(after) {
        let answered = after.answered_count.saturating_sub(before.answered_count);
        let cost = after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / answered.max(1) as f64;
        // An echo that was started again meanwhile has counted from zero.
        let is_same = after.answered_count > before.answered_count && after.cpu_ns >= before.cpu_ns;
        scalars.extend(is_same.then(|| Scalar::new("protocol.server_cpu", &of(protocol), "ns", cost)));
    }
    Ok((series, scalars))
}

fn of(protocol: Protocol) -> Labels {
    Labels::new().with("protocol", protocol.word())
}

fn lane<O>(operation: O, name: &'static str, labels: Labels) -> Lane<O> {
    Lane { operation, name, labels, floor: false, reference: None }
}

async fn connect(protocol: Protocol, target: &Target, what: What) -> Result<Caller, ProtocolError> {
    Caller::open(protocol, target, what).await.map_err(|source| ProtocolError::Dial { protocol, source })
}

async fn warm(protocols: &[Protocol], target: &mut Target, what: What) -> Result<Vec<Lane<Warm>>, ProtocolError> {
    if protocols.contains(&Protocol::Raft) {
        let looked = target.raft.look(&target.url).await;
        looked.map_err(|source| ProtocolError::Dial { protocol: Protocol::Raft, source })?;
    }
    let mut lanes = Vec::new();
    for protocol in protocols {
        let caller = connect(*protocol, target, what).await?;
        let (name, labels) = match what {
            What::Heartbeat => ("protocol.heartbeat", of(*protocol)),
            What::Report(count) => ("protocol.report", of(*protocol).with("containers", &count.to_string())),
        };
        lanes.push(lane(Warm { caller, what }, name, labels));
    }
    Ok(lanes)
}

async fn drive<O: Operation>(
    lanes: &[Lane<O>],
    load: &LoadSpec,
    session: &mut Session<'_>,
) -> Result<(Vec<Series>, Duration), ProtocolError> {
    let load = session.drive(lanes, load).await?;
    session.keep(&load.lanes);
    Ok((load.lanes.into_iter().flat_map(LaneRecord::into_series).collect(), load.elapsed))
}
