//! Where the gateway keeps what it knows, so that a restart forgets nothing that was acknowledged.
//!
//! A store is a row of numbered changes and what follows from them: the newest record of every task and node. It knows no
//! rule of which report is newer; that is the gateway's. [`memory`] forgets with its process, [`embedded`] does not;
//! [`committer`] pays for one flush per batch, [`backup`] carries a store to another folder. A store that several gateways have
//! in common is another thing, as it decides what came first: [`shared`] has its words, and [`etcd`] keeps it.

pub mod backup;
pub mod committer;
pub mod embedded;
mod error;
pub mod etcd;
pub mod memory;
mod place;
pub mod shared;

pub use error::StoreError;
pub use place::{beside, make_folder, publish};

use super::record::{Change, NodeRecord, TaskRecord};
use crate::sys::clock;

/// How many changes are kept for subscribers that were away: half an hour at fifty changes a second, and some 30 MB. One
/// that was away longer is told of the gap and begins anew from the records.
pub const HISTORY: u64 = 100_000;

/// Keeps tasks and nodes by numbered changes.
pub trait MetadataStore: Send {
    /// Everything that is kept, and the retained history.
    ///
    /// # Errors
    /// When it cannot be read, or what is read does not fit together.
    fn load(&mut self) -> Result<Snapshot, StoreError>;

    /// Takes these changes, all of them or none, and makes them durable before it returns. The first one is numbered one
    /// above the last one taken, and each that follows one above the one before.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] and [`StoreError::Encode`] have changed nothing. After any other error the store takes
    /// nothing more: whether these changes are kept is known when it is opened again and loaded.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}

/// All that a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Names this row of revisions: another store, or this one after it was restored, has another. A position in one
    /// means nothing in the other.
    pub lineage: String,
    /// The last change taken; 0 before the first.
    pub revision: u64,
    /// The newest record of each task, by its id.
    pub tasks: Vec<TaskRecord>,
    /// The newest record of each node, by its id.
    pub nodes: Vec<NodeRecord>,
    /// The last changes without a gap, newest last.
    pub history: Vec<Change>,
}

impl Snapshot {
    /// A new row of revisions that has nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lineage: format!("{:016x}", clock::entropy()),
            revision: 0,
            tasks: Vec::new(),
            nodes: Vec::new(),
            history: Vec::new(),
        }
    }

    /// What does not fit together in it, if anything.
    fn fault(&self) -> Option<String> {
        let newest = self.history.last().map_or(self.revision, Change::revision);
        if newest != self.revision {
            return Some(format!("its history ends at {newest} and its records at {}", self.revision));
        }
        let gap = self.history.windows(2).find(|pair| pair[1].revision() != pair[0].revision() + 1);
        if let Some(pair) = gap {
            return Some(format!("its history goes from {} to {}", pair[0].revision(), pair[1].revision()));
        }
        let tasks = self.tasks.iter().map(|task| (&task.task_id, task.revision));
        let nodes = self.nodes.iter().map(|node| (&node.node_id, node.revision));
        let (id, revision) = tasks.chain(nodes).find(|(_, revision)| *revision > self.revision)?;
        Some(format!("`{id}` is of revision {revision} and the store of {}", self.revision))
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether these changes continue after `last`.
fn check_order(last: u64, changes: &[Change]) -> Result<(), StoreError> {
    let numbered = changes.iter().zip(last.saturating_add(1)..);
    match numbered.map(|(change, expected)| (change.revision(), expected)).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(StoreError::Conflict { expected, found }),
        None => Ok(()),
    }
}
