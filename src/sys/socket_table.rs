//! The TCP connections of a process as the kernel counts them: bytes and segments, by `sock_diag(7)`.
//!
//! Separate from the options of one socket because it asks about the sockets of other processes: which connection belongs to
//! whom stands under `/proc/PID/fd`, what passed over it in the kernel's table. No privilege is needed for children of ours.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::interrupted::again;

/// Room for one message of the kernel: it sends no longer ones.
const BUFFER: usize = 64 << 10;

/// The request (`SOCK_DIAG_BY_FAMILY`), and two answers that end the list.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// `NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH`.
const DUMP: u16 = 0x301;

/// `INET_DIAG_INFO`, as an attribute and as the bit that asks for it.
const INFO: u16 = 2;
const INFO_WANTED: u8 = 1 << (INFO - 1);

/// `TCP_ESTABLISHED` as a bit.
const ESTABLISHED: u32 = 1 << 1;

/// Lengths of `nlmsghdr`, `inet_diag_req_v2` and `inet_diag_msg`.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

/// Places in `inet_diag_msg`.
const FAR_PORT: usize = 6;
const INODE: usize = 68;

/// Places in `tcp_info`; `tcpi_bytes_sent` came with Linux 4.19.
const OPTIONS: usize = 5;
const SMOOTHED_RTT: usize = 68;
const RECEIVED: usize = 128;
const SEGMENTS_OUT: usize = 136;
const SEGMENTS_IN: usize = 140;
const SENT: usize = 200;

/// Bytes of the headers of a segment: the network's, TCP's own, and TCP's timestamps where both ends use them.
const IPV4: u64 = 20;
const IPV6: u64 = 40;
const TCP: u64 = 20;
const TIMESTAMPS: u64 = 12;
const HAS_TIMESTAMPS: u8 = 1;

/// What passed over connections, with the headers of the network and of TCP and without those of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many connections are open.
    pub connection_count: u64,
    /// Sent by the process since they were opened.
    pub sent_bytes: u64,
    /// Received by it.
    pub received_bytes: u64,
    /// Smoothed round-trip times of all of them together.
    pub rtt_sum_ns: u64,
}

/// What passed over the open connections of a process to a port.
///
/// # Errors
/// When the kernel or the process does not let us look.
pub fn traffic_of(process: u32, port: u16) -> io::Result<Traffic> {
    let own = sockets_of(process)?;
    let mut all = Traffic::default();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        for one in connections(family)? {
            if one.far_port == port && own.contains(&u64::from(one.inode)) {
                all.connection_count += 1;
                all.sent_bytes += one.sent_bytes;
                all.received_bytes += one.received_bytes;
                all.rtt_sum_ns += one.rtt_ns;
            }
        }
    }
    Ok(all)
}

/// The numbers by which the kernel knows the sockets of a process.
fn sockets_of(process: u32) -> io::Result<HashSet<u64>> {
    let links = fs::read_dir(format!("/proc/{process}/fd"))?;
    let number = |entry: io::Result<fs::DirEntry>| {
        // A descriptor may be closed while we look.
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(links.filter_map(number).collect())
}

/// One row of the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    far_port: u16,
    inode: u32,
    sent_bytes: u64,
    received_bytes: u64,
    rtt_ns: u64,
}

fn connections(family: u8) -> io::Result<Vec<Connection>> {
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&kernel, sockopt::ReceiveTimeout, &TimeVal::seconds(2))?;
    again(|| send(kernel.as_raw_fd(), &request(family), MsgFlags::empty()))?;
    read_all(&kernel, family)
}

fn request(family: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, INFO_WANTED, 0]);
    bytes.extend(ESTABLISHED.to_ne_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

fn read_all(kernel: &OwnedFd, family: u8) -> io::Result<Vec<Connection>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let length = again(|| recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::empty()))?;
        if length == 0 || read_some(&buffer[..length], family, &mut all)? {
            return Ok(all);
        }
    }
}

/// Takes the messages of one piece; whether the list has ended.
fn read_some(mut piece: &[u8], family: u8, all: &mut Vec<Connection>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (u32_at(piece, 0), u16_at(piece, 4)) {
        let length = length as usize;
        let Some(message) = piece.get(HEADER..length) else { break };
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = u32_at(message, 0).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => all.extend(connection_of(message, family)),
        }
        piece = piece.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn connection_of(message: &[u8], family: u8) -> Option<Connection> {
    let far_port = u16::from_be_bytes(message.get(FAR_PORT..FAR_PORT + 2)?.try_into().ok()?);
    let info = attribute(message.get(MESSAGE..)?, INFO)?;
    let network = if family == libc::AF_INET as u8 { IPV4 } else { IPV6 };
    let timestamps = if info.get(OPTIONS)? & HAS_TIMESTAMPS == 0 { 0 } else { TIMESTAMPS };
    let headers = |place| Some(u64::from(u32_at(info, place)?) * (network + TCP + timestamps));
    Some(Connection {
        far_port,
        inode: u32_at(message, INODE)?,
        sent_bytes: u64_at(info, SENT)? + headers(SEGMENTS_OUT)?,
        received_bytes: u64_at(info, RECEIVED)? + headers(SEGMENTS_IN)?,
        rtt_ns: u64::from(u32_at(info, SMOOTHED_RTT)?) * 1000,
    })
}

/// The content of the first attribute of a kind.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        let content = rest.get(4..length)?;
        if kind == wanted {
            return Some(content);
        }
        rest = rest.get(aligned(length)..)?;
    }
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(place..place + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(place..place + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_of_our_own_connections_are_counted_with_their_headers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut near: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let mut far: Vec<TcpStream> = (0..3).map(|_| listener.accept().unwrap().0).collect();
        let before = traffic_of(std::process::id(), port).unwrap();
        assert_eq!(before.connection_count, 3);
        for (near, far) in near.iter_mut().zip(&mut far) {
            near.write_all(&[1; 1000]).unwrap();
            far.read_exact(&mut [0; 1000]).unwrap();
            far.write_all(&[2; 10]).unwrap();
            near.read_exact(&mut [0; 10]).unwrap();
        }
        let after = traffic_of(std::process::id(), port).unwrap();
        // One segment of 1000 bytes each, and the acknowledgements that may go with or after it.
        let (sent, received) = (after.sent_bytes - before.sent_bytes, after.received_bytes - before.received_bytes);
        assert!((3 * 1052..=3 * (1000 + 4 * 52)).contains(&sent), "{sent}");
        assert!((3 * 62..=3 * (10 + 4 * 52)).contains(&received), "{received}");
        assert_eq!(traffic_of(std::process::id(), port ^ 1).unwrap(), Traffic::default());
    }

    #[test]
    fn what_the_kernel_never_says_is_no_connection() {
        let mut all = Vec::new();
        for piece in [&[][..], &[16], &[255; 40], &[16, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(!read_some(piece, 2, &mut all).unwrap());
        }
        let mut refused = vec![20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        refused.extend((-13_i32).to_ne_bytes());
        assert_eq!(read_some(&refused, 2, &mut all).unwrap_err().raw_os_error(), Some(13));
        assert!(all.is_empty());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(traffic_of(u32::MAX, 1).is_err());
    }
}
