//! One connection to one member, and the calls that are made on it.
//!
//! A call goes straight into the connection's own HTTP/2 sender: no buffer, no balancer and no task of ours lies between
//! the caller and the socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tonic::body::Body;

use super::access::Access;
use super::fault::{AUTH, CONNECTION_LOST, Fault, NOT_CONNECTED, TOKEN, UNTOUCHED};
use super::interface::{
    AuthenticateRequest, AuthenticateResponse, DeleteRangeRequest, DeleteRangeResponse, Op, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};
use super::line::Line;
use super::transport::{DialError, Endpoint, Wire};
use super::unary::{Call, Server};
use super::watch::WatchStream;
use crate::model::words;
use crate::sys::pipe::Pipe;
use crate::wire::grpc::frame;

/// Bytes that a server may send before we have read any: one stream, and the whole connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A busy connection is asked for a sign of life so often; etcd allows one each 5 s (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Connections that a call is tried on, where the server sends it away from each before it looks at it. A proxy that takes five
/// requests to a connection sends a hundred clients on as often.
const MOST_TRIES: usize = 100;

/// How long an answer may take that the caller does not time, such as the confirmation of a watch.
const PATIENCE: Duration = Duration::from_secs(5);

/// The connection itself, which a task of its own must drive.
pub type Driven = http2::Connection<TokioIo<Box<dyn Wire>>, Body, TokioExecutor>;

/// One connection to one member; it may be down, and come back.
pub struct Link {
    server: Server,
    /// Its connection of the moment.
    pub(super) line: Line<SendRequest<Body>>,
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

/// Whether an answer must be the cluster's or may be the member's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Confirmed by a majority.
    Linearizable,
    /// What this member knows, perhaps stale.
    Serializable,
}

words!(Read { Linearizable = "linearizable", Serializable = "serializable" });

impl Link {
    /// A link that is down.
    #[must_use]
    pub fn new(endpoint: &Endpoint, access: Arc<Access>) -> Self {
        Self { server: Server::new(&endpoint.url().without_zone().to_string()), line: Line::default(), access }
    }

    /// Opens a connection, and gives back what drives it and the round-trip time of its handshake.
    ///
    /// # Errors
    /// When the member cannot be reached or does not speak HTTP/2.
    pub async fn open(&self, endpoint: &Endpoint) -> Result<(Driven, Option<u64>), DialError> {
        let dialed = endpoint.open().await?;
        let (sender, driven) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake(TokioIo::new(dialed.wire))
            .await
            .map_err(|error| DialError::Http(error.to_string()))?;
        self.line.open(sender);
        Ok((driven, dialed.rtt_ns))
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.line.is_up()
    }

    /// Writes one key; the revision of the write. It takes as long as it takes.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn put(&self, key: Bytes, value: Bytes) -> Result<i64, Fault> {
        let answer: PutResponse = self.call(Call::Put, frame(&PutRequest { key, value, lease: 0 })).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// Writes several keys in one transaction. It takes as long as it takes.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn put_all(&self, keys: Vec<Bytes>, value: &Bytes) -> Result<(), Fault> {
        let put = |key| RequestOp { request: Some(Op::Put(PutRequest { key, value: value.clone(), lease: 0 })) };
        let message = frame(&TxnRequest { compare: Vec::new(), success: keys.into_iter().map(put).collect() });
        self.call::<TxnResponse>(Call::Txn, message).await.map(drop)
    }

    /// Reads one key; whether it was there. It takes as long as it takes.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn read(&self, key: Bytes, read: Read) -> Result<bool, Fault> {
        let message = RangeRequest { key, serializable: read == Read::Serializable, ..RangeRequest::default() };
        let answer: RangeResponse = self.call(Call::Range, frame(&message)).await?;
        Ok(!answer.kvs.is_empty())
    }

    /// How many keys begin with `prefix`.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn count(&self, prefix: &[u8]) -> Result<u64, Fault> {
        let (key, range_end) = span(prefix);
        let message = RangeRequest { key, range_end, count_only: true, ..RangeRequest::default() };
        let answer: RangeResponse = self.ask(Call::Range, &message).await?;
        Ok(unsigned(answer.count))
    }

    /// Deletes every key that begins with `prefix`; how many there were.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn delete(&self, prefix: &[u8]) -> Result<u64, Fault> {
        let (key, range_end) = span(prefix);
        let answer: DeleteRangeResponse = self.ask(Call::DeleteRange, &DeleteRangeRequest { key, range_end }).await?;
        Ok(unsigned(answer.deleted))
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
        let answer: StatusResponse = self.ask(Call::Status, &StatusRequest {}).await?;
        Ok(MemberStatus {
            version: answer.version,
            member_id: answer.header.map_or(0, |header| header.member_id),
            leader_id: answer.leader,
            db_size_bytes: unsigned(answer.db_size),
            quota_bytes: unsigned(answer.db_size_quota),
        })
    }

    /// Watches the keys that begin with `prefix`, from a revision on or, with 0, from now.
    ///
    /// # Errors
    /// With the word for what went wrong, also when the server did not confirm it in time.
    pub async fn watch(&self, prefix: &[u8], start_revision: i64) -> Result<WatchStream, Fault> {
        let opened = async {
            let (pipe, token) = self.pipe().await?;
            WatchStream::open(&self.server, pipe, token, span(prefix), start_revision).await
        };
        within_patience(opened, || "the watch was not confirmed in time".to_owned()).await
    }

    /// The connection of the moment as streams want it, and the token of now.
    pub(super) async fn pipe(&self) -> Result<(Pipe, Option<Bytes>), Fault> {
        let (sender, _) = self.sender().await?;
        Ok((Pipe(sender), self.access.token()))
    }

    /// The server that it leads to.
    pub(super) const fn server(&self) -> &Server {
        &self.server
    }

    /// Logs in anew, unless somebody has since `seen`; without a user there is nothing to do.
    ///
    /// # Errors
    /// When the server refuses the user or cannot be asked.
    pub async fn log_in(&self, seen: u64) -> Result<(), Fault> {
        let login = async |name: &str, password: &str| {
            let message = frame(&AuthenticateRequest { name: name.to_owned(), password: password.to_owned() });
            let answer = self.call_with::<AuthenticateResponse>(Call::Authenticate, message, None);
            let answer = within_patience(answer, || "no answer to the login".to_owned()).await?;
            Ok(answer.token)
        };
        self.access.renew(seen, login).await
    }

    /// Asks what nobody times, within a limit.
    pub(super) async fn ask<R: Message + Default>(&self, call: Call, message: &impl Message) -> Result<R, Fault> {
        let late = || format!("no answer within {} s", PATIENCE.as_secs());
        within_patience(self.call(call, frame(message)), late).await
    }

    /// Makes a call. Timed attempts hold this future, so what only users need is kept out of it.
    pub(super) async fn call<R: Message + Default>(&self, call: Call, message: Bytes) -> Result<R, Fault> {
        if self.access.has_user() {
            return Box::pin(self.call_as_user(call, message)).await;
        }
        self.call_with(call, message, None).await
    }

    /// The same with a token; once more with a new one where the old one has expired.
    async fn call_as_user<R: Message + Default>(&self, call: Call, message: Bytes) -> Result<R, Fault> {
        let seen = self.access.generation();
        match self.call_with(call, message.clone(), self.access.token()).await {
            Err(fault) if fault.kind == TOKEN => {
                self.log_in(seen).await?;
                self.call_with(call, message, self.access.token()).await.map_err(refused)
            }
            answer => answer,
        }
    }

    /// Makes a call on the connection of the moment, and on the next one where the server sent it away unseen.
    async fn call_with<R: Message + Default>(
        &self,
        call: Call,
        message: Bytes,
        token: Option<Bytes>,
    ) -> Result<R, Fault> {
        let mut tries = 1;
        loop {
            let (sender, number) = self.sender().await?;
            match self.server.call(call, message.clone(), token.clone(), sender).await {
                Err(fault) if fault.kind == UNTOUCHED && tries < MOST_TRIES => self.line.leave(number),
                answer => {
                    self.line.note(answer.is_ok());
                    return answer;
                }
            }
            tries += 1;
        }
    }

    /// The connection of the moment with its number; one that is being opened is waited for.
    async fn sender(&self) -> Result<(SendRequest<Body>, u64), Fault> {
        let down = || Fault { kind: NOT_CONNECTED, text: "there is no connection".to_owned() };
        match self.line.get() {
            Some(line) => line.ok_or_else(down),
            // Seldom, so it is kept out of what every attempt holds.
            None => Box::pin(self.line.wait()).await.ok_or_else(down),
        }
    }
}

pub(super) async fn within_patience<T>(
    answer: impl Future<Output = Result<T, Fault>>,
    late: impl FnOnce() -> String,
) -> Result<T, Fault> {
    let late = |_| Err(Fault { kind: "timeout", text: late() });
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(late)
}

/// The keys that begin with `prefix`, as etcd writes ranges: up to the prefix with its last byte raised.
pub(super) fn span(prefix: &[u8]) -> (Bytes, Bytes) {
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

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
