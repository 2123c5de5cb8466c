//! What every store of the gateway does alike: one suite, held against each of them.
//!
//! A new store joins by a line in [`stores`].

use offloadctl::model::WallTime;
use offloadctl::sync::payload::Payload;
use offloadctl::sync::record::{Change, NodeRecord, NodeState, Status, TaskRecord};
use offloadctl::sync::store::embedded::EmbeddedStore;
use offloadctl::sync::store::memory::MemoryStore;
use offloadctl::sync::store::{MetadataStore, Snapshot, StoreError};
use tempfile::TempDir;

/// History kept by the stores under test.
const LIMIT: u64 = 20;

struct Candidate {
    name: &'static str,
    store: Box<dyn MetadataStore>,
    /// Lies under the store until it is dropped.
    _folder: Option<TempDir>,
}

fn stores() -> Vec<Candidate> {
    let folder = TempDir::new().unwrap();
    let embedded = EmbeddedStore::open_or_create(&folder.path().join("data"), LIMIT).unwrap();
    vec![
        Candidate { name: "memory", store: Box::new(MemoryStore::new(LIMIT)), _folder: None },
        Candidate { name: "embedded", store: Box::new(embedded), _folder: Some(folder) },
    ]
}

fn each(law: impl Fn(&str, &mut dyn MetadataStore)) {
    for mut candidate in stores() {
        law(candidate.name, candidate.store.as_mut());
    }
}

pub fn task(task_id: &str, status: Status, revision: u64) -> TaskRecord {
    TaskRecord {
        task_id: task_id.to_owned(),
        node_id: "edge-1".to_owned(),
        status,
        epoch: 3,
        version: revision,
        timestamp: WallTime::from_unix_nanos(1_773_479_700_250_000_000 + i128::from(revision)),
        payload: revision.is_multiple_of(2).then(|| Payload::parse(r#"{"cpu":0.50,"name":"tâche \"7\""}"#).unwrap()),
        over_at: None,
        revision,
    }
}

pub fn node(node_id: &str, state: NodeState, revision: u64) -> NodeRecord {
    let changed_at = WallTime::from_unix_nanos(1_773_479_800_000_000_000);
    NodeRecord { node_id: node_id.to_owned(), state, epoch: 3, interval_ms: 8192, changed_at, revision }
}

pub fn running(task_id: &str, revision: u64) -> Change {
    Change::Task(task(task_id, Status::Running, revision))
}

#[track_caller]
fn load(store: &mut dyn MetadataStore) -> Snapshot {
    store.load().unwrap()
}

fn revisions(snapshot: &Snapshot) -> Vec<u64> {
    snapshot.history.iter().map(Change::revision).collect()
}

#[test]
fn a_new_store_is_empty_and_has_a_lineage_of_its_own() {
    let mut seen = Vec::new();
    for mut candidate in stores().into_iter().chain(stores()) {
        let lineage = load(candidate.store.as_mut()).lineage;
        let empty = Snapshot { lineage: lineage.clone(), ..Snapshot::new() };
        assert_eq!(load(candidate.store.as_mut()), empty, "{}", candidate.name);
        assert!(!seen.contains(&lineage), "{} repeats {lineage}", candidate.name);
        seen.push(lineage);
    }
}

#[test]
fn what_was_committed_is_loaded() {
    each(|name, store| {
        let changes = [running("b", 1), Change::Node(node("edge-1", NodeState::Alive, 2)), running("a", 3)];
        store.commit(&changes[..2]).unwrap();
        store.commit(&changes[2..]).unwrap();
        let snapshot = load(store);
        assert_eq!(snapshot.revision, 3, "{name}");
        assert_eq!(snapshot.tasks, [task("a", Status::Running, 3), task("b", Status::Running, 1)], "{name}");
        assert_eq!(snapshot.nodes, [node("edge-1", NodeState::Alive, 2)], "{name}");
        assert_eq!(snapshot.history, changes, "{name}");
        assert_eq!(load(store), snapshot, "{name}");
    });
}

#[test]
fn the_newest_record_of_an_id_remains_and_the_history_has_all() {
    each(|name, store| {
        let end = |revision| Change::Task(task("a", Status::Completed, revision));
        store.commit(&[running("a", 1), end(2)]).unwrap();
        store.commit(&[running("a", 3)]).unwrap();
        store.commit(&[end(4), running("b", 5), end(6)]).unwrap();
        let snapshot = load(store);
        assert_eq!(snapshot.tasks, [task("a", Status::Completed, 6), task("b", Status::Running, 5)], "{name}");
        assert_eq!(revisions(&snapshot), [1, 2, 3, 4, 5, 6], "{name}");
    });
}

#[test]
fn a_task_and_a_node_of_one_name_are_two() {
    each(|name, store| {
        store.commit(&[running("a", 1), Change::Node(node("a", NodeState::Left, 2))]).unwrap();
        store.commit(&[Change::NodeForgotten { node_id: "a".to_owned(), revision: 3 }]).unwrap();
        let snapshot = load(store);
        assert_eq!((snapshot.tasks.len(), snapshot.nodes.len()), (1, 0), "{name}");
    });
}

#[test]
fn what_is_forgotten_goes_and_stays_in_the_history() {
    each(|name, store| {
        let forget = |task_id: &str, revision| Change::TaskForgotten { task_id: task_id.to_owned(), revision };
        store.commit(&[running("a", 1), running("b", 2), forget("b", 3)]).unwrap();
        store.commit(&[forget("a", 4), forget("never known", 5)]).unwrap();
        let snapshot = load(store);
        assert_eq!(snapshot.tasks, [], "{name}");
        assert_eq!(snapshot.history[3..], [forget("a", 4), forget("never known", 5)], "{name}");
        store.commit(&[running("a", 6)]).unwrap();
        assert_eq!(load(store).tasks, [task("a", Status::Running, 6)], "{name}");
    });
}

#[test]
fn a_gap_a_repetition_and_a_step_back_are_refused_whole() {
    each(|name, store| {
        store.commit(&[running("a", 1), running("b", 2)]).unwrap();
        let before = load(store);
        let cases: [(&[u64], u64); 6] =
            [(&[4], 3), (&[2], 3), (&[1], 3), (&[3, 5], 4), (&[3, 3], 4), (&[3, 4, u64::MAX], 5)];
        for (offered, due) in cases {
            let changes: Vec<Change> = offered.iter().map(|revision| running("c", *revision)).collect();
            match store.commit(&changes) {
                Err(StoreError::Conflict { expected, found }) => {
                    assert_eq!((expected, found), (due, *offered.last().unwrap()), "{name}: {offered:?}");
                }
                other => panic!("{name}: {offered:?} gave {other:?}"),
            }
            assert_eq!(load(store), before, "{name}: {offered:?}");
        }
        store.commit(&[running("c", 3)]).unwrap();
    });
}

#[test]
fn a_change_that_has_no_text_is_refused_whole_where_there_is_text() {
    let mut candidate = stores().pop().unwrap();
    let before_the_common_era = WallTime::from_unix_nanos(-80_000_000_000_000_000_000);
    let odd = TaskRecord { timestamp: before_the_common_era, ..task("a", Status::Running, 2) };
    let before = load(candidate.store.as_mut());
    let refused = candidate.store.commit(&[running("a", 1), Change::Task(odd)]);
    assert!(matches!(refused, Err(StoreError::Encode { revision: 2, .. })), "{refused:?}");
    assert_eq!(load(candidate.store.as_mut()), before);
    candidate.store.commit(&[running("a", 1)]).unwrap();
}

#[test]
fn no_changes_are_no_commit() {
    each(|name, store| {
        let before = load(store);
        store.commit(&[]).unwrap();
        assert_eq!(load(store), before, "{name}");
    });
}

#[test]
fn the_history_keeps_exactly_its_limit_and_the_records_stay() {
    each(|name, store| {
        let mut next = 1;
        for size in [1, 1, 7, 30, 3, 1, 12, 20, 2, 25] {
            let changes: Vec<Change> = (next..next + size).map(|n| running(&format!("task-{n}"), n)).collect();
            store.commit(&changes).unwrap();
            next += size;
            let snapshot = load(store);
            let oldest = next.saturating_sub(LIMIT).max(1);
            assert_eq!(revisions(&snapshot), (oldest..next).collect::<Vec<u64>>(), "{name}");
            assert_eq!(snapshot.tasks.len() as u64, next - 1, "{name}");
        }
    });
}

#[test]
fn odd_ids_are_kept_as_they_are() {
    each(|name, store| {
        let long = "x".repeat(100_000);
        let ids = ["", " ", "a\nb", "\u{0}", "ключ/🜚", "\"}", long.as_str()];
        let changes: Vec<Change> = ids.into_iter().zip(1..).map(|(id, revision)| running(id, revision)).collect();
        store.commit(&changes).unwrap();
        let snapshot = load(store);
        assert_eq!(snapshot.history, changes, "{name}");
        assert_eq!(snapshot.tasks.len(), ids.len(), "{name}");
    });
}
