//! The connect channel: one TCP handshake per attempt.
//!
//! Separate because it is the only channel that works against any open port, and the only one with the kernel's own
//! estimate beside ours. The connection is closed politely at once; the target sees a client that said nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use tokio::net::{TcpSocket, TcpStream};

use crate::load::{Answer, Detail};
use crate::model::{Clock, Outcome};
use crate::sys::{clock, socket};

/// Handshakes with one address.
#[derive(Debug)]
pub struct ConnectChannel {
    /// Whom to connect to.
    pub address: SocketAddr,
    /// From which local address.
    pub bind: Option<IpAddr>,
    /// Name of the series of the kernel's own estimate.
    pub kernel_series: &'static str,
}

impl ConnectChannel {
    /// One handshake. Opening the socket is before the start, closing it after the end.
    pub async fn attempt(&self) -> Answer {
        let opened = match open(self.address, self.bind) {
            Ok(opened) => opened,
            Err(error) => return Answer::new(outcome_of(&error)),
        };
        let started = clock::now();
        let connected = opened.connect(self.address).await;
        let ended = Some(clock::now());
        let (outcome, details) = match connected {
            Ok(stream) => (Outcome::Ok, self.kernel_detail(&stream).into_iter().collect()),
            Err(error) => (outcome_of(&error), Vec::new()),
        };
        Answer { outcome, started: Some(started), ended, details }
    }

    fn kernel_detail(&self, stream: &TcpStream) -> Option<Detail> {
        let value_ns = socket::tcp_rtt_ns(stream.as_fd())?;
        Some(Detail { name: self.kernel_series, clock: Clock::Kernel, value_ns })
    }
}

/// A socket for a connection to `address`, bound as asked.
///
/// # Errors
/// When there are no descriptors, or the bind address is not of this host.
pub fn open(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(local) = bind {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What a failed connect or send means for its attempt. The kernel's own timeout is a loss like ours.
#[must_use]
pub fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::TimedOut => Outcome::Lost,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Outcome::Failed("unreachable"),
        io::ErrorKind::ConnectionReset => Outcome::Failed("reset"),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Outcome::Failed("no_local_port"),
        io::ErrorKind::PermissionDenied => Outcome::Failed("not_permitted"),
        // What the kernel says of a blackhole route.
        io::ErrorKind::InvalidInput => Outcome::Failed("unreachable"),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Outcome::Failed("no_descriptor"),
        _ if error.raw_os_error() == Some(libc::ENOBUFS) => Outcome::Failed("no_buffer"),
        _ => Outcome::Failed("other"),
    }
}
