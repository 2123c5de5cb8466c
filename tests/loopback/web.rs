//! A web server of programmed delays, one for each phase of a request, which also plays the API server of a Kubernetes:
//! its metrics count what it really served, with the delays that it was told to blame on its queue and on etcd.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use offloadctl::sys::clock;
use offloadctl::sys::thread::Background;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Clone, Default)]
pub struct Manner {
    /// TLS, unless in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Before its part of the TLS handshake.
    pub hello: Duration,
    /// Before the head of an answer.
    pub head: Duration,
    /// Between the first and the last byte of a body.
    pub body: Duration,
    /// HTTP/2 without negotiation.
    pub speaks_two: bool,
    /// Whether it is a Kubernetes; then `head` is its own work.
    pub is_kubernetes: bool,
    /// What a request waits in the server's queue.
    pub queue: Duration,
    /// What a request waits for etcd.
    pub etcd: Duration,
    /// Requests of other clients that it counts with each of ours.
    pub others: u64,
    /// Status of `/metrics`, if not 200.
    pub metrics_status: Option<u16>,
    /// The only token that it takes; it can be changed meanwhile.
    pub token: Option<Arc<Mutex<String>>>,
}

/// A running server; dropping it stops it.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: Background,
}

#[derive(Default)]
struct Shared {
    manner: Manner,
    counters: Mutex<BTreeMap<String, (u64, f64)>>,
    connection_count: Mutex<u64>,
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Web {
    /// Begins to behave so.
    pub fn start(manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { manner, ..Shared::default() });
        let served = Arc::clone(&shared);
        let thread = Background::spawn("web", move || async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                *served.connection_count.lock().unwrap() += 1;
                connections.spawn(serve(stream, Arc::clone(&served)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, _thread: thread.unwrap() }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.shared.manner.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers of this status that it has begun.
    pub fn answered(&self, status: u16) -> u64 {
        self.shared.answers.lock().unwrap().get(&status).copied().unwrap_or(0)
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> u64 {
        *self.shared.connection_count.lock().unwrap()
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Some(tls) = shared.manner.tls.clone() else { return converse(stream, shared.manner.speaks_two, shared).await };
    // Not before the client speaks: the handshake begins for it when it has heard of the connection, which may be late.
    let _ = stream.readable().await;
    sleep(shared.manner.hello).await;
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let speaks_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    converse(stream, speaks_two, shared).await;
}

async fn converse<S>(stream: S, speaks_two: bool, shared: Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let answer = answer(request, Arc::clone(&shared)).await?;
            *shared.answers.lock().unwrap().entry(answer.status().as_u16()).or_default() += 1;
            Ok::<_, Infallible>(answer)
        }
    });
    // A client that goes away is the end of the conversation, and no fault.
    let _ = if speaks_two {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await
    };
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Slow>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let manner = &shared.manner;
    let sent = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if manner.token.as_ref().is_some_and(|token| sent != format!("Bearer {}", token.lock().unwrap())) {
        return Ok(plain(401, "who are you?"));
    }
    if !manner.is_kubernetes && matches!(path.as_str(), "/metrics" | "/version") {
        return Ok(plain(404, "no such thing"));
    }
    match path.as_str() {
        "/metrics" => return Ok(plain(manner.metrics_status.unwrap_or(200), &shared.metrics())),
        "/version" => return Ok(plain(200, "{\"gitVersion\":\"v1.33.2\"}")),
        "/forbidden" => return Ok(plain(403, "not for you")),
        "/busy" => return Ok(plain(503, "later")),
        "/moved" => {
            let mut moved = plain(302, "");
            moved.headers_mut().insert("location", "https://elsewhere.example/there".parse().unwrap());
            return Ok(moved);
        }
        "/endless" => return Ok(Response::new(Slow::new("no end", u64::MAX, Duration::ZERO))),
        _ => {}
    }
    let began = clock::now();
    // A read of one object goes to etcd unless it may be old; a list is served from the cache.
    let reads_etcd = manner.is_kubernetes && path.ends_with("/default");
    let etcd = if reads_etcd { manner.etcd } else { Duration::ZERO };
    sleep(manner.queue + manner.head + etcd).await;
    if manner.is_kubernetes {
        shared.count(&path, clock::now().since(began).as_secs_f64(), reads_etcd);
    }
    let parts = if manner.body.is_zero() { 1 } else { 2 };
    Ok(Response::new(Slow::new("part", parts, manner.body)))
}

impl Shared {
    fn count(&self, path: &str, seconds: f64, reads_etcd: bool) {
        let is_object = path.contains("/namespaces/");
        let (verb, scope) = if is_object { ("GET", "resource") } else { ("LIST", "cluster") };
        let labels = format!(
            "verb=\"{verb}\",group=\"\",version=\"v1\",resource=\"namespaces\",subresource=\"\",scope=\"{scope}\",component=\"apiserver\""
        );
        let times = self.manner.others + 1;
        let add = |family: &str, labels: &str, times: u64, seconds: f64| {
            let mut counters = self.counters.lock().unwrap();
            let counter = counters.entry(format!("{family}|{labels}")).or_default();
            counter.0 += times;
            counter.1 += seconds * times as f64;
        };
        add("apiserver_request_duration_seconds", &labels, times, seconds);
        let queue = self.manner.queue.as_secs_f64();
        let level = "flow_schema=\"global-default\",priority_level=\"global-default\",execute=\"true\"";
        add("apiserver_flowcontrol_request_wait_duration_seconds", level, times, queue);
        let operation = if is_object { "get" } else { "list" };
        let kind = format!("operation=\"{operation}\",type=\"namespaces\"");
        let etcd = self.manner.etcd.as_secs_f64();
        add("etcd_request_duration_seconds", &kind, if reads_etcd { times } else { 0 }, etcd);
    }

    fn metrics(&self) -> String {
        let mut text = "# HELP apiserver_request_duration_seconds Of requests.\n".to_owned();
        text += "apiserver_request_duration_seconds_count{verb=\"WATCH\",resource=\"pods\"} 1\n";
        text += "apiserver_request_duration_seconds_sum{verb=\"WATCH\",resource=\"pods\"} 60\n";
        for (key, (count, seconds)) in self.counters.lock().unwrap().iter() {
            let (family, labels) = key.split_once('|').unwrap();
            writeln!(text, "{family}_bucket{{{labels},le=\"+Inf\"}} {count}").unwrap();
            writeln!(text, "{family}_sum{{{labels}}} {seconds}\n{family}_count{{{labels}}} {count}").unwrap();
        }
        text
    }
}

fn plain(status: u16, text: &str) -> Response<Slow> {
    let mut response = Response::new(Slow::new(text, 1, Duration::ZERO));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    response
}

/// A body that says the same several times, with a gap in between.
pub struct Slow {
    text: Bytes,
    left: u64,
    gap: Duration,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Slow {
    fn new(text: &str, times: u64, gap: Duration) -> Self {
        Self { text: Bytes::copy_from_slice(text.as_bytes()), left: times, gap, wait: None }
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = &mut self.wait {
            std::task::ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        if self.left > 0 && !self.gap.is_zero() {
            self.wait = Some(Box::pin(sleep(self.gap)));
        }
        Poll::Ready(Some(Ok(Frame::data(self.text.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}
