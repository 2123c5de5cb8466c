//! One member: a thread with its event loop, its log, and a port at which the others and clients ask.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::AppendEntriesRequest;
use openraft::{BasicNode, Config, Raft, RaftMetrics, ServerState, Vote};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Types;
use super::frame::{Refused, Reply, Request, encode, read_frame};
use super::log::Log;
use super::network::Network;
use super::state::State;
use crate::sys::thread::Background;
use crate::wire::Dialer;

type Node = Raft<Types>;
type Metrics = RaftMetrics<u64, BasicNode>;

/// Connections to a member, and questions of each that are under way.
const MOST_CONNECTIONS: usize = 1024;
const MOST_UNDER_WAY: usize = 4096;

/// Answers that are written together.
const WRITTEN_TOGETHER: usize = 64;

/// What members have in common.
pub struct Parts {
    /// How often the leader is heard, and when it is missed.
    pub config: Arc<Config>,
    /// What a member shows.
    pub tls: Arc<ServerConfig>,
    /// How it connects to others.
    pub dialer: Dialer,
}

/// A running member; dropping it ends it as a crash would.
pub struct Member {
    metrics: watch::Receiver<Metrics>,
    first: mpsc::UnboundedSender<Vec<(u64, BasicNode)>>,
    _thread: Background,
}

impl Member {
    /// Starts it with what its folder has.
    ///
    /// # Errors
    /// When its log cannot be read, or no thread can be had.
    pub fn start(id: u64, listener: TcpListener, folder: &Path, parts: Parts) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (log, state) = (Log::open(folder)?, State::open(folder)?);
        let (told, started) = std::sync::mpsc::channel();
        let (first, mut members) = mpsc::unbounded_channel::<Vec<(u64, BasicNode)>>();
        let thread = Background::spawn("raft-member", move || async move {
            let acceptor = TlsAcceptor::from(parts.tls);
            let node = match Node::new(id, parts.config, Network::new(parts.dialer), log, state).await {
                Ok(node) => node,
                Err(error) => return drop(told.send(Err(io::Error::other(error)))),
            };
            if told.send(Ok(node.metrics())).is_err() {
                return;
            }
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            tokio::select! {
                () = serve(&listener, &acceptor, &node) => {}
                () = async {
                    while let Some(all) = members.recv().await {
                        // One that knows its cluster already refuses, which is as good.
                        let _ = node.initialize(all.into_iter().collect::<std::collections::BTreeMap<_, _>>()).await;
                    }
                    std::future::pending().await
                } => {}
            }
        })?;
        let metrics = started.recv().map_err(|_| io::Error::other("the member ended at its start"))??;
        Ok(Self { metrics, first, _thread: thread })
    }

    /// Tells a new member who all members are; each of them learns it from the leader.
    ///
    /// # Errors
    /// When the member has ended.
    pub fn initialize(&self, members: impl Iterator<Item = (u64, SocketAddr)>) -> io::Result<()> {
        let members = members.map(|(id, address)| (id, BasicNode::new(address))).collect();
        self.first.send(members).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Whether it leads, as it sees it.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.metrics.borrow().state == ServerState::Leader
    }

    /// Whom it follows, if anybody.
    #[must_use]
    pub fn follows(&self) -> Option<u64> {
        self.metrics.borrow().current_leader
    }
}

async fn serve(listener: &tokio::net::TcpListener, acceptor: &TlsAcceptor, node: &Node) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                if connections.len() < MOST_CONNECTIONS && stream.set_nodelay(true).is_ok() {
                    let (acceptor, node) = (acceptor.clone(), node.clone());
                    connections.spawn(async move { drop(connection(stream, acceptor, node).await) });
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Answers what comes on one connection, as soon as each answer is there.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, node: Node) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(acceptor.accept(stream).await?);
    let (answers, mut ready) = mpsc::unbounded_channel::<Bytes>();
    let mut tasks = JoinSet::new();
    let write = async move {
        let mut some = Vec::new();
        while ready.recv_many(&mut some, WRITTEN_TOGETHER).await > 0 {
            let all = if some.len() == 1 { some.remove(0) } else { some.concat().into() };
            some.clear();
            writer.write_all(&all).await?;
            writer.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            let (number, request) = read_frame(&mut reader, &mut buffer).await?;
            while tasks.len() >= MOST_UNDER_WAY {
                tasks.join_next().await;
            }
            while tasks.try_join_next().is_some() {}
            let (node, answers) = (node.clone(), answers.clone());
            // A connection that is gone needs no answer.
            tasks.spawn(async move { drop(answers.send(encode(number, &answer(&node, request).await))) });
        }
    };
    tokio::select! {
        ended = write => ended,
        ended = read => ended,
    }
}

async fn answer(node: &Node, request: Request) -> Reply {
    match request {
        Request::Append(rpc) => node.append_entries(rpc).await.map_or(STOPPED, Reply::Append),
        Request::Heartbeat { leader, term } => {
            let vote = Vote::new_committed(term, leader);
            let rpc = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
            node.append_entries(rpc).await.map_or(STOPPED, Reply::Append)
        }
        Request::Vote(rpc) => node.vote(rpc).await.map_or(STOPPED, Reply::Vote),
        Request::Snapshot(rpc) => node.install_snapshot(rpc).await.map_or(STOPPED, Reply::Snapshot),
        Request::Propose(bytes) => match node.client_write(bytes).await {
            Ok(_) => Reply::Committed,
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Reply::Refused(Refused::NotLeader),
            Err(_) => STOPPED,
        },
        Request::Status => {
            let metrics = node.metrics().borrow().clone();
            Reply::Status { term: metrics.current_term, leader: metrics.current_leader }
        }
    }
}

const STOPPED: Reply = Reply::Refused(Refused::Stopped);
