//! An echo on the loopback inside this process, for the noise floor and for tests.
//!
//! It runs on a thread of its own: sharing the event loop of the measuring side would hide the wake-up that it measures.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};

use super::server::{EchoLimits, EchoStatistics, serve};
use crate::sys::thread::Background;

/// How often to look for a port that is free for both protocols.
const PORT_TRIES: usize = 32;

/// A running echo; dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    _thread: Background,
}

impl Embedded {
    /// Starts an echo on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no socket or thread can be had.
    pub fn start() -> io::Result<Self> {
        let (tcp, udp) = bind_pair((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = tcp.local_addr()?;
        let thread = Background::spawn("echo", move || async move {
            if let (Ok(tcp), Ok(udp)) = (TcpListener::from_std(tcp), UdpSocket::from_std(udp)) {
                serve(tcp, udp, EchoLimits::default(), Arc::new(EchoStatistics::default())).await;
            }
        })?;
        Ok(Self { address, _thread: thread })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds TCP and UDP to one port; port 0 finds one that is free for both. The sockets are non-blocking.
///
/// # Errors
/// When the address is taken, foreign or forbidden.
pub fn bind_pair(address: SocketAddr) -> io::Result<(std::net::TcpListener, std::net::UdpSocket)> {
    let mut tries = 0;
    loop {
        let tcp = std::net::TcpListener::bind(address)?;
        match std::net::UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok((tcp, udp));
            }
            Err(error) if address.port() != 0 || tries >= PORT_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
