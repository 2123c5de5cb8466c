//! The kernel's own stamps of what a socket sends and receives (SO_TIMESTAMPING).
//!
//! Separate from the sockets because TCP, UDP and ICMP ask for them in the same way: the stamp of a reception comes with
//! the message, the stamp of a sending later and by number, through the socket's error queue. Software stamps: they are
//! taken where the packet is handed to the driver and where it is taken from it, on the wall clock.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::sys::socket::sockopt::Timestamping;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;

use super::clock;
use crate::model::WallStamp;

/// Room for the stamps and the report of one message, of either family. Aligned as the kernel lays them out.
#[repr(align(8))]
pub(super) struct Control(pub(super) [u8; 256]);

impl Control {
    pub(super) const fn new() -> Self {
        Self([0; 256])
    }
}

/// `SOF_TIMESTAMPING_OPT_ID_TCP` (Linux 6.2): bytes are counted from what was written, not from what was acknowledged.
const OPT_ID_TCP: u32 = 1 << 16;

/// `SO_EE_ORIGIN_TIMESTAMPING`, and `SCM_TSTAMP_SND`: stamped when it was handed to the driver.
const ORIGIN_TIMESTAMPING: u8 = 4;
const STAMPED_AT_SENDING: u32 = 0;

/// When the kernel sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentStamp {
    /// Of datagrams: their number since stamps were asked for. Of a stream: the offset of the last byte of the write.
    pub number: u32,
    /// When it was handed to the driver.
    pub at: WallStamp,
}

/// Asks for the stamps of every datagram from here on, numbered from 0.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_datagrams(socket: &impl AsFd) -> io::Result<()> {
    // Without numbers first: asking again begins the numbers again.
    setsockopt(socket, Timestamping, &TimestampingFlag::empty())?;
    Ok(setsockopt(socket, Timestamping, &wanted())?)
}

/// Asks for the stamps of every byte from here on, numbered from 0. The connection must be made, and nothing of ours under
/// way on it.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_stream(socket: &impl AsFd) -> io::Result<()> {
    let exact = wanted() | TimestampingFlag::from_bits_retain(OPT_ID_TCP);
    if setsockopt(socket, Timestamping, &exact).is_err() {
        // An older kernel counts from what was acknowledged: with nothing under way that is the same.
        setsockopt(socket, Timestamping, &wanted())?;
    }
    Ok(())
}

fn wanted() -> TimestampingFlag {
    TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
}

/// Receives as `recv` does, with the kernel's stamp of the reception. Of a stream it is the stamp of the last segment that
/// was touched: it belongs to the last byte only if the buffer was not filled.
///
/// # Errors
/// As `recv`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<WallStamp>)> {
    let mut control = Control::new();
    let mut parts = [IoSliceMut::new(buffer)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), MsgFlags::empty())?;
    let stamp = received.cmsgs()?.find_map(|message| received_at(&message));
    Ok((received.bytes, stamp))
}

/// The stamp of a reception, if this is one.
pub(super) fn received_at(message: &ControlMessageOwned) -> Option<WallStamp> {
    match message {
        ControlMessageOwned::ScmTimestampsns(stamps) => wall_stamp(stamps.system),
        ControlMessageOwned::ScmTimestampns(stamp) => wall_stamp(*stamp),
        _ => None,
    }
}

/// Takes the next stamp of something sent; `None` if there is none yet. Never waits.
///
/// # Errors
/// When the socket is broken.
pub fn sent(socket: BorrowedFd<'_>) -> io::Result<Option<SentStamp>> {
    loop {
        let mut control = Control::new();
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut [], Some(&mut control.0), flags) {
            Ok(received) => received,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (mut at, mut number) = (None, None);
        for message in received.cmsgs()? {
            match message {
                ControlMessageOwned::Ipv4RecvErr(report, _) => number = number_of(&report),
                ControlMessageOwned::Ipv6RecvErr(report, _) => number = number_of(&report),
                stamp => at = at.or(received_at(&stamp)),
            }
        }
        // Anything else in this queue is the report of an error, which the socket tells in its own way.
        if let (Some(at), Some(number)) = (at, number) {
            return Ok(Some(SentStamp { number, at }));
        }
    }
}

fn number_of(report: &libc::sock_extended_err) -> Option<u32> {
    (report.ee_origin == ORIGIN_TIMESTAMPING && report.ee_info == STAMPED_AT_SENDING).then_some(report.ee_data)
}

/// Absent is zero in the kernel's three stamps.
fn wall_stamp(time: TimeSpec) -> Option<WallStamp> {
    u64::try_from(clock::nanos(time)).ok().filter(|nanos| *nanos > 0).map(WallStamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn datagrams_are_stamped_at_both_ends_and_numbered() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (near, far) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            near.connect(far.local_addr().unwrap()).unwrap();
            stamp_datagrams(&near).unwrap();
            stamp_datagrams(&far).unwrap();
            // The kernel begins to stamp receptions a moment after it was asked: what came before that is not stamped.
            let mut stamped = 0;
            for number in 0.. {
                near.send(b"ping").unwrap();
                let sent = sent(near.as_fd()).unwrap().unwrap();
                let (length, received) = receive(far.as_fd(), &mut [0; 8]).unwrap();
                assert_eq!((length, sent.number), (4, number));
                assert!(received.is_none_or(|received| received >= sent.at));
                stamped += u32::from(received.is_some());
                if stamped == 3 {
                    break;
                }
            }
            assert_eq!(sent(near.as_fd()).unwrap(), None);
        }
    }

    #[test]
    fn a_stream_is_stamped_at_the_last_byte_of_each_write() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"before").unwrap();
        far.read_exact(&mut [0; 6]).unwrap();
        stamp_stream(&near).unwrap();
        stamp_stream(&far).unwrap();
        for last in [71, 143] {
            near.write_all(&[7; 72]).unwrap();
            let sent = sent(near.as_fd()).unwrap().unwrap();
            let (length, received) = receive(far.as_fd(), &mut [0; 100]).unwrap();
            assert_eq!((length, sent.number), (72, last));
            assert!(received.is_none_or(|received| received >= sent.at));
        }
    }
}
