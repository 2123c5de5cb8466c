//! The TLS port: connections are accepted, secured and limited, and each is served by one task of one thread.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::{Agreed, Offer, Receipts};
use super::quiet::Quiet;
use super::socket;
use crate::sys::thread::Background;

/// Pause after a failed accept: no file descriptors, most likely.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 1024;

/// Bytes of the head of a request.
const LONGEST_HEAD: u32 = 16 << 10;

/// What one peer, and all together, may use.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolLimits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// Longest time of a TLS handshake, and of the head of a request of HTTP/1.1.
    pub head: Duration,
    /// A connection that is silent for so long is closed, at the latest after twice that.
    pub idle: Duration,
}

impl Default for ProtocolLimits {
    fn default() -> Self {
        Self { connections: 1024, head: Duration::from_secs(10), idle: Duration::from_secs(300) }
    }
}

/// A running server; dropping it ends its connections and waits for its thread.
#[derive(Debug)]
pub struct ProtocolServer {
    address: SocketAddr,
    receipts: Arc<Receipts>,
    _thread: Background,
}

impl ProtocolServer {
    /// Serves what it offers until dropped; members of a Raft cluster are the caller's.
    ///
    /// # Errors
    /// When the listener cannot be used, or no thread can be had.
    pub fn start(
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        offer: Offer,
        limits: ProtocolLimits,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let receipts = Arc::new(Receipts::new(offer));
        let served = Arc::clone(&receipts);
        let thread = Background::spawn("echo-protocol", move || async move {
            // Invariant: the listener does not block, and an event loop is there.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                accept(listener, TlsAcceptor::from(tls), served, limits).await;
            }
        })?;
        Ok(Self { address, receipts, _thread: thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Heartbeats and reports that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.receipts.answered()
    }
}

async fn accept(listener: tokio::net::TcpListener, tls: TlsAcceptor, receipts: Arc<Receipts>, limits: ProtocolLimits) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            continue;
        };
        if connections.len() < limits.connections && stream.set_nodelay(true).is_ok() {
            connections.spawn(connection(stream, tls.clone(), Arc::clone(&receipts), limits));
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, receipts: Arc<Receipts>, limits: ProtocolLimits) {
    let Ok(Ok(stream)) = timeout(limits.head, tls.accept(stream)).await else { return };
    let agreed = Agreed::default();
    requests(stream, &agreed, &receipts, limits).await;
    let upgrade = agreed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(upgrade) = upgrade else { return };
    let Ok(upgraded) = upgrade.await else { return };
    // Invariant: this is the type that `requests` handed to hyper.
    let Ok(parts) = upgraded.downcast::<TokioIo<Quiet<TlsStream<TcpStream>>>>() else { return };
    socket::serve(parts.io.into_inner(), parts.read_buf, &receipts, limits.idle).await;
}

/// Serves requests until the connection ends or becomes a WebSocket. How it ended concerns the client alone.
async fn requests(stream: TlsStream<TcpStream>, agreed: &Agreed, receipts: &Arc<Receipts>, limits: ProtocolLimits) {
    let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let (receipts, agreed) = (Arc::clone(receipts), Arc::clone(agreed));
    let answer = service_fn(move |request| {
        let (receipts, agreed) = (Arc::clone(&receipts), Arc::clone(&agreed));
        async move { Ok::<_, Infallible>(receipts.answer(request, &agreed).await) }
    });
    let stream = TokioIo::new(Quiet::new(stream, limits.idle));
    if speaks_http2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).max_concurrent_streams(MOST_STREAMS).max_header_list_size(LONGEST_HEAD);
        let _ = server.serve_connection(stream, answer).await;
    } else {
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(limits.head);
        let _ = server.serve_connection(stream, answer).with_upgrades().await;
    }
}
