//! What a socket knows beyond its bytes.
#![expect(unsafe_code, reason = "TCP_INFO has no safe wrapper")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

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
