//! Leases: granted and revoked by single calls, kept alive on a stream that carries as many as there are.
//!
//! Separate because the stream goes through tonic's client, as a watch does. Answers about one lease come in the order of its
//! questions.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Streaming};
use tonic_prost::ProstCodec;

use super::client::{Link, within_patience};
use super::fault::{CONNECTION_LOST, Fault};
use super::interface::{LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use super::unary::{Call, Server, fault_of};
use crate::sys::pipe::Pipe;
use crate::wire::grpc::frame;

/// The method that keeps leases alive.
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Questions that may wait to be sent.
const MOST_WAITING: usize = 1024;

/// Asks on an open stream; copies ask on the same.
#[derive(Clone, Debug)]
pub struct LeaseAsker(mpsc::Sender<LeaseKeepAliveRequest>);

/// The answers of a stream.
pub struct LeaseAnswers(Streaming<LeaseKeepAliveResponse>);

/// A lease that was kept alive, or could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub id: i64,
    /// Whether it is still there.
    pub is_alive: bool,
}

impl Link {
    /// Grants a lease of so many seconds; its id. It takes as long as it takes.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn grant_untimed(&self, ttl_s: i64) -> Result<i64, Fault> {
        let answer: LeaseGrantResponse = self.call(Call::LeaseGrant, frame(&LeaseGrantRequest { ttl: ttl_s })).await?;
        match answer.error.is_empty() {
            true => Ok(answer.id),
            false => Err(Fault { kind: "lease_refused", text: answer.error }),
        }
    }

    /// Opens a stream that keeps leases alive. A server says nothing before it is asked, so this one is kept alive first.
    ///
    /// # Errors
    /// With the word for what went wrong, also when nothing came in time.
    pub async fn keep_alive_stream(&self, first: i64) -> Result<(LeaseAsker, LeaseAnswers), Fault> {
        let opened = async {
            let (pipe, token) = self.pipe().await?;
            open(self.server(), pipe, token, first).await
        };
        within_patience(opened, || "no lease was kept alive in time".to_owned()).await
    }
}

async fn open(
    server: &Server,
    pipe: Pipe,
    token: Option<Bytes>,
    first: i64,
) -> Result<(LeaseAsker, LeaseAnswers), Fault> {
    let (requests, receiver) = mpsc::channel(MOST_WAITING);
    // The channel is empty and has room.
    let _ = requests.try_send(LeaseKeepAliveRequest { id: first });
    let metadata = MetadataMap::from_headers(server.headers(token));
    let request = Request::from_parts(metadata, Extensions::default(), Requests(receiver));
    let mut grpc = Grpc::with_origin(pipe, server.origin().clone());
    let answers = grpc.streaming(request, PathAndQuery::from_static(KEEP_ALIVE), ProstCodec::default()).await;
    let mut answers = LeaseAnswers(answers.map_err(|status| fault_of(&status))?.into_inner());
    answers.next().await?;
    Ok((LeaseAsker(requests), answers))
}

impl LeaseAsker {
    /// Keeps a lease alive; the answer comes on the stream.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn ask(&self, id: i64) -> Result<(), Fault> {
        self.0.send(LeaseKeepAliveRequest { id }).await.map_err(|_| ended())
    }
}

impl LeaseAnswers {
    /// The next answer.
    ///
    /// # Errors
    /// When the stream or its connection broke.
    pub async fn next(&mut self) -> Result<Kept, Fault> {
        let answer = self.0.message().await.map_err(|status| fault_of(&status))?.ok_or_else(ended)?;
        Ok(Kept { id: answer.id, is_alive: answer.ttl > 0 })
    }
}

fn ended() -> Fault {
    Fault { kind: CONNECTION_LOST, text: "the stream that keeps leases alive has ended".to_owned() }
}

/// The requests of a stream.
struct Requests(mpsc::Receiver<LeaseKeepAliveRequest>);

impl Stream for Requests {
    type Item = LeaseKeepAliveRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LeaseKeepAliveRequest>> {
        self.0.poll_recv(context)
    }
}
