//! What the embedded store promises beyond the contract of all stores: its file, its lock, and life after a kill.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use offloadctl::sync::record::Change;
use offloadctl::sync::store::embedded::{EmbeddedStore, FILE, MARK};
use offloadctl::sync::store::{HISTORY, MetadataStore as _, Snapshot, StoreError};
use tempfile::TempDir;

use crate::store::running;

/// Says to a test that it is the child of another, and where its store is.
const CHILD: &str = "OFFLOADCTL_TEST_STORE";

fn changes(revisions: std::ops::Range<u64>) -> Vec<Change> {
    revisions.map(|revision| running(&format!("task-{}", revision % 10), revision)).collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_store_that_is_opened_again_has_everything_and_its_lineage() {
    let folder = TempDir::new().unwrap();
    let mut before = Snapshot::new();
    for round in 0..5 {
        let mut store = EmbeddedStore::open_or_create(folder.path(), HISTORY).unwrap();
        let found = store.load().unwrap();
        assert!(round == 0 || found == before, "round {round}");
        store.commit(&changes(found.revision + 1..found.revision + 8)).unwrap();
        before = store.load().unwrap();
    }
    assert_eq!(before.revision, 35);
}

#[test]
fn a_shorter_history_cuts_what_is_kept_and_a_longer_one_invents_nothing() {
    let folder = TempDir::new().unwrap();
    let oldest = |limit| {
        let mut store = EmbeddedStore::open_or_create(folder.path(), limit).unwrap();
        let next = store.load().unwrap().revision + 1;
        store.commit(&changes(next..next + 10)).unwrap();
        store.load().unwrap().history[0].revision()
    };
    assert_eq!([oldest(100), oldest(100), oldest(5), oldest(100)], [1, 1, 26, 21]);
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("a/b");
    drop(EmbeddedStore::open_or_create(&data, HISTORY).unwrap());
    assert_eq!((mode(&data), mode(&data.join(FILE)), mode(&data.join(MARK))), (0o700, 0o600, 0o600));
    let given = folder.path().join("given");
    fs::create_dir(&given).unwrap();
    fs::set_permissions(&given, fs::Permissions::from_mode(0o755)).unwrap();
    drop(EmbeddedStore::open_or_create(&given, HISTORY).unwrap());
    assert_eq!((mode(&given), mode(&given.join(FILE))), (0o755, 0o600));
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let folder = TempDir::new().unwrap();
    let mut first = EmbeddedStore::open_or_create(folder.path(), HISTORY).unwrap();
    for second in [EmbeddedStore::open, EmbeddedStore::open_or_create] {
        let refused = second(folder.path(), HISTORY);
        assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
    }
    first.commit(&changes(1..3)).unwrap();
    drop(first);
    EmbeddedStore::open(folder.path(), HISTORY).unwrap();
}

#[test]
fn a_store_is_made_only_where_that_was_asked_and_none_is() {
    let folder = TempDir::new().unwrap();
    let absent = EmbeddedStore::open(folder.path(), HISTORY);
    assert!(matches!(absent, Err(StoreError::Absent { .. })), "{absent:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    EmbeddedStore::create(folder.path(), &Snapshot::new()).unwrap();
    let twice = EmbeddedStore::create(folder.path(), &Snapshot::new());
    assert!(matches!(twice, Err(StoreError::Present { .. })), "{twice:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_link_that_leads_nowhere_is_not_replaced() {
    let folder = TempDir::new().unwrap();
    symlink("/no/such/place", folder.path().join(FILE)).unwrap();
    let refused = EmbeddedStore::open_or_create(folder.path(), HISTORY);
    assert!(refused.is_err(), "{refused:?}");
    assert!(folder.path().join(FILE).is_symlink());
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    match EmbeddedStore::open_or_create(&file.join("data"), HISTORY) {
        Err(error @ StoreError::Io { .. }) => assert!(error.to_string().contains(file.to_str().unwrap()), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_killed_process_had_acknowledged_is_there() {
    let folder = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for lines in [1, 5, 17, 40] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "embedded::the_child_that_is_killed_writes_only_when_it_is_one", "--nocapture"]);
        let mut child = child.env(CHILD, folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut seen = output.by_ref().filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok());
        let first: Vec<u64> = seen.by_ref().take(lines).collect();
        assert_eq!(first.len(), lines, "the child ended by itself");
        child.kill().unwrap();
        // The last line may have been cut off by the kill, and says then a smaller number.
        acknowledged = seen.chain(first).max().unwrap();
        child.wait().unwrap();
        let found = EmbeddedStore::open(folder.path(), HISTORY).unwrap().load().unwrap();
        assert!(found.revision >= acknowledged, "{acknowledged} was acknowledged, {} found", found.revision);
        assert_eq!(found.history, changes(1..found.revision + 1));
    }
    assert!(acknowledged >= 63 * 7);
}

/// What the test above starts and kills; run as any other test, it has no store and is done.
#[test]
fn the_child_that_is_killed_writes_only_when_it_is_one() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let mut store = EmbeddedStore::open_or_create(folder.as_ref(), HISTORY).unwrap();
    let mut revision = store.load().unwrap().revision;
    loop {
        store.commit(&changes(revision + 1..revision + 8)).unwrap();
        revision += 7;
        writeln!(std::io::stdout(), "\nstored {revision}").unwrap();
    }
}
