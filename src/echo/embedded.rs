//! An echo on the loopback inside this process, for the noise floor and for tests.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::server::{EchoLimits, EchoServer};

/// How often to look for a port that is free for both protocols.
const PORT_TRIES: usize = 32;

/// A running echo; dropping it stops it.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    _server: EchoServer,
}

impl Embedded {
    /// Starts an echo on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no socket or thread can be had.
    pub fn start() -> io::Result<Self> {
        let (tcp, udp) = bind_pair((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = tcp.local_addr()?;
        Ok(Self { address, _server: EchoServer::start(tcp, udp, EchoLimits::default())? })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds TCP and UDP to one port; port 0 finds one that is free for both.
///
/// # Errors
/// When the address is taken, foreign or forbidden.
pub fn bind_pair(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(address)?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if address.port() != 0 || tries >= PORT_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}
