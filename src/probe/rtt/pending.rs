//! Attempts that wait for their answer, by key.
//!
//! Shared by the channels that answer out of band: whoever reads the socket settles the attempt with the stamp taken
//! right after the read. A dropped attempt (the driver's timeout) leaves nothing behind; its late answer is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::load::Answer;
use crate::model::{Outcome, Stamp};
use crate::sys::clock;

type Waiting = HashMap<u64, oneshot::Sender<(Outcome, Stamp)>>;

/// Attempts of one channel that wait for their answer.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    late: AtomicU64,
}

/// One attempt that waits; dropping it forgets it.
#[derive(Debug)]
pub struct Expected<'a> {
    pending: &'a Pending,
    /// The key of the attempt.
    pub key: u64,
    answer: oneshot::Receiver<(Outcome, Stamp)>,
}

impl Pending {
    /// A new attempt under the next key; keys count up from 0.
    pub fn expect(&self) -> Expected<'_> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.lock().insert(key, sender);
        Expected { pending: self, key, answer }
    }

    /// Settles the attempt of this key, and tells whether it was waiting; an answer to an attempt that gave up is counted
    /// as late.
    pub fn settle(&self, key: u64, outcome: Outcome, at: Stamp) -> bool {
        let waiting = self.lock().remove(&key);
        match waiting {
            // A receiver that is gone gave up between the removal and now; the driver has counted it as lost.
            Some(sender) => return sender.send((outcome, at)).is_ok(),
            None if key < self.next.load(Ordering::Relaxed) => _ = self.late.fetch_add(1, Ordering::Relaxed),
            None => {}
        }
        false
    }

    /// Attempts that wait.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Settles every attempt, because the way their answers would come is gone.
    pub fn settle_all(&self, outcome: Outcome) {
        let waiting = std::mem::take(&mut *self.lock());
        let at = clock::now();
        for sender in waiting.into_values() {
            _ = sender.send((outcome, at));
        }
    }

    /// The key that the next attempt will get.
    pub fn next_key(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Answers that came after their attempt had been given up.
    pub fn late_count(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected<'_> {
    /// Waits for the answer to an attempt that was sent at `started`.
    pub async fn answer(mut self, started: Stamp) -> Answer {
        let (outcome, ended) = match (&mut self.answer).await {
            Ok((outcome, at)) => (outcome, Some(at)),
            Err(_) => (Outcome::Failed("channel_closed"), None),
        };
        Answer { started: Some(started), ended, ..Answer::new(outcome) }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.key);
    }
}
