//! The UDP channel: PING and PONG as datagrams, where nothing is sent again for us.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::book::{Book, Read};
use super::pending::Pending;
use super::stamps::Stamps;
use crate::echo::{FRAME_LENGTH, Frame, Kind};
use crate::load::Answer;
use crate::model::Outcome;
use crate::sys::clock;
use crate::sys::datagram::Connected;
use crate::sys::host::kernel_token;
use crate::sys::stamping::{Reception, Stampers};
use crate::wire::dial::outcome_of;

/// A connected UDP socket and the attempts on it.
#[derive(Debug)]
pub struct UdpChannel {
    /// The socket, or why the target cannot be sent to.
    shared: Result<Arc<Shared>, Outcome>,
    _reader: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    socket: Connected,
    session: u64,
    /// What tells this host from others in this session.
    host: Option<u64>,
    pending: Pending,
    stampers: Stampers,
    stamps: Stamps,
    /// Datagrams sent, as the kernel numbers them.
    sent: AtomicU32,
}

impl UdpChannel {
    /// A socket that hears only `address`, whose messages these are to stamp; `patience` is how long an answer is waited for.
    ///
    /// # Errors
    /// When there are no descriptors, or the bind address is not of this host.
    pub fn open(address: SocketAddr, bind: Option<IpAddr>, patience: Duration, stampers: Stampers) -> io::Result<Self> {
        let socket = Connected::bind(address, bind)?;
        if let Err(error) = socket.connect(address) {
            // No route is a fact about the target, counted on schedule like any other.
            return Ok(Self { shared: Err(outcome_of(&error)), _reader: JoinSet::new() });
        }
        let stamps = Stamps::new(Book::new(1, patience, stampers, socket.want_stamps(stampers)));
        let (session, pending) = (clock::entropy(), Pending::default());
        let host = kernel_token(session);
        let shared = Arc::new(Shared { socket, session, host, pending, stampers, stamps, sent: AtomicU32::new(0) });
        let mut reader = JoinSet::new();
        reader.spawn(read(Arc::clone(&shared)));
        Ok(Self { shared: Ok(shared), _reader: reader })
    }

    /// Sends one PING and waits for its PONG.
    pub async fn attempt(&self) -> Answer {
        let shared = match &self.shared {
            Ok(shared) => shared,
            Err(outcome) => return Answer::new(*outcome),
        };
        let expected = shared.pending.expect();
        let started = clock::now();
        let ping = Frame::ping(shared.session, expected.key, started).wanting_stamps(shared.host);
        match shared.send(expected.key, &ping) {
            Ok(()) => expected.answer(started).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::new(Outcome::Failed("no_buffer")),
            Err(error) => Answer { started: Some(started), ..Answer::new(outcome_of(&error)) },
        }
    }

    /// The kernel's stamps of its exchanges, where it has a socket.
    #[must_use]
    pub fn stamps(&self) -> Option<&Stamps> {
        self.shared.as_ref().ok().map(|shared| &shared.stamps)
    }

    /// Answers that came after their attempt had been given up.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.pending.late_count())
    }
}

impl Shared {
    fn send(&self, sequence: u64, ping: &Frame) -> io::Result<()> {
        self.stamps.begin(sequence, ping.sent, self.pending.count());
        if let Err(error) = self.socket.send(&ping.encode()) {
            // Whether the kernel has counted it is not known; asking again begins the numbers again.
            self.sent.store(0, Ordering::Relaxed);
            self.stamps.renumber(self.socket.want_stamps(self.stampers), self.socket.descriptor());
            return Err(error);
        }
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.stamps.written(number, sequence, self.socket.descriptor());
        Ok(())
    }

    fn take(&self, bytes: &[u8], received: Reception) {
        let ended = clock::now();
        let pong = Frame::decode(bytes).filter(|f| f.kind == Kind::Pong && f.session == self.session);
        let Some(pong) = pong else { return };
        if self.pending.settle(pong.sequence, Outcome::Ok, ended) {
            self.stamps.read(Read { sequence: pong.sequence, ended, received }, self.socket.descriptor());
        }
        if let Some(earlier) = pong.earlier {
            self.stamps.told(earlier, &pong);
        }
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [0; FRAME_LENGTH + 1];
    loop {
        let taken = shared.socket.receive_each(&mut buffer, |bytes, received| shared.take(bytes, received)).await;
        if let Err(error) = taken {
            // The kernel reports an ICMP error once and not for which datagram: all that wait were sent the same way.
            shared.pending.settle_all(outcome_of(&error));
        }
    }
}
