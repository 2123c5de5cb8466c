//! The store that forgets with its process: for trials, for simulations and as the plainest reading of the contract.

use std::collections::{BTreeMap, VecDeque};

use super::{MetadataStore, Snapshot, StoreError, check_order};
use crate::sync::record::{Change, NodeRecord, TaskRecord};

/// Keeps everything in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    lineage: String,
    revision: u64,
    tasks: BTreeMap<String, TaskRecord>,
    nodes: BTreeMap<String, NodeRecord>,
    history: VecDeque<Change>,
    limit: u64,
}

impl MemoryStore {
    /// An empty store that keeps the last `limit` changes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            lineage: Snapshot::new().lineage,
            revision: 0,
            tasks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            history: VecDeque::new(),
            limit,
        }
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Task(task) => drop(self.tasks.insert(task.task_id.clone(), task.clone())),
            Change::Node(node) => drop(self.nodes.insert(node.node_id.clone(), node.clone())),
            Change::TaskForgotten { task_id, .. } => drop(self.tasks.remove(task_id)),
            Change::NodeForgotten { node_id, .. } => drop(self.nodes.remove(node_id)),
        }
        self.history.push_back(change.clone());
        if self.history.len() as u64 > self.limit {
            self.history.pop_front();
        }
        self.revision = change.revision();
    }
}

impl MetadataStore for MemoryStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            lineage: self.lineage.clone(),
            revision: self.revision,
            tasks: self.tasks.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            history: self.history.iter().cloned().collect(),
        })
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        check_order(self.revision, changes)?;
        changes.iter().for_each(|change| self.take(change));
        Ok(())
    }
}
