//! The echo as a service on sockets that somebody else bound: a thread per connection, and one for UDP.
//!
//! Threads that block, because what the far end adds between its wake-up and its answer is in every figure that is
//! measured against it, and an event loop adds 3 us of about 75 on a loopback. Everything is bounded: a slow,
//! half-open or garbage-sending peer costs one small thread until its time is up, and nobody else notices.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::frame::{FRAME_LENGTH, Frame, answer};
use crate::model::Stamp;
use crate::sys::{clock, datagram};

/// Bytes read from a connection at once; also all that is kept of it.
const BUFFER: usize = 56 * FRAME_LENGTH;

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
        let ended = if serving.is_stopping() { Ok(()) } else { answer_stream(&stream, &serving) };
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

fn answer_stream(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(shared.limits.write))?;
    let mut buffer = [0; BUFFER];
    let mut filled = first_frame(stream, &mut buffer, shared.limits.first_ping)?;
    stream.set_read_timeout(Some(shared.limits.idle))?;
    let mut last_frame = clock::now();
    loop {
        let received = clock::now();
        let whole = filled - filled % FRAME_LENGTH;
        if whole > 0 {
            last_frame = received;
        } else if received.since(last_frame) > shared.limits.idle {
            // Single bytes do not keep a connection alive.
            return Ok(());
        }
        for frame in buffer[..whole].chunks_exact_mut(FRAME_LENGTH) {
            let pong = answer(frame, received, clock::now()).ok_or(io::ErrorKind::InvalidData)?;
            frame.copy_from_slice(&pong);
        }
        write_all(stream, &buffer[..whole], received + shared.limits.write)?;
        shared.statistics.answered.fetch_add((whole / FRAME_LENGTH) as u64, Ordering::Relaxed);
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
    }
}

/// Writes all of it by the deadline: a peer that takes a byte now and then gains nothing.
fn write_all(mut stream: &TcpStream, mut bytes: &[u8], deadline: Stamp) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes)?;
        bytes = &bytes[written..];
        if written == 0 || (!bytes.is_empty() && clock::now() > deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Reads until the first whole frame is there, all within `patience`: a peer that drips bytes gains nothing.
fn first_frame(mut stream: &TcpStream, buffer: &mut [u8], patience: Duration) -> io::Result<usize> {
    let ours = Frame::ping(0, 0, Stamp::from_nanos(0)).encode();
    let deadline = clock::now() + patience;
    let mut filled = 0;
    while filled < FRAME_LENGTH {
        let left = deadline.since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        // A foreign protocol is refused at its first bytes instead of waiting for a whole frame of it.
        let head = filled.min(5);
        if buffer[..head] != ours[..head] {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(filled)
}

fn answer_datagrams(shared: &Shared) {
    // One byte more than a frame, so that a longer datagram is not taken for one.
    let mut buffer = [0; FRAME_LENGTH + 1];
    while !shared.is_stopping() {
        // Errors here report what became of an earlier answer; the socket itself stays usable.
        let Ok((length, origin)) = datagram::receive(&shared.udp, &mut buffer) else { continue };
        let received = clock::now();
        match answer(&buffer[..length], received, clock::now()) {
            Some(pong) => {
                if datagram::answer(&shared.udp, &pong, &origin).is_ok() {
                    shared.statistics.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => _ = shared.statistics.foreign.fetch_add(1, Ordering::Relaxed),
        }
    }
}
