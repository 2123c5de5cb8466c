//! A TCP connection of a client of ours: how its socket is opened, and what a failure of it means for the attempt.
//!
//! Separate because whoever connects counts the same failures by the same words.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::Url;
use crate::model::Outcome;
use crate::sys::resolve::lookup;

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

/// A connection that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name leads nowhere.
    #[error("`{host}` has no address")]
    Lookup {
        /// Which name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody there.
    #[error("cannot connect to {address}")]
    Connect {
        /// Whom.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// The first address of the server that takes a connection, or the one given.
///
/// # Errors
/// When its name has no address, or none of them takes one; the error is that of the last.
pub async fn connect(url: &Url, given: Option<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let addresses = match given {
        Some(address) => vec![address],
        None => addresses(url).await?,
    };
    let mut failed = nowhere(url, io::ErrorKind::NotFound.into());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => failed = ConnectError::Connect { address: address.to_string(), source },
        }
    }
    Err(failed)
}

/// The addresses of a server, at least one.
///
/// # Errors
/// When its name has none.
pub async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = lookup(&url.socket_host(), url.port).await.map_err(|source| nowhere(url, source))?;
    if found.is_empty() { Err(nowhere(url, io::ErrorKind::NotFound.into())) } else { Ok(found) }
}

fn nowhere(url: &Url, source: io::Error) -> ConnectError {
    ConnectError::Lookup { host: url.socket_host().into_owned(), source }
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
