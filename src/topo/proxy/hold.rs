//! What is on its way in one direction of one flow: pieces in order, each with the moment it arrives.
//!
//! Separate because both kinds of flow hold pieces alike, and because every piece is counted in and out of the bytes that
//! all flows hold together: a queue that is dropped gives them back.

use std::cell::Cell;
use std::collections::VecDeque;

use super::Shared;
use crate::model::Stamp;

/// When to look again where nothing is due.
pub const NEVER: Stamp = Stamp::from_nanos(u64::MAX);

/// What a piece costs beside its bytes.
const OVERHEAD: usize = 64;

/// Something on its way.
pub enum Load {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The sender will send no more.
    End,
    /// The sender has broken the connection.
    Reset,
}

/// A load with the moment at which it arrives.
pub struct Piece {
    /// When it arrives.
    pub release: Stamp,
    /// What it is.
    pub load: Load,
    is_begun: bool,
    /// Bytes that are delivered already.
    pub written: usize,
}

/// The pieces of one direction.
pub struct Hold<'a> {
    pieces: VecDeque<Piece>,
    bytes: usize,
    all: &'a Cell<usize>,
}

impl Load {
    /// Its bytes.
    pub const fn length(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Reset => 0,
        }
    }
}

impl Piece {
    /// Delivering it begins, or goes on: when it was due, if it begins.
    pub const fn begin(&mut self) -> Option<Stamp> {
        let is_first = !self.is_begun;
        self.is_begun = true;
        if is_first { Some(self.release) } else { None }
    }
}

impl<'a> Hold<'a> {
    /// Nothing is on its way.
    pub const fn new(shared: &'a Shared) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, all: &shared.held }
    }

    /// Something sets out.
    pub fn push(&mut self, release: Stamp, load: Load) {
        let cost = OVERHEAD + load.length();
        self.bytes += cost;
        self.all.set(self.all.get() + cost);
        self.pieces.push_back(Piece { release, load, is_begun: false, written: 0 });
    }

    /// The first piece, if it is due.
    pub fn due(&mut self, now: Stamp) -> Option<&mut Piece> {
        self.pieces.front_mut().filter(|piece| piece.release <= now)
    }

    /// The first piece is delivered.
    pub fn pop(&mut self) {
        if let Some(piece) = self.pieces.pop_front() {
            self.release(OVERHEAD + piece.load.length());
        }
    }

    /// When the first piece is due.
    pub fn next_due(&self) -> Stamp {
        self.pieces.front().map_or(NEVER, |piece| piece.release)
    }

    /// What is on its way, in bytes and what they cost.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything on its way vanishes.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.release(self.bytes);
    }

    fn release(&mut self, cost: usize) {
        self.bytes -= cost;
        self.all.set(self.all.get() - cost);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}
