//! The timestamped PING and PONG on the wire: 72 bytes, big endian, equal in both directions.
//!
//! Pure, so that both ends and the tests share one reading. A PONG is as long as its PING, and only a PING is answered:
//! two echoes can never be made to answer each other, nor a forged sender be flooded with more than was sent.

use crate::model::{Stamp, WallStamp};

/// Length of every frame.
pub const FRAME_LENGTH: usize = 72;

const MAGIC: [u8; 4] = *b"OFLE";
const VERSION: u8 = 1;

/// Which way a frame travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the measuring side.
    Ping,
    /// The answer.
    Pong,
}

/// In the seventh byte of a PING: the stamps of the exchange before are wanted.
const WANTS_STAMPS: u8 = 1;

/// In the seventh byte of a PING: it carries the token of its host.
const HAS_HOST: u8 = 2;

/// In the seventh byte of a PONG: it carries the stamps of an exchange before, and: the token was that of its own host.
const HAS_STAMPS: u8 = 1;
const IS_SAME_HOST: u8 = 2;

/// The bits of that byte in which a PONG has the upper part of its clock's epoch.
const EPOCH_BITS: u32 = 6;
const EPOCH_SHIFT: u32 = 8 - EPOCH_BITS;

/// One frame. What an older end does not know is zero in its frames, and ignored by it in ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which way it travels.
    pub kind: Kind,
    /// Random number of the measuring side, so that an answer meant for somebody else is not taken.
    pub session: u64,
    /// Number of the exchange within the session.
    pub sequence: u64,
    /// When the PING was sent, on the measuring side's monotonic clock.
    pub sent: Stamp,
    /// When the PING was received, on the far end's monotonic clock; the far end fills it in.
    pub received: Stamp,
    /// When the PONG was sent, on the far end's monotonic clock.
    pub replied: Stamp,
    /// In a PING, whether the kernel's stamps of its exchange are wanted in the next PONG.
    pub wants_stamps: bool,
    /// In a PING, what tells the measuring side's host from others, for this session alone.
    pub host: Option<u64>,
    /// In a PONG, whether both ends run on one kernel, and so on one clock.
    pub is_same_host: bool,
    /// In a PONG, which time of the far end's wall clock its stamps are of: offsets are not compared across two.
    pub epoch: Epoch,
    /// In a PONG, the far kernel's stamps of an exchange before: those of its own are taken too late to be in it.
    pub earlier: Option<Earlier>,
}

/// When the far kernel received a PING and sent its PONG, on its wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Number of that exchange.
    pub sequence: u64,
    /// When its PING was received.
    pub received: WallStamp,
    /// When its PONG was sent.
    pub sent: WallStamp,
}

/// A time of a wall clock between two steps of it, as far as 14 bits tell it from others.
///
/// It begins with a random number: an end that was started anew, maybe on another host behind the same address, counts from
/// elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u16);

impl Epoch {
    /// The epoch of this number, of which there are 2^14.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self((number % (1 << (8 + EPOCH_BITS))) as u16)
    }
}

impl Frame {
    /// A PING.
    #[must_use]
    pub const fn ping(session: u64, sequence: u64, sent: Stamp) -> Self {
        let unknown = Stamp::from_nanos(0);
        Self {
            kind: Kind::Ping,
            session,
            sequence,
            sent,
            received: unknown,
            replied: unknown,
            wants_stamps: false,
            host: None,
            is_same_host: false,
            epoch: Epoch::from_number(0),
            earlier: None,
        }
    }

    /// The same PING with a wish for the kernel's stamps of its exchange, from the host of this token.
    #[must_use]
    pub const fn wanting_stamps(self, host: Option<u64>) -> Self {
        Self { wants_stamps: true, host, ..self }
    }

    /// The PONG to this PING.
    #[must_use]
    pub const fn pong(self, received: Stamp, replied: Stamp) -> Self {
        let ping = Self::ping(self.session, self.sequence, self.sent);
        Self { kind: Kind::Pong, received, replied, ..ping }
    }

    /// The frame as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_LENGTH] {
        let mut bytes = [0; FRAME_LENGTH];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        (bytes[5], bytes[6]) = match self.kind {
            Kind::Ping => (1, flag(self.wants_stamps, WANTS_STAMPS) | flag(self.host.is_some(), HAS_HOST)),
            Kind::Pong => (2, flag(self.earlier.is_some(), HAS_STAMPS) | flag(self.is_same_host, IS_SAME_HOST)),
        };
        let [upper, lower] = self.epoch.0.to_be_bytes();
        bytes[6] |= upper << EPOCH_SHIFT;
        bytes[7] = lower;
        let fields =
            [self.session, self.sequence, self.sent.as_nanos(), self.received.as_nanos(), self.replied.as_nanos()];
        for (place, field) in bytes[8..48].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        if let Some(host) = self.host {
            bytes[48..56].copy_from_slice(&host.to_be_bytes());
        }
        if let Some(Earlier { sequence, received, sent }) = self.earlier {
            let stamps = [sequence, received.as_nanos(), sent.as_nanos()];
            for (place, field) in bytes[48..].chunks_exact_mut(8).zip(stamps) {
                place.copy_from_slice(&field.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads a frame; `None` if the bytes are not exactly one of ours.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != FRAME_LENGTH || bytes[..4] != MAGIC || bytes[4] != VERSION {
            return None;
        }
        let kind = match bytes[5] {
            1 => Kind::Ping,
            2 => Kind::Pong,
            _ => return None,
        };
        let field = |at: usize| bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some(Self {
            kind,
            session: field(8),
            sequence: field(16),
            sent: Stamp::from_nanos(field(24)),
            received: Stamp::from_nanos(field(32)),
            replied: Stamp::from_nanos(field(40)),
            wants_stamps: kind == Kind::Ping && bytes[6] & WANTS_STAMPS != 0,
            host: (kind == Kind::Ping && bytes[6] & HAS_HOST != 0).then(|| field(48)),
            is_same_host: kind == Kind::Pong && bytes[6] & IS_SAME_HOST != 0,
            epoch: match kind {
                Kind::Ping => Epoch::default(),
                Kind::Pong => Epoch(u16::from_be_bytes([bytes[6] >> EPOCH_SHIFT, bytes[7]])),
            },
            earlier: (kind == Kind::Pong && bytes[6] & HAS_STAMPS != 0).then(|| Earlier {
                sequence: field(48),
                received: WallStamp::from_nanos(field(56)),
                sent: WallStamp::from_nanos(field(64)),
            }),
        })
    }
}

/// The PONG to a PING received at `received` and answered at `replied`, without stamps of the kernel; `None` to anything
/// else.
#[must_use]
pub fn answer(bytes: &[u8], received: Stamp, replied: Stamp) -> Option<[u8; FRAME_LENGTH]> {
    let ping = Frame::decode(bytes).filter(|frame| frame.kind == Kind::Ping)?;
    Some(ping.pong(received, replied).encode())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_ping_is_answered_and_never_with_more_bytes() {
        let at = Stamp::from_nanos(5);
        let ping = Frame::ping(7, 8, at).encode();
        let pong = answer(&ping, at, at).unwrap();
        assert_eq!(pong.len(), ping.len());
        assert_eq!(answer(&pong, at, at), None);
        assert_eq!(answer(&ping[..71], at, at), None);
        assert_eq!(answer(b"GET / HTTP/1.1\r\n\r\n", at, at), None);
    }

    #[test]
    fn an_older_end_reads_our_frames_and_we_read_its() {
        let at = Stamp::from_nanos(5);
        let ping = Frame::ping(7, 8, at).wanting_stamps(Some(9));
        let (mut ours, plain) = (ping.encode(), Frame::ping(7, 8, at).encode());
        ours[6] = 0;
        ours[48..56].fill(0);
        assert_eq!(ours, plain, "two bits and a word, in bytes that were zero and not read");
        let pong = Frame::decode(&answer(&ping.encode(), at, at).unwrap()).unwrap();
        assert_eq!((pong.earlier, pong.is_same_host), (None, false));
        let epoch = Epoch::from_number(0x2a07);
        let told = Frame { epoch, ..pong }.encode();
        assert_eq!((told[6], told[7]), (0x2a << 2, 7), "who knows of one byte alone sees its steps there");
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_wire(session: u64, sequence: u64, sent: u64) {
            let frame = Frame::ping(session, sequence, Stamp::from_nanos(sent));
            prop_assert_eq!(Frame::decode(&frame.encode()), Some(frame));
            let (received, sent) = (WallStamp::from_nanos(sent), WallStamp::from_nanos(sent ^ session));
            let earlier = Some(Earlier { sequence: session, received, sent });
            let epoch = Epoch::from_number(sequence);
            let pong = Frame { earlier, epoch, is_same_host: true, ..frame.pong(frame.sent, frame.sent) };
            prop_assert_eq!(Frame::decode(&pong.encode()), Some(pong));
            for wanting in [frame.wanting_stamps(None), frame.wanting_stamps(Some(session))] {
                prop_assert_eq!(Frame::decode(&wanting.encode()), Some(wanting));
            }
        }

        #[test]
        fn garbage_is_never_a_panic(bytes: Vec<u8>) {
            let at = Stamp::from_nanos(1);
            prop_assert!(answer(&bytes, at, at).is_none_or(|pong| pong.len() == bytes.len()));
        }
    }
}
