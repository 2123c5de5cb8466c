//! A store as one file that can be carried elsewhere, and a store made from it.
//!
//! Lines of JSON, so that any tool can read it: a header, a line for each record, and a last line that counts and seals
//! everything before it. A file that is cut off or was altered does not fit its seal and is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::embedded::EmbeddedStore;
use super::place::{beside, publish};
use super::{HISTORY, MetadataStore as _, Snapshot, StoreError};
use crate::model::WallTime;
use crate::sync::record::{Change, NodeRecord, TaskRecord};

/// What the first line calls the file.
pub const BACKUP_SCHEMA: &str = "offloadctl.backup/1";

/// The longest line that is read; a record is far shorter, as the gateway limits what it takes.
const LINE_LIMIT: u64 = 16 << 20;

/// The most lines that are read: a hundred times what a gateway keeps.
const LINES_LIMIT: u64 = 10_000_000;

/// Characters of a foreign schema that a message repeats.
const SCHEMA_SHOWN: usize = 60;

/// A backup that cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store that is saved or made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a file of that name.
    #[error("`{}` is there already, and a backup replaces nothing", path.display())]
    Present {
        /// Its name.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} the backup `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Its file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Written by a later version, or no backup.
    #[error("`{}` is not a backup that this version reads: its schema is `{found}`, not `{BACKUP_SCHEMA}`", path.display())]
    Schema {
        /// Its file.
        path: PathBuf,
        /// What it calls itself.
        found: String,
    },
    /// Cut off or altered.
    #[error("the backup `{}` is not whole: {what}", path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// How it shows.
        what: String,
    },
}

impl BackupError {
    /// The next step, where there is one.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(StoreError::Locked { .. }) => {
                "stop the gateway that uses the store first: what it acknowledged is in there"
            }
            Self::Store(error) => return error.hint(),
            Self::Present { .. } => "give another name",
            Self::Io { .. } => "look at the file, its permissions and its disk",
            Self::Schema { .. } => "use the version that wrote it or a later one",
            Self::Damaged { .. } => "use another backup; nothing was restored",
        })
    }
}

/// What a backup holds, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When it was written.
    pub created_at: WallTime,
    /// The last change in it.
    pub revision: u64,
    /// How many tasks.
    pub tasks: usize,
    /// How many nodes.
    pub nodes: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    schema: String,
    lineage: String,
    revision: u64,
    created_at: WallTime,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Task(TaskRecord),
    Node(NodeRecord),
    Change(Change),
    Seal { line_count: u64, sha256: String },
}

/// Saves the store in `folder`, which nobody may have open, as the file `path`.
///
/// # Errors
/// When the store cannot be read or the file cannot be written; no file is there then.
pub fn save(folder: &Path, path: &Path, created_at: WallTime) -> Result<Summary, BackupError> {
    let snapshot = EmbeddedStore::open(folder, HISTORY)?.load()?;
    write(&snapshot, path, created_at)
}

/// Writes a snapshot as the file `path`, whole or not at all.
///
/// # Errors
/// When it cannot be written, or a file is there already.
pub fn write(snapshot: &Snapshot, path: &Path, created_at: WallTime) -> Result<Summary, BackupError> {
    let unable = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Present { path: path.to_owned() },
        _ => BackupError::Io { action: "write", path: path.to_owned(), source },
    };
    if path.symlink_metadata().is_ok() {
        return Err(unable(io::ErrorKind::AlreadyExists.into()));
    }
    let mut file = beside(path).map_err(unable)?;
    write_lines(snapshot, created_at, file.as_file_mut()).map_err(unable)?;
    publish(file, path).map_err(unable)?;
    Ok(summary(snapshot, created_at))
}

/// Makes a store from the backup `path` in `folder`, which holds none. The backup is read to its end before anything is made.
///
/// The new store has a lineage of its own: positions of subscribers from before the backup mean nothing in it.
///
/// # Errors
/// When the backup is not whole, or the store cannot be made; nothing is there then.
pub fn restore(path: &Path, folder: &Path) -> Result<Summary, BackupError> {
    let (snapshot, created_at) = read(path)?;
    EmbeddedStore::create(folder, &Snapshot { lineage: Snapshot::new().lineage, ..snapshot.clone() })?;
    Ok(summary(&snapshot, created_at))
}

/// Reads a backup and verifies it.
///
/// # Errors
/// When it cannot be read, or is not whole.
pub fn read(path: &Path) -> Result<(Snapshot, WallTime), BackupError> {
    let unable = |source| BackupError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(unable)?;
    Reader { lines: BufReader::new(file), path, count: 0, digest: Sha256::new() }.run()
}

fn summary(snapshot: &Snapshot, created_at: WallTime) -> Summary {
    Summary { created_at, revision: snapshot.revision, tasks: snapshot.tasks.len(), nodes: snapshot.nodes.len() }
}

fn write_lines(snapshot: &Snapshot, created_at: WallTime, file: &mut File) -> io::Result<()> {
    let mut lines = Writer { file: BufWriter::new(file), count: 0, digest: Sha256::new() };
    let schema = BACKUP_SCHEMA.to_owned();
    lines.write(&Header { schema, lineage: snapshot.lineage.clone(), revision: snapshot.revision, created_at })?;
    for task in &snapshot.tasks {
        lines.write(&Line::Task(task.clone()))?;
    }
    for node in &snapshot.nodes {
        lines.write(&Line::Node(node.clone()))?;
    }
    for change in &snapshot.history {
        lines.write(&Line::Change(change.clone()))?;
    }
    let sha256 = hexadecimal(lines.digest.clone());
    lines.write(&Line::Seal { line_count: lines.count, sha256 })?;
    lines.file.flush()
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes lines, and counts and digests them on the way.
struct Writer<W> {
    file: W,
    count: u64,
    digest: Sha256,
}

impl<W: Write> Writer<W> {
    fn write<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.digest.update(&text);
        self.count += 1;
        self.file.write_all(&text)
    }
}

/// Reads lines, and counts and digests them on the way.
struct Reader<'a, R> {
    lines: R,
    path: &'a Path,
    count: u64,
    digest: Sha256,
}

impl<R: BufRead> Reader<'_, R> {
    fn run(mut self) -> Result<(Snapshot, WallTime), BackupError> {
        let header = self.header()?;
        let mut snapshot = Snapshot { lineage: header.lineage, revision: header.revision, ..Snapshot::new() };
        loop {
            let (before, lines) = (self.digest.clone(), self.count);
            let text = self.line()?;
            let line =
                serde_json::from_slice(&text).map_err(|error| self.damaged(format!("line {}: {error}", self.count)));
            match line? {
                Line::Task(task) => snapshot.tasks.push(task),
                Line::Node(node) => snapshot.nodes.push(node),
                Line::Change(change) => snapshot.history.push(change),
                Line::Seal { line_count, sha256 } if line_count == lines && sha256 == hexadecimal(before) => break,
                Line::Seal { .. } => return Err(self.damaged("its seal is not that of its lines".to_owned())),
            }
        }
        self.expect_end()?;
        match snapshot.fault() {
            Some(what) => Err(self.damaged(what)),
            None => Ok((snapshot, header.created_at)),
        }
    }

    fn header(&mut self) -> Result<Header, BackupError> {
        let text = self.line()?;
        let schema = serde_json::from_slice::<serde_json::Value>(&text).ok();
        let found = schema.as_ref().and_then(|header| header["schema"].as_str()).unwrap_or("none");
        if found != BACKUP_SCHEMA {
            let found = found.chars().take(SCHEMA_SHOWN).collect();
            return Err(BackupError::Schema { path: self.path.to_owned(), found });
        }
        serde_json::from_slice(&text).map_err(|error| self.damaged(format!("its header does not read: {error}")))
    }

    /// The next line, which must be there to its end.
    fn line(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut text = Vec::new();
        let read = self.lines.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut text);
        read.map_err(|source| BackupError::Io { action: "read", path: self.path.to_owned(), source })?;
        self.count += 1;
        let fault = match text.last() {
            Some(b'\n') => (self.count > LINES_LIMIT).then_some("is one too many"),
            _ if text.len() as u64 == LINE_LIMIT => Some("is too long"),
            _ => Some("is cut off"),
        };
        if let Some(fault) = fault {
            return Err(self.damaged(format!("line {} {fault}", self.count)));
        }
        self.digest.update(&text);
        Ok(text)
    }

    fn expect_end(&mut self) -> Result<(), BackupError> {
        match self.lines.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its seal".to_owned())),
            Err(source) => Err(BackupError::Io { action: "read", path: self.path.to_owned(), source }),
        }
    }

    fn damaged(&self, what: String) -> BackupError {
        BackupError::Damaged { path: self.path.to_owned(), what }
    }
}
