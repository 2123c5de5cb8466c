//! Gateways on real clusters of etcd: one like one with a store of its own, several like one.

use std::collections::BTreeMap;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::cluster::Cluster;
use crate::gateway::{Gateway, ONE};
use crate::host::{turn, wait_until};

/// A gateway on this cluster, with further arguments.
pub fn on(cluster: &Cluster, arguments: &str) -> Gateway {
    Gateway::start(&words(cluster, arguments))
}

/// The arguments of such a gateway.
pub fn words(cluster: &Cluster, arguments: &str) -> String {
    format!("--store etcd --endpoints {} {arguments}", cluster.endpoints())
}

/// The state of a node as this gateway shows it.
pub fn state_of(gateway: &Gateway, node: &str) -> Option<String> {
    let nodes = gateway.read("/v1/nodes");
    let node = nodes["items"].as_array()?.iter().find(|item| item["node_id"] == node)?.clone();
    Some(node["state"].as_str()?.to_owned())
}

/// The version of a task as this gateway shows it.
fn version_of(gateway: &Gateway, task: &str) -> Option<u64> {
    let answer = gateway.ask("GET", &format!("/v1/tasks/{task}"), ONE, "");
    answer.body["version"].as_u64()
}

/// Where this gateway is.
pub fn position(gateway: &Gateway) -> (String, u64) {
    let view = gateway.read("/v1/view");
    (view["lineage"].as_str().unwrap().to_owned(), view["revision"].as_u64().unwrap())
}

/// The numbers of changes, in the order in which they were told.
fn numbers(events: &[(String, Value)]) -> Vec<u64> {
    events.iter().map(|(name, data)| data["revision"].as_u64().unwrap_or_else(|| panic!("{name} {data}"))).collect()
}

#[test]
fn a_gateway_on_one_member_and_on_three_keeps_everything_over_a_kill() {
    let _turn = turn();
    for members in [1, 3] {
        let cluster = Cluster::start(members, &[]);
        let gateway = on(&cluster, "");
        assert_eq!(gateway.report("one", "web", "running", 1).body["outcome"], "stored");
        assert_eq!(gateway.report("one", "web", "running", 1).body["outcome"], "duplicate");
        let stored = gateway.report("one", "web", "running", 3);
        assert_eq!(gateway.report("one", "web", "running", 2).body["outcome"], "stale");
        assert_eq!(gateway.report("one", "web", "completed", 3).status, 409);
        assert_eq!(gateway.heartbeat("one", 1, 60_000).status, 200);
        wait_until("the node is alive", || state_of(&gateway, "one").as_deref() == Some("alive"));
        let last = stored.body["revision"].as_u64().unwrap();
        let (lineage, newest) = position(&gateway);
        let before = gateway.watch(0, newest);
        assert_eq!(before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["task", "task", "node"]);

        let (scene, _) = gateway.end(Signal::SIGKILL);
        let gateway = Gateway::start_in(scene, &words(&cluster, ""));
        assert_eq!(version_of(&gateway, "web"), Some(3));
        assert_eq!(state_of(&gateway, "one").as_deref(), Some("alive"));
        assert_eq!(position(&gateway).0, lineage);
        assert_eq!(gateway.watch(0, newest), before);
        assert_eq!(gateway.watch(format!("{lineage}-{last}"), newest).len(), 1);
        let stored = gateway.report("one", "web", "completed", 4);
        assert_eq!(stored.body["outcome"], "stored", "{stored:?}");
        assert!(stored.body["revision"].as_u64() > Some(newest));
    }
}

#[test]
fn a_whole_state_says_what_is_not_there_any_more() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = (on(&cluster, ""), on(&cluster, ""));
    let state = |tasks: &str| format!(r#"{{"node_id":"one","epoch":5,"version":9,"checksum":"","tasks":[{tasks}]}}"#);
    let task =
        |id: &str| format!(r#"{{"task_id":"{id}","status":"running","version":1,"timestamp":"2026-01-02T03:04:05Z"}}"#);
    let answer = a.ask("POST", "/v1/state", ONE, &state(&format!("{},{}", task("x"), task("y"))));
    assert_eq!(answer.body["answers"].as_array().map(Vec::len), Some(2), "{answer:?}");
    let answer = b.ask("POST", "/v1/state", ONE, &state(&task("y")));
    assert_eq!(answer.body["answers"][0]["outcome"], "duplicate", "{answer:?}");
    let status =
        |gateway: &Gateway, id: &str| gateway.ask("GET", &format!("/v1/tasks/{id}"), ONE, "").body["status"].clone();
    assert_eq!((status(&b, "x"), status(&b, "y")), ("unknown".into(), "running".into()));
    wait_until("the other gateway knows", || status(&a, "x") == "unknown");
    let leave = b.ask("POST", "/v1/leave", ONE, r#"{"node_id":"one","epoch":5}"#);
    assert_eq!(leave.body["state"], "left", "{leave:?}");
    wait_until("the node has left", || state_of(&a, "one").as_deref() == Some("left"));
}

/// Three gateways, and on each a client that reports the same tasks with versions of its own, so that nearly every report races.
#[test]
fn a_newer_version_is_never_overwritten_whichever_gateway_it_came_through() {
    const TASKS: u64 = 4;
    const VERSIONS: u64 = 40;
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let gateways = [(); 3].map(|()| on(&cluster, ""));
    let stored: Vec<(String, u64, u64)> = thread::scope(|scope| {
        let report = |at: usize| {
            let gateway = &gateways[at];
            let own = (1..=VERSIONS).filter(move |version| version % 3 == at as u64);
            let all = own.flat_map(|version| (0..TASKS).map(move |task| (format!("task-{task}"), version)));
            move || {
                let mut stored = Vec::new();
                for (id, version) in all {
                    let answer = gateway.report("one", &id, "running", version);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    match answer.body["outcome"].as_str().unwrap() {
                        "stored" => stored.push((id, version, answer.body["revision"].as_u64().unwrap())),
                        outcome => assert_eq!(outcome, "stale", "{answer:?}"),
                    }
                }
                stored
            }
        };
        let clients: Vec<_> = (0..3).map(|at| scope.spawn(report(at))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let newest = stored.iter().map(|(_, _, revision)| *revision).max().unwrap();
    let told = gateways.each_ref().map(|gateway| gateway.watch(0, newest));
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    let order = numbers(&told[0]);
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    // Each that was acknowledged is among what was told, under the number that its client got, and nothing else is.
    let mut known: BTreeMap<u64, (String, u64)> = BTreeMap::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (_, data) in &told[0] {
        let (id, version) = (data["task_id"].as_str().unwrap().to_owned(), data["version"].as_u64().unwrap());
        assert!(last.insert(id.clone(), version).is_none_or(|before| before < version), "{id} {version}");
        known.insert(data["revision"].as_u64().unwrap(), (id, version));
    }
    assert_eq!(known.len(), stored.len());
    for (id, version, revision) in stored {
        assert_eq!(known.get(&revision), Some(&(id, version)));
    }
    for gateway in &gateways {
        for task in 0..TASKS {
            assert_eq!(version_of(gateway, &format!("task-{task}")), Some(VERSIONS));
        }
    }
}

#[test]
fn a_subscriber_goes_on_at_another_gateway_without_a_gap_or_a_repetition() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = (on(&cluster, ""), on(&cluster, ""));
    let batch: Vec<String> = (0..150)
        .map(|n| {
            format!(
                r#"{{"task_id":"t{n}","status":"running","node_id":"one","timestamp":"2026-01-02T03:04:05Z","version":1}}"#
            )
        })
        .collect();
    let body = format!(r#"{{"id":7,"reports":[{}]}}"#, batch.join(","));
    let answer = a.ask("POST", "/v1/status/batch", ONE, &body);
    let answers = answer.body["answers"].as_array().unwrap();
    let revisions: Vec<u64> = answers.iter().map(|answer| answer["revision"].as_u64().unwrap()).collect();
    let newest = *revisions.iter().max().unwrap();
    let all = numbers(&a.watch(0, newest));
    assert_eq!(all.len(), 150);
    // Cut in the middle of a transaction, of which all changes have one revision of etcd.
    let (lineage, _) = position(&b);
    for cut in [0, 1, 42, 99, 100, 101, 148] {
        let rest = numbers(&b.watch(format!("{lineage}-{}", all[cut]), newest));
        assert_eq!(rest, all[cut + 1..], "after {cut}");
    }
    // A position of another row, and one that nobody was ever told, are gaps.
    assert_eq!(b.watch(format!("feedfeedfeedfeed-{newest}"), newest)[0].0, "gap");
    assert_eq!(b.watch(format!("{lineage}-{}", newest + 1_000_000), newest)[0].0, "gap");
}
