//! One attempt over each protocol: a message there, its receipt back.
//!
//! A vendor's connection stays in this file. Unary protocols open a request for each message; on the two streams a receipt is
//! told from others by the number of its message.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::poll_fn;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::message::{heartbeat, report};
use crate::echo::protocol::{LONGEST_MESSAGE, Protocol};
use crate::load::{Answer, Operation};
use crate::model::Outcome;
use crate::wire::dial::{self, ConnectError};
use crate::wire::node::{FromNode, GatewayFrame, NodeFrame, SERVICE, ToNode};
use crate::wire::{Dialer, TlsFailure, Trust, Url, grpc};

/// The type of a body that is one message of protobuf.
const PROTOBUF: &str = "application/x-protobuf";

/// What went wrong, by the words that are counted.
pub(super) const LOST: &str = "connection_lost";
pub(super) const REFUSED: &str = "refused";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Which message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A heartbeat.
    Heartbeat,
    /// A report on so many containers.
    Report(u32),
}

/// A connection that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not who it should be.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// This build does not speak it.
    #[error("this build of offloadctl was made without the feature `raft`")]
    NotBuilt,
    /// It speaks something else.
    #[error("it does not speak {protocol}: {text}")]
    Protocol {
        /// Which.
        protocol: Protocol,
        /// What it said.
        text: String,
    },
}

/// The way to the far end.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) url: Url,
    pub(super) two: Dialer,
    pub(super) one: Dialer,
    /// A link that leads to it, instead of its own address.
    pub via: Option<SocketAddr>,
    /// How often a connection is asked whether it lives, and how long each answer may take; never without one.
    pub keepalive: Option<Duration>,
    /// The cluster, as it was when it was last looked at.
    pub raft: super::raft::Way,
}

impl Target {
    /// By its URL.
    #[must_use]
    pub fn new(url: &Url, trust: &Trust, raft_ports: &[u16]) -> Self {
        Self {
            url: url.clone(),
            two: trust.dialer(&["h2"]),
            one: trust.dialer(&["http/1.1"]),
            via: None,
            keepalive: None,
            raft: super::raft::Way::new(raft_ports, trust),
        }
    }

    async fn dial(&self, dialer: &Dialer) -> Result<TlsStream<TcpStream>, DialError> {
        dial_port(&self.url, self.via, dialer).await
    }

    /// The port that takes these messages.
    pub fn port(&self, protocol: Protocol, what: What) -> u16 {
        if protocol == Protocol::Raft { self.raft.port(what) } else { self.url.port }
    }

    fn uri(&self, path: &str) -> String {
        format!("https://{}{path}", self.url.authority())
    }
}

/// A connection of TLS to the port of a URL.
pub(super) async fn dial_port(
    url: &Url,
    via: Option<SocketAddr>,
    dialer: &Dialer,
) -> Result<TlsStream<TcpStream>, DialError> {
    let stream = dial::connect(url, via).await?;
    // A heartbeat is one small packet; without this nothing is lost but time.
    let _ = stream.set_nodelay(true);
    Ok(dialer.handshake(&url.host, stream).await?)
}

/// One connection, or as many as HTTP/1.1 needs.
pub struct Caller {
    protocol: Protocol,
    target: Target,
    line: Line,
    /// What drives it.
    tasks: RefCell<JoinSet<()>>,
    made: Cell<u64>,
}

/// What carries messages.
pub(super) enum Line {
    /// Unary requests over one connection of HTTP/2.
    Two(http2::SendRequest<Body>),
    /// Connections of HTTP/1.1 that are idle.
    One(RefCell<Vec<http1::SendRequest<Body>>>),
    /// Messages one after another, as `Encode` writes them.
    Stream(mpsc::UnboundedSender<Bytes>, Waiting, Encode),
}

/// Writes a message with its number.
pub(super) type Encode = Box<dyn Fn(What, u64) -> Bytes>;

/// What came for a message: its receipt, or the word for what went wrong.
type Told = Result<(), &'static str>;

/// Who waits for the receipt of which number.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<u64, oneshot::Sender<Told>>>>);

impl Caller {
    /// Opens a connection.
    ///
    /// # Errors
    /// When the far end cannot be reached, or does not speak the protocol.
    pub async fn open(protocol: Protocol, target: &Target, what: What) -> Result<Self, DialError> {
        let mut tasks = JoinSet::new();
        let line = match protocol {
            Protocol::Grpc | Protocol::Http2 => Line::Two(two(protocol, target, &mut tasks).await?),
            Protocol::Http1 => Line::One(RefCell::new(vec![one(target, &mut tasks).await?])),
            Protocol::GrpcStream => grpc_stream(target, &mut tasks).await?,
            Protocol::Websocket => websocket(target, &mut tasks).await?,
            Protocol::Raft => super::raft::open(target, what, &mut tasks).await?,
        };
        Ok(Self { protocol, target: target.clone(), line, tasks: RefCell::new(tasks), made: Cell::new(0) })
    }

    /// Sends a message and waits for its receipt.
    ///
    /// # Errors
    /// The word for what went wrong.
    pub async fn call(&self, what: What) -> Result<(), &'static str> {
        self.made.set(self.made.get() + 1);
        let number = self.made.get();
        let request = |body: Bytes| self.request(what, body);
        match &self.line {
            Line::Two(sender) => {
                let answer = sender.clone().send_request(request(self.message(what, number))).await;
                self.read(answer.map_err(|_| LOST)?).await
            }
            Line::One(idle) => {
                let kept = idle.borrow_mut().pop().filter(http1::SendRequest::is_ready);
                let mut sender = match kept {
                    Some(sender) => sender,
                    None => self.further().await?,
                };
                let answer = sender.send_request(request(self.message(what, number))).await.map_err(|_| LOST)?;
                self.read(answer).await?;
                idle.borrow_mut().push(sender);
                Ok(())
            }
            Line::Stream(frames, waiting, encode) => {
                let receipt = waiting.enter(number);
                frames.send(encode(what, number)).map_err(|_| LOST)?;
                receipt.await.unwrap_or(Err(LOST))
            }
        }
    }

    /// Waits until the connection is known to be gone. One of HTTP/1.1 never is by itself.
    pub async fn ended(self) {
        // The first to end is that which noticed.
        self.tasks.into_inner().join_next().await;
    }

    /// One more connection of HTTP/1.1, where all others are busy.
    async fn further(&self) -> Result<http1::SendRequest<Body>, &'static str> {
        let mut tasks = JoinSet::new();
        let sender = one(&self.target, &mut tasks).await.map_err(|_| LOST)?;
        self.tasks.borrow_mut().spawn(async move { drop(tasks.join_all().await) });
        Ok(sender)
    }

    /// The message as a unary protocol carries it.
    fn message(&self, what: What, number: u64) -> Bytes {
        match (self.protocol, what) {
            (Protocol::Grpc, What::Heartbeat) => grpc::frame(&heartbeat(number)),
            (Protocol::Grpc, What::Report(containers)) => grpc::frame(&report(number, containers)),
            (_, What::Heartbeat) => heartbeat(number).encode_to_vec().into(),
            (_, What::Report(containers)) => report(number, containers).encode_to_vec().into(),
        }
    }

    fn request(&self, what: What, body: Bytes) -> Request<Body> {
        let (path, kind) = match (self.protocol, what) {
            (Protocol::Grpc, What::Heartbeat) => (format!("/{SERVICE}/Heartbeat"), grpc::CONTENT_TYPE),
            (Protocol::Grpc, What::Report(_)) => (format!("/{SERVICE}/ReportStatus"), grpc::CONTENT_TYPE),
            (_, What::Heartbeat) => ("/v1/heartbeat".to_owned(), PROTOBUF),
            (_, What::Report(_)) => ("/v1/status".to_owned(), PROTOBUF),
        };
        let is_two = self.protocol != Protocol::Http1;
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, kind);
        let request = match is_two {
            true => request.uri(self.target.uri(&path)).header(TE, "trailers"),
            false => request.uri(path).header(HOST, self.target.url.authority()),
        };
        // Invariant: every part of it is a constant, or came from a URL that was read.
        request.body(Full::new(body).boxed_unsync()).unwrap_or_default()
    }

    /// Reads the whole answer; whether it is a receipt.
    async fn read(&self, answer: Response<Incoming>) -> Result<(), &'static str> {
        let is_fine = answer.status() == StatusCode::OK;
        let refused = answer.headers().get("grpc-status").is_some_and(|status| status != "0");
        let whole = answer.into_body().collect().await.map_err(|_| LOST)?;
        let trailer = whole.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let is_receipt = match self.protocol {
            Protocol::Grpc => !refused && trailer.is_some_and(|status| status == "0"),
            _ => true,
        };
        if is_fine && is_receipt { Ok(()) } else { Err(REFUSED) }
    }
}

impl Waiting {
    fn enter(&self, number: u64) -> oneshot::Receiver<Told> {
        let (told, receipt) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, told);
        receipt
    }

    /// A receipt has come in a frame of our interface.
    fn tell_frame(&self, frame: GatewayFrame) {
        match frame.frame {
            Some(ToNode::Heartbeat(pulse)) => self.tell(pulse.seq, Ok(())),
            Some(ToNode::Report(report)) => self.tell(report.id, Ok(())),
            _ => {}
        }
    }

    /// What came for a message; one that nobody waits for any more is late.
    pub(super) fn tell(&self, number: u64, told: Told) {
        if let Some(waiting) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
            // Whoever gave up waiting has dropped the other end.
            let _ = waiting.send(told);
        }
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn framed(what: What, number: u64) -> NodeFrame {
    let frame = match what {
        What::Heartbeat => FromNode::Heartbeat(heartbeat(number)),
        What::Report(containers) => FromNode::Report(report(number, containers)),
    };
    NodeFrame { frame: Some(frame) }
}

pub(super) fn spoken(protocol: Protocol, error: &dyn std::error::Error) -> DialError {
    DialError::Protocol { protocol, text: crate::model::with_causes(error) }
}

async fn two(
    protocol: Protocol,
    target: &Target,
    tasks: &mut JoinSet<()>,
) -> Result<http2::SendRequest<Body>, DialError> {
    let stream = TokioIo::new(target.dial(&target.two).await?);
    let mut client = http2::Builder::new(TokioExecutor::new());
    if let Some(often) = target.keepalive {
        client
            .timer(TokioTimer::new())
            .keep_alive_interval(often)
            .keep_alive_timeout(often)
            .keep_alive_while_idle(true);
    }
    let (sender, connection) = client.handshake(stream).await.map_err(|error| spoken(protocol, &error))?;
    tasks.spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn one(target: &Target, tasks: &mut JoinSet<()>) -> Result<http1::SendRequest<Body>, DialError> {
    let stream = TokioIo::new(target.dial(&target.one).await?);
    let (sender, connection) = http1::handshake(stream).await.map_err(|error| spoken(Protocol::Http1, &error))?;
    tasks.spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn grpc_stream(target: &Target, tasks: &mut JoinSet<()>) -> Result<Line, DialError> {
    let mut sender = two(Protocol::GrpcStream, target, tasks).await?;
    let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let body = poll_fn(move |context| queue.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))));
    let request = Request::builder()
        .method(Method::POST)
        .uri(target.uri(&format!("/{SERVICE}/Sync")))
        .header(CONTENT_TYPE, grpc::CONTENT_TYPE)
        .header(TE, "trailers")
        .body(StreamBody::new(body).boxed_unsync())
        .map_err(|error| spoken(Protocol::GrpcStream, &error))?;
    let waiting = Waiting::default();
    let told = waiting.clone();
    // The head of the answer may come with the first receipt.
    tasks.spawn(async move {
        let answer = sender.send_request(request).await;
        if let Ok(answer) = answer {
            let (mut body, mut buffer) = (answer.into_body(), BytesMut::new());
            while let Some(Ok(frame)) = body.frame().await {
                buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                while let Ok(Some(frame)) = grpc::next(&mut buffer, LONGEST_MESSAGE) {
                    told.tell_frame(frame);
                }
            }
        }
        told.close();
    });
    Ok(Line::Stream(frames, waiting, Box::new(|what, number| grpc::frame(&framed(what, number)))))
}

async fn websocket(target: &Target, tasks: &mut JoinSet<()>) -> Result<Line, DialError> {
    let stream = target.dial(&target.one).await?;
    let address = format!("wss://{}/v1/sync", target.url.authority());
    let (stream, _) = client_async(address, stream).await.map_err(|error| spoken(Protocol::Websocket, &error))?;
    let (mut sink, mut source) = stream.split();
    let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let waiting = Waiting::default();
    let (told, keepalive) = (waiting.clone(), target.keepalive);
    let lives = Arc::new(AtomicBool::new(true));
    let heard = Arc::clone(&lives);
    tasks.spawn(async move {
        loop {
            let message = match keepalive {
                None => queue.recv().await.map(Message::Binary),
                Some(often) => tokio::select! {
                    bytes = queue.recv() => bytes.map(Message::Binary),
                    () = sleep(often) => lives.swap(false, Ordering::Relaxed).then(|| Message::Ping(Bytes::new())),
                },
            };
            let Some(message) = message else { break };
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    tasks.spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            heard.store(true, Ordering::Relaxed);
            if let Message::Binary(bytes) = message
                && let Ok(frame) = GatewayFrame::decode(bytes)
            {
                told.tell_frame(frame);
            }
        }
        told.close();
    });
    Ok(Line::Stream(frames, waiting, Box::new(|what, number| framed(what, number).encode_to_vec().into())))
}

/// Attempts on a connection that is kept.
pub struct Warm {
    /// The connection.
    pub caller: Caller,
    /// What is sent.
    pub what: What,
}

impl Operation for Warm {
    async fn attempt(&self) -> Answer {
        answer(self.caller.call(self.what).await)
    }
}

/// Attempts on new connections.
pub struct Cold {
    /// By which protocol.
    pub protocol: Protocol,
    /// To whom.
    pub target: Target,
}

impl Operation for Cold {
    async fn attempt(&self) -> Answer {
        match Caller::open(self.protocol, &self.target, What::Heartbeat).await {
            Ok(caller) => answer(caller.call(What::Heartbeat).await),
            Err(_) => Answer::new(Outcome::Failed(LOST)),
        }
    }
}

fn answer(ended: Result<(), &'static str>) -> Answer {
    Answer::new(match ended {
        Ok(()) => Outcome::Ok,
        Err(REFUSED) => Outcome::Error(REFUSED),
        Err(kind) => Outcome::Failed(kind),
    })
}
