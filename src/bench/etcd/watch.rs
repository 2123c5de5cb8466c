//! A watcher on our prefix: it tells each waiting attempt when the event of its put arrived.
//!
//! The event may come before the answer to the put, so the two are matched by a number in the value and not by the
//! revision. The watcher has a connection of its own, so that no put stands in the way of an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::spec::SEQUENCE_SIZE;
use crate::model::Stamp;
use crate::sys::clock;
use crate::wire::etcd::{Fault, Link, WatchEvent, WatchStream};

/// Pause before the watch is opened again.
const PAUSE: Duration = Duration::from_millis(100);

/// The kind of an attempt whose event can never come.
const COMPACTED: &str = "compacted";

/// How a wait ended: when the event came, or why none will.
pub type Heard = Result<Stamp, &'static str>;

/// Those who wait, and what the watcher has met.
#[derive(Default)]
pub struct Waiting {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    pending: HashMap<u64, Pending>,
    /// Events before this revision will never come.
    compacted: i64,
    notes: WatchNotes,
}

struct Pending {
    told: oneshot::Sender<Heard>,
    /// Of the write, once its answer is here.
    revision: Option<i64>,
}

/// What happened to the watch, for a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchNotes {
    /// Events that arrived before the answer to their put.
    pub before_answer_count: u64,
    /// Events in time.
    pub event_count: u64,
    /// Times that the watch had to be opened again.
    pub reopened_count: u64,
    /// Times that it had to skip revisions that were compacted away.
    pub compacted_count: u64,
}

impl Waiting {
    /// A place for one attempt: its number, and where it hears of its event.
    pub fn enter(&self) -> (u64, oneshot::Receiver<Heard>) {
        let (told, heard) = oneshot::channel();
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.pending.insert(number, Pending { told, revision: None });
        (number, heard)
    }

    /// The attempt gave up.
    pub fn leave(&self, number: u64) {
        self.lock().pending.remove(&number);
    }

    /// The put of the attempt was answered.
    pub fn answered(&self, number: u64, answer: Result<i64, Fault>) {
        let mut state = self.lock();
        let compacted = state.compacted;
        match answer {
            Ok(revision) if revision >= compacted => {
                if let Some(pending) = state.pending.get_mut(&number) {
                    pending.revision = Some(revision);
                }
            }
            Ok(_) => state.tell(number, Err(COMPACTED)),
            Err(fault) => state.tell(number, Err(fault.kind)),
        }
    }

    /// What happened so far.
    pub fn notes(&self) -> WatchNotes {
        self.lock().notes.clone()
    }

    fn arrived(&self, number: u64, at: Stamp) {
        let mut state = self.lock();
        if let Some(pending) = state.pending.remove(&number) {
            state.notes.event_count += 1;
            state.notes.before_answer_count += u64::from(pending.revision.is_none());
            // Whoever no longer listens has given up, and was counted.
            let _ = pending.told.send(Ok(at));
        }
    }

    fn compacted(&self, revision: i64) {
        let mut state = self.lock();
        state.compacted = revision;
        state.notes.compacted_count += 1;
        let is_gone = |pending: &Pending| pending.revision.is_some_and(|written| written < revision);
        let gone: Vec<u64> = state.pending.iter().filter(|(_, p)| is_gone(p)).map(|(number, _)| *number).collect();
        gone.into_iter().for_each(|number| state.tell(number, Err(COMPACTED)));
    }

    fn reopened(&self) {
        self.lock().notes.reopened_count += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, number: u64, heard: Heard) {
        if let Some(pending) = self.pending.remove(&number) {
            // Whoever no longer listens has given up, and was counted.
            let _ = pending.told.send(heard);
        }
    }
}

/// A running watcher; dropping it ends the watch.
pub struct Watcher {
    waiting: Arc<Waiting>,
    _task: JoinSet<()>,
}

impl Watcher {
    /// Begins to watch `prefix`, and returns once the server has confirmed it.
    ///
    /// # Errors
    /// When the first watch cannot be opened.
    pub async fn start(link: Arc<Link>, prefix: Bytes) -> Result<Self, Fault> {
        let stream = link.watch(&prefix, 0).await?;
        let waiting = Arc::new(Waiting::default());
        let mut task = JoinSet::new();
        task.spawn(watch(link, prefix, stream, Arc::clone(&waiting)));
        Ok(Self { waiting, _task: task })
    }

    /// Those who wait for its events.
    #[must_use]
    pub const fn waiting(&self) -> &Arc<Waiting> {
        &self.waiting
    }
}

/// Reads events for ever; a watch that breaks is opened again from the revision after the last one seen.
async fn watch(link: Arc<Link>, prefix: Bytes, mut stream: WatchStream, waiting: Arc<Waiting>) {
    // A watch that breaks before its first event must still begin where this one did.
    let mut next_revision = stream.revision() + 1;
    loop {
        match stream.next().await {
            Ok(WatchEvent::Puts { revision, values }) => {
                // One stamp for all that came in one message: they arrived together.
                let at = clock::now();
                values.iter().filter_map(number_of).for_each(|number| waiting.arrived(number, at));
                next_revision = revision + 1;
                continue;
            }
            Ok(WatchEvent::Compacted { revision }) => {
                waiting.compacted(revision);
                next_revision = revision;
            }
            Ok(WatchEvent::Canceled) | Err(_) => {}
        }
        stream = reopen(&link, &prefix, next_revision).await;
        waiting.reopened();
    }
}

async fn reopen(link: &Link, prefix: &Bytes, revision: i64) -> WatchStream {
    loop {
        tokio::time::sleep(PAUSE).await;
        if let Ok(stream) = link.watch(prefix, revision).await {
            return stream;
        }
    }
}

/// The number that an attempt wrote at the beginning of its value.
fn number_of(value: &Bytes) -> Option<u64> {
    Some(u64::from_be_bytes(*value.first_chunk::<SEQUENCE_SIZE>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &'static str) -> Fault {
        Fault { kind, text: String::new() }
    }

    #[tokio::test]
    async fn an_event_may_come_before_the_answer() {
        let waiting = Waiting::default();
        let ((first, heard_first), (second, heard_second)) = (waiting.enter(), waiting.enter());
        waiting.arrived(first, Stamp::from_nanos(5));
        waiting.answered(first, Ok(7));
        waiting.answered(second, Ok(8));
        waiting.arrived(second, Stamp::from_nanos(9));
        assert_eq!(heard_first.await.unwrap(), Ok(Stamp::from_nanos(5)));
        assert_eq!(heard_second.await.unwrap(), Ok(Stamp::from_nanos(9)));
        assert_eq!((waiting.notes().before_answer_count, waiting.notes().event_count), (1, 2));
    }

    #[tokio::test]
    async fn a_compaction_ends_the_wait_for_what_lies_before_it() {
        let waiting = Waiting::default();
        let places: Vec<_> = (0..3).map(|_| waiting.enter()).collect();
        waiting.answered(0, Ok(10));
        waiting.answered(1, Ok(20));
        waiting.compacted(15);
        // The answer to the third comes late, with a revision that is gone already.
        waiting.answered(2, Ok(12));
        let mut heard = places.into_iter().map(|(_, heard)| heard);
        assert_eq!(heard.next().unwrap().await.unwrap(), Err("compacted"));
        assert!(heard.next().unwrap().try_recv().is_err());
        assert_eq!(heard.next().unwrap().await.unwrap(), Err("compacted"));
    }

    #[tokio::test]
    async fn a_failed_put_ends_the_wait_at_once() {
        let waiting = Waiting::default();
        let (number, heard) = waiting.enter();
        waiting.answered(number, Err(fault("no_leader")));
        assert_eq!(heard.await.unwrap(), Err("no_leader"));
        waiting.leave(number);
    }
}
