//! Damaged files of the embedded store: told, refused and left as they are; never taken for a smaller store.

use std::fs;
use std::path::PathBuf;

use offloadctl::sync::record::{Change, NodeState, Status};
use offloadctl::sync::store::embedded::{EmbeddedStore, FILE, MARK};
use offloadctl::sync::store::{HISTORY, MetadataStore as _, Snapshot, StoreError};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::store::{node, task};

/// Changes of one commit.
const BATCH: u64 = 50;

/// A folder with a store of some thousand changes in it.
struct Kept {
    folder: TempDir,
    snapshot: Snapshot,
    /// Its file after a clean end.
    clean: Vec<u8>,
    /// Its file as a process that was killed leaves it.
    killed: Vec<u8>,
}

impl Kept {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut store = EmbeddedStore::open_or_create(folder.path(), HISTORY).unwrap();
        for first in (0..30).map(|batch| batch * BATCH + 1) {
            let changes: Vec<Change> = (first..first + BATCH).map(change).collect();
            store.commit(&changes).unwrap();
        }
        let snapshot = store.load().unwrap();
        let path = folder.path().join(FILE);
        let killed = fs::read(&path).unwrap();
        drop(store);
        let clean = fs::read(&path).unwrap();
        Self { folder, snapshot, clean, killed }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn open(&self, bytes: &[u8]) -> Result<Snapshot, StoreError> {
        fs::write(self.path(), bytes).unwrap();
        EmbeddedStore::open_or_create(self.folder.path(), HISTORY)?.load()
    }
}

fn change(revision: u64) -> Change {
    match revision % 10 {
        0 => Change::Node(node(&format!("edge-{}", revision % 7), NodeState::Alive, revision)),
        _ => Change::Task(task(&format!("task-{}", revision % 400), Status::Running, revision)),
    }
}

/// Bytes of the header.
const HEADER: usize = 320;

/// Opens `bytes` in the place of the file: they are refused and left as they are, or all that was kept is there.
#[track_caller]
fn expect_told_or_whole(kept: &Kept, bytes: &[u8], what: &str) {
    match kept.open(bytes) {
        Ok(found) => assert_eq!(found, kept.snapshot, "{what}: revision {} was found", found.revision),
        Err(error) => expect_told(kept, bytes, &error, what),
    }
}

#[track_caller]
fn expect_told(kept: &Kept, bytes: &[u8], error: &StoreError, what: &str) {
    let is_known = matches!(error, StoreError::Damaged { .. } | StoreError::Foreign { .. } | StoreError::Behind { .. });
    assert!(is_known, "{what}: {error:?}");
    assert!(error.to_string().contains(kept.path().to_str().unwrap()), "{what}: {error}");
    assert!(error.hint().is_some(), "{what}: {error}");
    assert!(fs::read(kept.path()).unwrap() == bytes, "{what}: the file was changed");
    let files = kept.folder.path().read_dir().unwrap().count();
    assert_eq!(files, 2, "{what}: something was left beside the file and its witness");
}

#[test]
fn a_flipped_byte_is_told_or_was_of_no_use() {
    let kept = Kept::new();
    for (name, whole) in [("closed", &kept.clean), ("killed", &kept.killed)] {
        let pages = (HEADER..whole.len()).step_by(whole.len() / 90);
        for at in (0..HEADER).step_by(5).chain(pages) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x24;
            expect_told_or_whole(&kept, &bytes, &format!("{name}, byte {at}"));
        }
    }
}

#[test]
fn a_page_that_was_never_written_is_told_or_was_of_no_use() {
    let kept = Kept::new();
    let whole = &kept.killed;
    for begin in (0..whole.len()).step_by(4096 * 5) {
        let mut bytes = whole.clone();
        bytes[begin..(begin + 4096).min(whole.len())].fill(0);
        expect_told_or_whole(&kept, &bytes, &format!("page at {begin}"));
    }
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let kept = Kept::new();
    for (name, whole) in [("closed", &kept.clean), ("killed", &kept.killed)] {
        let parts = (0..16).map(|part| part * whole.len() / 16);
        for length in parts.chain([1, 5, 9, 10, 319, 320, 4095, 4096, 4097, whole.len() - 4096, whole.len() - 1]) {
            let bytes = &whole[..length];
            let what = format!("{name}, {length} bytes");
            match kept.open(bytes) {
                Ok(found) => panic!("{what}: it opened with revision {}", found.revision),
                Err(error) => expect_told(&kept, bytes, &error, &what),
            }
        }
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let kept = Kept::new();
    let long = b"task_id,status\n".repeat(100_000);
    for bytes in [&b""[..], b"\n", b"{}", &long] {
        match kept.open(bytes) {
            Ok(found) => panic!("{} bytes opened with revision {}", bytes.len(), found.revision),
            Err(error) => expect_told(&kept, bytes, &error, &format!("{} bytes", bytes.len())),
        }
    }
    fs::remove_file(kept.path()).unwrap();
    fs::create_dir(kept.path()).unwrap();
    let refused = EmbeddedStore::open_or_create(kept.folder.path(), HISTORY);
    assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{refused:?}");
}

#[test]
fn a_database_of_another_program_and_one_of_a_later_version_are_refused_as_what_they_are() {
    const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE);
    let write = |key: &str, value: &str| {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(TABLE).unwrap().insert(key, value.as_bytes()).unwrap();
        transaction.commit().unwrap();
    };
    drop(Database::create(&path).unwrap());
    let before = fs::read(&path).unwrap();
    let other = EmbeddedStore::open(folder.path(), HISTORY);
    assert!(matches!(other, Err(StoreError::Foreign { .. })), "{other:?}");
    assert!(fs::read(&path).unwrap() == before, "the file of another program was changed");
    write("revision", "7");
    write("format", "2");
    let before = fs::read(&path).unwrap();
    match EmbeddedStore::open(folder.path(), HISTORY) {
        Err(StoreError::Format { found, known, .. }) => assert_eq!((found.as_str(), known), ("2", 1)),
        other => panic!("{other:?}"),
    }
    assert!(fs::read(&path).unwrap() == before, "the file of a later version was changed");
}

/// Bit by bit, as one byte of the header says which of two states is the newer one.
#[test]
fn a_flipped_bit_of_the_header_is_told_or_was_of_no_use() {
    let kept = Kept::new();
    for (name, whole) in [("closed", &kept.clean), ("killed", &kept.killed)] {
        for (at, bit) in (9..20).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            expect_told_or_whole(&kept, &bytes, &format!("{name}, byte {at}, bit {bit}"));
        }
    }
}

#[test]
fn an_older_state_is_refused_until_its_witness_is_removed() {
    let kept = Kept::new();
    let newer = kept.folder.path().join("newer");
    kept.open(&kept.clean).unwrap();
    let mut store = EmbeddedStore::open(kept.folder.path(), HISTORY).unwrap();
    store.commit(&[change(kept.snapshot.revision + 1)]).unwrap();
    drop(store);
    fs::rename(kept.path(), &newer).unwrap();
    match kept.open(&kept.clean) {
        Err(StoreError::Behind { found, acknowledged, .. }) => assert_eq!((found, acknowledged), (1500, 1501)),
        other => panic!("{other:?}"),
    }
    assert!(fs::read(kept.path()).unwrap() == kept.clean, "the file was changed");
    fs::rename(&newer, kept.path()).unwrap();
    EmbeddedStore::open(kept.folder.path(), HISTORY).unwrap();
    fs::remove_file(kept.folder.path().join(MARK)).unwrap();
    assert_eq!(kept.open(&kept.clean).unwrap(), kept.snapshot);
}

#[test]
fn the_witness_of_another_store_or_a_damaged_one_accuses_nobody() {
    let kept = Kept::new();
    let other = Kept::new();
    for bytes in [fs::read(other.folder.path().join(MARK)).unwrap(), b"x".repeat(100_000), Vec::new()] {
        fs::write(kept.folder.path().join(MARK), bytes).unwrap();
        assert_eq!(kept.open(&kept.killed).unwrap(), kept.snapshot);
    }
}
