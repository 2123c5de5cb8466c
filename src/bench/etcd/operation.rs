//! One attempt of each workload: a put, a transaction, a read, or a put and the wait for its event.
//!
//! It knows no rate and no clock but for the watch, whose end is stamped where the event is read.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::keyspace::Keyspace;
use super::watch::Waiting;
use crate::load::{Answer, Operation};
use crate::model::Outcome;
use crate::wire::etcd::{Fault, Links, Read};

/// What one attempt does.
pub enum Work {
    /// Writes one key.
    Put,
    /// Writes so many keys in a transaction.
    Batch(u64),
    /// Reads one key.
    Range(Read),
    /// Writes one key and waits for its event.
    Watch(Arc<Waiting>),
}

/// The attempts of one lane.
pub struct EtcdOperation {
    /// What is done.
    pub work: Work,
    /// On which connections.
    pub links: Rc<Links>,
    /// To which keys.
    pub keys: Rc<Keyspace>,
    /// What is written.
    pub value: Bytes,
    /// Attempts so far.
    pub made: Cell<u64>,
    /// Puts whose event may already have come.
    pub puts: std::cell::RefCell<JoinSet<()>>,
}

impl EtcdOperation {
    /// Attempts of this work, none made yet.
    #[must_use]
    pub fn new(work: Work, links: &Rc<Links>, keys: &Rc<Keyspace>, value_size: usize) -> Self {
        // The same byte throughout: etcd neither compresses nor compares values.
        let value = Bytes::from(vec![b'v'; value_size]);
        let (links, keys) = (Rc::clone(links), Rc::clone(keys));
        Self { work, links, keys, value, made: Cell::new(0), puts: std::cell::RefCell::default() }
    }

    async fn watched(&self, waiting: &Arc<Waiting>, key: Bytes) -> Answer {
        let (number, heard) = waiting.enter();
        let _leaving = Leaving { waiting, number };
        let mut value = self.value.to_vec();
        if let Some(place) = value.first_chunk_mut() {
            *place = number.to_be_bytes();
        }
        let (link, told) = (Arc::clone(self.links.next()), Arc::clone(waiting));
        {
            // In a task of its own: the event may come first, and a call that is dropped would be cancelled.
            let mut puts = self.puts.borrow_mut();
            while puts.try_join_next().is_some() {}
            puts.spawn(async move {
                let answer = link.put(key, value.into()).await;
                told.answered(number, answer);
            });
        }
        match heard.await {
            Ok(Ok(at)) => Answer { ended: Some(at), ..Answer::new(Outcome::Ok) },
            Ok(Err(kind)) => Answer::new(Outcome::Failed(kind)),
            // The sender goes without a word only with the registry itself.
            Err(_) => Answer::new(Outcome::Failed("canceled")),
        }
    }
}

impl Operation for EtcdOperation {
    async fn attempt(&self) -> Answer {
        let attempt = self.made.get();
        self.made.set(attempt + 1);
        let number = self.keys.number_of(attempt);
        let key = || self.keys.key(number);
        match &self.work {
            Work::Put => answer(self.links.next().put(key(), self.value.clone()).await.map(drop)),
            Work::Batch(size) => {
                let keys = (0..*size).map(|step| self.keys.key(number + step)).collect();
                answer(self.links.next().put_all(keys, &self.value).await)
            }
            Work::Range(read) => match self.links.next().read(key(), *read).await {
                // The keys were written before: one that is gone was deleted by somebody else.
                Ok(false) => Answer::new(Outcome::Failed("key_missing")),
                other => answer(other.map(drop)),
            },
            Work::Watch(waiting) => self.watched(waiting, key()).await,
        }
    }
}

fn answer(ended: Result<(), Fault>) -> Answer {
    Answer::new(match ended {
        Ok(()) => Outcome::Ok,
        Err(fault) => Outcome::Failed(fault.kind),
    })
}

/// Takes the attempt out of the registry when it is dropped at its timeout.
struct Leaving<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.number);
    }
}
