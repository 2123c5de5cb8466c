//! One ICMP socket per address family: datagram where the system allows it, raw where the process may.
//!
//! Here because opening it is a question of privilege, and because the two kinds differ in what the kernel does to a
//! packet: a raw IPv4 socket delivers the IP header and takes the checksum as given, a datagram socket picks the
//! identifier itself and hides errors.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::descriptor::{Descriptor, watch};
use super::stamping::{Reception, Stampers};
use super::{clock, stamping};
use crate::model::Stamp;

/// What the process may not do, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("no ICMP socket: datagram: {datagram}; raw: {raw}")]
pub struct IcmpDenied {
    /// Why the datagram socket was refused.
    pub datagram: io::Error,
    /// Why the raw socket was refused.
    pub raw: io::Error,
}

/// Which kind of socket it became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IcmpKind {
    /// SOCK_DGRAM: needs no privilege, where net.ipv4.ping_group_range admits the group.
    Datagram,
    /// SOCK_RAW: needs CAP_NET_RAW.
    Raw,
}

/// Whom to send to, in the form that the kernel takes.
#[derive(Clone, Debug)]
pub struct IcmpAddress(SockAddr);

impl From<SocketAddr> for IcmpAddress {
    /// Keeps the interface of a link-local address; ICMP has no port.
    fn from(mut address: SocketAddr) -> Self {
        address.set_port(0);
        Self(address.into())
    }
}

/// When a message was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// On the monotonic clock; the moment of taking it where the kernel gave no stamp.
    pub at: Stamp,
    /// The stamps themselves.
    pub stamps: Reception,
}

/// An ICMP socket on the current runtime.
#[derive(Debug)]
pub struct IcmpSocket {
    fd: AsyncFd<Descriptor<Socket>>,
    kind: IcmpKind,
    v4: bool,
}

impl IcmpSocket {
    /// Opens a socket of the family of `like`, bound to `bind` if given.
    ///
    /// # Errors
    /// When both kinds are refused, or the bind address cannot be used.
    pub fn open(like: IpAddr, bind: Option<IpAddr>) -> Result<Self, IcmpDenied> {
        let (domain, protocol) = match like {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let open = |socket_type| -> io::Result<AsyncFd<Descriptor<Socket>>> {
            let socket = Socket::new(domain, socket_type, Some(protocol))?;
            socket.set_nonblocking(true)?;
            if let Some(address) = bind {
                socket.bind(&SocketAddr::new(address, 0).into())?;
            }
            // A whole second of a thousand targets at ten a second fits; the kernel may grant less.
            let _ = socket.set_recv_buffer_size(4 << 20);
            watch(socket)
        };
        match open(Type::DGRAM) {
            Ok(fd) => Ok(Self { fd, kind: IcmpKind::Datagram, v4: like.is_ipv4() }),
            Err(datagram) => match open(Type::RAW) {
                Ok(fd) => Ok(Self { fd, kind: IcmpKind::Raw, v4: like.is_ipv4() }),
                Err(raw) => Err(IcmpDenied { datagram, raw }),
            },
        }
    }

    /// Asks for the stamps of what is sent too; messages are numbered from 0 from here on. Where the kernel gives none, the
    /// stamp of the reception is there all the same.
    ///
    /// # Errors
    /// When the kernel stamps nothing that is sent.
    pub fn want_stamps(&self, stampers: Stampers) -> io::Result<()> {
        let socket = &self.fd.get_ref().0;
        stamping::stamp_datagrams(socket, stampers).or_else(|refused| {
            setsockopt(socket, ReceiveTimestampns, &true)?;
            Err(refused)
        })
    }

    /// The socket itself, for the stamps of what was sent.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().0.as_fd()
    }

    /// Sends one ICMP message.
    ///
    /// # Errors
    /// The kernel's answer, such as an unreachable network.
    pub fn send(&self, packet: &[u8], to: &IcmpAddress) -> io::Result<()> {
        self.fd.get_ref().0.send_to(packet, &to.0).map(|_| ())
    }

    /// Takes a message if one is there already: the ICMP message, and when the kernel received it.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn try_receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], Received)> {
        let (length, stamps) = stamping::receive(self.descriptor(), buffer)?;
        let at = stamps.kernel.and_then(clock::from_wall).unwrap_or_else(clock::now);
        let received = Received { at, stamps };
        let message = &buffer[..length];
        let header = match message.first() {
            Some(first) if self.v4 && self.kind == IcmpKind::Raw => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        Ok((message.get(header..).unwrap_or_default(), received))
    }

    /// Waits until a message is there, and hands each one that is to `take`.
    ///
    /// # Errors
    /// When the socket is no longer usable.
    pub async fn receive_each(&self, buffer: &mut [u8], mut take: impl FnMut(&[u8], Received)) -> io::Result<()> {
        let mut ready = self.fd.readable().await?;
        loop {
            match self.try_receive(buffer) {
                Ok((message, received)) => take(message, received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    return Ok(());
                }
                // An error report of an earlier packet; the socket itself stays usable.
                Err(error) if error.raw_os_error().is_some_and(is_report) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the kernel makes of an ICMP error (`icmp_err_convert`, `icmpv6_err_convert`), of a filter or of a link that is down.
const fn is_report(code: i32) -> bool {
    use libc::{EACCES, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETDOWN, ENETUNREACH, ENONET};
    use libc::{EINTR, ENOPROTOOPT, EOPNOTSUPP, EPERM, EPROTO};
    matches!(code, EHOSTUNREACH | ENETUNREACH | ECONNREFUSED | EMSGSIZE | ENOPROTOOPT | EOPNOTSUPP | EHOSTDOWN | ENONET)
        || matches!(code, EACCES | EPERM | EPROTO | ENETDOWN | EINTR)
}
