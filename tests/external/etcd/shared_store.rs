//! The laws of a store that several gateways share, on real clusters of one and of three members.
//!
//! They are those of every store of the gateway (tests/contract/store.rs) as far as they can be: here the store numbers the
//! changes, and refuses each by itself. Instead of a gap in the numbers, what is refused is a change of what somebody else has
//! changed meanwhile.

use std::collections::BTreeMap;

use offloadctl::model::WallTime;
use offloadctl::sync::payload::Payload;
use offloadctl::sync::record::{Change, NodeRecord, NodeState, Status, TaskRecord};
use offloadctl::sync::store::etcd::{EtcdSpec, EtcdStore};
use offloadctl::sync::store::shared::{Act, Loaded, Name, Proposal, revision_of};
use offloadctl::wire::TlsSpec;

use super::cluster::Cluster;
use crate::host::turn;

/// A store below a prefix of its own, and what it was last known to keep.
struct Candidate {
    store: EtcdStore,
    lineage: String,
    guards: BTreeMap<Name, u64>,
}

impl Candidate {
    async fn open(cluster: &Cluster, prefix: &str) -> Self {
        let endpoints = cluster.endpoints().split(',').map(|url| url.parse().unwrap()).collect();
        let spec = EtcdSpec { endpoints, tls: TlsSpec::default(), login: None, prefix: prefix.to_owned() };
        let store = EtcdStore::connect(&spec).await.unwrap();
        let lineage = store.open().await.unwrap().lineage;
        Self { store, lineage, guards: BTreeMap::new() }
    }

    async fn load(&mut self) -> Loaded {
        let loaded = self.store.load(&self.lineage).await.unwrap();
        let tasks = loaded.tasks.iter().map(|task| (Name::Task(task.task_id.clone()), task.revision));
        let nodes = loaded.nodes.iter().map(|node| (Name::Node(node.node_id.clone()), node.revision));
        self.guards = tasks.chain(nodes).map(|(name, number)| (name, revision_of(number))).collect();
        loaded
    }

    /// Proposes changes against what was loaded; whether each took place.
    async fn propose(&self, changes: &[Change]) -> Vec<bool> {
        let proposal = |change: &Change| {
            let guard = self.guards.get(&Name::of(change)).copied().unwrap_or(0);
            Proposal { act: Act::Change(change.clone()), guard, ownership: None }
        };
        let proposals: Vec<Proposal> = changes.iter().map(proposal).collect();
        self.store.propose(&proposals, ("gateway", 0)).await.unwrap().won
    }

    /// Proposes them one transaction after another, each against what is there by then.
    async fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            self.load().await;
            assert_eq!(self.propose(std::slice::from_ref(change)).await, [true], "{change:?}");
        }
    }
}

fn task(task_id: &str, status: Status, version: u64) -> TaskRecord {
    TaskRecord {
        task_id: task_id.to_owned(),
        node_id: "edge-1".to_owned(),
        status,
        epoch: 3,
        version,
        timestamp: WallTime::from_unix_nanos(1_773_479_700_250_000_000 + i128::from(version)),
        payload: version.is_multiple_of(2).then(|| Payload::parse(r#"{"cpu":0.50,"name":"tâche \"7\""}"#).unwrap()),
        over_at: None,
        revision: 0,
    }
}

fn running(task_id: &str, version: u64) -> Change {
    Change::Task(task(task_id, Status::Running, version))
}

fn node(node_id: &str, state: NodeState) -> Change {
    let changed_at = WallTime::from_unix_nanos(1_773_479_800_000_000_000);
    Change::Node(NodeRecord {
        node_id: node_id.to_owned(),
        state,
        epoch: 3,
        interval_ms: 8192,
        changed_at,
        revision: 0,
    })
}

fn forget(task_id: &str) -> Change {
    Change::TaskForgotten { task_id: task_id.to_owned(), revision: 0 }
}

/// Without their numbers, which the store gives.
fn plain(changes: Vec<Change>) -> Vec<Change> {
    changes.into_iter().map(|change| change.numbered(0)).collect()
}

fn numbers(loaded: &Loaded) -> Vec<u64> {
    loaded.history.iter().map(Change::revision).collect()
}

fn each(law: impl AsyncFn(Candidate, &Cluster)) {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for members in [1, 3] {
        let cluster = Cluster::start(members, &[]);
        runtime.block_on(async { law(Candidate::open(&cluster, "law").await, &cluster).await });
    }
}

#[test]
fn what_was_proposed_is_loaded_and_the_history_has_it_in_order() {
    each(async |mut store, cluster| {
        let empty = store.load().await;
        assert_eq!((empty.tasks.len(), empty.nodes.len(), empty.history.len()), (0, 0, 0));
        // A prefix beside it is another store with a lineage of its own; opened again it is the same.
        let other = Candidate::open(cluster, "law2").await;
        assert_ne!(other.lineage, store.lineage);
        assert_eq!(Candidate::open(cluster, "law").await.lineage, store.lineage);

        let changes = [running("b", 1), node("edge-1", NodeState::Alive), running("a", 3)];
        assert_eq!(store.propose(&changes).await, [true; 3]);
        store.commit(&[Change::Task(task("a", Status::Completed, 6)), node("a", NodeState::Left)]).await;
        let loaded = store.load().await;
        let tasks = loaded.tasks.iter().cloned().map(Change::Task).collect();
        assert_eq!(plain(tasks), [Change::Task(task("a", Status::Completed, 6)), running("b", 1)]);
        assert_eq!(loaded.nodes.len(), 2);
        assert_eq!(plain(loaded.history.clone())[..3], changes);
        assert_eq!(loaded.history.len(), 5);
        let numbers = numbers(&loaded);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        // Three of one revision, and their records have the numbers of their changes.
        assert_eq!(
            numbers[..3].iter().map(|number| revision_of(*number)).collect::<Vec<_>>(),
            [revision_of(numbers[0]); 3]
        );
        assert_eq!(loaded.tasks[1].revision, numbers[0]);
        assert_eq!(loaded.tasks[0].revision, numbers[3]);
    });
}

#[test]
fn what_somebody_else_has_changed_is_refused_alone() {
    each(async |mut store, cluster| {
        store.commit(&[running("a", 1), running("b", 1)]).await;
        let mut other = Candidate::open(cluster, "law").await;
        store.load().await;
        other.commit(&[running("b", 5), running("c", 5)]).await;
        assert_eq!(
            store.propose(&[running("a", 2), running("b", 2), running("c", 2), running("d", 2)]).await,
            [true, false, false, true]
        );
        // The same once more, as after an answer that was lost: nothing takes place twice.
        assert_eq!(store.propose(&[running("a", 2), running("d", 2)]).await, [false, false]);
        let loaded = store.load().await;
        let versions: Vec<(String, u64)> =
            loaded.tasks.iter().map(|task| (task.task_id.clone(), task.version)).collect();
        let expected = [("a", 2), ("b", 5), ("c", 5), ("d", 2)].map(|(id, version)| (id.to_owned(), version));
        assert_eq!(versions, expected);
        assert_eq!(loaded.history.len(), 6);
    });
}

#[test]
fn what_is_forgotten_goes_and_stays_in_the_history() {
    each(async |mut store, _| {
        store.commit(&[running("a", 1), running("b", 2), node("a", NodeState::Left)]).await;
        store.load().await;
        let gone = [forget("b"), Change::NodeForgotten { node_id: "a".to_owned(), revision: 0 }];
        assert_eq!(store.propose(&gone).await, [true, true]);
        let loaded = store.load().await;
        assert_eq!((loaded.tasks.len(), loaded.nodes.len()), (1, 0));
        assert_eq!(plain(loaded.history.clone())[3..], gone);
        let numbers = numbers(&loaded);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        store.commit(&[running("b", 6)]).await;
        assert_eq!(store.load().await.tasks.len(), 2);
    });
}

#[test]
fn odd_ids_and_more_records_than_a_page_are_kept_as_they_are() {
    each(async |mut store, _| {
        let long = "x".repeat(10_000);
        let odd = ["", " ", "a\nb", "\u{0}", "ключ/🜚", "\"}", long.as_str()];
        let odd: Vec<Change> = odd.into_iter().zip(1..).map(|(id, version)| running(id, version)).collect();
        assert_eq!(store.propose(&odd).await, [true; 7]);
        for batch in 0..6 {
            let many: Vec<Change> = (0..100).map(|n| running(&format!("task-{batch}-{n}"), 2)).collect();
            assert_eq!(store.propose(&many).await, [true; 100]);
        }
        let loaded = store.load().await;
        assert_eq!((loaded.tasks.len(), loaded.history.len()), (607, 607));
        assert_eq!(plain(loaded.history)[..7], odd);
    });
}
