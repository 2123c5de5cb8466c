//! A disk in memory that keeps for certain only what was flushed, and that fails when it is told to.
//!
//! Separate because it is the ruler of the tests beside it: what a real disk may do, and no more.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use redb::StorageBackend;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// A shared handle to one disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What a power cut cannot take.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    /// What was written since the last flush.
    pending: Vec<Write>,
    /// Operations so far that change something.
    operations: u64,
    /// The operation that was the last write.
    last_write: u64,
    flushes: u64,
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

/// How a disk fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing works after so many operations.
    PowerCut(u64),
    /// After so many operations nothing can be written; what is there can be read and flushed.
    Full(u64),
    /// It says that it flushed, and did not.
    Lying,
}

impl Disk {
    /// An empty disk that works.
    pub fn new() -> Self {
        Self::of(Vec::new())
    }

    fn of(durable: Vec<u8>) -> Self {
        let seen = durable.clone();
        let (pending, fault) = (Vec::new(), None);
        let state = State { durable, seen, pending, operations: 0, last_write: 0, flushes: 0, fault };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A disk with the same content that works, and fails as it is told.
    pub fn copy(&self, fault: Option<Fault>) -> Self {
        let copy = Self::of(self.state().seen.clone());
        copy.state().fault = fault;
        copy
    }

    /// What is left after a power cut: all that was flushed, and of the rest, by chance, each write whole, in part, or not.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let state = self.state();
        let mut left = state.durable.clone();
        for write in &state.pending {
            match random.random_range(0..3) {
                0 => {}
                1 => apply(&mut left, write, |_| true),
                _ => apply(&mut left, write, |_| random.random_bool(0.5)),
            }
        }
        Self::of(left)
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The number of the operation that was the last write.
    pub fn last_write(&self) -> u64 {
        self.state().last_write
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.state().flushes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut state = self.state();
        state.operate(true)?;
        state.last_write = state.operations;
        apply(&mut state.seen, &write, |_| true);
        state.pending.push(write);
        Ok(())
    }
}

impl State {
    fn operate(&mut self, is_write: bool) -> io::Result<()> {
        self.operations += 1;
        match self.fault {
            Some(Fault::PowerCut(after)) if self.operations > after => Err(io::Error::other("the power is off")),
            Some(Fault::Full(after)) if is_write && self.operations > after => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) {
        self.flushes += 1;
        if matches!(self.fault, Some(Fault::Lying)) {
            return;
        }
        for write in self.pending.drain(..) {
            apply(&mut self.durable, &write, |_| true);
        }
    }
}

/// Does a write to `disk`, sector by sector where `is_kept` says so.
fn apply(disk: &mut Vec<u8>, write: &Write, mut is_kept: impl FnMut(usize) -> bool) {
    match write {
        Write::Length(length) => disk.resize(*length, 0),
        Write::Bytes(offset, bytes) => {
            disk.resize(disk.len().max(offset + bytes.len()), 0);
            for (number, sector) in bytes.chunks(SECTOR).enumerate().filter(|(number, _)| is_kept(*number)) {
                let begin = offset + number * SECTOR;
                disk[begin..begin + sector.len()].copy_from_slice(sector);
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if let Some(Fault::PowerCut(after)) = state.fault
            && state.operations > after
        {
            return Err(io::Error::other("the power is off"));
        }
        let begin = usize::try_from(offset).map_err(io::Error::other)?;
        let part = state.seen.get(begin..begin + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write(Write::Length(usize::try_from(length).map_err(io::Error::other)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate(false)?;
        state.flush();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(Write::Bytes(usize::try_from(offset).map_err(io::Error::other)?, data.to_vec()))
    }
}
