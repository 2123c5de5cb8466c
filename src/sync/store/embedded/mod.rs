//! The store in one file of the data folder, on redb: what it has acknowledged survives a crash and a power cut.
//!
//! The only room that knows redb. Each commit is one transaction and one flush; redb tells by checksums whether the newest
//! state was written to its end, and otherwise goes back to the state before. `mark` tells whether that one was lost or
//! never acknowledged. Opening reads every page and its checksum, and writes nothing to a file that it refuses.

mod hold;
mod mark;
mod row;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, Error as Fault, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    StorageBackend, Table, TableDefinition,
};

use self::hold::Held;
use self::mark::Mark;
use self::row::Batch;
use super::place::{beside, make_folder, publish};
use super::{MetadataStore, Snapshot, StoreError, check_order};
use crate::sync::record::Change;

/// The name of the file in its folder.
pub const FILE: &str = "state.redb";

/// The name of its witness, beside it.
pub const MARK: &str = "state.mark";

/// The form of the tables below. A store of a higher one is refused.
const FORMAT: u32 = 1;

/// Pages kept in memory. The newest ones are written over and over; the rest is read once, at the start.
const CACHE_BYTES: usize = 16 << 20;

/// The change that wrote each task, as a line of JSON.
const TASKS: TableDefinition<&str, &[u8]> = TableDefinition::new("tasks");
/// The change that wrote each node, as a line of JSON.
const NODES: TableDefinition<&str, &[u8]> = TableDefinition::new("nodes");
/// The changes of each commit, a line each, by the last revision among them: a row for the batch is far cheaper than one
/// for each change.
const CHANGES: TableDefinition<u64, &[u8]> = TableDefinition::new("changes");
/// What is true of the whole, as text under the keys that follow.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FORM: &str = "format";
const LINEAGE: &str = "lineage";
const REVISION: &str = "revision";

/// How much history a row takes when a snapshot is written at once.
const CHANGES_A_ROW: usize = 1_000;

/// A store in a file.
#[derive(Debug)]
pub struct EmbeddedStore {
    database: Database,
    path: PathBuf,
    limit: u64,
    lineage: String,
    revision: u64,
    failed: bool,
    mark: Option<Mark>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which keeps at least the last `limit` changes.
    ///
    /// # Errors
    /// When there is none, when it is in use, or when it is not whole; its file is then left as it is.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        match path.metadata() {
            Ok(data) if !data.is_file() => return Err(StoreError::Foreign { path }),
            Ok(data) if data.len() == 0 => return Err(damaged(&path, "it is empty".to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Absent { folder: folder.to_owned() });
            }
            Err(error) => return Err(refused("open", &path, error)),
        }
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| refused("open", &path, error))?;
        let backend = FileBackend::new(file).map_err(|fault| told(fault.into(), &path))?;
        let witness = folder.join(MARK);
        let unable = |error| refused("open", &witness, error);
        let mut store = Self::on(backend, path, limit, |lineage| mark::seen(&witness, lineage).map_err(unable))?;
        store.watch(&witness).map_err(unable)?;
        Ok(store)
    }

    /// Opens the store in `folder`, and makes both if they are not there.
    ///
    /// # Errors
    /// As [`Self::open`], and when it cannot be made.
    pub fn open_or_create(folder: &Path, limit: u64) -> Result<Self, StoreError> {
        match Self::open(folder, limit) {
            Err(StoreError::Absent { .. }) => match Self::create(folder, &Snapshot::new()) {
                // Another process was faster; whether it still has it open is for `open` to say.
                Ok(()) | Err(StoreError::Present { .. }) => Self::open(folder, limit),
                Err(error) => Err(error),
            },
            opened => opened,
        }
    }

    /// Makes a store that holds `snapshot`. It appears whole or not at all, so that an empty file is always damage.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn create(folder: &Path, snapshot: &Snapshot) -> Result<(), StoreError> {
        let path = folder.join(FILE);
        let present = || StoreError::Present { folder: folder.to_owned() };
        if path.symlink_metadata().is_ok() {
            return Err(present());
        }
        let unable = |error| refused("make", &path, error);
        make_folder(folder).map_err(unable)?;
        let file = beside(&path).map_err(unable)?;
        let backend = file.as_file().try_clone().map_err(unable)?;
        let made = FileBackend::new(backend).and_then(|backend| builder().create_with_backend(backend));
        let database = made.map_err(|fault| told(fault.into(), &path))?;
        fill(&database, snapshot, &path)?;
        database.close().map_err(|fault| told(fault.into(), &path))?;
        publish(file, &path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => present(),
            _ => refused("make", &path, error),
        })
    }

    /// Opens the store that `backend` holds, and writes nothing before it is known to be whole: up to what `seen` says for
    /// its lineage.
    fn on(
        backend: impl StorageBackend,
        path: PathBuf,
        limit: u64,
        seen: impl FnOnce(&str) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let held = Held::new(backend);
        let database = builder().create_with_backend(held.clone()).map_err(|fault| told(fault.into(), &path))?;
        let found = form(&database).map_err(|fault| told(fault, &path))?;
        if found != FORMAT.to_string() {
            return Err(StoreError::Format { path, found, known: FORMAT });
        }
        let (lineage, revision) = position(&database).map_err(|fault| told(fault, &path))?;
        if let Some(acknowledged) = seen(&lineage)?.filter(|seen| *seen > revision) {
            return Err(StoreError::Behind { path, found: revision, acknowledged });
        }
        held.release().map_err(|error| refused("open", &path, error))?;
        Ok(Self { database, path, limit, lineage, revision, failed: false, mark: None })
    }

    /// Writes the witness from now on.
    fn watch(&mut self, witness: &Path) -> io::Result<()> {
        let mark = Mark::open(witness, self.lineage.clone())?;
        mark.write(self.revision);
        self.mark = Some(mark);
        Ok(())
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        if self.failed { Err(StoreError::Reopen { path: self.path.clone() }) } else { Ok(()) }
    }
}

impl MetadataStore for EmbeddedStore {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.check_usable()?;
        let mut snapshot = read(&self.database).map_err(|fault| told(fault, &self.path))?;
        // Rows are dropped whole, so the oldest may reach back beyond the limit.
        let kept = usize::try_from(self.limit).unwrap_or(usize::MAX);
        snapshot.history.drain(..snapshot.history.len().saturating_sub(kept));
        match snapshot.fault() {
            Some(what) => Err(damaged(&self.path, what)),
            None => Ok(snapshot),
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.check_usable()?;
        check_order(self.revision, changes)?;
        let Some(revision) = changes.last().map(Change::revision) else { return Ok(()) };
        let batch = Batch::of(changes)?;
        let rows = Rows {
            records: &batch,
            history: vec![(revision, batch.text())],
            meta: vec![(REVISION, revision.to_string())],
        };
        if let Err(fault) = write(&self.database, &rows, revision.saturating_sub(self.limit)) {
            self.failed = true;
            return Err(told(fault, &self.path));
        }
        self.revision = revision;
        self.mark.iter().for_each(|mark| mark.write(revision));
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// What one transaction writes.
struct Rows<'a> {
    records: &'a Batch<'a>,
    history: Vec<(u64, &'a [u8])>,
    meta: Vec<(&'static str, String)>,
}

/// Writes all of a snapshot into a new database.
fn fill(database: &Database, snapshot: &Snapshot, path: &Path) -> Result<(), StoreError> {
    let tasks = snapshot.tasks.iter().cloned().map(Change::Task);
    let records: Vec<Change> = tasks.chain(snapshot.nodes.iter().cloned().map(Change::Node)).collect();
    let chunks = snapshot.history.chunks(CHANGES_A_ROW);
    let history: Vec<(u64, Batch)> = chunks
        .map(|chunk| Ok((chunk[chunk.len() - 1].revision(), Batch::of(chunk)?)))
        .collect::<Result<_, StoreError>>()?;
    let rows = Rows {
        records: &Batch::of(&records)?,
        history: history.iter().map(|(revision, batch)| (*revision, batch.text())).collect(),
        meta: vec![
            (FORM, FORMAT.to_string()),
            (LINEAGE, snapshot.lineage.clone()),
            (REVISION, snapshot.revision.to_string()),
        ],
    };
    write(database, &rows, 0).map_err(|fault| told(fault, path))
}

/// Writes rows in one durable transaction, and drops the history up to `floor`.
fn write(database: &Database, rows: &Rows, floor: u64) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    apply(&mut transaction.open_table(TASKS)?, rows.records.tasks())?;
    apply(&mut transaction.open_table(NODES)?, rows.records.nodes())?;
    append(&mut transaction.open_table(CHANGES)?, &rows.history, floor)?;
    let mut meta = transaction.open_table(META)?;
    for (key, value) in &rows.meta {
        meta.insert(*key, value.as_bytes())?;
    }
    drop(meta);
    Ok(transaction.commit()?)
}

fn apply<'a>(
    table: &mut Table<&'static str, &'static [u8]>,
    lines: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Result<(), Fault> {
    for (id, line) in lines {
        match line {
            Some(line) => drop(table.insert(id, line)?),
            None => drop(table.remove(id)?),
        }
    }
    Ok(())
}

fn append(table: &mut Table<u64, &'static [u8]>, rows: &[(u64, &[u8])], floor: u64) -> Result<(), Fault> {
    for (revision, text) in rows {
        table.insert(*revision, *text)?;
    }
    while table.first()?.is_some_and(|(revision, _)| revision.value() <= floor) {
        table.pop_first()?;
    }
    Ok(())
}

fn read(database: &Database) -> Result<Snapshot, Fault> {
    let transaction = database.begin_read()?;
    let mut snapshot = Snapshot {
        lineage: meta(&transaction, LINEAGE)?,
        revision: number(&transaction, REVISION)?,
        tasks: Vec::new(),
        nodes: Vec::new(),
        history: Vec::new(),
    };
    for table in [TASKS, NODES] {
        for row in transaction.open_table(table)?.iter()? {
            let (id, line) = row?;
            for change in changes_of(line.value(), id.value())? {
                match change {
                    Change::Task(task) => snapshot.tasks.push(task),
                    Change::Node(node) => snapshot.nodes.push(node),
                    _ => return Err(Fault::Corrupted(format!("the record of `{}` is none", id.value()))),
                }
            }
        }
    }
    for row in transaction.open_table(CHANGES)?.iter()? {
        let (revision, lines) = row?;
        snapshot.history.extend(changes_of(lines.value(), revision.value())?);
    }
    Ok(snapshot)
}

fn changes_of(lines: &[u8], key: impl Display) -> Result<Vec<Change>, Fault> {
    row::read(lines).map_err(|error| Fault::Corrupted(format!("the row of `{key}` does not read: {error}")))
}

fn form(database: &Database) -> Result<String, Fault> {
    meta(&database.begin_read()?, FORM)
}

fn position(database: &Database) -> Result<(String, u64), Fault> {
    let transaction = database.begin_read()?;
    Ok((meta(&transaction, LINEAGE)?, number(&transaction, REVISION)?))
}

fn number(transaction: &ReadTransaction, key: &str) -> Result<u64, Fault> {
    let text = meta(transaction, key)?;
    text.parse().map_err(|_| Fault::Corrupted(format!("its {key} is no number: `{text}`")))
}

fn meta(transaction: &ReadTransaction, key: &str) -> Result<String, Fault> {
    let missing = || Fault::Corrupted(format!("it has no {key}"));
    let value = transaction.open_table(META)?.get(key)?.ok_or_else(missing)?;
    Ok(String::from_utf8_lossy(value.value()).into_owned())
}

/// What redb says, as what it means for the store.
fn told(fault: Fault, path: &Path) -> StoreError {
    let path = path.to_owned();
    match fault {
        Fault::DatabaseAlreadyOpen | Fault::LockProtocolMismatch => StoreError::Locked { path },
        Fault::Corrupted(what) => StoreError::Damaged { path, what },
        Fault::Io(error) => refused("use", &path, error),
        Fault::TableDoesNotExist(_)
        | Fault::TableIsMultimap(_)
        | Fault::TableTypeMismatch { .. }
        | Fault::TypeDefinitionChanged { .. }
        | Fault::UpgradeRequired(_) => StoreError::Foreign { path },
        _ => StoreError::Reopen { path },
    }
}

/// What the system says, as what it means for the store.
fn refused(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path, source },
        // redb answers so to a file that does not begin as one of its own, and to one that ends too early.
        io::ErrorKind::InvalidData => StoreError::Foreign { path },
        io::ErrorKind::UnexpectedEof => damaged(&path, "it is cut off".to_owned()),
        _ => StoreError::Io { action, path, source },
    }
}

fn damaged(path: &Path, what: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests;
