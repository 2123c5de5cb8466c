//! Datagrams that are answered from the address they were sent to.
//!
//! A socket bound to all addresses answers from whichever the route prefers; a peer that asked at another one of this
//! host's addresses would never hear it. Packet information (IP_PKTINFO) tells the address and sets it again.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt};

/// Where a datagram came from and which of our addresses it was sent to.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    peer: SockaddrStorage,
    local: Option<Local>,
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
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let local = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
        _ => None,
    });
    let peer = received.address.ok_or(io::ErrorKind::InvalidData)?;
    Ok((received.bytes, Origin { peer, local }))
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
    sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(&origin.peer))?;
    Ok(())
}
