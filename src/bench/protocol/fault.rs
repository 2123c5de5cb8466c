//! What goes wrong with a connection, and what a message weighs: a peer that falls silent, a connection that is cut, bytes.
//!
//! Separate because these are few and slow, and go over a link of our own that can be broken, on this host. Whoever writes
//! keepalives decides when a silent peer is noticed; whoever sends again decides what a cut costs.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::call::{Caller, Target, What};
use super::{Far, ProtocolError, connect, of};
use crate::echo::protocol::Protocol;
use crate::load::{Session, Track};
use crate::model::span::nanos;
use crate::model::{Labels, Measured, Outcome, Scalar, Stamp};
use crate::sys::clock;
use crate::sys::socket_table::traffic_of;
use crate::topo::Relay;
use crate::wire::dial;

/// Times that each fault happens.
const ROUNDS: u64 = 3;

/// How long a fault may go unnoticed beyond the settings, and a connection be away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause before a connection is tried again.
const BEFORE_AGAIN: Duration = Duration::from_millis(10);

/// Messages that are sent before a connection is cut, the time between two of them, and that of the link one way. The cut comes with
/// the first receipt, and then some are on their way there and some receipts on their way back.
const UNDER_WAY: usize = 8;
const BETWEEN: Duration = Duration::from_millis(1);
const ONE_WAY: Duration = Duration::from_millis(5);

/// Messages whose bytes are counted, after some that make both ends know each other.
const WEIGHED: u32 = 20;
const BEFORE_WEIGHED: u32 = 5;

/// How long bytes of earlier connections, and late acknowledgements, may take.
const QUIET: Duration = Duration::from_millis(60);

/// What the settings of the faults are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Between two questions whether the peer lives, and for each answer.
    pub keepalive: Duration,
    /// A message without a receipt by then is lost.
    pub timeout: Duration,
}

/// Whether these faults can happen to a protocol: a cluster has its own, the loss of its leader.
fn is_one_connection(protocol: &&Protocol) -> bool {
    **protocol != Protocol::Raft
}

/// Breaks a link under connections that are idle: from then until each client knows.
pub async fn silent(
    protocols: &[Protocol],
    target: &Target,
    limits: Limits,
    session: &mut Session<'_>,
) -> Result<Measured, ProtocolError> {
    session.stage("silent peers");
    let steps = session.steps(ROUNDS);
    let protocols: Vec<Protocol> = protocols.iter().filter(is_one_connection).copied().collect();
    let target = Target { keepalive: Some(limits.keepalive), ..target.clone() };
    let mut tracks: Vec<Track> = protocols.iter().map(|_| Track::default()).collect();
    let work = async {
        for round in (0..ROUNDS).take_while(|_| !steps.is_over()) {
            let noticed = join_all(protocols.iter().map(|protocol| notice(*protocol, &target, limits))).await;
            for (track, noticed) in tracks.iter_mut().zip(noticed) {
                match noticed? {
                    Some(took) => track.record(round, Outcome::Ok, nanos(took)),
                    None => track.record(round, Outcome::Lost, nanos(PATIENCE)),
                }
            }
            steps.advance(1);
        }
        Ok::<_, ProtocolError>(())
    };
    session.watch(&steps, work, Measured::default).await?;
    let series = protocols
        .iter()
        .zip(tracks)
        .map(|(protocol, track)| track.into_series("protocol.silent_peer".to_owned(), of(*protocol)));
    Ok(Measured { series: series.filter(|series| series.counts.attempt_count > 0).collect(), ..Measured::default() })
}

/// How long until the client knows that nobody answers any more.
async fn notice(protocol: Protocol, target: &Target, limits: Limits) -> Result<Option<Duration>, ProtocolError> {
    let (relay, target) = linked(target).await?;
    let caller = connect(protocol, &target, What::Heartbeat).await?;
    // The connection is as good as any before it breaks.
    let _ = caller.call(What::Heartbeat).await;
    let broken = clock::now();
    relay.partition();
    let noticed = if protocol == Protocol::Http1 {
        // Nothing asks here but the next message.
        timeout(limits.timeout, caller.call(What::Heartbeat)).await.is_err()
    } else {
        timeout(limits.keepalive * 2 + PATIENCE, caller.ended()).await.is_ok()
    };
    Ok(noticed.then(|| clock::now().since(broken)))
}

/// A link of our own in front of the far end.
async fn linked(target: &Target) -> Result<(Relay, Target), ProtocolError> {
    let addresses = dial::addresses(&target.url).await;
    let dial = |source| ProtocolError::Dial { protocol: Protocol::Http1, source };
    let address = addresses.map_err(|error| dial(error.into()))?.into_iter().next();
    let address = address.ok_or_else(|| ProtocolError::Own(std::io::ErrorKind::NotFound.into()))?;
    let relay = Relay::start(address).map_err(ProtocolError::Own)?;
    let target = Target { via: Some(relay.address), ..target.clone() };
    Ok((relay, target))
}

/// What cuts cost one protocol.
#[derive(Default)]
struct Cuts {
    track: Track,
    gap: Duration,
    again: u64,
    duplicated: Option<u64>,
}

/// Cuts connections with messages under way; they are sent again on new ones until each has its receipt.
pub async fn cut(
    protocols: &[Protocol],
    target: &Target,
    far: &Far,
    limits: Limits,
    session: &mut Session<'_>,
) -> Result<Measured, ProtocolError> {
    session.stage("cut connections");
    let protocols: Vec<Protocol> = protocols.iter().filter(is_one_connection).copied().collect();
    let steps = session.steps(ROUNDS * protocols.len() as u64);
    let mut all: Vec<(Protocol, Cuts)> = Vec::new();
    let work = async {
        for protocol in protocols {
            let mut cuts = Cuts::default();
            for round in (0..ROUNDS).take_while(|_| !steps.is_over()) {
                one_cut(protocol, target, far, limits, (round, &mut cuts)).await?;
                steps.advance(1);
            }
            all.push((protocol, cuts));
        }
        Ok::<_, ProtocolError>(())
    };
    session.watch(&steps, work, Measured::default).await?;
    let mut measured = Measured::default();
    for (protocol, cuts) in all.into_iter().filter(|(_, cuts)| cuts.track.counts().attempt_count > 0) {
        let labels = of(protocol);
        let mut scalar =
            |name: &str, unit: &str, value: f64| measured.scalars.push(Scalar::new(name, &labels, unit, value));
        scalar("protocol.cut_gap", "ns", nanos(cuts.gap) as f64);
        scalar("protocol.sent_again", "count", cuts.again as f64);
        if let Some(duplicated) = cuts.duplicated {
            scalar("protocol.duplicated", "count", duplicated as f64);
        }
        measured.series.push(cuts.track.into_series("protocol.cut".to_owned(), labels));
    }
    Ok(measured)
}

async fn one_cut(
    protocol: Protocol,
    target: &Target,
    far: &Far,
    limits: Limits,
    (round, cuts): (u64, &mut Cuts),
) -> Result<(), ProtocolError> {
    let (relay, target) = linked(target).await?;
    relay.delay(ONE_WAY);
    let caller = connect(protocol, &target, What::Heartbeat).await?;
    // What both ends say to each other at first would hold all messages together.
    let _ = timeout(limits.timeout, caller.call(What::Heartbeat)).await;
    let before = far.usage().await;
    let began = clock::now();
    let (cut, last, missing) = cut_under_way(&caller, &relay).await;
    drop(caller);
    let mut first = None;
    let end = cut + limits.timeout + PATIENCE;
    let mut left = missing;
    while left > 0 && clock::now() < end {
        let Ok(caller) = Caller::open(protocol, &target, What::Heartbeat).await else {
            sleep(BEFORE_AGAIN).await;
            continue;
        };
        let again = || timeout(limits.timeout, caller.call(What::Heartbeat));
        let mut calls: FuturesUnordered<_> = (0..left).map(|_| again()).collect();
        while let Some(ended) = calls.next().await {
            if matches!(ended, Ok(Ok(()))) {
                first.get_or_insert_with(clock::now);
                left -= 1;
            }
        }
    }
    cuts.again += missing as u64;
    match first {
        Some(first) => {
            cuts.track.record(round, Outcome::Ok, nanos(first.since(cut)));
            cuts.gap = cuts.gap.max(first.since(last.unwrap_or(began)));
        }
        // All had their receipts before the cut: nothing waited for the next.
        None if missing == 0 => {}
        None => cuts.track.record(round, Outcome::Lost, nanos(PATIENCE)),
    }
    // Each message once is what the far end should have answered.
    let answered =
        far.usage().await.zip(before).map(|(after, before)| after.answered_count.saturating_sub(before.answered_count));
    let extra = answered.map(|answered| answered.saturating_sub((UNDER_WAY - left) as u64));
    cuts.duplicated = extra.map(|extra| cuts.duplicated.unwrap_or_default() + extra);
    Ok(())
}

/// Sends some messages at once, and cuts the connection at the first receipt: when, the last receipt before, and how many have none.
async fn cut_under_way(caller: &Caller, relay: &Relay) -> (Stamp, Option<Stamp>, usize) {
    let late = async |number: usize| {
        sleep(BETWEEN * u32::try_from(number).unwrap_or_default()).await;
        caller.call(What::Heartbeat).await
    };
    let mut calls: FuturesUnordered<_> = (0..UNDER_WAY).map(late).collect();
    let (mut cut, mut last, mut missing) = (None, None, 0);
    while let Some(ended) = calls.next().await {
        match ended {
            Ok(()) => last = Some(clock::now()),
            Err(_) => missing += 1,
        }
        if cut.is_none() {
            cut = Some(clock::now());
            relay.cut();
        }
    }
    (cut.unwrap_or_else(clock::now), last, missing)
}

/// Bytes of a heartbeat and of a report with their receipts, both ways, on a connection of which each carries one at a time.
pub async fn weigh(protocols: &[Protocol], target: &Target, containers: &[u32]) -> Result<Vec<Scalar>, ProtocolError> {
    let mut scalars = Vec::new();
    for protocol in protocols {
        if let Some(bytes) = weight(*protocol, target, What::Heartbeat).await? {
            scalars.push(Scalar::new("protocol.heartbeat_bytes", &of(*protocol), "bytes", bytes));
        }
        for count in containers {
            let labels: Labels = of(*protocol).with("containers", &count.to_string());
            if let Some(bytes) = weight(*protocol, target, What::Report(*count)).await? {
                scalars.push(Scalar::new("protocol.report_bytes", &labels, "bytes", bytes));
            }
        }
    }
    Ok(scalars)
}

async fn weight(protocol: Protocol, target: &Target, what: What) -> Result<Option<f64>, ProtocolError> {
    let port = target.port(protocol, what);
    let caller = connect(protocol, target, what).await?;
    for _ in 0..BEFORE_WEIGHED {
        if caller.call(what).await.is_err() {
            return Ok(None);
        }
    }
    sleep(QUIET).await;
    let before = traffic_of(std::process::id(), port).ok();
    for _ in 0..WEIGHED {
        if caller.call(what).await.is_err() {
            return Ok(None);
        }
    }
    sleep(QUIET).await;
    let after = traffic_of(std::process::id(), port).ok();
    // Bytes of other connections to the port would be counted with these.
    let one = before.zip(after).filter(|(before, after)| before.connection_count == 1 && after.connection_count == 1);
    Ok(one.map(|(before, after)| {
        let bytes = after.sent_bytes - before.sent_bytes + after.received_bytes - before.received_bytes;
        bytes as f64 / f64::from(WEIGHED)
    }))
}
