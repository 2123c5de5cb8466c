//! The store on disks that fail: power cuts between any two writes, and disks that are full.
//!
//! Beside the store and not with the contracts, because a disk that fails on demand is handed to redb itself.

mod crash;
mod disk;
mod full;

use std::path::PathBuf;

use self::disk::Disk;
use super::*;
use crate::model::WallTime;
use crate::sync::payload::Payload;
use crate::sync::record::{Status, TaskRecord};
use crate::sync::store::memory::MemoryStore;

/// Changes kept: few, so that rows are dropped while the disk fails.
const LIMIT: u64 = 60;

/// A new and durable store on a disk of its own.
fn founded() -> Disk {
    let disk = Disk::new();
    let database = builder().create_with_backend(disk.clone()).unwrap();
    fill(&database, &Snapshot::new(), &PathBuf::from(FILE)).unwrap();
    database.close().unwrap();
    disk
}

fn open(disk: &Disk) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::on(disk.clone(), PathBuf::from(FILE), LIMIT, |_| Ok(None))
}

/// The batches of a small day: single changes and many at once, short and long, new tasks and known ones.
fn batches() -> Vec<Vec<Change>> {
    let mut next = 1..;
    let sizes = [1, 3, 1, 40, 2, 90, 1, 7, 25, 1];
    sizes.map(|size| next.by_ref().take(size).map(change).collect()).into()
}

fn change(revision: u64) -> Change {
    let task_id = format!("task-{}", revision * 7 % 31);
    if revision.is_multiple_of(11) {
        return Change::TaskForgotten { task_id, revision };
    }
    let long = format!("\"{}\"", "x".repeat(usize::try_from(revision * 97 % 3000).unwrap()));
    Change::Task(TaskRecord {
        task_id,
        node_id: "edge-1".to_owned(),
        status: Status::Running,
        epoch: 1,
        version: revision,
        timestamp: WallTime::from_unix_nanos(1_773_479_700_000_000_000),
        payload: Some(Payload::parse(&long).unwrap()),
        over_at: None,
        revision,
    })
}

/// What a store must hold after so many of the batches.
fn expected(batches: &[Vec<Change>], lineage: &str) -> Snapshot {
    let mut store = MemoryStore::new(LIMIT);
    batches.iter().for_each(|batch| store.commit(batch).unwrap());
    Snapshot { lineage: lineage.to_owned(), ..store.load().unwrap() }
}
