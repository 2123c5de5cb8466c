//! From an endpoint to a connection that carries HTTP/2: lookup, TCP and TLS, within a time limit.
//!
//! Separate from the client on top because it fails in its own ways, each of which has a next step for the user.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::sys::socket::tcp_rtt_ns;
use crate::wire::dial::{ConnectError, connect};
use crate::wire::{Dialer, TlsFailure, Trust, Url, alpn_of};

/// How long one connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection at all.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not trusted, or not TLS.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// TLS without HTTP/2 inside.
    #[error("the server speaks TLS but not HTTP/2, which etcd's interface needs")]
    NoHttp2,
    /// Nothing happened.
    #[error("no connection within {} s", PATIENCE.as_secs())]
    Timeout,
    /// The connection was open and its first question was not answered.
    #[error("the connection was opened and then ended without an answer: {0}")]
    Ended(String),
    /// The other side is no HTTP/2 server.
    #[error("the server does not speak HTTP/2: {0}")]
    Http(String),
}

/// Bytes to and from the server.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A stream that takes its bytes in one piece at a time. HTTP/2 then copies short messages behind each other and sends
/// them in one system call; with a stream that takes several pieces it sends each message above 256 bytes by itself.
struct Joined<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// An open connection.
pub struct Dialed {
    /// What carries the bytes.
    pub wire: Box<dyn Wire>,
    /// From SYN to SYN-ACK, as the kernel measured it.
    pub rtt_ns: Option<u64>,
}

/// One server and how to reach it.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    dialer: Option<Dialer>,
}

impl Endpoint {
    /// The way to the server at `url`.
    #[must_use]
    pub fn new(url: &Url, trust: &Trust) -> Self {
        Self { url: url.clone(), dialer: url.is_tls().then(|| trust.dialer(&["h2"])) }
    }

    /// Where it leads.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When none comes about within the limit.
    pub async fn open(&self) -> Result<Dialed, DialError> {
        timeout(PATIENCE, self.dial()).await.unwrap_or(Err(DialError::Timeout))
    }

    async fn dial(&self) -> Result<Dialed, DialError> {
        let stream = connect(&self.url, None).await?;
        // A request is written at once, as the official client does; a refusal would only cost time.
        let _ = stream.set_nodelay(true);
        let rtt_ns = tcp_rtt_ns(stream.as_fd());
        let Some(dialer) = &self.dialer else { return Ok(Dialed { wire: Box::new(Joined(stream)), rtt_ns }) };
        let stream = dialer.handshake(&self.url.host, stream).await?;
        if alpn_of(&stream).is_some_and(|protocol| protocol != "h2") {
            return Err(DialError::NoHttp2);
        }
        Ok(Dialed { wire: Box::new(Joined(stream)), rtt_ns })
    }
}
