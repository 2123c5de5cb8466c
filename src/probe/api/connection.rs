//! Connections to the server, opened step by step with a stamp at each, and HTTP on top of them.
//!
//! Separate from the requests because a kept connection is opened once and asked many times. A connection does its work
//! where it is polled: by the attempt that uses it, and by no task of its own. That saves a hand-over between tasks in
//! every request, and a dropped attempt takes its connection along.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::phases::{Opening, Phase, Span};
use super::spec::Version;
use super::stream::{Marks, Stamped, Transport};
use crate::model::Outcome;
use crate::sys::clock;
use crate::sys::resolve::lookup;
use crate::wire::dial;
use crate::wire::locate::Reach;
use crate::wire::{Dialer, TlsFailure, alpn_of, http};

type Io = TokioIo<Stamped>;
type Body = Empty<Bytes>;
/// The answer to come.
pub type Response = Pin<Box<dyn Future<Output = hyper::Result<hyper::Response<hyper::body::Incoming>>>>>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How connections to one server are opened.
#[derive(Debug)]
pub struct Opener {
    /// Name of the server.
    pub host: String,
    /// The address that is dialled.
    pub address: SocketAddr,
    /// Whether the name is looked up for each connection, as a new client would.
    pub looks_up: bool,
    /// From where.
    pub reach: Reach,
    /// TLS with the name that the certificate must be for, unless in the clear.
    pub tls: Option<(RefCell<Dialer>, String)>,
    /// The version spoken in the clear, where nothing is negotiated.
    pub clear: Version,
    /// The version that a connection must negotiate; any, where none is known yet.
    pub expected: Cell<Option<Version>>,
}

/// A connection that could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// It counts so.
    Outcome(Outcome),
    /// TLS failed.
    Tls(TlsFailure),
}

/// An open connection that speaks HTTP.
pub struct Connection {
    /// What its stream notes.
    pub marks: Rc<Marks>,
    /// What it speaks.
    pub version: Version,
    /// Whether it has ended.
    is_over: bool,
    http: Http,
}

#[expect(clippy::large_enum_variant, reason = "each is in a box of its own")]
enum Http {
    One {
        sender: http1::SendRequest<Body>,
        driver: http1::Connection<Io, Body>,
    },
    Two {
        sender: http2::SendRequest<Body>,
        /// Takes requests; it ends when the server wants no more of them.
        driver: Option<Pin<Box<http2::Connection<Io, Body, Spawned>>>>,
        /// Move the bytes of those that are under way, until the last of them is answered.
        tasks: Tasks,
    },
}

/// What hyper would have run in tasks of their own.
#[derive(Clone, Default)]
struct Spawned(Rc<RefCell<Vec<Task>>>);

struct Tasks {
    spawned: Spawned,
    running: FuturesUnordered<Task>,
}

impl Opener {
    /// Opens a connection; `at` always says which phase it is in.
    ///
    /// # Errors
    /// How it counts.
    pub async fn open(&self, at: &Cell<Phase>) -> Result<(Box<Connection>, Opening), OpenError> {
        let mut opening = Opening::default();
        if self.looks_up {
            at.set(Phase::Dns);
            let from = clock::now();
            let found = lookup(&self.host, self.address.port()).await;
            opening.dns = Some(Span { from, to: clock::now() });
            found.map_err(|_| OpenError::Outcome(Outcome::Failed("name_lookup")))?;
        }
        at.set(Phase::Tcp);
        let refused = |error: std::io::Error| OpenError::Outcome(dial::outcome_of(&error));
        let socket = dial::open(self.address, self.reach.bind).map_err(refused)?;
        let from = clock::now();
        let stream = socket.connect(self.address).await.map_err(refused)?;
        opening.tcp = Some(Span { from, to: clock::now() });
        let (transport, version) = self.secure(stream, at, &mut opening).await?;
        at.set(Phase::Ttfb);
        let connection = Connection::start(transport, version).await.map_err(|_| OpenError::Outcome(CLOSED))?;
        Ok((Box::new(connection), opening))
    }

    async fn secure(
        &self,
        stream: TcpStream,
        at: &Cell<Phase>,
        opening: &mut Opening,
    ) -> Result<(Transport, Version), OpenError> {
        let Some((dialer, name)) = &self.tls else { return Ok((Transport::Plain(stream), self.clear)) };
        at.set(Phase::Tls);
        let from = clock::now();
        let dialer = dialer.borrow().clone();
        let stream = dialer.handshake(name, stream).await.map_err(OpenError::Tls)?;
        opening.tls = Some(Span { from, to: clock::now() });
        // A server that negotiates nothing speaks HTTP/1.1 (RFC 9113 section 3.2).
        let version = if alpn_of(&stream) == Some(Version::Two.alpn()) { Version::Two } else { Version::One };
        match self.expected.get() {
            Some(expected) if expected != version => Err(OpenError::Outcome(Outcome::Failed("http_version"))),
            _ => {
                self.expected.set(Some(version));
                Ok((Transport::Tls(Box::new(stream)), version))
            }
        }
    }
}

/// A connection that the server ended.
pub const CLOSED: Outcome = Outcome::Failed("closed");

impl Connection {
    async fn start(transport: Transport, version: Version) -> hyper::Result<Self> {
        let (stamped, marks) = Stamped::new(transport, version);
        let io = TokioIo::new(stamped);
        let http = match version {
            Version::One => {
                let (sender, driver) = http::one().handshake(io).await?;
                Http::One { sender, driver }
            }
            Version::Two => {
                let spawned = Spawned::default();
                let mut builder = http2::Builder::new(spawned.clone());
                builder.max_header_list_size(http::LONGEST_HEAD as u32);
                let (sender, driver) = builder.handshake(io).await?;
                Http::Two { sender, driver: Some(Box::pin(driver)), tasks: Tasks::of(spawned) }
            }
        };
        Ok(Self { marks, version, is_over: false, http })
    }

    /// Moves bytes as far as they go now, and wakes the caller when there is more to do.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if self.is_over {
            return;
        }
        self.is_over = match &mut self.http {
            Http::One { driver, .. } => Pin::new(driver).poll(cx).is_ready(),
            Http::Two { driver, tasks, .. } => {
                // The tasks feed the driver and the other way round; each pass goes on as long as one of them does.
                if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
                    *driver = None;
                }
                let is_idle = tasks.drive(cx);
                driver.is_none() && is_idle
            }
        };
    }

    /// Whether a request can be sent, once that is known.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.drive(cx);
        if self.is_over || self.marks.is_going_away() {
            return Poll::Ready(false);
        }
        let polled = match &mut self.http {
            Http::One { sender, .. } => sender.poll_ready(cx),
            Http::Two { sender, .. } => sender.poll_ready(cx),
        };
        polled.map(|ready| ready.is_ok())
    }

    /// Hands a request over; nothing moves before the connection is driven. The answer to come is on the heap: it holds a
    /// place for the request itself, and would be copied with every attempt.
    pub fn send(&mut self, request: hyper::Request<Body>) -> Response {
        match &mut self.http {
            Http::One { sender, .. } => Box::pin(sender.send_request(request)),
            Http::Two { sender, .. } => Box::pin(sender.send_request(request)),
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Tasks {
    fn of(spawned: Spawned) -> Self {
        Self { spawned, running: FuturesUnordered::new() }
    }

    /// Goes on as far as it goes; whether nothing is left to do.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            self.running.extend(self.spawned.0.take());
            match self.running.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) if self.spawned.0.borrow().is_empty() => return true,
                Poll::Ready(None) => {}
                Poll::Pending if self.spawned.0.borrow().is_empty() => return false,
                Poll::Pending => {}
            }
        }
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Spawned {
    fn execute(&self, task: F) {
        self.0.borrow_mut().push(Box::pin(task));
    }
}
