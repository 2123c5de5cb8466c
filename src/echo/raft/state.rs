//! What committed entries do: they are counted, and how many there were is the snapshot.

use std::fs;
use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder,
    Snapshot, SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};

use super::Types;
use crate::sys::file;

type Result<T> = std::result::Result<T, StorageError<u64>>;
type Membership = StoredMembership<u64, BasicNode>;

/// Bytes of a snapshot that are read.
const LONGEST: u64 = 1 << 20;

/// The state of a member; clones see the same one.
#[derive(Clone)]
pub struct State {
    path: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Inner {
    applied: Option<LogId<u64>>,
    membership: Membership,
    count: u64,
}

impl State {
    /// The state in a folder, or that of a new member.
    ///
    /// # Errors
    /// When a snapshot is there and cannot be read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("snapshot");
        let inner = match file::read(&path, LONGEST) {
            Ok(bytes) => postcard::from_bytes(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Inner::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, inner: Arc::new(Mutex::new(inner)) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the state down whole.
    fn save(&self, inner: &Inner) -> io::Result<Vec<u8>> {
        let bytes = postcard::to_allocvec(inner).map_err(io::Error::other)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&bytes)?;
        new.as_file().sync_all()?;
        new.persist(&self.path).map_err(|error| error.error)?;
        fs::File::open(folder)?.sync_all()?;
        Ok(bytes)
    }
}

fn failed(verb: ErrorVerb, error: &io::Error) -> StorageError<u64> {
    StorageIOError::new(ErrorSubject::StateMachine, verb, AnyError::new(error)).into()
}

fn meta(inner: &Inner) -> SnapshotMeta<u64, BasicNode> {
    SnapshotMeta {
        last_log_id: inner.applied,
        last_membership: inner.membership.clone(),
        snapshot_id: inner
            .applied
            .map_or_else(String::new, |applied| format!("{}-{}", applied.leader_id.term, applied.index)),
    }
}

impl RaftSnapshotBuilder<Types> for State {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>> {
        let inner = self.lock().clone();
        let bytes = self.save(&inner).map_err(|error| failed(ErrorVerb::Write, &error))?;
        Ok(Snapshot { meta: meta(&inner), snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Membership)> {
        let inner = self.lock();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        let mut answers = Vec::new();
        for entry in entries {
            inner.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(_) => inner.count += 1,
                EntryPayload::Membership(membership) => {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            answers.push(());
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<()> {
        let read = postcard::from_bytes(snapshot.get_ref()).map_err(io::Error::other);
        let mut new: Inner = read.map_err(|error| failed(ErrorVerb::Read, &error))?;
        new.applied = meta.last_log_id;
        new.membership = meta.last_membership.clone();
        self.save(&new).map_err(|error| failed(ErrorVerb::Write, &error))?;
        *self.lock() = new;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>> {
        let bytes = match file::read(&self.path, LONGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(ErrorVerb::Read, &error)),
        };
        let read = postcard::from_bytes(&bytes).map_err(io::Error::other);
        let inner: Inner = read.map_err(|error| failed(ErrorVerb::Read, &error))?;
        Ok(Some(Snapshot { meta: meta(&inner), snapshot: Box::new(Cursor::new(bytes)) }))
    }
}
