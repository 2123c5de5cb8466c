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
use rustls::server::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::certified;
use super::body::Held;
use super::http::Context;
use super::idle::Activity;
use super::remainder::Remainders;
use super::service::Service;
use super::socket::Socket;
use super::stream::Streams;
use super::upgrade::{Agreed, Upgrade};

/// Longest time that a handshake or the head of a request may take: a slow client holds a connection no longer.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// A connection is given up when what was sent is not acknowledged for so long.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Pause after a failed accept: no file descriptors, most likely.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// An HTTP/2 connection on which nothing is asked is closed after this. One of HTTP/1.1 is after the time of a head.
const IDLE: Duration = Duration::from_secs(20);

/// Requests of one HTTP/2 connection at a time.
const MOST_STREAMS: u32 = 128;

/// Bytes of one HTTP/2 stream that wait to be sent.
const MOST_UNSENT: usize = 64 << 10;

/// Longest head of a request over HTTP/2, as its fields are counted there (RFC 9113 section 6.5.2).
const LONGEST_FIELDS: u32 = 16 << 10;

/// What connections are made with; replaced when certificates are read again.
pub type SharedConfig = Arc<RwLock<Arc<ServerConfig>>>;

/// Accepts connections until the future is dropped; then all of them end.
pub async fn listen(listener: TcpListener, config: SharedConfig, service: Arc<Service>, most: usize) {
    let mut connections = JoinSet::new();
    let turn = Arc::new(Semaphore::new(1));
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
            connections.spawn(connection(stream, config, Arc::clone(&turn), Arc::clone(&service)));
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

async fn connection(stream: TcpStream, config: Arc<ServerConfig>, turn: Arc<Semaphore>, service: Arc<Service>) {
    let _open = service.counters.connection();
    let Some(stream) = Box::pin(handshake(stream, config, &turn)).await else {
        return service.counters.handshake_failed();
    };
    drop(turn);
    let upgrade = Upgrade::default();
    Box::pin(requests(stream, upgrade.clone(), Arc::clone(&service))).await;
    if let Some(agreed) = upgrade.take() {
        Box::pin(agent(agreed, service)).await;
    }
}

/// Makes a connection secure. Keys are agreed on in turns, with everybody else's messages in between: many that come at once
/// would keep those waiting who are there already, until their heartbeats seem to be missing. Who is silent has no turn.
async fn handshake(stream: TcpStream, config: Arc<ServerConfig>, turn: &Semaphore) -> Option<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = timeout(HEAD_WITHIN, Box::pin(hello)).await.ok()?.ok()?;
    let ours = turn.acquire().await.ok()?;
    let rest = Box::pin(hello.into_stream(config));
    yield_now().await;
    drop(ours);
    timeout(HEAD_WITHIN, rest).await.ok()?.ok()
}

/// Serves requests until the connection ends or becomes a WebSocket. How it ended concerns the client alone.
async fn requests(stream: TlsStream<TcpStream>, upgrade: Upgrade, service: Arc<Service>) {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certified = certificate.and_then(|certificate| certified(certificate));
    let speaks_http2 = session.alpn_protocol() == Some(b"h2");
    let streams = Streams::default();
    let context = Context { service, certified, upgrade, remainders: Remainders::default(), streams: streams.clone() };
    let activity = Activity::default();
    let begins = activity.clone();
    let answer = service_fn(move |request| {
        let (context, busy) = (context.clone(), begins.begin());
        async move { Ok::<_, std::convert::Infallible>(context.answer(request).await.map(|body| Held::new(body, busy))) }
    });
    let stream = TokioIo::new(stream);
    if speaks_http2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).max_concurrent_streams(MOST_STREAMS).keep_alive_interval(UNACKNOWLEDGED);
        server.max_send_buf_size(MOST_UNSENT).max_header_list_size(LONGEST_FIELDS);
        let mut connection = std::pin::pin!(server.serve_connection(stream, answer));
        tokio::select! {
            _ = connection.as_mut() => {}
            () = activity.idle(IDLE) => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(HEAD_WITHIN, connection).await;
            }
        }
        streams.end().await;
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
