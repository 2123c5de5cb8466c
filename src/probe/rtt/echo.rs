//! The echo channel: PING and PONG on one kept TCP connection.
//!
//! A task of its own keeps the connection: it connects, reads, settles attempts with the stamp taken right after the
//! read, and connects again when the far end dies. Attempts made while there is no connection end at once with the
//! reason why there is none, so an outage is counted on schedule. A peer that answers other bytes, or closes before its
//! first PONG, is not an echo: nothing is ever sent to it again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::book::{Book, Read};
use super::pending::Pending;
use super::stamps::Stamps;
use crate::echo::{FRAME_LENGTH, Frame, Kind};
use crate::load::Answer;
use crate::model::{Outcome, Stamp};
use crate::sys::host::kernel_token;
use crate::sys::stamping::{Reception, Stampers};
use crate::sys::{clock, stamping};
use crate::wire::dial::{open, outcome_of};

/// Pause before connecting again; after connections that were accepted and brought nothing it doubles up to the longest.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest wait for a connection.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// A connection on which nothing was sent for so long gets a PING, or the far end would take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How often a kept connection is looked at.
const PATROL: Duration = Duration::from_secs(1);

/// Sequence number of the PINGs that are nobody's attempt.
const GREETING: u64 = u64::MAX;

/// How long to wait before writing again to a socket that was said to have room and has none.
const OUTBOX_PAUSE: Duration = Duration::from_millis(1);

/// Bytes that may wait because the peer does not read; beyond them attempts are lost at once.
const OUTBOX_LIMIT: usize = 4096 * FRAME_LENGTH;

/// How an attempt on a peer that is not an echo is counted.
const NOT_AN_ECHO: Outcome = Outcome::Failed("not_an_echo");

/// One kept connection and the attempts on it.
#[derive(Debug)]
pub struct EchoChannel {
    shared: Arc<Shared>,
    _keeper: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    bind: Option<IpAddr>,
    patience: Duration,
    session: u64,
    /// What tells this host from others in this session.
    host: Option<u64>,
    pending: Pending,
    stampers: Stampers,
    stamps: Stamps,
    state: Mutex<State>,
    changed: Notify,
    outbox_filled: Notify,
    /// PONGs so far: only after the first is silence an outage and a close a death.
    heard: AtomicU64,
    /// PINGs so far.
    sent: AtomicU64,
    /// When the first PING since the last PONG was sent; 0 while none waits.
    waiting_since: AtomicU64,
}

#[derive(Debug)]
struct State {
    link: Link,
    outbox: Vec<u8>,
    /// Bytes that were taken for this connection, as the kernel numbers them.
    taken: u32,
}

#[derive(Clone, Debug)]
enum Link {
    Connecting,
    Up(Arc<TcpStream>),
    Down(Outcome),
    /// What the peer did instead of answering with a PONG.
    Foreign(&'static str),
}

impl EchoChannel {
    /// Begins to keep a connection, whose messages these are to stamp; `patience` is how long an answer is waited for, and
    /// the connection if that is not too long.
    #[must_use]
    pub fn open(address: SocketAddr, bind: Option<IpAddr>, patience: Duration, stampers: Stampers) -> Self {
        let session = clock::entropy();
        let shared = Arc::new(Shared {
            address,
            bind,
            patience,
            session,
            host: kernel_token(session),
            pending: Pending::default(),
            stampers,
            stamps: Stamps::new(Book::new(FRAME_LENGTH as u32, patience, stampers, Ok(()))),
            state: Mutex::new(State { link: Link::Connecting, outbox: Vec::new(), taken: 0 }),
            changed: Notify::new(),
            outbox_filled: Notify::new(),
            heard: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(Arc::clone(&shared)));
        Self { shared, _keeper: keeper }
    }

    /// Sends one PING and waits for its PONG.
    pub async fn attempt(&self) -> Answer {
        let link = self.shared.lock().link.clone();
        let stream = match link {
            Link::Up(stream) => stream,
            Link::Connecting => return Answer::new(Outcome::Failed("not_connected")),
            Link::Down(outcome) => return Answer::new(outcome),
            Link::Foreign(_) => return Answer::new(NOT_AN_ECHO),
        };
        let expected = self.shared.pending.expect();
        let started = clock::now();
        match self.shared.send(&stream, expected.key, started) {
            Ok(()) => expected.answer(started).await,
            Err(outcome) => Answer { started: Some(started), ..Answer::new(outcome) },
        }
    }

    /// Waits until the first connection is made, or has failed.
    pub async fn settled(&self) {
        loop {
            let changed = self.shared.changed.notified();
            if !matches!(self.shared.lock().link, Link::Connecting) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the peer has answered the PING that greets every connection, or will not.
    pub async fn greeted(&self) -> bool {
        loop {
            let changed = self.shared.changed.notified();
            match self.shared.lock().link {
                _ if self.shared.heard() > 0 => return true,
                Link::Down(_) | Link::Foreign(_) => return false,
                Link::Connecting | Link::Up(_) => {}
            }
            changed.await;
        }
    }

    /// Whether the peer refuses connections.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.shared.lock().link, Link::Down(Outcome::Refused))
    }

    /// What the peer did instead of answering with a PONG, if it is not an echo.
    #[must_use]
    pub fn foreign(&self) -> Option<&'static str> {
        match self.shared.lock().link {
            Link::Foreign(what) => Some(what),
            _ => None,
        }
    }

    /// The kernel's stamps of its exchanges.
    #[must_use]
    pub fn stamps(&self) -> &Stamps {
        &self.shared.stamps
    }

    /// Answers that came after their attempt had been given up.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.shared.pending.late_count()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a PING, or what the socket does not take of it into the outbox.
    fn send(&self, stream: &TcpStream, sequence: u64, started: Stamp) -> Result<(), Outcome> {
        let frame = Frame::ping(self.session, sequence, started).wanting_stamps(self.host).encode();
        if sequence != GREETING {
            self.stamps.begin(sequence, started, self.pending.count());
        }
        let number = self.write(stream, &frame)?;
        self.stamps.written(number, sequence, stream.as_fd());
        Ok(())
    }

    /// Returns what the kernel numbers the last byte of the frame with, once it has it.
    fn write(&self, stream: &TcpStream, frame: &[u8]) -> Result<u32, Outcome> {
        let mut state = self.lock();
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.waiting_since.load(Ordering::Relaxed) == 0 {
            self.waiting_since.store(clock::now().as_nanos(), Ordering::Relaxed);
        }
        let written = match state.outbox.is_empty() {
            true => match stream.try_write(frame) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return Err(Outcome::Failed("connection_lost")),
            },
            false if state.outbox.len() > OUTBOX_LIMIT => return Err(Outcome::Lost),
            false => 0,
        };
        if written < frame.len() {
            state.outbox.extend_from_slice(&frame[written..]);
            self.outbox_filled.notify_one();
        }
        state.taken = state.taken.wrapping_add(frame.len() as u32);
        Ok(state.taken.wrapping_sub(1))
    }

    fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends a PING that is nobody's attempt: it shows at once whether the far end is an echo, and that this end lives.
    fn greet(&self, stream: &TcpStream) {
        // A connection that does not take it ends in the reading, with its reason.
        let _ = self.send(stream, GREETING, clock::now());
    }

    /// For how long a PING has waited without any PONG.
    fn silence(&self) -> Duration {
        match self.waiting_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => clock::now().since(Stamp::from_nanos(since)),
        }
    }

    /// Settles the attempt of a PONG, and takes the stamps that came with it.
    fn take(&self, pong: &Frame, ended: Stamp, received: Reception, stream: &TcpStream) {
        if self.pending.settle(pong.sequence, Outcome::Ok, ended) {
            self.stamps.read(Read { sequence: pong.sequence, ended, received }, stream.as_fd());
        }
        if let Some(earlier) = pong.earlier {
            self.stamps.told(earlier, pong);
        }
    }

    /// Never sends another byte to a peer that is not an echo.
    fn give_up(&self, what: &'static str) {
        self.set(Link::Foreign(what));
        self.pending.settle_all(NOT_AN_ECHO);
    }

    /// There is no connection, for this reason; what waited on it ends with it.
    fn disconnect(&self, outcome: Outcome) {
        self.set(Link::Down(outcome));
        self.pending.settle_all(outcome);
    }

    fn set(&self, link: Link) {
        let mut state = self.lock();
        state.link = link;
        state.outbox.clear();
        state.taken = 0;
        drop(state);
        self.changed.notify_waiters();
    }
}

/// Keeps the connection until the channel is dropped or the peer proves foreign.
async fn keep(shared: Arc<Shared>) {
    let mut pause = RECONNECT_PAUSE;
    loop {
        let heard = shared.heard();
        let outcome = match connect(&shared).await {
            Err(outcome) => {
                shared.disconnect(outcome);
                pause = RECONNECT_PAUSE;
                tokio::time::sleep(pause).await;
                continue;
            }
            Ok(stream) => {
                let stream = Arc::new(stream);
                shared.waiting_since.store(0, Ordering::Relaxed);
                let asked = stamping::stamp_stream(&stream, shared.stampers);
                shared.stamps.go_on(Book::new(FRAME_LENGTH as u32, shared.patience, shared.stampers, asked));
                shared.set(Link::Up(Arc::clone(&stream)));
                shared.greet(&stream);
                match converse(&shared, &stream).await {
                    End::Foreign(what) => return shared.give_up(what),
                    End::Closed(what) if shared.heard() == 0 => return shared.give_up(what),
                    End::Closed(_) => Outcome::Failed("connection_lost"),
                    End::Stalled => Outcome::Lost,
                }
            }
        };
        shared.disconnect(outcome);
        // A peer that accepts and closes, again and again, must not be stormed.
        pause = if shared.heard() > heard { RECONNECT_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

async fn connect(shared: &Shared) -> Result<TcpStream, Outcome> {
    let socket = open(shared.address, shared.bind).map_err(|error| outcome_of(&error))?;
    match timeout(shared.patience.min(LONGEST_PATIENCE), socket.connect(shared.address)).await {
        Ok(connected) => connected.map_err(|error| outcome_of(&error)),
        Err(_) => Err(Outcome::Lost),
    }
}

enum End {
    /// The peer sent something that is not a PONG of ours.
    Foreign(&'static str),
    /// The peer closed or reset the connection.
    Closed(&'static str),
    /// The peer has not sent a byte for long, though it was asked.
    Stalled,
}

/// Reads PONGs and writes the outbox until the connection ends.
async fn converse(shared: &Shared, stream: &TcpStream) -> End {
    let stall = (shared.patience.min(LONGEST_PATIENCE) * 3).max(Duration::from_secs(5));
    let mut patrol = tokio::time::interval(PATROL);
    let (mut sent, mut quiet) = (shared.sent.load(Ordering::Relaxed), Duration::ZERO);
    let mut pongs = Pongs::new();
    loop {
        // Reading comes first and arms no timer: what stands between the wake-up and the stamp is in every figure.
        tokio::select! {
            biased;
            end = pongs.read(shared, stream) => return end,
            () = flush(shared, stream) => {}
            _ = patrol.tick() => {
                if shared.heard() > 0 && shared.silence() > stall {
                    return End::Stalled;
                }
                let now_sent = shared.sent.load(Ordering::Relaxed);
                quiet = if now_sent == sent { quiet + PATROL } else { Duration::ZERO };
                sent = now_sent;
                if quiet > KEEP_ALIVE {
                    shared.greet(stream);
                }
            }
        }
    }
}

/// The frame that comes next, and the stamp of the one before. Frames are read one by one, though several may wait: each is
/// then stamped for itself.
struct Pongs {
    buffer: [u8; FRAME_LENGTH],
    filled: usize,
    last: Option<(u64, Reception)>,
}

impl Pongs {
    const fn new() -> Self {
        Self { buffer: [0; FRAME_LENGTH], filled: 0, last: None }
    }

    async fn read(&mut self, shared: &Shared, stream: &TcpStream) -> End {
        loop {
            let room = &mut self.buffer[self.filled..];
            match stream.try_io(Interest::READABLE, || stamping::receive(stream.as_fd(), room)) {
                Ok((0, _)) => return End::Closed("it closed the connection"),
                Ok((read, received)) => {
                    self.filled += read;
                    if !self.take_frame(shared, stream, received) {
                        return End::Foreign("it answered with other bytes");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return End::Closed("it reset the connection"),
            }
            if stream.readable().await.is_err() {
                return End::Closed("it closed the connection");
            }
        }
    }

    /// Settles the PONG if it is whole; false if the bytes are not ours.
    fn take_frame(&mut self, shared: &Shared, stream: &TcpStream, received: Reception) -> bool {
        let at = clock::now();
        if self.filled < FRAME_LENGTH {
            return Frame::ping(0, 0, at).encode().starts_with(&self.buffer[..self.filled.min(5)]);
        }
        self.filled = 0;
        let pong = Frame::decode(&self.buffer).filter(|f| f.kind == Kind::Pong && f.session == shared.session);
        let Some(pong) = pong else { return false };
        // Segments that wait together may be joined, under the stamp of the last: that of the one before was not its own.
        // Where they were joined before the kernel stamped them, the card's is that of the first.
        let is_joined = |last: Reception| last.kernel.is_some() && last.kernel == received.kernel;
        let mut own = received;
        if let Some((sequence, _)) = self.last.filter(|(_, stamps)| is_joined(*stamps)) {
            shared.stamps.retract(sequence);
            own.card = None;
        }
        self.last = Some((pong.sequence, received));
        shared.take(&pong, at, own, stream);
        shared.waiting_since.store(0, Ordering::Relaxed);
        if shared.heard.fetch_add(1, Ordering::Relaxed) == 0 {
            shared.changed.notify_waiters();
        }
        true
    }
}

/// Writes the outbox as far as the socket takes it; waits while it is empty.
async fn flush(shared: &Shared, stream: &TcpStream) {
    while shared.lock().outbox.is_empty() {
        shared.outbox_filled.notified().await;
    }
    if stream.writable().await.is_ok() {
        let written = {
            let mut state = shared.lock();
            let written = stream.try_write(&state.outbox);
            if let Ok(written) = written {
                state.outbox.drain(..written);
            }
            written
        };
        if written.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // A stamp in the error queue can make the socket look writable for good.
            tokio::time::sleep(OUTBOX_PAUSE).await;
        }
    }
}
