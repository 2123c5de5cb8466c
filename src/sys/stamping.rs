//! The kernel's own stamps of what a socket sends and receives (SO_TIMESTAMPING).
//!
//! Separate from the sockets because TCP, UDP and ICMP ask for them in the same way: the stamp of a reception comes with
//! the message, the stamp of a sending later and by number, through the socket's error queue. They are
//! taken where the packet is handed to the driver and where it is taken from it, on the wall clock.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::sys::socket::sockopt::Timestamping;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt};

use super::clock;
use super::interrupted::again;
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

/// When something was sent.
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
    ask(socket, TimestampingFlag::empty())
}

/// Asks for the stamps of every byte from here on, numbered from 0. The connection must be made, and nothing of ours under
/// way on it.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_stream(socket: &impl AsFd) -> io::Result<()> {
    // An older kernel counts from what was acknowledged: with nothing under way that is the same.
    let exact = TimestampingFlag::from_bits_retain(OPT_ID_TCP);
    ask(socket, exact).or_else(|_| ask(socket, TimestampingFlag::empty()))
}

/// Asks for the kernel's stamps of receptions alone.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_receptions(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, Timestamping, &of_receptions())?)
}

fn ask(socket: &impl AsFd, options: TimestampingFlag) -> io::Result<()> {
    Ok(setsockopt(socket, Timestamping, &(of_kernel() | options))?)
}

fn of_receptions() -> TimestampingFlag {
    TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
}

fn of_kernel() -> TimestampingFlag {
    of_receptions()
        | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY
}

/// Receives as `recv` does, with the stamp of the reception if there is one. Of a stream it is the stamp of the last segment that
/// was touched: it belongs to the last byte only if the buffer was not filled.
///
/// # Errors
/// As `recv`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<WallStamp>)> {
    again(|| {
        let mut control = Control::new();
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), MsgFlags::empty())?;
        let stamp = received.cmsgs()?.find_map(|message| stamp_in(&message));
        Ok::<_, nix::Error>((received.bytes, stamp))
    })
}

/// The kernel's stamp in this message, if it is one of stamps.
pub(super) fn stamp_in(message: &ControlMessageOwned) -> Option<WallStamp> {
    let stamp = match message {
        ControlMessageOwned::ScmTimestampsns(stamps) => stamps.system,
        ControlMessageOwned::ScmTimestampns(stamp) => *stamp,
        _ => return None,
    };
    // Absent is zero.
    u64::try_from(clock::nanos(stamp)).ok().filter(|nanos| *nanos > 0).map(WallStamp::from_nanos)
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
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // Anything else in this queue is the report of an error, which the socket tells in its own way.
        if let Some(stamp) = sent_in(received.cmsgs()?) {
            return Ok(Some(stamp));
        }
    }
}

/// The stamp of a sending that these messages tell together.
fn sent_in(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<SentStamp> {
    let (mut at, mut number) = (None, None);
    for message in messages {
        match message {
            ControlMessageOwned::Ipv4RecvErr(report, _) => number = number_of(&report),
            ControlMessageOwned::Ipv6RecvErr(report, _) => number = number_of(&report),
            other => at = at.or(stamp_in(&other)),
        }
    }
    Some(SentStamp { number: number?, at: at? })
}

fn number_of(report: &libc::sock_extended_err) -> Option<u32> {
    (report.ee_origin == ORIGIN_TIMESTAMPING && report.ee_info == STAMPED_AT_SENDING).then_some(report.ee_data)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use nix::sys::socket::Timestamps;
    use nix::sys::time::TimeSpec;

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

    /// What the kernel says of a stamp in software.
    fn stamps(system: i64) -> ControlMessageOwned {
        let [system, hw_trans, hw_raw] = [system, 0, 0].map(|nanos| TimeSpec::new(0, nanos));
        ControlMessageOwned::ScmTimestampsns(Timestamps { system, hw_trans, hw_raw })
    }

    fn report(origin: u8, info: u32, number: u32) -> ControlMessageOwned {
        let report = libc::sock_extended_err {
            ee_errno: libc::ENOMSG as u32,
            ee_origin: origin,
            ee_type: 0,
            ee_code: 0,
            ee_pad: 0,
            ee_info: info,
            ee_data: number,
        };
        ControlMessageOwned::Ipv4RecvErr(report, None)
    }

    #[test]
    fn a_stamp_of_zero_is_none() {
        assert_eq!(stamp_in(&stamps(7)), Some(WallStamp::from_nanos(7)));
        assert_eq!(stamp_in(&stamps(0)), None);
        assert_eq!(stamp_in(&report(ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING, 3)), None);
    }

    #[test]
    fn a_sending_is_told_under_its_number() {
        let told = |stamp, origin, info| sent_in([stamp, report(origin, info, 3)].into_iter());
        let sent = SentStamp { number: 3, at: WallStamp::from_nanos(7) };
        assert_eq!(told(stamps(7), ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING), Some(sent));
        assert_eq!(told(stamps(0), ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING), None);
        assert_eq!(told(stamps(7), ORIGIN_TIMESTAMPING, 1), None, "it was queued, or acknowledged");
        assert_eq!(told(stamps(7), 2, 0), None, "an ICMP error");
        assert_eq!(sent_in([stamps(7)].into_iter()), None, "of which message?");
    }
}
