//! Heartbeats to a follower, proposals to the leader, and how long a cluster is without one.
//!
//! A heartbeat is what a leader of this term would send, an `AppendEntries` without entries, so that a follower answers it as it
//! answers its leader. A report is proposed: its receipt comes once a majority has it on disk.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::raft::AppendEntriesResponse;
use prost::Message as _;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::call::{DialError, Line, REFUSED, Target, Waiting, What, dial_port, spoken};
use super::message::report;
use super::of;
use crate::echo::protocol::Protocol;
use crate::echo::raft::{Cluster, Reply, Request, encode, read_frame};
use crate::load::{Session, Track};
use crate::model::span::nanos;
use crate::model::{Measured, Outcome, Series};
use crate::wire::{Dialer, Trust, Url};

/// Leaders that are lost, one after another.
const ELECTIONS: u64 = 5;

/// How long a new leader may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to a cluster.
#[derive(Clone, Debug)]
pub struct Way {
    ports: Vec<u16>,
    dialer: Dialer,
    leader: usize,
    term: u64,
}

impl Way {
    /// To members behind these ports.
    #[must_use]
    pub fn new(ports: &[u16], trust: &Trust) -> Self {
        Self { ports: ports.to_vec(), dialer: trust.dialer(&[]), leader: 0, term: 0 }
    }

    /// Asks the members who leads.
    ///
    /// # Errors
    /// When no member says.
    pub async fn look(&mut self, url: &Url) -> Result<(), DialError> {
        let mut failed = spoken(Protocol::Raft, &io::Error::other("no member knows a leader"));
        for at in 0..self.ports.len() {
            match self.ask(url, at).await {
                Ok(Some((term, leader))) => {
                    (self.term, self.leader) = (term, leader);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The term and the place of the leader, as a member knows them.
    async fn ask(&self, url: &Url, at: usize) -> Result<Option<(u64, usize)>, DialError> {
        let broken = |error: io::Error| spoken(Protocol::Raft, &error);
        let mut stream = self.dial(url, at).await?;
        stream.write_all(&encode(0, &Request::Status)).await.map_err(broken)?;
        let (_, reply) = read_frame(&mut stream, &mut BytesMut::new()).await.map_err(broken)?;
        let Reply::Status { term, leader: Some(leader) } = reply else { return Ok(None) };
        // Members count from one.
        let at = usize::try_from(leader).ok().and_then(|leader| leader.checked_sub(1));
        Ok(at.filter(|at| *at < self.ports.len()).map(|at| (term, at)))
    }

    /// The port of the member that takes this message.
    pub fn port(&self, what: What) -> u16 {
        self.ports.get(self.at(what)).copied().unwrap_or_default()
    }

    async fn dial(&self, url: &Url, at: usize) -> Result<TlsStream<TcpStream>, DialError> {
        let port = self.ports.get(at).copied().unwrap_or_default();
        dial_port(&url.with_port(port), None, &self.dialer).await
    }

    /// Who takes this message: the leader takes proposals, and another heartbeats.
    const fn at(&self, what: What) -> usize {
        match what {
            What::Report(_) => self.leader,
            What::Heartbeat if self.leader == 0 => 1,
            What::Heartbeat => 0,
        }
    }

    fn message(&self, what: What, number: u64) -> Bytes {
        match what {
            What::Heartbeat => {
                // Members count from one.
                encode(number, &Request::Heartbeat { leader: self.leader as u64 + 1, term: self.term })
            }
            What::Report(containers) => encode(number, &Request::Propose(report(number, containers).encode_to_vec())),
        }
    }
}

/// Opens a connection to the member that takes these messages.
///
/// # Errors
/// When it cannot be reached.
pub async fn open(target: &Target, what: What, tasks: &mut JoinSet<()>) -> Result<Line, DialError> {
    let way = target.raft.clone();
    let (mut reader, mut writer) = tokio::io::split(way.dial(&target.url, way.at(what)).await?);
    let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let waiting = Waiting::default();
    let told = waiting.clone();
    tasks.spawn(async move {
        while let Some(bytes) = queue.recv().await {
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    });
    tasks.spawn(async move {
        let mut buffer = BytesMut::new();
        while let Ok((number, reply)) = read_frame(&mut reader, &mut buffer).await {
            let is_receipt = matches!(reply, Reply::Committed | Reply::Append(AppendEntriesResponse::Success));
            told.tell(number, if is_receipt { Ok(()) } else { Err(REFUSED) });
        }
        told.close();
    });
    Ok(Line::Stream(frames, waiting, Box::new(move |what, number| way.message(what, number))))
}

/// Members on this host, where they were asked for.
#[derive(Debug, Default)]
pub struct Members(Option<Cluster>);

impl Members {
    /// Starts them where the protocols name them, on the ports after `port` or on free ones, with logs in `folder`.
    ///
    /// # Errors
    /// When a port is taken, a log cannot be kept, or no leader is found.
    pub async fn start(
        protocols: &[Protocol],
        (ip, port): (IpAddr, Option<u16>),
        tls: Arc<ServerConfig>,
        folder: &Path,
    ) -> io::Result<Self> {
        match protocols.contains(&Protocol::Raft) {
            true => Ok(Self(Some(Cluster::start(ip, port, tls, folder).await?))),
            false => Ok(Self(None)),
        }
    }

    /// The port of each.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.0.iter().flat_map(Cluster::ports).collect()
    }

    /// Ends the leader as a crash would, again and again, and starts it once more: from the loss to the moment at which another leads.
    pub(super) async fn lose_leaders(&mut self, session: &mut Session<'_>) -> Option<Series> {
        elections(self.0.as_mut()?, session).await
    }
}

async fn elections(cluster: &mut Cluster, session: &mut Session<'_>) -> Option<Series> {
    session.stage("elections");
    let steps = session.steps(ELECTIONS);
    let lose = async {
        let mut track = Track::default();
        for number in (0..ELECTIONS).take_while(|_| !steps.is_over()) {
            match election(cluster).await {
                Ok(took) => track.record(number, Outcome::Ok, nanos(took)),
                Err(_) => track.record(number, Outcome::Lost, nanos(PATIENCE)),
            }
            steps.advance(1);
        }
        track
    };
    let track = session.watch(&steps, lose, Measured::default).await;
    (track.counts().attempt_count > 0).then(|| track.into_series("protocol.election".to_owned(), of(Protocol::Raft)))
}

async fn election(cluster: &mut Cluster) -> io::Result<Duration> {
    cluster.settled(PATIENCE).await?;
    let (old, _) = cluster.next_leader(None, PATIENCE).await?;
    let lost = crate::sys::clock::now();
    cluster.stop_member(old);
    let elected = cluster.next_leader(Some(old), PATIENCE).await;
    cluster.start_member(old)?;
    Ok(elected?.1.since(lost))
}
