//! One attempt of each workload: a put, a transaction, a read, or a put and the wait for its event.
//!
//! It knows no rate and no clock but for the watch, whose end is stamped where the event is read.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::keyspace::Keyspace;
use super::lease::Leases;
use super::stop::Stop;
use super::watch::Waiting;
use crate::load::{Answer, Operation};
use crate::model::Outcome;
use crate::wire::etcd::{CONNECTION_LOST, Fault, Links, NOT_CONNECTED, Read, UNTOUCHED};

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
    /// Grants a lease.
    Grant(Rc<Leases>),
    /// Keeps one alive.
    Renew(Rc<Leases>),
}

/// A cluster with a part of the keys.
#[derive(Clone)]
pub struct Shard {
    /// The connections to it.
    pub links: Rc<Links>,
    /// The keys there.
    pub keys: Rc<Keyspace>,
}

/// The attempts of one lane.
pub struct EtcdOperation {
    /// What is done.
    pub work: Work,
    /// Where the keys lie: those of a number below so many, taken around.
    pub shards: Vec<Shard>,
    /// What is written.
    pub value: Bytes,
    /// Attempts so far.
    pub made: Cell<u64>,
    /// Ends the load where going on is of no use.
    pub stop: Rc<Stop>,
    /// Puts whose event may already have come.
    pub puts: std::cell::RefCell<JoinSet<()>>,
}

impl EtcdOperation {
    /// Attempts of this work, none made yet.
    #[must_use]
    pub fn new(work: Work, shards: Vec<Shard>, value_size: usize, stop: &Rc<Stop>) -> Self {
        // The same byte throughout: etcd neither compresses nor compares values.
        let value = Bytes::from(vec![b'v'; value_size]);
        let stop = Rc::clone(stop);
        Self { work, shards, value, stop, made: Cell::new(0), puts: std::cell::RefCell::default() }
    }

    fn answer(&self, ended: Result<(), Fault>) -> Answer {
        match ended {
            Ok(()) => Answer::new(Outcome::Ok),
            Err(fault) => self.fault(fault.kind),
        }
    }

    fn fault(&self, kind: &'static str) -> Answer {
        self.stop.note(kind);
        Answer::new(outcome_of(kind))
    }

    async fn watched(&self, waiting: &Arc<Waiting>, links: &Links, key: Bytes) -> Answer {
        let (number, heard) = waiting.enter();
        let _leaving = Leaving { waiting, number };
        let mut value = self.value.to_vec();
        if let Some(place) = value.first_chunk_mut() {
            *place = number.to_be_bytes();
        }
        let (link, told) = (Arc::clone(links.next()), Arc::clone(waiting));
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
            Ok(Err(kind)) => self.fault(kind),
            // The sender goes without a word only with the registry itself.
            Err(_) => Answer::new(Outcome::Failed("canceled")),
        }
    }
}

impl Operation for EtcdOperation {
    async fn attempt(&self) -> Answer {
        let attempt = self.made.get();
        self.made.set(attempt + 1);
        // Invariant: there is at least one shard, and all have the same numbers.
        let number = self.shards[0].keys.number_of(attempt);
        let count = self.shards.len() as u64;
        let Shard { links, keys } = &self.shards[(number % count) as usize];
        let key = || keys.key(number);
        match &self.work {
            Work::Put => self.answer(links.next().put(key(), self.value.clone()).await.map(drop)),
            Work::Batch(size) => {
                // A transaction is of one cluster, and so are its keys.
                let keys = (0..*size).map(|step| keys.key(number + step * count)).collect();
                self.answer(links.next().put_all(keys, &self.value).await)
            }
            Work::Range(read) => match links.next().read(key(), *read).await {
                // The keys were written before: one that is gone was deleted by somebody else.
                Ok(false) => Answer::new(Outcome::Error("key_missing")),
                other => self.answer(other.map(drop)),
            },
            Work::Watch(waiting) => self.watched(waiting, links, key()).await,
            Work::Grant(leases) => self.answer(leases.grant().await),
            Work::Renew(leases) => leases.renew().await,
        }
    }
}

/// What the cluster said no to is an error; what never reached it, or never came back, has failed.
fn outcome_of(kind: &'static str) -> Outcome {
    match kind {
        CONNECTION_LOST | NOT_CONNECTED | UNTOUCHED | "canceled" => Outcome::Failed(kind),
        kind => Outcome::Error(kind),
    }
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
