//! The ICMP channel: echo request and reply, as `ping` sends them.
//!
//! One socket per address family serves all targets: a raw socket hears every reply of the host, so a thousand of them
//! would each hear a thousand times too much. A random token in the payload tells our replies from others'.
//!
//! An attempt ends at the kernel's receive stamp, as in `ping` and `fping` (decision 0007): on a short path the reply is
//! received inside the very call that sends the request.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::book::{Book, Read};
use super::exchange::Exchange;
use super::pending::Pending;
use super::stamps::{Absence, Tracks};
use crate::load::Answer;
use crate::model::{Outcome, Stamp};
use crate::sys::clock;
use crate::sys::icmp::{IcmpAddress, IcmpDenied, IcmpSocket, Received};
use crate::sys::stamping::Stampers;
use crate::wire::dial::outcome_of;

/// Payload length of `ping`: 56 bytes, 64 with the ICMP header.
const PAYLOAD: usize = 56;
const HEADER: usize = 8;

/// An ICMP socket and the attempts on it, shared by the targets of one family.
#[derive(Debug)]
pub struct IcmpHub {
    shared: Arc<Shared>,
    _reader: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    socket: IcmpSocket,
    types: Types,
    identifier: u16,
    token: u64,
    pending: Pending,
    book: Mutex<Book>,
    /// Messages sent, as the kernel numbers them.
    sent: AtomicU32,
}

/// The message types of a family.
#[derive(Clone, Copy, Debug)]
struct Types {
    request: u8,
    reply: u8,
    unreachable: u8,
    /// Bytes of the IP header that an error message quotes before our own header.
    quoted_header: usize,
}

const V4: Types = Types { request: 8, reply: 0, unreachable: 3, quoted_header: 20 };
const V6: Types = Types { request: 128, reply: 129, unreachable: 1, quoted_header: 40 };

/// An answered exchange, at its place among the target's.
#[derive(Debug)]
struct Answered {
    ordinal: u64,
    exchange: Exchange,
}

/// Echo requests to one address.
#[derive(Debug)]
pub struct IcmpChannel {
    hub: Arc<IcmpHub>,
    address: IcmpAddress,
    tracks: Box<Mutex<Tracks>>,
    /// The last answered exchange, whose card has not told of its sending yet.
    unstamped: Mutex<Option<Box<Answered>>>,
    /// Requests so far: the keys of the hub are shared by all targets, and neighbours must be known.
    ordinal: AtomicU64,
}

impl IcmpHub {
    /// Opens the socket of the family of `like`; `patience` is how long a reply is waited for.
    ///
    /// # Errors
    /// When the process may open neither a datagram nor a raw ICMP socket.
    pub fn open(like: IpAddr, bind: Option<IpAddr>, patience: Duration) -> Result<Self, IcmpDenied> {
        let token = clock::entropy();
        let socket = IcmpSocket::open(like, bind)?;
        let book = Book::new(1, patience, Stampers::Kernel, socket.want_stamps(Stampers::Kernel));
        let shared = Arc::new(Shared {
            book: Mutex::new(book.keeping_answered()),
            sent: AtomicU32::new(0),
            socket,
            types: if like.is_ipv4() { V4 } else { V6 },
            identifier: token as u16,
            token,
            pending: Pending::default(),
        });
        let mut reader = JoinSet::new();
        reader.spawn(read(Arc::clone(&shared)));
        Ok(Self { shared, _reader: reader })
    }

    /// Replies that came after their attempt had been given up.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        self.shared.pending.late_count()
    }
}

impl IcmpChannel {
    /// Requests to this address through the socket of its family, which these are to stamp. Made before the first attempt.
    #[must_use]
    pub fn new(hub: Arc<IcmpHub>, address: IcmpAddress, stampers: Stampers) -> Self {
        if stampers == Stampers::KernelAndCard && hub.shared.book().stampers() != stampers {
            hub.shared.book().expect(stampers);
            hub.shared.renumber();
        }
        let tracks = Box::new(Mutex::new(Tracks::new(stampers)));
        Self { hub, address, tracks, unstamped: Mutex::default(), ordinal: AtomicU64::new(0) }
    }

    /// Sends one echo request and waits for its reply.
    pub async fn attempt(&self) -> Answer {
        let shared = &self.hub.shared;
        let ordinal = self.ordinal.fetch_add(1, Ordering::Relaxed);
        let expected = shared.pending.expect();
        let key = expected.key;
        let packet = shared.request(key);
        let started = clock::now();
        if let Err(error) = shared.send(key, started, &packet, &self.address) {
            return Answer { started: Some(started), ..Answer::new(outcome_of(&error)) };
        }
        // On a local path the reply is in the socket before `send` returns: taking it now saves the wake-up.
        shared.take_one();
        let answer = expected.answer(started).await;
        if answer.outcome == Outcome::Ok {
            self.conclude(ordinal, key);
        }
        answer
    }

    /// Records the exchange of this key, or if its card has not told of the sending yet, keeps it and records the one before.
    fn conclude(&self, ordinal: u64, key: u64) {
        let shared = &self.hub.shared;
        let exchange = shared.book().collect_late(key, shared.socket.descriptor());
        let answered = Answered { ordinal, exchange: exchange.unwrap_or_else(|| Exchange::unknown(key, clock::now())) };
        let is_early = answered.exchange.card.sent.is_none() && self.tracks().by_card().is_some();
        if is_early {
            let before = self.unstamped().replace(Box::new(answered));
            self.record(before.as_deref());
        } else {
            self.record(Some(&answered));
        }
    }

    /// Takes the last exchange as it is.
    pub fn finish(&self) {
        if let Some(Answered { exchange, .. }) = self.unstamped().as_deref() {
            self.hub.shared.book().collect_late(exchange.sequence, self.hub.shared.socket.descriptor());
        }
        let last = self.unstamped().take();
        self.record(last.as_deref());
    }

    /// Where it had to make room for others meanwhile, what was known of it when it was answered is all.
    fn record(&self, answered: Option<&Answered>) {
        let Some(Answered { ordinal, exchange }) = answered else { return };
        let latest = self.hub.shared.book().take(exchange.sequence).unwrap_or(*exchange);
        self.tracks().record(*ordinal, &latest);
    }

    fn unstamped(&self) -> MutexGuard<'_, Option<Box<Answered>>> {
        self.unstamped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why they are not there.
    pub fn absence(&self) -> Option<Absence> {
        self.tracks().absence(self.hub.shared.book().refused())
    }

    /// The kernel's stamps of the exchanges so far.
    pub fn tracks(&self) -> MutexGuard<'_, Tracks> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn send(&self, key: u64, started: Stamp, packet: &[u8], to: &IcmpAddress) -> io::Result<()> {
        let mut book = self.book();
        // Sent first, with the book held: what is noted of it is in no figure then, and nobody reads the reply before.
        if let Err(error) = self.socket.send(packet, to) {
            drop(book);
            // Whether the kernel has counted it is not known.
            self.renumber();
            return Err(error);
        }
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        // Attempts take out their answered exchanges; nobody comes for one that had to make room.
        book.begin(key, started, self.pending.count());
        book.written(number, key, self.socket.descriptor());
        Ok(())
    }

    /// Asking again begins the numbers again.
    fn renumber(&self) {
        self.sent.store(0, Ordering::Relaxed);
        let mut book = self.book();
        let asked = self.socket.want_stamps(book.stampers());
        book.renumber(asked, self.socket.descriptor());
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, key: u64) -> [u8; HEADER + PAYLOAD] {
        let mut packet = [0; HEADER + PAYLOAD];
        packet[0] = self.types.request;
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&(key as u16).to_be_bytes());
        packet[8..16].copy_from_slice(&self.token.to_be_bytes());
        packet[16..24].copy_from_slice(&key.to_be_bytes());
        // For ICMPv6, and for datagram sockets, the kernel computes the checksum over what it knows better.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn take_one(&self) {
        let mut buffer = [0; 512];
        if let Ok((message, received)) = self.socket.try_receive(&mut buffer) {
            self.take(message, received);
        }
    }

    fn take(&self, message: &[u8], received: Received) {
        if message.len() < HEADER {
            return;
        }
        if message[0] == self.types.reply && message.len() >= 24 {
            if word(&message[8..]) == self.token {
                let (sequence, ended) = (word(&message[16..]), clock::now());
                let mut book = self.book();
                // Its age is known by the wall clock, unless that was stepped while the reply waited.
                let at = if book.is_steady(sequence) { received.at } else { ended };
                if self.pending.settle(sequence, Outcome::Ok, at) {
                    let read = Read { sequence, ended, received: received.stamps };
                    book.read(read, self.socket.descriptor());
                }
            }
        } else if message[0] == self.types.unreachable
            && let Some(key) = self.quoted_key(&message[HEADER..])
        {
            self.pending.settle(key, Outcome::Failed("unreachable"), received.at);
        }
    }

    /// The key of our request that an error message quotes: its identifier is ours, its sequence the key's low 16 bits.
    fn quoted_key(&self, quoted: &[u8]) -> Option<u64> {
        let length = match self.types.quoted_header {
            20 => usize::from(*quoted.first()? & 0x0f) * 4,
            fixed => fixed,
        };
        let ours = quoted.get(length..length + HEADER)?;
        let identifier = u16::from_be_bytes([ours[4], ours[5]]);
        let sequence = u16::from_be_bytes([ours[6], ours[7]]);
        if ours[0] != self.types.request || identifier != self.identifier {
            return None;
        }
        let last = self.pending.next_key().checked_sub(1)?;
        last.checked_sub(u64::from((last as u16).wrapping_sub(sequence)))
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = [0; 512];
    while shared.socket.receive_each(&mut buffer, |message, received| shared.take(message, received)).await.is_ok() {}
    shared.pending.settle_all(Outcome::Failed("channel_closed"));
}

fn word(bytes: &[u8]) -> u64 {
    bytes[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_rfc_1071_section_3() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
