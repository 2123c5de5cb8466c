//! The exchanges of one socket and the kernel's stamps of them, taken from the socket as they come.
//!
//! Separate from the pure ledger because here the socket and the clock are read: one extra call for each message sent, whose
//! stamp is there by then, and another only where it was not.

use std::io;
use std::os::fd::BorrowedFd;

use super::ledger::{Exchange, Ledger};
use crate::echo::Earlier;
use crate::model::{Stamp, WallStamp};
use crate::sys::wall::WallWatch;
use crate::sys::{clock, stamping};

/// An answer as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Which exchange it ends.
    pub sequence: u64,
    /// When this process had read it.
    pub ended: Stamp,
    /// When the kernel received it, if that is certain.
    pub received: Option<WallStamp>,
}

/// Exchanges of one socket, with the wall clock that stamps them.
#[derive(Debug)]
pub struct Book {
    ledger: Ledger,
    watch: WallWatch,
    /// Why the kernel gives no stamps.
    refused: Option<String>,
}

impl Book {
    /// An empty book of messages whose numbers differ by `stride`; `asked` is the kernel's answer to the wish for stamps.
    pub fn new(stride: u32, asked: io::Result<()>) -> Self {
        let watch = WallWatch::new(clock::reading());
        Self { ledger: Ledger::new(stride), watch, refused: asked.err().map(|error| error.to_string()) }
    }

    /// Why the kernel gives no stamps, if it said so.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Takes an exchange that begins. Returns one that had to make room.
    pub fn begin(&mut self, sequence: u64, started: Stamp, in_flight: usize) -> Option<Exchange> {
        self.ledger.begin(sequence, started, in_flight)
    }

    /// The kernel numbers the message of this exchange so; takes its stamp if it is there already.
    pub fn written(&mut self, number: u32, sequence: u64, socket: BorrowedFd<'_>) {
        self.ledger.numbered(number, sequence);
        self.collect(sequence, socket);
    }

    /// The kernel begins its numbers again: stamps under way would be taken for others.
    pub fn renumber(&mut self, asked: io::Result<()>, socket: BorrowedFd<'_>) {
        while let Ok(Some(_)) = stamping::sent(socket) {}
        self.ledger.forget_numbers();
        self.refused = asked.err().map(|error| error.to_string());
    }

    /// Takes the end of an exchange, and its stamp of sending if that came late.
    pub fn read(&mut self, read: Read, socket: BorrowedFd<'_>) {
        self.watch.observe(clock::reading());
        let Some(exchange) = self.ledger.of(read.sequence) else { return };
        exchange.ended = Some(read.ended);
        exchange.received = read.received;
        exchange.epoch.0 = self.watch.step_count();
        exchange.is_steady = self.watch.is_steady_since(exchange.started);
        if exchange.sent.is_none() {
            self.collect(read.sequence, socket);
        }
    }

    /// The stamp of the answer to this exchange was that of a later one.
    pub fn retract(&mut self, sequence: u64) {
        if let Some(exchange) = self.ledger.of(sequence) {
            exchange.received = None;
        }
    }

    /// Takes the far end's stamps of an exchange, which is complete with them and leaves.
    pub fn completed(&mut self, earlier: Earlier, far_steps: u8) -> Option<Exchange> {
        self.ledger.completed(earlier, far_steps)
    }

    /// Takes out an exchange as it is.
    pub fn take(&mut self, sequence: u64) -> Option<Exchange> {
        self.ledger.take(sequence)
    }

    /// Takes out all exchanges as they are.
    pub fn take_all(&mut self) -> Vec<Exchange> {
        self.ledger.take_all()
    }

    /// Takes stamps of sending until that of this exchange is there, or none is left.
    fn collect(&mut self, wanted: u64, socket: BorrowedFd<'_>) {
        if self.refused.is_some() {
            return;
        }
        while let Ok(Some(stamp)) = stamping::sent(socket) {
            if self.ledger.sent(stamp.number, stamp.at) == Some(wanted) {
                return;
            }
        }
    }
}
