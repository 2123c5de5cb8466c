//! Emulated links in user space: a thread that takes messages, holds them for as long as the link says, and answers.
//!
//! In front of an embedded responder, so that a comparison of topologies runs anywhere. The kernel's own handshake on
//! the loopback cannot be delayed from here, which is why an emulated target has no connect and no ICMP channel.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::{Applied, FitError, Link};
use crate::model::{LinkProfile, Stamp};
use crate::sys::clock;
use crate::sys::thread::Background;
use crate::sys::timer::Timer;

/// Messages held by one connection beyond which it is not read further.
const HELD_LIMIT: usize = 16_384;

/// Connections per target; the measuring side uses one.
const CONNECTION_LIMIT: usize = 64;

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// When to look again where nothing is due.
const NEVER: Stamp = Stamp::from_nanos(u64::MAX);

/// The far end behind the link: a message and the time it arrived become an answer.
#[derive(Clone, Copy, Debug)]
pub struct Responder {
    /// Length of every message.
    pub message_length: usize,
    /// The answer of the same length; `None` for a message that is not answered.
    pub answer: fn(&[u8], Stamp) -> Option<Vec<u8>>,
}

/// One emulated target.
#[derive(Clone, Debug)]
pub struct EmulatedTarget {
    /// Where it listens, TCP and UDP.
    pub address: SocketAddr,
    /// What the link applied to the exchanges over TCP.
    pub tcp_applied: Arc<Applied>,
    /// What the link applied to the exchanges over UDP.
    pub udp_applied: Arc<Applied>,
}

/// Running links; dropping them ends them.
#[derive(Debug)]
pub struct Emulation {
    /// The targets, in the order of their profiles.
    pub targets: Vec<EmulatedTarget>,
    _thread: Background,
}

/// Links that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EmulationError {
    /// No delay process has the profile's figures.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// No sockets or no thread.
    #[error("no emulated link could be made")]
    Start(#[from] io::Error),
}

struct Endpoint {
    tcp: std::net::TcpListener,
    udp: std::net::UdpSocket,
    target: EmulatedTarget,
    profile: LinkProfile,
    seed: u64,
    number: u64,
    responder: Responder,
}

impl Emulation {
    /// Starts one link per profile, each on a free port of 127.0.0.1, in front of `responder`.
    ///
    /// # Errors
    /// When a profile has no fitting delays, or no sockets or thread can be had.
    pub fn start(
        profiles: &[LinkProfile],
        responder: Responder,
        seed: u64,
        bind: fn(SocketAddr) -> io::Result<(std::net::TcpListener, std::net::UdpSocket)>,
    ) -> Result<Self, EmulationError> {
        let mut endpoints = Vec::new();
        for (number, profile) in (0..).zip(profiles) {
            Link::new(profile, true, seed, number)?;
            let (tcp, udp) = bind((Ipv4Addr::LOCALHOST, 0).into())?;
            tcp.set_nonblocking(true)?;
            udp.set_nonblocking(true)?;
            let address = tcp.local_addr()?;
            let target = EmulatedTarget { address, tcp_applied: Arc::default(), udp_applied: Arc::default() };
            endpoints.push(Endpoint { tcp, udp, target, profile: profile.clone(), seed, number, responder });
        }
        let targets = endpoints.iter().map(|endpoint| endpoint.target.clone()).collect();
        let thread = Background::spawn("links", move || async move {
            let mut links = JoinSet::new();
            for endpoint in endpoints {
                links.spawn(serve(endpoint));
            }
            while links.join_next().await.is_some() {}
        })?;
        Ok(Self { targets, _thread: thread })
    }
}

async fn serve(endpoint: Endpoint) {
    let Endpoint { tcp, udp, target, profile, seed, number, responder } = endpoint;
    let (Ok(tcp), Ok(udp)) = (TcpListener::from_std(tcp), UdpSocket::from_std(udp)) else { return };
    // Streams of the generator: 2 numbers a target, one for TCP and one for UDP; each further connection has its own.
    let streams = |nth: u64| {
        let link = Link::new(&profile, true, seed, (nth << 32) + number * 2)?;
        Ok(Held::new(link, Arc::clone(&target.tcp_applied), responder))
    };
    let Ok(link) = Link::new(&profile, false, seed, number * 2 + 1) else { return };
    let datagrams = Held::new(link, Arc::clone(&target.udp_applied), responder);
    tokio::join!(serve_tcp(tcp, streams), serve_udp(udp, datagrams));
}

async fn serve_tcp(listener: TcpListener, held: impl Fn(u64) -> Result<Held<()>, FitError>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTION_LIMIT => {
                    let Ok(held) = held(number) else { return };
                    connections.spawn(connection(stream, held));
                    number += 1;
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Messages on their way, in both directions.
struct Held<P> {
    link: Link,
    applied: Arc<Applied>,
    responder: Responder,
    there: VecDeque<(Stamp, Message<P>)>,
    back: VecDeque<(Stamp, Message<P>)>,
}

struct Message<P> {
    number: u64,
    set_out: Stamp,
    bytes: Vec<u8>,
    peer: P,
}

impl<P> Held<P> {
    const fn new(link: Link, applied: Arc<Applied>, responder: Responder) -> Self {
        Self { link, applied, responder, there: VecDeque::new(), back: VecDeque::new() }
    }

    fn set_out(&mut self, bytes: &[u8], peer: P, now: Stamp) {
        let number = self.applied.set_out();
        match self.link.forward(bytes.len(), now) {
            Some(release) => {
                self.there.push_back((release, Message { number, set_out: now, bytes: bytes.to_vec(), peer }));
            }
            None => self.applied.push(number, now, None),
        }
    }

    fn next_due(&self) -> Stamp {
        let fronts = [self.there.front(), self.back.front()];
        fronts.into_iter().flatten().map(|(release, _)| *release).min().unwrap_or(NEVER)
    }

    /// Lets what is due arrive at the far end, and its answers set out.
    fn arrive(&mut self, now: Stamp) {
        while let Some((_, message)) = self.there.pop_front_if(|(release, _)| *release <= now) {
            let Some(answer) = (self.responder.answer)(&message.bytes, now) else {
                self.link.unanswered();
                continue;
            };
            match self.link.backward(answer.len(), now) {
                Some((release, applied_ns)) => {
                    self.applied.push(message.number, message.set_out, Some(applied_ns));
                    self.back.push_back((release, Message { bytes: answer, ..message }));
                }
                None => self.applied.push(message.number, message.set_out, None),
            }
        }
    }

    /// The next answer that is due at the near end.
    fn returned(&mut self, now: Stamp) -> Option<Message<P>> {
        self.back.pop_front_if(|(release, _)| *release <= now).map(|(_, message)| message)
    }
}

/// One connection until it closes; a peer that breaks the protocol or stops reading is simply left.
async fn connection(stream: TcpStream, mut held: Held<()>) {
    let length = held.responder.message_length;
    let mut buffer = vec![0; length * 64];
    let mut filled = 0;
    let (Ok(mut timer), Ok(())) = (Timer::new(), stream.set_nodelay(true)) else { return };
    loop {
        let room = held.there.len() + held.back.len() < HELD_LIMIT;
        let due = held.next_due();
        tokio::select! {
            readable = stream.readable(), if room => match readable.and_then(|()| stream.try_read(&mut buffer[filled..])) {
                Ok(0) => return,
                Ok(read) => {
                    let now = clock::now();
                    filled += read;
                    let whole = filled - filled % length;
                    buffer[..whole].chunks_exact(length).for_each(|message| held.set_out(message, (), now));
                    buffer.copy_within(whole..filled, 0);
                    filled -= whole;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
            waited = timer.wait_until(due), if due != NEVER => if waited.is_err() { return },
        }
        held.arrive(clock::now());
        while let Some(message) = held.returned(clock::now()) {
            if write_all(&stream, &message.bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn serve_udp(socket: UdpSocket, mut held: Held<SocketAddr>) {
    let mut buffer = vec![0; held.responder.message_length + 1];
    let Ok(mut timer) = Timer::new() else { return };
    loop {
        let room = held.there.len() + held.back.len() < HELD_LIMIT;
        let due = held.next_due();
        tokio::select! {
            // An error here reports what became of an earlier answer; the socket itself stays usable.
            received = socket.recv_from(&mut buffer), if room => if let Ok((read, peer)) = received {
                held.set_out(&buffer[..read], peer, clock::now());
            },
            waited = timer.wait_until(due), if due != NEVER => if waited.is_err() { return },
        }
        held.arrive(clock::now());
        while let Some(message) = held.returned(clock::now()) {
            // A full socket buffer loses the datagram, as a network would.
            let _ = socket.try_send_to(&message.bytes, message.peer);
        }
    }
}
