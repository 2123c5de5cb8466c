//! The exchanges of one socket and the kernel's stamps of them, taken from the socket as they come.
//!
//! Separate from the pure ledger because here the socket and the clock are read: one extra call for each message sent, whose
//! stamp is there by then, and another only where it was not.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::exchange::Exchange;
use super::ledger::Ledger;
use crate::echo::{Earlier, Epoch};
use crate::model::Stamp;
use crate::sys::stamping::{Reception, SentAt, Stampers};
use crate::sys::wall::WallWatch;
use crate::sys::{clock, stamping};

/// An answer as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Which exchange it ends.
    pub sequence: u64,
    /// When this process had read it.
    pub ended: Stamp,
    /// When kernel and card received it, as far as that is certain.
    pub received: Reception,
}

/// Exchanges of one socket, with the wall clock that stamps them.
#[derive(Debug)]
pub struct Book {
    ledger: Ledger,
    watch: WallWatch,
    /// Who was asked for stamps.
    stampers: Stampers,
    /// Why the kernel gives no stamps.
    refused: Option<String>,
}

impl Book {
    /// An empty book of messages whose numbers differ by `stride` and whose answers are waited for no longer than `patience`;
    /// `asked` is the kernel's answer to the wish for stamps of these.
    pub fn new(stride: u32, patience: Duration, stampers: Stampers, asked: io::Result<()>) -> Self {
        let (ledger, watch) = (Ledger::new(stride, patience), WallWatch::new(clock::reading()));
        Self { ledger, watch, stampers, refused: asked.err().map(|error| error.to_string()) }
    }

    /// Keeps exchanges that were answered until they are taken out.
    pub fn keeping_answered(self) -> Self {
        Self { ledger: self.ledger.keeping_answered(), ..self }
    }

    /// Who was asked for stamps.
    pub const fn stampers(&self) -> Stampers {
        self.stampers
    }

    /// From here on these are asked for stamps.
    pub const fn expect(&mut self, stampers: Stampers) {
        self.stampers = stampers;
    }

    /// Why the kernel gives no stamps, if it said so.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Takes an exchange that begins, while so many are in flight. Returns those that were answered and had to make room.
    pub fn begin(&mut self, sequence: u64, started: Stamp, in_flight: usize) -> Vec<Exchange> {
        self.ledger.begin(sequence, (started, self.watch.earliest(started)), in_flight)
    }

    /// The kernel numbers the message of this exchange so; takes its stamp if it is there already.
    pub fn written(&mut self, number: u32, sequence: u64, socket: BorrowedFd<'_>) {
        self.ledger.numbered(number, sequence);
        self.collect(socket, sequence, |exchange| exchange.sent.is_some());
    }

    /// The kernel begins its numbers again: stamps under way would be taken for others.
    pub fn renumber(&mut self, asked: io::Result<()>, socket: BorrowedFd<'_>) {
        while let Ok(Some(_)) = stamping::sent(socket) {}
        self.ledger.forget_numbers();
        self.refused = asked.err().map(|error| error.to_string());
    }

    /// Looks at the wall clock, and whether it was not stepped since the exchange began whose answer was read just now.
    pub fn is_steady(&mut self, sequence: u64) -> bool {
        self.watch.observe(clock::reading());
        self.ledger.of(sequence).is_none_or(|exchange| self.watch.is_steady_since(exchange.started))
    }

    /// Takes the end of an exchange after [`Self::is_steady`], and its stamp of sending if that came late. Returns it if nothing more will be known of it:
    /// the far end's stamps are there, or it had to make room for others.
    pub fn read(&mut self, read: Read, socket: BorrowedFd<'_>) -> Option<Exchange> {
        let Some(exchange) = self.ledger.of(read.sequence) else {
            return Some(Exchange::unknown(read.sequence, read.ended));
        };
        exchange.ended = Some(read.ended);
        exchange.received = read.received.kernel;
        exchange.card.received = read.received.card;
        exchange.epoch.0 = self.watch.step_count();
        exchange.is_steady = self.watch.is_steady_since(exchange.started);
        self.collect_late(read.sequence, socket);
        self.ledger.take_complete(read.sequence)
    }

    /// Takes the stamps of sending that came late: a card tells of a sending when it is over, which no call waits for.
    /// Returns the exchange as it is.
    pub fn collect_late(&mut self, sequence: u64, socket: BorrowedFd<'_>) -> Option<Exchange> {
        let wants_card = self.stampers == Stampers::KernelAndCard;
        self.collect(socket, sequence, |exchange| {
            exchange.sent.is_some() && (!wants_card || exchange.card.sent.is_some())
        });
        self.ledger.of(sequence).copied()
    }

    /// The stamp of the answer to this exchange was that of a later one.
    pub fn retract(&mut self, sequence: u64) {
        if let Some(exchange) = self.ledger.of(sequence) {
            exchange.received = None;
            exchange.card.received = None;
        }
    }

    /// Takes the far end's stamps of an exchange. Returns it if it is complete with them.
    pub fn told(&mut self, earlier: Earlier, epoch: Epoch) -> Option<Exchange> {
        self.ledger.told(earlier, epoch)
    }

    /// Takes out an exchange as it is.
    pub fn take(&mut self, sequence: u64) -> Option<Exchange> {
        self.ledger.take(sequence)
    }

    /// Takes out all exchanges as they are.
    pub fn take_all(&mut self) -> Vec<Exchange> {
        self.ledger.take_all()
    }

    /// Takes stamps of sending until those of this exchange are there, or none is left.
    fn collect(&mut self, socket: BorrowedFd<'_>, wanted: u64, is_there: impl Fn(&Exchange) -> bool) {
        let is_refused = self.refused.is_some();
        let is_done = |ledger: &mut Ledger| is_refused || ledger.of(wanted).is_none_or(|known| is_there(known));
        while !is_done(&mut self.ledger)
            && let Ok(Some(stamp)) = stamping::sent(socket)
        {
            match stamp.at {
                SentAt::Kernel(at) => self.ledger.sent(stamp.number, at),
                SentAt::Card(at) => self.ledger.sent_by_card(stamp.number, at),
            }
        }
    }
}
