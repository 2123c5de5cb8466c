//! A watch: the one call that streams, opened by its request and read event by event.
//!
//! Separate from the single calls because it goes through tonic's client, which keeps the stream of requests open.

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

use super::fault::{CONNECTION_LOST, Fault};
use super::interface::{Event, EventType, WatchCreateRequest, WatchOp, WatchRequest, WatchResponse};
use super::unary::{Server, fault_of};
use crate::sys::pipe::Pipe;

/// The method of the watch.
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// What a watch tells.
pub enum WatchEvent {
    /// Values that were put, and the revision up to which everything has been told.
    Puts {
        /// The newest revision told.
        revision: i64,
        /// The values, in the order of their revisions.
        values: Vec<Bytes>,
    },
    /// The revisions that were asked for are gone; those from this one on are there.
    Compacted {
        /// The oldest revision that is left.
        revision: i64,
    },
    /// The server ended the watch.
    Canceled,
}

/// What a watch tells, key by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// What happened, in order; a revision never comes in two pieces.
    Events(Vec<KeyEvent>),
    /// The revisions that were asked for are gone; those after this one are there.
    Compacted(i64),
    /// The server ended the watch.
    Canceled,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// Which one.
    pub key: Bytes,
    /// Its value; `None` where it was removed.
    pub value: Option<Bytes>,
    /// When.
    pub revision: i64,
}

/// An open watch.
pub struct WatchStream {
    answers: Streaming<WatchResponse>,
    first: Option<WatchResponse>,
    revision: i64,
    _requests: mpsc::Sender<WatchRequest>,
}

impl WatchStream {
    /// Opens a watch on a range of keys, and waits until the server confirms it.
    pub(super) async fn open(
        server: &Server,
        pipe: Pipe,
        token: Option<Bytes>,
        (key, range_end): (Bytes, Bytes),
        start_revision: i64,
    ) -> Result<Self, Fault> {
        let create = WatchCreateRequest { key, range_end, start_revision };
        let message = WatchRequest { request_union: Some(WatchOp::Create(create)) };
        let (requests, receiver) = mpsc::channel(1);
        // The channel is empty and has room for one; its sender lives as long as the watch.
        let _ = requests.try_send(message);
        let metadata = MetadataMap::from_headers(server.headers(token));
        let request = Request::from_parts(metadata, Extensions::default(), Requests(receiver));
        let mut grpc = Grpc::with_origin(pipe, server.origin().clone());
        let answers = grpc.streaming(request, PathAndQuery::from_static(WATCH), ProstCodec::default()).await;
        let answers = answers.map_err(|status| fault_of(&status))?.into_inner();
        let mut stream = Self { answers, first: None, revision: 0, _requests: requests };
        match stream.answer().await? {
            answer if answer.created && !answer.canceled => {
                Ok(Self { revision: answer.header.map_or(0, |header| header.revision), ..stream })
            }
            answer if answer.compact_revision > 0 => Ok(Self { first: Some(answer), ..stream }),
            answer => Err(Fault { kind: "canceled", text: answer.cancel_reason }),
        }
    }

    /// The store's revision when the watch was confirmed.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// What the server tells next.
    ///
    /// # Errors
    /// When the watch or its connection broke.
    pub async fn next(&mut self) -> Result<WatchEvent, Fault> {
        let answer = self.answer().await?;
        if answer.compact_revision > 0 {
            return Ok(WatchEvent::Compacted { revision: answer.compact_revision });
        }
        if answer.canceled {
            return Ok(WatchEvent::Canceled);
        }
        let pairs = answer.events.into_iter().filter(|event| event.kind == EventType::Put as i32);
        let pairs: Vec<_> = pairs.filter_map(|event| event.kv).collect();
        let newest = pairs.iter().map(|pair| pair.mod_revision).max();
        let revision = newest.or(answer.header.map(|header| header.revision)).unwrap_or(0);
        Ok(WatchEvent::Puts { revision, values: pairs.into_iter().map(|pair| pair.value).collect() })
    }

    /// What the server tells next, key by key.
    ///
    /// # Errors
    /// When the watch or its connection broke.
    pub async fn told(&mut self) -> Result<Told, Fault> {
        let answer = self.answer().await?;
        if answer.compact_revision > 0 {
            return Ok(Told::Compacted(answer.compact_revision));
        }
        if answer.canceled {
            return Ok(Told::Canceled);
        }
        let read = |event: Event| {
            let pair = event.kv?;
            let value = (event.kind == EventType::Put as i32).then_some(pair.value);
            Some(KeyEvent { key: pair.key, value, revision: pair.mod_revision })
        };
        Ok(Told::Events(answer.events.into_iter().filter_map(read).collect()))
    }

    async fn answer(&mut self) -> Result<WatchResponse, Fault> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let ended = || Fault { kind: CONNECTION_LOST, text: "the watch ended".to_owned() };
        self.answers.message().await.map_err(|status| fault_of(&status))?.ok_or_else(ended)
    }
}

/// The requests of a watch as a stream.
struct Requests(mpsc::Receiver<WatchRequest>);

impl Stream for Requests {
    type Item = WatchRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WatchRequest>> {
        self.0.poll_recv(context)
    }
}
