//! The UDP channel: PING and PONG as datagrams, where nothing is sent again for us.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::pending::Pending;
use crate::echo::{FRAME_LENGTH, Frame, Kind};
use crate::load::Answer;
use crate::model::Outcome;
use crate::sys::clock;
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
    socket: UdpSocket,
    session: u64,
    pending: Pending,
}

impl UdpChannel {
    /// A socket that hears only `address`.
    ///
    /// # Errors
    /// When there are no descriptors, or the bind address is not of this host.
    pub async fn open(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<Self> {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(bind.unwrap_or(any), 0)).await?;
        if let Err(error) = socket.connect(address).await {
            // No route is a fact about the target, counted on schedule like any other.
            return Ok(Self { shared: Err(outcome_of(&error)), _reader: JoinSet::new() });
        }
        // Until the event loop has seen it writable once, a send would be refused without asking the kernel.
        socket.writable().await?;
        let shared = Arc::new(Shared { socket, session: clock::entropy(), pending: Pending::default() });
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
        let frame = Frame::ping(shared.session, expected.key, started).encode();
        match shared.socket.try_send(&frame) {
            Ok(_) => expected.answer(started).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::new(Outcome::Failed("no_buffer")),
            Err(error) => Answer { started: Some(started), ..Answer::new(outcome_of(&error)) },
        }
    }

    /// Answers that came after their attempt had been given up.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.pending.late_count())
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [0; FRAME_LENGTH + 1];
    loop {
        match shared.socket.recv(&mut buffer).await {
            Ok(length) => {
                let at = clock::now();
                let pong = Frame::decode(&buffer[..length]).filter(|f| f.kind == Kind::Pong);
                if let Some(pong) = pong.filter(|f| f.session == shared.session) {
                    shared.pending.settle(pong.sequence, Outcome::Ok, at);
                }
            }
            // The kernel reports an ICMP error once and not for which datagram: all that wait were sent the same way.
            Err(error) => shared.pending.settle_all(outcome_of(&error)),
        }
    }
}
