//! The client: one connection to one member, and the calls that the workloads and the questions beside them make.
//!
//! With the messages beside it the only file that knows gRPC and HTTP/2. A call goes straight into the connection's own
//! HTTP/2 sender: no buffer, no balancer and no task of ours lies between an attempt and the socket.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::{Request as HttpRequest, Response as HttpResponse, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::access::Access;
use super::fault::{AUTH, CONNECTION_LOST, Fault, NOT_CONNECTED, TOKEN, kind_of};
use super::interface::{
    self, ALARM, AUTHENTICATE, AlarmRequest, AlarmResponse, AlarmType, AuthenticateRequest, AuthenticateResponse,
    DELETE_RANGE, DeleteRangeRequest, DeleteRangeResponse, EventType, MEMBER_LIST, MemberListRequest,
    MemberListResponse, Op, PutRequest, PutResponse, RANGE, RangeRequest, RangeResponse, RequestOp, STATUS,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse, WATCH, WatchCreateRequest, WatchOp, WatchRequest,
    WatchResponse,
};
use super::spec::Read;
use super::transport::{DialError, Door};
use super::unary::{Call, Timed, frame};

/// Bytes that a server may send before we have read any: one stream, and the whole connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A busy connection is asked for a sign of life so often; etcd allows one each 5 s (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long an answer may take that is not timed, such as the confirmation of a watch.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same connection as a task of its own must drive it.
pub type Driven = http2::Connection<TokioIo<Box<dyn super::transport::Wire>>, Body, TokioExecutor>;

/// One connection to one member; it may be down, and come back.
pub struct Link {
    origin: Uri,
    timed: Timed,
    pipe: Mutex<Option<Pipe>>,
    access: Arc<Access>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its version.
    pub version: String,
    /// Its identifier, and that of whom it holds for the leader; 0 where there is none.
    pub member_id: u64,
    /// The leader's identifier; 0 where there is none.
    pub leader_id: u64,
    /// Bytes of its database.
    pub db_size_bytes: u64,
    /// Its quota; 0 before version 3.6, which does not tell.
    pub quota_bytes: u64,
}

impl Link {
    /// A link that is down.
    #[must_use]
    pub fn new(door: &Door, access: Arc<Access>) -> Self {
        // A parsed URL has a scheme and an authority; without them requests would fail, and say so.
        let url = door.url().to_string();
        let (origin, timed) = (url.parse().unwrap_or_default(), Timed::new(&url));
        Self { origin, timed, pipe: Mutex::new(None), access }
    }

    /// Opens a connection, and gives back what drives it and the round-trip time of its handshake.
    ///
    /// # Errors
    /// When the member cannot be reached or does not speak HTTP/2.
    pub async fn open(&self, door: &Door) -> Result<(Driven, Option<u64>), DialError> {
        let dialed = door.open().await?;
        let (sender, driven) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake(TokioIo::new(dialed.wire))
            .await
            .map_err(|error| DialError::Http(error.to_string()))?;
        *self.lock() = Some(Pipe(sender));
        Ok((driven, dialed.rtt_ns))
    }

    /// The connection is gone.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Writes one key; the revision of the write.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn put(&self, key: Bytes, value: Bytes) -> Result<i64, Fault> {
        let answer: PutResponse = self.time(Call::Put, frame(&PutRequest { key, value })).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// Writes several keys in one transaction.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn put_all(&self, keys: Vec<Bytes>, value: &Bytes) -> Result<(), Fault> {
        let put = |key| RequestOp { request: Some(Op::Put(PutRequest { key, value: value.clone() })) };
        let message = frame(&TxnRequest { success: keys.into_iter().map(put).collect() });
        self.time::<TxnResponse>(Call::Txn, message).await.map(drop)
    }

    /// Reads one key; whether it was there.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn read(&self, key: Bytes, read: Read) -> Result<bool, Fault> {
        let message = RangeRequest { key, serializable: read == Read::Serializable, ..RangeRequest::default() };
        let answer: RangeResponse = self.time(Call::Range, frame(&message)).await?;
        Ok(!answer.kvs.is_empty())
    }

    /// How many keys begin with `prefix`.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn count(&self, prefix: &[u8]) -> Result<u64, Fault> {
        let (key, range_end) = span(prefix);
        let message = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
        let answer: RangeResponse = self.ask(RANGE, message).await?;
        Ok(u64::try_from(answer.count).unwrap_or(0))
    }

    /// Deletes every key that begins with `prefix`; how many there were.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn delete(&self, prefix: &[u8]) -> Result<u64, Fault> {
        let (key, range_end) = span(prefix);
        let message = DeleteRangeRequest { key, range_end };
        let answer: DeleteRangeResponse = self.ask(DELETE_RANGE, message).await?;
        Ok(u64::try_from(answer.deleted).unwrap_or(0))
    }

    /// Whether somebody who knows etcd's interface answers at the other end.
    ///
    /// # Errors
    /// When the connection ends instead, as that of a server of TLS 1.3 which wants a client certificate does, or nothing
    /// comes. Any answer is fine here.
    pub async fn prove(&self) -> Result<(), DialError> {
        match tokio::time::timeout(PATIENCE, self.status()).await {
            Ok(Err(fault)) if matches!(fault.kind, CONNECTION_LOST | NOT_CONNECTED) => {
                Err(DialError::Ended(fault.text))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(DialError::Timeout),
        }
    }

    /// What the member says of itself.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn status(&self) -> Result<MemberStatus, Fault> {
        let answer: StatusResponse = self.ask(STATUS, StatusRequest {}).await?;
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(MemberStatus {
            version: answer.version,
            member_id: answer.header.map_or(0, |header| header.member_id),
            leader_id: answer.leader,
            db_size_bytes: unsigned(answer.db_size),
            quota_bytes: unsigned(answer.db_size_quota),
        })
    }

    /// Whether the alarm is raised that the quota is used up.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn is_out_of_space(&self) -> Result<bool, Fault> {
        let answer: AlarmResponse = self.ask(ALARM, AlarmRequest::default()).await?;
        Ok(answer.alarms.iter().any(|member| member.alarm == AlarmType::Nospace as i32))
    }

    /// How many members vote.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn voter_count(&self) -> Result<usize, Fault> {
        let answer: MemberListResponse = self.ask(MEMBER_LIST, MemberListRequest {}).await?;
        Ok(answer.members.iter().filter(|member| !member.is_learner).count())
    }

    /// Watches the keys that begin with `prefix`, from a revision on or, with 0, from now.
    ///
    /// # Errors
    /// With the word for what went wrong, also when the server did not confirm it in time.
    pub async fn watch(&self, prefix: &[u8], start_revision: i64) -> Result<WatchStream, Fault> {
        let (key, range_end) = span(prefix);
        let create = WatchCreateRequest { key, range_end, start_revision };
        let message = WatchRequest { request_union: Some(WatchOp::Create(create)) };
        let (sender, receiver) = mpsc::channel(1);
        // The channel is empty and has room for one; its sender lives as long as the watch.
        let _ = sender.try_send(message);
        let (pipe, origin, request) = self.prepared(Requests(receiver))?;
        let opened = async {
            let answers = interface::stream(pipe, origin, WATCH, request).await;
            let answers = answers.map_err(|status| fault_of(&status))?.into_inner();
            let mut stream = WatchStream { answers, first: None, revision: 0, _requests: sender };
            match stream.answer().await? {
                answer if answer.created && !answer.canceled => {
                    Ok(WatchStream { revision: answer.header.map_or(0, |header| header.revision), ..stream })
                }
                answer if answer.compact_revision > 0 => Ok(WatchStream { first: Some(answer), ..stream }),
                answer => Err(Fault { kind: "canceled", text: answer.cancel_reason }),
            }
        };
        let late = |_| Err(Fault { kind: "timeout", text: "the watch was not confirmed in time".to_owned() });
        tokio::time::timeout(PATIENCE, opened).await.unwrap_or_else(late)
    }

    /// Logs in anew, unless somebody has since `seen`; without a user there is nothing to do.
    ///
    /// # Errors
    /// When the server refuses the user or cannot be asked.
    pub async fn log_in(&self, seen: u64) -> Result<(), Fault> {
        let login = async |name: &str, password: &str| {
            let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
            let asked = interface::unary(self.pipe()?, self.origin.clone(), AUTHENTICATE, Request::new(request));
            let late = |_| Err(Status::deadline_exceeded("no answer to the login"));
            let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(late);
            let answer: AuthenticateResponse = answer.map_err(|status| fault_of(&status))?.into_inner();
            Ok(answer.token)
        };
        self.access.renew(seen, login).await
    }

    /// A pipe and a request with the login in it, for a call that streams.
    pub(super) fn prepared<M>(&self, message: M) -> Result<(Pipe, Uri, Request<M>), Fault> {
        let mut request = Request::new(message);
        // A member that has lost its leader then says so at once, instead of holding the request for seconds.
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        // A token that cannot stand in a header is left out: the server then says that it wants one.
        if let Some(token) = self.access.token().and_then(|token| AsciiMetadataValue::try_from(&token[..]).ok()) {
            request.metadata_mut().insert("token", token);
        }
        Ok((self.pipe()?, self.origin.clone(), request))
    }

    /// Makes a timed call. Attempts hold this future, so what users need is kept out of it.
    async fn time<R: Message + Default>(&self, call: Call, message: Bytes) -> Result<R, Fault> {
        if self.access.has_user() {
            return Box::pin(self.time_as_user(call, message)).await;
        }
        self.timed.call(call, message, None, self.pipe()?.0).await
    }

    /// The same with a token; once more with a new one where the old one has expired.
    async fn time_as_user<R: Message + Default>(&self, call: Call, message: Bytes) -> Result<R, Fault> {
        let seen = self.access.generation();
        match self.timed.call(call, message.clone(), self.access.token(), self.pipe()?.0).await {
            Err(fault) if fault.kind == TOKEN => {
                self.log_in(seen).await?;
                self.timed.call(call, message, self.access.token(), self.pipe()?.0).await.map_err(refused)
            }
            answer => answer,
        }
    }

    /// Makes a call beside the timed path, which has no driver to keep its time.
    async fn ask<M, R>(&self, method: &'static str, message: M) -> Result<R, Fault>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let late = |_| Err(Fault { kind: "timeout", text: format!("no answer within {} s", PATIENCE.as_secs()) });
        tokio::time::timeout(PATIENCE, self.call(method, message)).await.unwrap_or_else(late)
    }

    async fn call<M, R>(&self, method: &'static str, message: M) -> Result<R, Fault>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let seen = self.access.generation();
        let (pipe, origin, request) = self.prepared(message.clone())?;
        let sent = interface::unary(pipe, origin, method, request).await;
        let answer = match sent.map_err(|status| fault_of(&status)) {
            Err(fault) if fault.kind == TOKEN => {
                self.log_in(seen).await?;
                let (pipe, origin, request) = self.prepared(message)?;
                let sent = interface::unary(pipe, origin, method, request).await;
                sent.map_err(|status| refused(fault_of(&status)))
            }
            answer => answer,
        };
        answer.map(Response::into_inner)
    }

    fn pipe(&self) -> Result<Pipe, Fault> {
        self.lock().clone().ok_or_else(|| Fault { kind: NOT_CONNECTED, text: "there is no connection".to_owned() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pipe>> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that begin with `prefix`, as etcd writes ranges: up to the prefix with its last byte raised.
fn span(prefix: &[u8]) -> (Bytes, Bytes) {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        // Invariant: prefixes of ours are ASCII, so there is a byte above the last.
        *last += 1;
    }
    (Bytes::copy_from_slice(prefix), end.into())
}

/// A new token that is refused too is no token to renew.
fn refused(fault: Fault) -> Fault {
    if fault.kind == TOKEN { Fault { kind: AUTH, ..fault } } else { fault }
}

/// The word for what a call met.
pub(super) fn fault_of(status: &Status) -> Fault {
    let mut source = std::error::Error::source(status);
    let (mut is_lost, mut deepest) = (false, String::new());
    while let Some(error) = source {
        is_lost |= error.is::<hyper::Error>();
        deepest = error.to_string();
        source = error.source();
    }
    if is_lost {
        return Fault { kind: CONNECTION_LOST, text: deepest };
    }
    Fault { kind: kind_of(status.code() as i32, status.message()), text: status.message().to_owned() }
}

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

/// An open watch.
pub struct WatchStream {
    answers: Streaming<WatchResponse>,
    first: Option<WatchResponse>,
    revision: i64,
    _requests: mpsc::Sender<WatchRequest>,
}

impl WatchStream {
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

/// A connection's sender as gRPC wants it.
#[derive(Clone)]
pub(super) struct Pipe(SendRequest<Body>);

impl GrpcService<Body> for Pipe {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        // HTTP/2 is ready until it is closed, and then the call itself says so.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
