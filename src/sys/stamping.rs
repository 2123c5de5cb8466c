//! The kernel's own stamps of what a socket sends and receives (SO_TIMESTAMPING).
//!
//! Separate from the sockets because TCP, UDP and ICMP ask for them in the same way: the stamp of a reception comes with
//! the message, the stamp of a sending later and by number, through the socket's error queue. Software stamps are taken
//! where the packet is handed to the driver and where it is taken from it, on the wall clock; a card's where it leaves and
//! enters the card, on the card's own clock.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::sys::socket::sockopt::Timestamping;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;

use super::clock;
use super::interrupted::again;
use crate::model::{CardStamp, WallStamp};

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

/// `SOF_TIMESTAMPING_OPT_TX_SWHW` (Linux 4.14): the kernel's stamp of a sending comes although the card stamps it too.
const OPT_TX_SWHW: u32 = 1 << 14;

/// Who is asked to stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stampers {
    /// The kernel alone.
    #[default]
    Kernel,
    /// The kernel, and the network card for itself.
    KernelAndCard,
}

/// When something was received, as far as somebody stamped it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// When the kernel took it from the driver.
    pub kernel: Option<WallStamp>,
    /// When it entered the card.
    pub card: Option<CardStamp>,
}

/// When something was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentStamp {
    /// Of datagrams: their number since stamps were asked for. Of a stream: the offset of the last byte of the write.
    pub number: u32,
    /// When it left, by whichever clock. Where both are asked there are two of these.
    pub at: SentAt,
}

/// When something was sent, by who stamped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentAt {
    /// It was handed to the driver.
    Kernel(WallStamp),
    /// It left the card.
    Card(CardStamp),
}

/// Asks for the stamps of every datagram from here on, numbered from 0.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_datagrams(socket: &impl AsFd, stampers: Stampers) -> io::Result<()> {
    // Without numbers first: asking again begins the numbers again.
    setsockopt(socket, Timestamping, &TimestampingFlag::empty())?;
    ask(socket, stampers, TimestampingFlag::empty())
}

/// Asks for the stamps of every byte from here on, numbered from 0. The connection must be made, and nothing of ours under
/// way on it.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_stream(socket: &impl AsFd, stampers: Stampers) -> io::Result<()> {
    // An older kernel counts from what was acknowledged: with nothing under way that is the same.
    let exact = TimestampingFlag::from_bits_retain(OPT_ID_TCP);
    ask(socket, stampers, exact).or_else(|_| ask(socket, stampers, TimestampingFlag::empty()))
}

/// Asks for the kernel's stamps of receptions alone.
///
/// # Errors
/// When the kernel gives none.
pub fn stamp_receptions(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, Timestamping, &of_receptions())?)
}

/// Asks for the kernel's stamps, and for the card's if the kernel is new enough to give both.
fn ask(socket: &impl AsFd, stampers: Stampers, options: TimestampingFlag) -> io::Result<()> {
    let kernel = of_kernel() | options;
    if stampers == Stampers::KernelAndCard && setsockopt(socket, Timestamping, &(kernel | of_card())).is_ok() {
        return Ok(());
    }
    Ok(setsockopt(socket, Timestamping, &kernel)?)
}

fn of_card() -> TimestampingFlag {
    TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE
        | TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE
        | TimestampingFlag::from_bits_retain(OPT_TX_SWHW)
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

/// Receives as `recv` does, with the stamps of the reception. Of a stream it is the stamp of the last segment that
/// was touched: it belongs to the last byte only if the buffer was not filled.
///
/// # Errors
/// As `recv`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Reception)> {
    again(|| {
        let mut control = Control::new();
        let mut parts = [IoSliceMut::new(buffer)];
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control.0), MsgFlags::empty())?;
        let stamps = received.cmsgs()?.find_map(|message| stamps_in(&message));
        Ok::<_, nix::Error>((received.bytes, stamps.unwrap_or_default()))
    })
}

/// The stamps in this message, if it is one of stamps.
pub(super) fn stamps_in(message: &ControlMessageOwned) -> Option<Reception> {
    match message {
        ControlMessageOwned::ScmTimestampsns(stamps) => Some(Reception {
            kernel: some_nanos(stamps.system).map(WallStamp::from_nanos),
            card: some_nanos(stamps.hw_raw).and_then(CardStamp::from_nanos),
        }),
        ControlMessageOwned::ScmTimestampns(stamp) => {
            Some(Reception { kernel: some_nanos(*stamp).map(WallStamp::from_nanos), card: None })
        }
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
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // Anything else in this queue is the report of an error, which the socket tells in its own way.
        if let Some(stamp) = sent_in(received.cmsgs()?) {
            return Ok(Some(stamp));
        }
    }
}

/// The stamp of a sending that these messages tell together; the kernel's and the card's come apart.
fn sent_in(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<SentStamp> {
    let (mut at, mut number) = (None, None);
    for message in messages {
        match message {
            ControlMessageOwned::Ipv4RecvErr(report, _) => number = number_of(&report),
            ControlMessageOwned::Ipv6RecvErr(report, _) => number = number_of(&report),
            other => {
                let stamps = stamps_in(&other).unwrap_or_default();
                at = at.or(stamps.kernel.map(SentAt::Kernel)).or(stamps.card.map(SentAt::Card));
            }
        }
    }
    Some(SentStamp { number: number?, at: at? })
}

fn number_of(report: &libc::sock_extended_err) -> Option<u32> {
    (report.ee_origin == ORIGIN_TIMESTAMPING && report.ee_info == STAMPED_AT_SENDING).then_some(report.ee_data)
}

/// Absent is zero in the kernel's three stamps.
fn some_nanos(time: TimeSpec) -> Option<u64> {
    u64::try_from(clock::nanos(time)).ok().filter(|nanos| *nanos > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use nix::sys::socket::Timestamps;

    use super::*;

    /// When the kernel sent it, which must be what this stamp tells.
    #[track_caller]
    fn by_kernel(stamp: SentStamp) -> WallStamp {
        let SentAt::Kernel(at) = stamp.at else { panic!("{stamp:?}") };
        at
    }

    #[test]
    fn datagrams_are_stamped_at_both_ends_and_numbered() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (near, far) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            near.connect(far.local_addr().unwrap()).unwrap();
            // A loopback has no card: whoever asks for one gets the kernel's stamps all the same.
            stamp_datagrams(&near, Stampers::KernelAndCard).unwrap();
            stamp_datagrams(&far, Stampers::KernelAndCard).unwrap();
            // The kernel begins to stamp receptions a moment after it was asked: what came before that is not stamped.
            let mut stamped = 0;
            for number in 0.. {
                near.send(b"ping").unwrap();
                let sent = sent(near.as_fd()).unwrap().unwrap();
                let (length, received) = receive(far.as_fd(), &mut [0; 8]).unwrap();
                assert_eq!((length, sent.number, received.card), (4, number, None));
                assert!(received.kernel.is_none_or(|received| received >= by_kernel(sent)));
                stamped += u32::from(received.kernel.is_some());
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
        stamp_stream(&near, Stampers::KernelAndCard).unwrap();
        stamp_stream(&far, Stampers::Kernel).unwrap();
        for last in [71, 143] {
            near.write_all(&[7; 72]).unwrap();
            let sent = sent(near.as_fd()).unwrap().unwrap();
            let (length, received) = receive(far.as_fd(), &mut [0; 100]).unwrap();
            assert_eq!((length, sent.number), (72, last));
            assert!(received.kernel.is_none_or(|received| received >= by_kernel(sent)));
        }
    }

    /// What the kernel says of stamps: in software, unused, in hardware.
    fn stamps(system: i64, hw_raw: i64) -> ControlMessageOwned {
        let (system, hw_raw) = (TimeSpec::new(0, system), TimeSpec::new(0, hw_raw));
        ControlMessageOwned::ScmTimestampsns(Timestamps { system, hw_trans: TimeSpec::new(0, 0), hw_raw })
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
    fn the_stamps_of_kernel_and_card_are_told_apart_and_zero_is_none() {
        let kernel = |nanos| Some(WallStamp::from_nanos(nanos));
        let cases = [
            (stamps(7, 9), Some(Reception { kernel: kernel(7), card: CardStamp::from_nanos(9) })),
            (stamps(7, 0), Some(Reception { kernel: kernel(7), card: None })),
            (stamps(0, 9), Some(Reception { kernel: None, card: CardStamp::from_nanos(9) })),
            (stamps(0, -1), Some(Reception::default())),
            (report(ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING, 3), None),
        ];
        for (message, expected) in cases {
            assert_eq!(stamps_in(&message), expected, "{message:?}");
        }
    }

    #[test]
    fn a_sending_is_told_twice_by_the_kernel_and_by_the_card_under_one_number() {
        let told = |stamp, origin, info| sent_in([stamp, report(origin, info, 3)].into_iter());
        let by_kernel = SentStamp { number: 3, at: SentAt::Kernel(WallStamp::from_nanos(7)) };
        let by_card = SentStamp { number: 3, at: SentAt::Card(CardStamp::from_nanos(9).unwrap()) };
        assert_eq!(told(stamps(7, 0), ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING), Some(by_kernel));
        assert_eq!(told(stamps(0, 9), ORIGIN_TIMESTAMPING, STAMPED_AT_SENDING), Some(by_card));
        assert_eq!(told(stamps(7, 0), ORIGIN_TIMESTAMPING, 1), None, "it was queued, or acknowledged");
        assert_eq!(told(stamps(7, 0), 2, 0), None, "an ICMP error");
        assert_eq!(sent_in([stamps(7, 0)].into_iter()), None, "of which message?");
    }
}
