//! The log of a member as openraft asks for it: entries in memory, each on disk before the member says so.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, ErrorSubject, ErrorVerb, LogId, LogState, OptionalSend, RaftLogReader, StorageError,
    StorageIOError, Vote,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Types;
use super::segment::{Segments, record};

type Result<T> = std::result::Result<T, StorageError<u64>>;

/// What stands on disk, in the order in which it happened.
#[derive(Serialize, Deserialize)]
enum Record {
    Vote(Vote<u64>),
    Entry(Entry<Types>),
    Truncate(u64),
    Purge(LogId<u64>),
}

/// The log; clones read the same one.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    entries: BTreeMap<u64, Entry<Types>>,
    vote: Option<Vote<u64>>,
    purged: Option<LogId<u64>>,
    segments: Segments,
    /// The last entry of each file that was left, by the number of the file.
    left: BTreeMap<u64, u64>,
}

impl Log {
    /// Opens the log in a folder.
    ///
    /// # Errors
    /// When it cannot be read, or holds what is no record.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let (segments, records) = Segments::open(folder)?;
        let (entries, left) = (BTreeMap::new(), BTreeMap::new());
        let mut inner = Inner { entries, vote: None, purged: None, segments, left };
        for bytes in records {
            inner.replay(postcard::from_bytes(&bytes).map_err(io::Error::other)?);
        }
        let (before, last) = (inner.segments.number - 1, inner.last_index());
        inner.left.insert(before, last);
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a record and waits until it is on disk.
    async fn write(&self, bytes: Vec<u8>, verb: ErrorVerb) -> Result<()> {
        let (told, written) = oneshot::channel();
        // Whoever has stopped waiting has stopped the member.
        let done = Box::new(move |result| drop(told.send(result)));
        self.lock().segments.append(bytes, done);
        let written = written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        written.map_err(|error| failed(verb, &error))
    }
}

impl Inner {
    fn replay(&mut self, record: Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Entry(entry) => drop(self.entries.insert(entry.log_id.index, entry)),
            Record::Truncate(from) => drop(self.entries.split_off(&from)),
            Record::Purge(upto) => self.forget(upto),
        }
    }

    fn forget(&mut self, upto: LogId<u64>) {
        self.entries = self.entries.split_off(&(upto.index + 1));
        self.purged = Some(upto);
    }

    fn last_index(&self) -> u64 {
        let last = self.entries.last_key_value().map(|(index, _)| *index);
        last.or(self.purged.map(|purged| purged.index)).unwrap_or_default()
    }
}

fn bytes_of(one: &Record) -> Vec<u8> {
    // Invariant: records are plain data, which postcard can always write.
    record(&postcard::to_allocvec(one).unwrap_or_default())
}

fn failed(verb: ErrorVerb, error: &io::Error) -> StorageError<u64> {
    StorageIOError::new(ErrorSubject::Logs, verb, AnyError::new(error)).into()
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>> {
        let bounds: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.lock().entries.range(bounds).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>> {
        let inner = self.lock();
        let last = inner.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: last.or(inner.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<()> {
        self.lock().vote = Some(*vote);
        self.write(bytes_of(&Record::Vote(*vote)), ErrorVerb::Write).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>> {
        Ok(self.lock().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        let mut bytes = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            let written = Record::Entry(entry);
            bytes.extend(bytes_of(&written));
            let Record::Entry(entry) = written else { continue };
            inner.entries.insert(index, entry);
        }
        inner.segments.append(bytes, Box::new(move |written| callback.log_io_completed(written)));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<()> {
        drop(self.lock().entries.split_off(&log_id.index));
        self.write(bytes_of(&Record::Truncate(log_id.index)), ErrorVerb::Delete).await
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<()> {
        let mut inner = self.lock();
        // A file may go once everything in it has been purged; the next begins with what the others say that is no entry.
        let (number, last) = (inner.segments.number, inner.last_index());
        inner.left.insert(number, last);
        inner.forget(log_id);
        let gone = inner.left.iter().take_while(|(_, last)| **last <= log_id.index).last().map(|(number, _)| *number);
        inner.left.retain(|number, _| Some(*number) > gone);
        let vote = inner.vote.map(|vote| bytes_of(&Record::Vote(vote))).unwrap_or_default();
        let begin = [vote, bytes_of(&Record::Purge(log_id))].concat();
        inner.segments.rotate(begin, gone.unwrap_or_default());
        Ok(())
    }
}
