//! How a member asks another: a connection of TLS for each, opened when it is needed and again when it broke.

use std::io;

use bytes::BytesMut;
use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{BasicNode, RaftTypeConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Types;
use super::frame::{Reply, Request, encode, read_frame};
use crate::wire::Dialer;

/// Connections to the other members.
#[derive(Clone)]
pub struct Network {
    dialer: Dialer,
}

impl Network {
    /// Connections that trust what `dialer` trusts.
    #[must_use]
    pub const fn new(dialer: Dialer) -> Self {
        Self { dialer }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, _: u64, node: &BasicNode) -> Peer {
        Peer { address: node.addr.clone(), dialer: self.dialer.clone(), line: None }
    }
}

/// The way to one member.
pub struct Peer {
    address: String,
    dialer: Dialer,
    line: Option<Line>,
}

struct Line {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
    number: u64,
}

type Failed<E> = RPCError<u64, BasicNode, E>;

impl Peer {
    async fn ask<E: std::error::Error>(&mut self, request: &Request) -> Result<Reply, Failed<E>> {
        // Out of its place while it is used: a question that is given up takes its connection with it.
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.connect().await.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))?,
        };
        let reply = line.ask(request).await.map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        self.line = Some(line);
        Ok(reply)
    }

    async fn connect(&self) -> io::Result<Line> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.dialer.handshake("localhost", stream).await.map_err(io::Error::other)?;
        Ok(Line { stream, buffer: BytesMut::new(), number: 0 })
    }
}

impl Line {
    async fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.number += 1;
        self.stream.write_all(&encode(self.number, request)).await?;
        self.stream.flush().await?;
        let (number, reply) = read_frame(&mut self.stream, &mut self.buffer).await?;
        if number == self.number { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

fn unexpected<E: std::error::Error>(reply: &Reply) -> Failed<E> {
    RPCError::Network(NetworkError::new(&io::Error::other(format!("an answer to something else: {reply:?}"))))
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failed<RaftError<u64>>> {
        match self.ask(&Request::Append(rpc)).await? {
            Reply::Append(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<<Types as RaftTypeConfig>::NodeId>, Failed<RaftError<u64, InstallSnapshotError>>>
    {
        match self.ask(&Request::Snapshot(rpc)).await? {
            Reply::Snapshot(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, _: RPCOption) -> Result<VoteResponse<u64>, Failed<RaftError<u64>>> {
        match self.ask(&Request::Vote(rpc)).await? {
            Reply::Vote(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }
}
