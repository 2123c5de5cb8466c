//! Backups: what comes back is what was saved, and what is not whole is refused before anything is made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use offloadctl::model::WallTime;
use offloadctl::sync::record::{Change, NodeState, Status};
use offloadctl::sync::store::backup::{self, BackupError};
use offloadctl::sync::store::committer::Committer;
use offloadctl::sync::store::embedded::{EmbeddedStore, FILE};
use offloadctl::sync::store::{HISTORY, MetadataStore as _, Snapshot, StoreError};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::store::{node, running, task};

struct Saved {
    folder: TempDir,
    snapshot: Snapshot,
}

impl Saved {
    /// A store with some history, closed.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut store = EmbeddedStore::open_or_create(&folder.path().join("data"), HISTORY).unwrap();
        let mut changes: Vec<Change> = (1..2500).map(|n| running(&format!("task-{}", n % 40), n)).collect();
        changes.push(Change::Node(node("edge-1", NodeState::Alive, 2500)));
        changes.push(Change::TaskForgotten { task_id: "task-7".to_owned(), revision: 2501 });
        changes.push(Change::Task(task("line\nbreak", Status::Failed, 2502)));
        store.commit(&changes).unwrap();
        let snapshot = store.load().unwrap();
        Self { folder, snapshot }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn save(&self) -> Vec<u8> {
        let path = self.at("backup");
        backup::save(&self.at("data"), &path, noon()).unwrap();
        fs::read(path).unwrap()
    }
}

fn noon() -> WallTime {
    WallTime::from_unix_nanos(1_773_489_600_000_000_000)
}

#[test]
fn a_restored_store_holds_what_was_saved_under_a_lineage_of_its_own() {
    let saved = Saved::new();
    let path = saved.at("backup");
    let summary = backup::save(&saved.at("data"), &path, noon()).unwrap();
    assert_eq!((summary.created_at, summary.revision, summary.tasks, summary.nodes), (noon(), 2502, 40, 1));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(backup::read(&path).unwrap(), (saved.snapshot.clone(), noon()));
    assert_eq!(backup::restore(&path, &saved.at("new")).unwrap(), summary);
    let mut store = EmbeddedStore::open(&saved.at("new"), HISTORY).unwrap();
    let restored = store.load().unwrap();
    assert_ne!(restored.lineage, saved.snapshot.lineage);
    assert_eq!(Snapshot { lineage: saved.snapshot.lineage.clone(), ..restored }, saved.snapshot);
    store.commit(&[running("a", 2503)]).unwrap();
}

#[test]
fn an_empty_store_is_saved_and_restored_too() {
    let folder = TempDir::new().unwrap();
    let [data, new, path] = ["data", "new", "backup"].map(|name| folder.path().join(name));
    drop(EmbeddedStore::open_or_create(&data, HISTORY).unwrap());
    backup::save(&data, &path, noon()).unwrap();
    backup::restore(&path, &new).unwrap();
    assert_eq!(EmbeddedStore::open(&new, HISTORY).unwrap().load().unwrap().revision, 0);
}

#[test]
fn every_line_is_json_and_the_first_says_what_it_is() {
    let saved = Saved::new();
    let text = String::from_utf8(saved.save()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["schema"], "offloadctl.backup/1");
    assert_eq!((&lines[0]["revision"], &lines[0]["created_at"]), (&2502.into(), &"2026-03-14T12:00:00Z".into()));
    assert_eq!(lines.len() as u64, lines[lines.len() - 1]["seal"]["line_count"].as_u64().unwrap() + 1);
}

#[test]
fn a_backup_replaces_nothing_and_leaves_nothing_beside_it() {
    let saved = Saved::new();
    let path = saved.at("backup");
    fs::write(&path, "dear").unwrap();
    let refused = backup::save(&saved.at("data"), &path, noon());
    assert!(matches!(refused, Err(BackupError::Present { .. })), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), b"dear");
    let nowhere = backup::save(&saved.at("data"), &saved.at("no/such/backup"), noon());
    assert!(matches!(nowhere, Err(BackupError::Io { .. })), "{nowhere:?}");
    assert_eq!(saved.folder.path().read_dir().unwrap().count(), 2);
}

#[test]
fn a_restore_replaces_no_store() {
    let saved = Saved::new();
    saved.save();
    let before = fs::read(saved.at("data").join(FILE)).unwrap();
    let refused = backup::restore(&saved.at("backup"), &saved.at("data"));
    assert!(matches!(refused, Err(BackupError::Store(StoreError::Present { .. }))), "{refused:?}");
    assert!(fs::read(saved.at("data").join(FILE)).unwrap() == before);
}

#[test]
fn a_store_in_use_is_not_saved_and_the_hint_says_who_can() {
    let saved = Saved::new();
    let _open = EmbeddedStore::open(&saved.at("data"), HISTORY).unwrap();
    let refused = backup::save(&saved.at("data"), &saved.at("backup"), noon()).unwrap_err();
    assert!(matches!(refused, BackupError::Store(StoreError::Locked { .. })), "{refused:?}");
    assert!(refused.hint().unwrap().contains("gateway"));
    assert!(!saved.at("backup").exists());
}

#[test]
fn a_store_in_use_is_saved_through_its_committer() {
    let saved = Saved::new();
    let store = EmbeddedStore::open(&saved.at("data"), HISTORY).unwrap();
    let committer = Committer::start(Box::new(store), 10, Box::new(|_| ())).unwrap();
    committer.submit(running("late", 2503)).unwrap();
    let (tell, answer) = channel();
    committer.load(move |loaded| tell.send(loaded).unwrap()).unwrap();
    backup::write(&answer.recv().unwrap().unwrap(), &saved.at("backup"), noon()).unwrap();
    assert_eq!(backup::read(&saved.at("backup")).unwrap().0.revision, 2503);
}

#[test]
fn a_backup_that_was_cut_off_or_altered_is_refused_and_nothing_is_made() {
    let saved = Saved::new();
    let whole = saved.save();
    let cuts = (0..60).map(|part| part * whole.len() / 60).chain([whole.len() - 1]);
    let mut cases: Vec<Vec<u8>> = cuts.map(|length| whole[..length].to_vec()).collect();
    cases.extend((0..60).map(|part| {
        let mut bytes = whole.clone();
        bytes[part * whole.len() / 60 + 3] ^= 1;
        bytes
    }));
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    cases.push([&lines[..5], &lines[6..]].concat().concat());
    cases.push([&lines[..5], &lines[4..]].concat().concat());
    cases.push([&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat().concat());
    cases.push([whole.as_slice(), b"\n"].concat());
    cases.push([whole.as_slice(), whole.as_slice()].concat());
    for (number, bytes) in cases.iter().enumerate() {
        expect_refusal(&saved, bytes, &format!("case {number} of {}", cases.len()));
    }
}

/// The seal fits, and what it seals does not: another program wrote it, or ours was wrong.
#[test]
fn a_sealed_backup_that_does_not_fit_together_is_refused() {
    let saved = Saved::new();
    let whole = String::from_utf8(saved.save()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let body = &lines[..lines.len() - 1];
    let seal = |lines: &[&str]| {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let sum: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{text}{{\"seal\":{{\"line_count\":{},\"sha256\":\"{sum}\"}}}}\n", lines.len())
    };
    assert_eq!(seal(body), whole);
    let later = lines[0].replace("2502", "9999");
    let earlier = lines[0].replace("2502", "2000");
    let unknown = r#"{"spell":{}}"#;
    let cases = [
        [&[later.as_str()], &body[1..]].concat(),
        [&[earlier.as_str()], &body[1..]].concat(),
        [&body[..100], &body[101..]].concat(),
        [&body[..5], &[unknown], &body[5..]].concat(),
        vec![lines[0]; 2],
        Vec::new(),
    ];
    for (number, lines) in cases.iter().enumerate() {
        expect_refusal(&saved, seal(lines).as_bytes(), &format!("case {number}"));
    }
}

#[track_caller]
fn expect_refusal(saved: &Saved, bytes: &[u8], what: &str) {
    fs::write(saved.at("other"), bytes).unwrap();
    let refused = backup::restore(&saved.at("other"), &saved.at("new")).unwrap_err();
    let is_known = matches!(refused, BackupError::Damaged { .. } | BackupError::Schema { .. });
    assert!(is_known, "{what}: {refused:?}");
    assert!(refused.to_string().contains(saved.at("other").to_str().unwrap()), "{what}: {refused}");
    assert!(refused.to_string().len() < 500, "{what}: {refused}");
    assert!(!saved.at("new").exists(), "{what}: something was made");
}

#[test]
fn what_is_no_backup_is_refused_without_reading_all_of_it() {
    let saved = Saved::new();
    let endless = vec![b'x'; 20 << 20];
    let named = format!("{{\"schema\":\"{}\"}}\n", "x".repeat(1 << 20));
    for bytes in [b"".as_slice(), b"\n", b"\xff\xfe\n", b"[]\n", b"{\"schema\":1}\n", named.as_bytes(), &endless] {
        expect_refusal(&saved, bytes, &format!("{} bytes", bytes.len()));
    }
    let later = b"{\"schema\":\"offloadctl.backup/2\"}\n";
    fs::write(saved.at("other"), later).unwrap();
    let refused = backup::read(&saved.at("other")).unwrap_err();
    assert!(refused.to_string().contains("offloadctl.backup/2"), "{refused}");
}
