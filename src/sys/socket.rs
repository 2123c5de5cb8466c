//! What a socket knows beyond its bytes.
#![expect(unsafe_code, reason = "TCP_INFO has no safe wrapper")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

/// The kernel's smoothed round-trip time of a connection in nanoseconds; right after the handshake this is the time
/// from SYN to SYN-ACK. Microsecond grained. `None` where the kernel has no estimate.
#[must_use]
pub fn tcp_rtt_ns(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and so open; the buffer is `length` bytes long and the kernel writes no more.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    // SAFETY: all-zero bytes are a valid tcp_info, which is plain integers, and the kernel wrote over a prefix of it.
    let info = unsafe { info.assume_init() };
    (status == 0 && info.tcpi_rtt > 0).then(|| u64::from(info.tcpi_rtt) * 1000)
}

/// Whether something waits to be read, be it the end or an error. Never waits itself, and takes nothing.
#[must_use]
pub fn has_waiting(socket: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(socket.as_raw_fd(), &mut [0; 1], flags) != Err(Errno::EAGAIN)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_waits_is_seen_and_left_there() {
        let [near, far] = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        assert!(!has_waiting(far.as_fd()));
        near.send_to(b"", far.local_addr().unwrap()).unwrap();
        assert!(has_waiting(far.as_fd()) && has_waiting(far.as_fd()), "a message without bytes is one");
        far.recv_from(&mut [0; 8]).unwrap();
        assert!(!has_waiting(far.as_fd()));
    }
}
