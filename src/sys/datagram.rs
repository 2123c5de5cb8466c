//! Datagrams that are answered from the address they were sent to.
//!
//! A socket bound to all addresses answers from whichever the route prefers; a peer that asked at another one of this
//! host's addresses would never hear it. Packet information (IP_PKTINFO) tells the address and sets it again.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};
use tokio::io::unix::AsyncFd;

use super::descriptor::{Descriptor, watch};
use super::interrupted::again;
use super::stamping::{self, Control, Reception, Stampers};
use crate::model::WallStamp;

/// Where a datagram came from and which of our addresses it was sent to.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    peer: SockaddrStorage,
    local: Option<Local>,
    /// When the kernel received it, where it was asked for stamps.
    pub received_at: Option<WallStamp>,
}

impl Origin {
    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        let v4 = self.peer.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into());
        v4.or_else(|| self.peer.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()))
    }
}

#[derive(Clone, Copy, Debug)]
enum Local {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// Asks the kernel to tell the local address of every datagram.
///
/// # Errors
/// When the kernel does not.
pub fn want_origin(socket: &UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(socket, Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
    }
    Ok(())
}

/// Waits for a datagram: its length and its origin.
///
/// # Errors
/// What became of an earlier answer, or that the socket is no longer usable.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Origin)> {
    again(|| {
        let mut control = Control::new();
        let mut parts = [IoSliceMut::new(buffer)];
        let control = Some(&mut control.0[..]);
        let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, control, MsgFlags::empty())?;
        let (mut local, mut received_at) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => local = Some(Local::V4(info)),
                ControlMessageOwned::Ipv6PacketInfo(info) => local = Some(Local::V6(info)),
                other => received_at = received_at.or(stamping::stamps_in(&other).and_then(|stamps| stamps.kernel)),
            }
        }
        let peer = received.address.ok_or(io::ErrorKind::InvalidData)?;
        Ok::<_, io::Error>((received.bytes, Origin { peer, local, received_at }))
    })
}

/// Sends an answer to where a datagram came from, from the address that it was sent to.
///
/// # Errors
/// The kernel's answer.
pub fn answer(socket: &UdpSocket, bytes: &[u8], origin: &Origin) -> io::Result<()> {
    let mut v4;
    let mut v6;
    let control = match origin.local {
        Some(Local::V4(info)) => {
            v4 = info;
            // The route decides on the interface; only the address is kept.
            v4.ipi_ifindex = 0;
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(Local::V6(info)) => {
            v6 = info;
            // A link-local address is of one interface only, so here the interface stays.
            if v6.ipi6_addr.s6_addr[0] != 0xfe {
                v6.ipi6_ifindex = 0;
            }
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
        None => None,
    };
    let parts = [IoSlice::new(bytes)];
    let send = || sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(&origin.peer));
    again(send).map(|_| ())
}

/// A datagram socket of one peer on the current runtime, whose messages the kernel can stamp.
///
/// Watched for reading alone: an event loop that watches for room too would be woken by every stamp.
#[derive(Debug)]
pub struct Connected {
    fd: AsyncFd<Descriptor<UdpSocket>>,
}

impl Connected {
    /// A socket of the family of `like`, bound to `bind` if given.
    ///
    /// # Errors
    /// When there are no descriptors, or the bind address is not of this host.
    pub fn bind(like: SocketAddr, bind: Option<IpAddr>) -> io::Result<Self> {
        let any: IpAddr = if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(bind.unwrap_or(any), 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self { fd: watch(socket)? })
    }

    /// Hears only this peer from here on.
    ///
    /// # Errors
    /// When there is no route to it.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.fd.get_ref().0.connect(peer)
    }

    /// Asks for stamps; the messages sent from here on are numbered from 0.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn want_stamps(&self, stampers: Stampers) -> io::Result<()> {
        stamping::stamp_datagrams(&self.fd.get_ref().0, stampers)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The kernel's answer, or `WouldBlock` when it has no room.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.fd.get_ref().0.send(bytes).map(|_| ())
    }

    /// The socket itself, for the stamps of what was sent.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().0.as_fd()
    }

    /// Waits until a message is there, and hands each one that is to `take`, with the stamps of its reception.
    ///
    /// # Errors
    /// What became of an earlier message; the socket stays usable.
    pub async fn receive_each(&self, buffer: &mut [u8], mut take: impl FnMut(&[u8], Reception)) -> io::Result<()> {
        let mut ready = self.fd.readable().await?;
        loop {
            match stamping::receive(self.descriptor(), buffer) {
                Ok((length, received_at)) => take(&buffer[..length], received_at),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
