//! The echo as a service on sockets that somebody else bound: a thread per connection, and one for UDP.
//!
//! Threads that block, because what the far end adds between its wake-up and its answer is in every figure that is
//! measured against it, and an event loop adds 3 us of about 75 on a loopback. Everything is bounded: a slow,
//! half-open or garbage-sending peer costs one small thread until its time is up, and nobody else notices.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::flow::Flows;
use super::frame::{FRAME_LENGTH, Frame, Kind};
use super::stamper::{Answered, Stamper};
use super::stream::answer_stream;
use crate::sys::stamping::Stampers;
use crate::sys::{clock, datagram, stamping};

/// Stack of a connection's thread: its buffer and a few calls.
const STACK: usize = 64 << 10;

/// How long to wait before accepting again when the process is out of descriptors or threads.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one peer, and all together, may use.
#[derive(Clone, Copy, Debug)]
pub struct EchoLimits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// A connection that has not sent a whole PING by then is closed.
    pub first_ping: Duration,
    /// A connection that is silent for so long is closed.
    pub idle: Duration,
    /// A peer that does not take its answers for so long is closed.
    pub write: Duration,
}

impl Default for EchoLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            first_ping: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            write: Duration::from_secs(10),
        }
    }
}

/// What the echo has done so far.
#[derive(Debug, Default)]
pub struct EchoStatistics {
    /// PINGs answered.
    pub answered: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because there were too many.
    pub turned_away: AtomicU64,
    /// Connections closed and datagrams dropped because they were not ours.
    pub foreign: AtomicU64,
}

/// A running echo; dropping it closes every connection and waits for its threads.
#[derive(Debug)]
pub struct EchoServer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    tcp: TcpListener,
    udp: UdpSocket,
    limits: EchoLimits,
    statistics: EchoStatistics,
    connections: Mutex<HashMap<u64, TcpStream>>,
    stopping: AtomicBool,
}

impl EchoServer {
    /// Serves both sockets until dropped.
    ///
    /// # Errors
    /// When no thread can be had, or the kernel does not tell the address of a datagram.
    pub fn start(tcp: TcpListener, udp: UdpSocket, limits: EchoLimits) -> io::Result<Self> {
        datagram::want_origin(&udp)?;
        let shared = Arc::new(Shared {
            tcp,
            udp,
            limits,
            statistics: EchoStatistics::default(),
            connections: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let mut server = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let accepting = Arc::clone(&shared);
        server.threads.push(Builder::new().name("echo-tcp".to_owned()).spawn(move || accept(&accepting))?);
        server.threads.push(Builder::new().name("echo-udp".to_owned()).spawn(move || answer_datagrams(&shared))?);
        Ok(server)
    }

    /// What it has done so far.
    #[must_use]
    pub fn statistics(&self) -> &EchoStatistics {
        &self.shared.statistics
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A panic of the thread has been printed by the panic hook; there is nothing to add in a destructor.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Wakes every thread that blocks. None of these calls can fail in a way that leaves something to do.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
        // On a socket without a peer this says ENOTCONN, and wakes whoever waits on it all the same.
        let _ = SockRef::from(&self.udp).shutdown(Shutdown::Both);
        for stream in self.lock().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(shared: &Arc<Shared>) {
    let mut number = 0;
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !shared.is_stopping() {
        number += 1;
        match shared.tcp.accept().and_then(|(stream, _)| admit(shared, stream, number)) {
            Ok(thread) => threads.extend(thread),
            Err(_) => std::thread::sleep(ACCEPT_PAUSE),
        }
        threads.retain(|thread| !thread.is_finished());
    }
    for thread in threads {
        // As in the destructor of the server.
        let _ = thread.join();
    }
}

/// Gives a connection its thread, or turns it away.
fn admit(shared: &Arc<Shared>, stream: TcpStream, number: u64) -> io::Result<Option<JoinHandle<()>>> {
    if shared.lock().len() >= shared.limits.connections {
        shared.statistics.turned_away.fetch_add(1, Ordering::Relaxed);
        return Ok(None);
    }
    shared.lock().insert(number, stream.try_clone()?);
    let serving = Arc::clone(shared);
    let thread = Builder::new().name("echo-peer".to_owned()).stack_size(STACK).spawn(move || {
        // Whoever was admitted while the server was being stopped has missed the call to end.
        let ended = match serving.is_stopping() {
            true => Ok(()),
            false => answer_stream(&stream, &serving.limits, &serving.statistics),
        };
        if ended.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            serving.statistics.foreign.fetch_add(1, Ordering::Relaxed);
        }
        serving.lock().remove(&number);
    });
    match thread {
        Ok(thread) => {
            shared.statistics.accepted.fetch_add(1, Ordering::Relaxed);
            Ok(Some(thread))
        }
        Err(error) => {
            shared.lock().remove(&number);
            Err(error)
        }
    }
}

fn answer_datagrams(shared: &Shared) {
    // One byte more than a frame, so that a longer datagram is not taken for one.
    let mut buffer = [0; FRAME_LENGTH + 1];
    let mut stamps = Stamps::ask(&shared.udp);
    while !shared.is_stopping() {
        stamps.before_reading(&shared.udp);
        // Errors here report what became of an earlier answer; the socket itself stays usable.
        let Ok((length, origin)) = datagram::receive(&shared.udp, &mut buffer) else { continue };
        let received = clock::now();
        let Some(ping) = Frame::decode(&buffer[..length]).filter(|frame| frame.kind == Kind::Ping) else {
            shared.statistics.foreign.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (pong, exchange) = stamps.pong(&ping, &origin);
        let pong = Frame { received, replied: clock::now(), ..pong };
        let is_sent = datagram::answer(&shared.udp, &pong.encode(), &origin).is_ok();
        stamps.answered(&shared.udp, is_sent, exchange);
        if is_sent {
            shared.statistics.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A place in the table of flows, and the session that it was given to.
type Place = (usize, u64);

/// The kernel's stamps of the datagrams, asked for from the beginning: the first PING of a peer is stamped too.
struct Stamps {
    /// `None` where the kernel gives none.
    kept: Option<(Stamper<Place>, Flows)>,
    /// Datagrams sent since stamps were asked for, as the kernel numbers them.
    sent: u32,
}

impl Stamps {
    fn ask(socket: &UdpSocket) -> Self {
        let kept = stamping::stamp_datagrams(socket, Stampers::Kernel).is_ok().then(|| (Stamper::new(), Flows::new()));
        Self { kept, sent: 0 }
    }

    fn before_reading(&mut self, socket: &UdpSocket) {
        if let Some((stamper, _)) = &mut self.kept {
            stamper.before_reading(socket.as_fd());
        }
    }

    /// The PONG to a PING, with the stamps that wait for this peer, and the exchange if this one is to be stamped.
    fn pong(&mut self, ping: &Frame, origin: &datagram::Origin) -> (Frame, Option<Answered<Place>>) {
        let pong = ping.pong(ping.received, ping.replied);
        match (&mut self.kept, origin.peer()) {
            (Some((stamper, flows)), Some(peer)) if ping.wants_stamps => {
                let (place, earlier) = flows.hear(peer, ping.session);
                let flow = (place, ping.session);
                let answered = Answered { flow, sequence: ping.sequence, received: origin.received_at };
                // Stamps go with the epoch that they are of: another peer's exchange may have shown a step since.
                let epoch = earlier.map_or(stamper.epoch(), |(_, epoch)| epoch);
                let earlier = earlier.map(|(earlier, _)| earlier);
                let is_same_host = flows.is_same_host(place, ping.host);
                (Frame { earlier, epoch, is_same_host, ..pong }, Some(answered))
            }
            _ => (pong, None),
        }
    }

    /// Takes note of an answer, and of whatever stamps there are by now.
    fn answered(&mut self, socket: &UdpSocket, is_sent: bool, exchange: Option<Answered<Place>>) {
        let Some((stamper, flows)) = &mut self.kept else { return };
        if !is_sent {
            // Whether the kernel has counted it is not known; asking again begins the numbers again.
            stamper.restart(socket.as_fd());
            *self = Self {
                kept: self.kept.take().filter(|_| stamping::stamp_datagrams(socket, Stampers::Kernel).is_ok()),
                sent: 0,
            };
            return;
        }
        if let Some(answered) = exchange {
            stamper.answered(self.sent, answered);
        }
        self.sent = self.sent.wrapping_add(1);
        stamper.collect(socket.as_fd(), |(place, session), earlier, epoch| {
            flows.keep(place, session, earlier, epoch);
        });
    }
}
