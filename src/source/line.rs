//! A line to a container runtime: gRPC over its Unix socket, each question with a bound on time and length.
//!
//! Separate from what is asked: containerd and CRI are reached alike, often by the same socket. No type of HTTP leaves this file.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::client::conn::http2::handshake;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::sys::pipe::Pipe;

/// Longest time that an answer may take which is only looked up.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The head of a stream comes with its first event; until then it is taken for accepted after this.
const HEAD_WITHIN: Duration = Duration::from_millis(300);

/// Longest message that is read: kubelet's own bound on what a runtime lists.
const LONGEST: usize = 16 << 20;

/// What keeps a runtime from answering.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Nobody there, or not for us.
    #[error("no connection to its socket")]
    Connect(#[source] io::Error),
    /// What lies at its path is no socket.
    #[error("`{}` is no socket", .0.display())]
    NoSocket(PathBuf),
    /// What answers speaks no HTTP/2.
    #[error("what answers there speaks no gRPC")]
    Http(#[from] hyper::Error),
    /// The connection ended in the middle.
    #[error("the connection broke off: {}", .0.message())]
    Broken(Box<Status>),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It refuses.
    #[error("it answers {:?}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// It has ended the stream.
    #[error("it ended the events")]
    Ended,
}

impl LineError {
    /// Whether it does not know what was asked of it.
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::Unimplemented)
    }

    /// Whether it was not reached at all.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::NoSocket(_))
    }
}

impl From<Status> for LineError {
    fn from(status: Status) -> Self {
        // What the other end says has no cause on this one.
        match std::error::Error::source(&status) {
            Some(_) => Self::Broken(Box::new(status)),
            None => Self::Refused(Box::new(status)),
        }
    }
}

/// A connection; it lives as long as one of its copies.
#[derive(Clone)]
pub struct Line {
    grpc: Grpc<Pipe>,
    pipe: Pipe,
    _driver: Arc<JoinSet<()>>,
}

/// What a runtime tells one after the other.
pub struct Stream<A> {
    events: Streaming<A>,
    /// The connection that it comes by.
    _line: Line,
}

impl Line {
    /// To the runtime behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path) -> Result<Self, LineError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            let found = std::fs::metadata(socket);
            match found.is_ok_and(|found| !found.file_type().is_socket()) {
                true => LineError::NoSocket(socket.to_owned()),
                false => LineError::Connect(error),
            }
        })?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // How it ends is told by what was asked.
        driver.spawn(async move { drop(connection.await) });
        let pipe = Pipe(sender);
        let grpc = Grpc::with_origin(pipe.clone(), Uri::from_static("http://runtime"));
        Ok(Self { grpc: grpc.max_decoding_message_size(LONGEST), pipe, _driver: Arc::new(driver) })
    }

    /// Whether the other end has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.pipe.0.is_closed()
    }

    /// Asks one question.
    ///
    /// # Errors
    /// When it is not answered in time, or refused.
    pub async fn ask<Q, A>(&self, method: &'static str, question: Q, within: Duration) -> Result<A, LineError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.ask_with(method, Request::new(question), within).await
    }

    /// The same in a namespace of containerd.
    ///
    /// # Errors
    /// When it is not answered in time, or refused.
    pub async fn ask_in<Q, A>(&self, namespace: &str, method: &'static str, question: Q) -> Result<A, LineError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(question);
        let Ok(name) = namespace.parse() else {
            let text = format!("`{namespace}` cannot be a namespace");
            return Err(LineError::Refused(Box::new(Status::invalid_argument(text))));
        };
        request.metadata_mut().insert("containerd-namespace", name);
        self.ask_with(method, request, ANSWER_WITHIN).await
    }

    async fn ask_with<Q, A>(&self, method: &'static str, request: Request<Q>, within: Duration) -> Result<A, LineError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let asked = grpc.unary(request, PathAndQuery::from_static(method), ProstCodec::<Q, A>::default());
        Ok(timeout(within, asked).await.map_err(|_| LineError::Late(within))??.into_inner())
    }

    /// Asks for a stream. `accepted` is awaited when the stream was accepted, or was not refused for a while: servers send
    /// the head of their answer with the first event.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn stream<Q, A>(
        self,
        method: &'static str,
        question: Q,
        accepted: impl Future<Output = ()>,
    ) -> Result<Stream<A>, LineError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let method = PathAndQuery::from_static(method);
        let asked = grpc.server_streaming(Request::new(question), method, ProstCodec::<Q, A>::default());
        let mut asked = std::pin::pin!(asked);
        let answer: Response<Streaming<A>> = match timeout(HEAD_WITHIN, &mut asked).await {
            Ok(answer) => {
                let answer = answer?;
                accepted.await;
                answer
            }
            Err(_) => {
                accepted.await;
                asked.await?
            }
        };
        Ok(Stream { events: answer.into_inner(), _line: self })
    }
}

impl<A> Stream<A> {
    /// The next event.
    ///
    /// # Errors
    /// When there will be none any more.
    pub async fn next(&mut self) -> Result<A, LineError> {
        self.events.message().await?.ok_or(LineError::Ended)
    }
}
