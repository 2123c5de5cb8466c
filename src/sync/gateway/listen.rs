//! Connections: accepted, secured, limited, and each served by one task until it ends.
//!
//! Separate from what is said on them. The stages of a connection are boxed, so that a quiet agent costs what its last stage
//! needs and not what the handshake did.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::certified;
use super::http::Context;
use super::service::Service;
use super::socket::Socket;
use super::upgrade::{Agreed, Upgrade};

/// Longest time that a handshake or the head of a request may take: a slow client holds a connection no longer.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// A connection is given up when what was sent is not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Pause after a failed accept: no file descriptors, most likely.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// Requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 128;

/// What connections are made with; replaced when certificates are read again.
pub type SharedConfig = Arc<RwLock<Arc<ServerConfig>>>;

/// Accepts connections until the future is dropped; then all of them end.
pub async fn listen(listener: TcpListener, config: SharedConfig, service: Arc<Service>, most: usize) {
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
        // One above the limit is closed at once: an agent backs off and comes again.
        if connections.len() < most && set_up(&stream).is_ok() {
            let config = Arc::clone(&config.read().unwrap_or_else(PoisonError::into_inner));
            connections.spawn(connection(stream, config, Arc::clone(&service)));
        }
    }
}

/// Sends small frames at once, and notices a peer that is gone.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(HEAD_WITHIN).with_retries(2))
}

async fn connection(stream: TcpStream, config: Arc<ServerConfig>, service: Arc<Service>) {
    let _open = service.counters.connection();
    let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_WITHIN, handshake).await else {
        return service.counters.handshake_failed();
    };
    let upgrade = Upgrade::default();
    Box::pin(requests(stream, upgrade.clone(), Arc::clone(&service))).await;
    if let Some(agreed) = upgrade.take() {
        Box::pin(agent(agreed, service)).await;
    }
}

/// Serves requests until the connection ends or becomes a WebSocket. How it ended concerns the client alone.
async fn requests(stream: TlsStream<TcpStream>, upgrade: Upgrade, service: Arc<Service>) {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certified = certificate.and_then(|certificate| certified(certificate));
    let speaks_http2 = session.alpn_protocol() == Some(b"h2");
    let context = Context { service, certified, upgrade };
    let answer = service_fn(move |request| {
        let context = context.clone();
        async move { Ok::<_, std::convert::Infallible>(context.answer(request).await) }
    });
    let stream = TokioIo::new(stream);
    if speaks_http2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).max_concurrent_streams(MOST_STREAMS).keep_alive_interval(UNACKNOWLEDGED);
        let _ = server.serve_connection(stream, answer).await;
    } else {
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let _ = server.serve_connection(stream, answer).with_upgrades().await;
    }
}

async fn agent(agreed: Agreed, service: Arc<Service>) {
    let Ok(upgraded) = agreed.connection.await else { return };
    // Invariant: this is the type that `requests` handed to hyper.
    let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else { return };
    let begun = Bytes::copy_from_slice(&parts.read_buf);
    Socket::new(&service, agreed.node_id).serve(Box::new(parts.io.into_inner()), begun).await;
}
