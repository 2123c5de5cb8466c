//! Group commit: one thread that owns the store, takes whatever waits, and pays for one flush for all of it.
//!
//! Separate from the stores because none of them knows of threads, and from the gateway because a flush blocks for as long
//! as the disk likes. Nothing is said to be durable before the store has said so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::{io, thread};

use super::{MetadataStore, Snapshot, StoreError};
use crate::sync::record::Change;
use crate::sys::clock;

/// Changes of one commit: more would only lengthen the wait of the first among them, as the flush is by then a small share.
const BATCH: usize = 4_096;

/// Hears of every commit: the last revision that is durable now, or why nothing more will be.
pub type Listener = Box<dyn FnMut(Result<u64, StoreError>) + Send>;

/// Hears of everything that is kept.
type Reader = Box<dyn FnOnce(Result<Snapshot, StoreError>) + Send>;

/// The thread, and the queue to it.
pub struct Committer {
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<Box<dyn MetadataStore>>>,
    counters: Arc<Counters>,
}

enum Work {
    Change(Change),
    Load(Reader),
}

/// Why the committer took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store is slower than the changes: try again later.
    #[error("too many changes wait for the store")]
    Full,
    /// The store failed, and its listener was told why.
    #[error("the store takes nothing more")]
    Stopped,
}

/// What the committer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commits that are durable.
    pub batches: u64,
    /// Changes in them.
    pub changes: u64,
    /// Time that they took together, flushes included.
    pub total_ns: u64,
    /// The longest of them; `None` before the first.
    pub longest_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Counters {
    batches: AtomicU64,
    changes: AtomicU64,
    total_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Committer {
    /// Starts a thread that commits to `store` and lets at most `capacity` changes wait. `listener` is called on that
    /// thread and must not block it.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(store: Box<dyn MetadataStore>, capacity: usize, listener: Listener) -> io::Result<Self> {
        let (queue, work) = sync_channel(capacity);
        let counters = Arc::new(Counters::default());
        let worker = Worker { store, work, listener, counters: Arc::clone(&counters) };
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(move || worker.run())?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counters })
    }

    /// Hands over a change, which must be numbered one above the last one that was taken. Never waits.
    ///
    /// # Errors
    /// When it was not taken; its number is then still due.
    pub fn submit(&self, change: Change) -> Result<(), Refusal> {
        self.send(Work::Change(change))
    }

    /// Asks for everything that is kept, as of a moment after all that was submitted before: for a backup of a store in
    /// use. `reader` is called on the thread, or dropped if the store fails before.
    ///
    /// # Errors
    /// When the question was not taken.
    pub fn load(&self, reader: impl FnOnce(Result<Snapshot, StoreError>) + Send + 'static) -> Result<(), Refusal> {
        self.send(Work::Load(Box::new(reader)))
    }

    /// What it has done so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Counters { batches, changes, total_ns, longest_ns } = self.counters.as_ref();
        let batches = batches.load(Ordering::Acquire);
        Figures {
            batches,
            changes: changes.load(Ordering::Relaxed),
            total_ns: total_ns.load(Ordering::Relaxed),
            longest_ns: (batches > 0).then(|| longest_ns.load(Ordering::Relaxed)),
        }
    }

    /// Commits all that waits, ends the thread and gives the store back; `None` if the thread panicked.
    #[must_use]
    pub fn close(mut self) -> Option<Box<dyn MetadataStore>> {
        self.end()
    }

    fn send(&self, work: Work) -> Result<(), Refusal> {
        let Some(queue) = &self.queue else { return Err(Refusal::Stopped) };
        queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Full,
            TrySendError::Disconnected(_) => Refusal::Stopped,
        })
    }

    fn end(&mut self) -> Option<Box<dyn MetadataStore>> {
        drop(self.queue.take());
        self.thread.take()?.join().ok()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// The thread's side.
struct Worker {
    store: Box<dyn MetadataStore>,
    work: Receiver<Work>,
    listener: Listener,
    counters: Arc<Counters>,
}

impl Worker {
    /// Works until the queue is closed and empty, or the store fails.
    fn run(mut self) -> Box<dyn MetadataStore> {
        let mut batch = Vec::new();
        while let Ok(first) = self.work.recv() {
            let question = gather(first, &self.work, &mut batch);
            if let Err(error) = self.commit(&batch) {
                // The queue goes first, so that who hears of the error can hand over nothing more.
                drop(self.work);
                (self.listener)(Err(error));
                break;
            }
            batch.clear();
            if let Some(reader) = question {
                reader(self.store.load());
            }
        }
        self.store
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        let Some(last) = batch.last() else { return Ok(()) };
        let began = clock::now();
        self.store.commit(batch)?;
        self.counters.count(batch.len(), clock::now().nanos_since(began));
        (self.listener)(Ok(last.revision()));
        Ok(())
    }
}

impl Counters {
    fn count(&self, changes: usize, took_ns: u64) {
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
        self.total_ns.fetch_add(took_ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(took_ns, Ordering::Relaxed);
        // Last and with release: who sees this batch sees its time.
        self.batches.fetch_add(1, Ordering::Release);
    }
}

/// Takes what waits, up to a batch or to a question, which is answered after the changes before it.
fn gather(first: Work, work: &Receiver<Work>, batch: &mut Vec<Change>) -> Option<Reader> {
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Work::Change(change)) => batch.push(change),
            Ok(Work::Load(reader)) => return Some(reader),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        }
        if batch.len() == BATCH {
            return None;
        }
        next = work.try_recv();
    }
}

#[cfg(test)]
mod tests;
