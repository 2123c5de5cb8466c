//! Three members of a Raft cluster: what heartbeats and proposals of `bench protocol` cost over a consensus protocol.
//!
//! Separate from the other protocols because members talk to each other and keep a log. The algorithm is openraft's; ours are the
//! connections (TLS over TCP, one frame a message) and the log, which is on disk before a member says that it has an entry.
//! Nobody's state is kept: an entry that is committed is counted and forgotten.

mod frame;
mod log;
mod member;
mod network;
mod segment;
mod state;

use std::io::{self, Cursor};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, SnapshotPolicy};
use rustls::ServerConfig;

pub use self::frame::{Refused, Reply, Request, encode, next, read_frame};
use self::member::Member;
use crate::model::Stamp;
use crate::sys::clock;
use crate::wire::{Dialer, Trust, TrustPem};

openraft::declare_raft_types!(
    /// What is agreed on: bytes that nobody looks into, and no answer but that they are committed.
    pub Types:
        D = Vec<u8>,
        R = (),
        NodeId = u64,
        Node = BasicNode,
);

/// Members of a cluster.
pub const MEMBERS: u16 = 3;

/// A leader says so often that it is there, and one that is silent for a time between these two is replaced (openraft's defaults; the
/// Raft paper, section 9.3, has 150 to 300 ms).
pub const HEARTBEAT: Duration = Duration::from_millis(50);
/// The shortest and the longest of that time.
pub const ELECTION: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));

/// Entries after which the log is cut.
const ENTRIES_KEPT: u64 = 5_000;

/// How long a first leader may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at who leads: the finest that a timer of the event loop gives.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A running cluster on this host; dropping it ends its members.
pub struct Cluster {
    members: Vec<Place>,
    config: Arc<Config>,
    tls: Arc<ServerConfig>,
    dialer: Dialer,
}

/// A member, and what it takes to start it once more.
struct Place {
    id: u64,
    listener: TcpListener,
    folder: PathBuf,
    member: Option<Member>,
}

impl Cluster {
    /// Starts three members beside a port of `ip`, and waits for the first leader: on the three ports after `port`, or on free ones.
    /// Logs are kept in `folder`. Members of one host do not ask each other who they are.
    ///
    /// # Errors
    /// When a port is taken, a log cannot be kept, a thread not be had, or no leader is found.
    pub async fn start(ip: IpAddr, port: Option<u16>, tls: Arc<ServerConfig>, folder: &Path) -> io::Result<Self> {
        let trust = Trust::from_pem(&TrustPem { insecure: true, ..TrustPem::default() }).map_err(io::Error::other)?;
        let config = Config {
            cluster_name: "offloadctl".to_owned(),
            heartbeat_interval: millis(HEARTBEAT),
            election_timeout_min: millis(ELECTION.0),
            election_timeout_max: millis(ELECTION.1),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_KEPT),
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(io::Error::other)?);
        let mut cluster = Self { members: Vec::new(), config, tls, dialer: trust.dialer(&[]) };
        for id in 1..=MEMBERS {
            let listener = TcpListener::bind((ip, port.map_or(0, |port| port.saturating_add(id))))?;
            let folder = folder.join(format!("member-{id}"));
            cluster.members.push(Place { id: id.into(), listener, folder, member: None });
        }
        for at in 0..cluster.members.len() {
            cluster.start_member(at)?;
        }
        let addresses = cluster.addresses()?;
        if let Some(first) = cluster.members.first().and_then(|place| place.member.as_ref()) {
            first.initialize((1..).zip(addresses))?;
        }
        cluster.next_leader(None, PATIENCE).await?;
        Ok(cluster)
    }

    /// The port of each member.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().filter_map(|place| Some(place.listener.local_addr().ok()?.port())).collect()
    }

    /// Where the others reach each member.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.members.iter().map(|place| reachable(&place.listener)).collect()
    }

    /// Ends a member as a crash would: its connections break, what was not on disk is gone.
    pub fn stop_member(&mut self, at: usize) {
        if let Some(place) = self.members.get_mut(at) {
            place.member = None;
        }
    }

    /// Starts a member with what its log has.
    ///
    /// # Errors
    /// When its log cannot be read or a thread not be had.
    pub fn start_member(&mut self, at: usize) -> io::Result<()> {
        let (config, tls, dialer) = (Arc::clone(&self.config), Arc::clone(&self.tls), self.dialer.clone());
        let Some(place) = self.members.get_mut(at) else { return Ok(()) };
        let listener = place.listener.try_clone()?;
        place.member = Some(Member::start(place.id, listener, &place.folder, member::Parts { config, tls, dialer })?);
        Ok(())
    }

    /// Which member leads by its own word.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|place| place.member.as_ref().is_some_and(Member::is_leader))
    }

    /// Waits until a member leads, other than `except`, and says which and when that was seen.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn next_leader(&self, except: Option<usize>, patience: Duration) -> io::Result<(usize, Stamp)> {
        let began = clock::now();
        loop {
            let now = clock::now();
            match self.leader() {
                Some(at) if Some(at) != except => return Ok((at, now)),
                _ if now.since(began) > patience => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no member was elected as leader"));
                }
                _ => tokio::time::sleep(BETWEEN_LOOKS).await,
            }
        }
    }

    /// Waits until every member that runs follows the same leader.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn settled(&self, patience: Duration) -> io::Result<()> {
        let began = clock::now();
        loop {
            let mut leaders = self.members.iter().filter_map(|place| Some(place.member.as_ref()?.follows()));
            let first = leaders.next().flatten();
            if first.is_some() && leaders.all(|leader| leader == first) {
                return Ok(());
            }
            if clock::now().since(began) > patience {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the members do not agree on a leader"));
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

/// Where the others reach a listener: one of all addresses is reached by that of this host.
fn reachable(listener: &TcpListener) -> io::Result<SocketAddr> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
