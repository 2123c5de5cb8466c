//! Holds back what redb writes while it opens a file, until it is known that the file is whole.
//!
//! redb mends the header before it has looked at the pages; a file that is refused would not be left as it was. What is
//! held is done afterwards in the same order, flushes included, so a power cut meets nothing that redb did not plan for.

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// A backend of redb that begins to write when it is released.
#[derive(Debug)]
pub struct Held<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    below: B,
    /// What was done so far, or `None` once it is released.
    log: Mutex<Option<Vec<Operation>>>,
}

#[derive(Debug)]
enum Operation {
    Bytes(u64, Vec<u8>),
    Length(u64),
    Flush,
}

impl<B> Clone for Held<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: StorageBackend> Held<B> {
    /// Holds back what is written to `below`.
    pub fn new(below: B) -> Self {
        Self(Arc::new(Inner { below, log: Mutex::new(Some(Vec::new())) }))
    }

    /// Does what was held back, and holds back nothing from now on. After an error it still does.
    pub fn release(&self) -> io::Result<()> {
        let mut log = self.log();
        for operation in log.iter().flatten() {
            match operation {
                Operation::Bytes(offset, bytes) => self.0.below.write(*offset, bytes)?,
                Operation::Length(length) => self.0.below.set_len(*length)?,
                Operation::Flush => self.0.below.sync_data()?,
            }
        }
        *log = None;
        Ok(())
    }

    fn log(&self) -> MutexGuard<'_, Option<Vec<Operation>>> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an operation, or does it.
    fn perform(&self, operation: Operation, directly: impl FnOnce(&B) -> io::Result<()>) -> io::Result<()> {
        match self.log().as_mut() {
            Some(log) => log.push(operation),
            None => return directly(&self.0.below),
        }
        Ok(())
    }

    fn length(&self, log: &[Operation]) -> io::Result<u64> {
        let grow = |length: u64, operation: &Operation| match operation {
            Operation::Bytes(offset, bytes) => length.max(offset + bytes.len() as u64),
            Operation::Length(length) => *length,
            Operation::Flush => length,
        };
        Ok(log.iter().fold(self.0.below.len()?, grow))
    }

    /// Reads what is below, as it would be if what was held back had been done.
    fn read_through(&self, log: &[Operation], offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.length(log)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = within(self.0.below.len()?, offset, out.len());
        if there > 0 {
            self.0.below.read(offset, &mut out[..there])?;
        }
        out[there..].fill(0);
        for operation in log {
            match operation {
                Operation::Bytes(at, bytes) => overlay(out, offset, bytes, *at),
                Operation::Length(length) => {
                    let kept = within(*length, offset, out.len());
                    out[kept..].fill(0);
                }
                Operation::Flush => {}
            }
        }
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for Held<B> {
    fn len(&self) -> io::Result<u64> {
        match self.log().as_deref() {
            Some(log) => self.length(log),
            None => self.0.below.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.log().as_deref() {
            Some(log) => self.read_through(log, offset, out),
            None => self.0.below.read(offset, out),
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.perform(Operation::Length(length), |below| below.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.perform(Operation::Flush, B::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.perform(Operation::Bytes(offset, data.to_vec()), |below| below.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.0.below.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.query_lock_range(start, end)
    }
}

/// How many of `count` bytes from `offset` on lie before `end`.
fn within(end: u64, offset: u64, count: usize) -> usize {
    usize::try_from(end.saturating_sub(offset)).map_or(count, |left| left.min(count))
}

/// Lays the bytes from `at` on over those of `out`, which begins at `offset`.
fn overlay(out: &mut [u8], offset: u64, bytes: &[u8], at: u64) {
    let skipped = within(offset, at, bytes.len());
    let begin = within(at, offset, out.len());
    let count = (bytes.len() - skipped).min(out.len() - begin);
    out[begin..begin + count].copy_from_slice(&bytes[skipped..skipped + count]);
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use redb::backends::InMemoryBackend;

    use super::*;

    fn content(backend: &impl StorageBackend) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(backend.len().unwrap()).unwrap()];
        backend.read(0, &mut all).unwrap();
        all
    }

    fn operate(backend: &impl StorageBackend, random: &mut ChaCha8Rng) {
        let length = backend.len().unwrap();
        match random.random_range(0..10) {
            0 => backend.set_len(random.random_range(0..2 * length + 40)).unwrap(),
            1 => backend.sync_data().unwrap(),
            _ => {
                let count = random.random_range(0..=length.min(30));
                let offset = random.random_range(0..=length - count);
                let bytes = vec![random.random_range(1..=255); usize::try_from(count).unwrap()];
                backend.write(offset, &bytes).unwrap();
            }
        }
    }

    /// The same operations on a backend that holds and on one that does not, compared by every read and after the release.
    #[test]
    fn what_is_held_reads_as_if_it_were_done_and_is_done_when_released() {
        for seed in 0..200 {
            let (below, plain) = (InMemoryBackend::new(), InMemoryBackend::new());
            for backend in [&below, &plain] {
                backend.set_len(100).unwrap();
                backend.write(0, &[7; 100]).unwrap();
            }
            let held = Held::new(below);
            for step in 0..40 {
                operate(&held, &mut ChaCha8Rng::seed_from_u64(seed * 100 + step));
                operate(&plain, &mut ChaCha8Rng::seed_from_u64(seed * 100 + step));
                let length = held.len().unwrap();
                assert_eq!(content(&held), content(&plain), "seed {seed}, step {step}");
                let mut part = vec![0; usize::try_from(length / 2).unwrap()];
                held.read(length / 3, &mut part).unwrap();
                assert_eq!(part, content(&plain)[usize::try_from(length / 3).unwrap()..][..part.len()], "seed {seed}");
                assert!(held.read(length / 2 + 1, &mut vec![0; content(&plain).len()]).is_err());
            }
            assert_eq!(content(&held.0.below), [7; 100], "seed {seed}");
            held.release().unwrap();
            assert_eq!(content(&held.0.below), content(&plain), "seed {seed}");
            held.set_len(3).unwrap();
            assert_eq!(held.0.below.len().unwrap(), 3);
        }
    }
}
