//! A store on etcd as a snapshot, and one made from a snapshot: what backup, restore and migration are made of.
//!
//! Separate because a gateway does neither. What says that there is a store is written last, so that one that was made in part
//! is none; a gateway may run while its store is saved.

use bytes::Bytes;

use super::layout::{Layout, Meta, SCHEMA};
use super::{EtcdStore, EtcdStoreError};
use crate::sync::record::Change;
use crate::sync::store::Snapshot;
use crate::sync::store::shared::{Act, Proposal, number};
use crate::wire::etcd::Write;

/// Records of one transaction, and their bytes: etcd takes 128 operations and a megabyte and a half.
const MOST_RECORDS: usize = 100;
const MOST_BYTES: usize = 1 << 20;

impl EtcdStore {
    /// Everything that is kept now; the changes that led to it are left out.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    pub async fn save(&self) -> Result<Snapshot, EtcdStoreError> {
        let Some(seen) = self.meta().await? else {
            return Err(EtcdStoreError::Absent { prefix: self.layout.prefix().to_owned() });
        };
        let loaded = self.read_now(&seen.lineage).await?;
        let revision = number(loaded.revision + 1, 0) - 1;
        let (tasks, nodes) = (loaded.tasks, loaded.nodes);
        Ok(Snapshot { lineage: seen.lineage, revision, tasks, nodes, history: Vec::new() })
    }

    /// Makes a store of a snapshot below a prefix without keys, with a lineage of its own.
    ///
    /// # Errors
    /// When there are keys already, or it cannot be written; then there is no store.
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<(), EtcdStoreError> {
        let prefix = self.layout.prefix().as_bytes();
        let found = self.ask("read", async |link| link.page(prefix, b"", 1, 0).await).await?;
        if !found.pairs.is_empty() {
            return Err(EtcdStoreError::Present { prefix: self.layout.prefix().to_owned() });
        }
        let tasks = snapshot.tasks.iter().cloned().map(Change::Task);
        let mut changes = tasks.chain(snapshot.nodes.iter().cloned().map(Change::Node)).peekable();
        while changes.peek().is_some() {
            let (mut writes, mut bytes) = (Vec::new(), 0);
            while writes.len() < MOST_RECORDS
                && bytes < MOST_BYTES
                && let Some(change) = changes.next()
            {
                let write = write(&self.layout, change, writes.len())?;
                bytes += write.value.as_ref().map_or(0, Bytes::len);
                writes.push(write);
            }
            self.ask("write", async |link| link.write_each(self.layout.mark(), writes.clone()).await).await?;
        }
        self.write_meta(&Meta { schema: SCHEMA, lineage: Snapshot::new().lineage }, 0).await
    }
}

fn write(layout: &Layout, change: Change, place: usize) -> Result<Write, EtcdStoreError> {
    let proposal = Proposal { act: Act::Change(change), guard: 0, ownership: None };
    let key = layout.key(&proposal.name());
    layout.write(&proposal, place, ("", 0)).map_err(|source| layout.unreadable(&key, source))
}
