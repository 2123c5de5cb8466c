//! The committer against stores that wait, fail and keep what they took.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::sync::store::embedded::EmbeddedStore;
use crate::sync::store::memory::MemoryStore;

const LIMIT: u64 = 100_000;

/// A store that says how many changes each commit has, and goes on when it may.
struct Gated {
    store: MemoryStore,
    begun: Sender<usize>,
    may: Receiver<bool>,
}

impl MetadataStore for Gated {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.begun.send(changes.len()).unwrap();
        // A gate that is gone lets everything through.
        if self.may.recv().unwrap_or(true) { self.store.commit(changes) } else { Err(full()) }
    }
}

/// A committer on a gated store, and both ends of it.
struct Bench {
    committer: Committer,
    begun: Receiver<usize>,
    may: Sender<bool>,
    heard: Receiver<Result<u64, StoreError>>,
}

fn bench(capacity: usize) -> Bench {
    let ((begin, begun), (may, allowed), (tell, heard)) = (channel(), channel(), channel());
    let store = Gated { store: MemoryStore::new(LIMIT), begun: begin, may: allowed };
    let listener = Box::new(move |told| tell.send(told).unwrap());
    Bench { committer: Committer::start(Box::new(store), capacity, listener).unwrap(), begun, may, heard }
}

fn full() -> StoreError {
    StoreError::Full { path: "state.redb".into(), source: io::ErrorKind::StorageFull.into() }
}

fn change(revision: u64) -> Change {
    Change::TaskForgotten { task_id: format!("task-{revision}"), revision }
}

#[test]
fn what_waits_during_a_commit_is_one_commit() {
    let bench = bench(1000);
    bench.committer.submit(change(1)).unwrap();
    assert_eq!(bench.begun.recv(), Ok(1));
    assert_eq!(bench.committer.figures(), Figures::default());
    for revision in 2..=900 {
        bench.committer.submit(change(revision)).unwrap();
    }
    assert!(bench.heard.try_recv().is_err(), "something was acknowledged before it was durable");
    bench.may.send(true).unwrap();
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 1);
    assert_eq!(bench.begun.recv(), Ok(899));
    bench.may.send(true).unwrap();
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 900);
    let figures = bench.committer.figures();
    assert_eq!((figures.batches, figures.changes), (2, 900));
    assert!(figures.longest_ns.is_some_and(|longest| longest > 0 && longest <= figures.total_ns), "{figures:?}");
}

#[test]
fn a_commit_takes_no_more_than_a_batch() {
    let bench = bench(3 * BATCH);
    for revision in 1..=2 * BATCH as u64 + 1 {
        bench.committer.submit(change(revision)).unwrap();
    }
    drop(bench.may);
    assert!(bench.committer.close().is_some());
    let sizes: Vec<usize> = bench.begun.iter().collect();
    assert_eq!(sizes.iter().sum::<usize>(), 2 * BATCH + 1);
    assert!(sizes.iter().all(|size| *size <= BATCH), "{sizes:?}");
}

#[test]
fn a_full_queue_refuses_and_the_number_stays_due() {
    let bench = bench(2);
    bench.committer.submit(change(1)).unwrap();
    assert_eq!(bench.begun.recv(), Ok(1));
    bench.committer.submit(change(2)).unwrap();
    bench.committer.submit(change(3)).unwrap();
    assert_eq!(bench.committer.submit(change(4)), Err(Refusal::Full));
    drop(bench.may);
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 1);
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 3);
    bench.committer.submit(change(4)).unwrap();
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 4);
}

#[test]
fn after_an_error_nothing_is_taken_and_nothing_acknowledged() {
    let bench = bench(100);
    bench.committer.submit(change(1)).unwrap();
    assert_eq!(bench.begun.recv(), Ok(1));
    bench.committer.submit(change(2)).unwrap();
    bench.may.send(true).unwrap();
    assert_eq!(bench.heard.recv().unwrap().unwrap(), 1);
    assert_eq!(bench.begun.recv(), Ok(1));
    bench.committer.submit(change(3)).unwrap();
    bench.may.send(false).unwrap();
    let told = bench.heard.recv().unwrap();
    assert!(matches!(told, Err(StoreError::Full { .. })), "{told:?}");
    assert_eq!(bench.committer.submit(change(4)), Err(Refusal::Stopped));
    assert_eq!(bench.committer.load(|_| ()), Err(Refusal::Stopped));
    assert_eq!(bench.committer.figures().changes, 1);
    assert_eq!(bench.committer.close().unwrap().load().unwrap().revision, 1);
    assert!(bench.heard.recv().is_err(), "it spoke again after the error");
}

#[test]
fn a_gap_is_an_error_as_any_other() {
    let bench = bench(100);
    drop(bench.may);
    bench.committer.submit(change(2)).unwrap();
    let told = bench.heard.recv().unwrap();
    assert!(matches!(told, Err(StoreError::Conflict { expected: 1, found: 2 })), "{told:?}");
}

#[test]
fn closing_commits_what_waits_and_gives_the_store_back() {
    for is_closed in [true, false] {
        let Bench { committer, begun, may, heard } = bench(1000);
        for revision in 1..=500 {
            committer.submit(change(revision)).unwrap();
        }
        drop(may);
        match is_closed {
            true => assert_eq!(committer.close().unwrap().load().unwrap().revision, 500),
            false => drop(committer),
        }
        assert_eq!(heard.iter().last().unwrap().unwrap(), 500);
        assert_eq!(begun.iter().sum::<usize>(), 500);
    }
}

#[test]
fn what_is_kept_is_told_as_of_the_moment_of_the_question() {
    let bench = bench(1000);
    let (tell, answer) = channel();
    for revision in 1..=6 {
        bench.committer.submit(change(revision)).unwrap();
        if revision == 4 {
            let tell = tell.clone();
            bench.committer.load(move |loaded| tell.send(loaded.unwrap()).unwrap()).unwrap();
        }
    }
    drop(bench.may);
    assert_eq!(answer.recv().unwrap().revision, 4);
    assert_eq!(bench.committer.close().unwrap().load().unwrap().revision, 6);
}

#[test]
fn a_store_that_panics_stops_the_committer() {
    let Bench { committer, begun, .. } = bench(10);
    drop(begun);
    committer.submit(change(1)).unwrap();
    assert!(committer.close().is_none());
}

#[test]
fn many_writers_share_commits_and_each_hears_of_its_own_change() {
    const WRITERS: u64 = 32;
    const EACH: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_or_create(folder.path(), LIMIT).unwrap();
    let waiting = Arc::new(Mutex::new(std::collections::BTreeMap::<u64, Sender<()>>::new()));
    let listening = Arc::clone(&waiting);
    let listener = Box::new(move |told: Result<u64, StoreError>| {
        let mut waiting = listening.lock().unwrap();
        let later = waiting.split_off(&(told.unwrap() + 1));
        std::mem::replace(&mut *waiting, later).into_values().for_each(|writer| writer.send(()).unwrap());
    });
    let committer = Committer::start(Box::new(store), 1000, listener).unwrap();
    let next = Mutex::new(1);
    let write = || {
        for _ in 0..EACH {
            let (tell, heard) = channel();
            let mut next = next.lock().unwrap();
            waiting.lock().unwrap().insert(*next, tell);
            committer.submit(change(*next)).unwrap();
            *next += 1;
            drop(next);
            heard.recv().unwrap();
        }
    };
    thread::scope(|scope| (0..WRITERS).for_each(|_| drop(scope.spawn(write))));
    let figures = committer.figures();
    assert_eq!(figures.changes, WRITERS * EACH);
    assert!(figures.batches < figures.changes / 2, "{figures:?}");
    assert!(waiting.lock().unwrap().is_empty());
    let history = committer.close().unwrap().load().unwrap().history;
    assert_eq!(history, (1..=WRITERS * EACH).map(change).collect::<Vec<Change>>());
}
