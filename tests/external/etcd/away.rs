//! A gateway whose etcd is away, full, compacted, empty or another one: what is not stored is refused, and nobody is called dead.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::cluster::Cluster;
use super::gateways::{on, position, state_of, words};
use crate::certificate::Authority;
use crate::gateway::{Answer, Gateway, READER};
use crate::host::{let_pass, turn, wait_until};

/// Reports until the gateway takes it; whatever is refused meanwhile has to say when to come back.
#[track_caller]
fn report_until_taken(gateway: &Gateway, version: u64) -> Answer {
    let mut last = None;
    wait_until("the report is taken", || {
        let answer = gateway.report("one", "web", "running", version);
        let is_taken = answer.status == 200;
        if !is_taken {
            assert_eq!(answer.body["error"]["code"], "store_unavailable", "{answer:?}");
            assert!(answer.head.contains("retry-after: "), "{answer:?}");
            let_pass(Duration::from_millis(200));
        }
        last = Some(answer);
        is_taken
    });
    last.unwrap()
}

#[test]
fn while_etcd_is_away_reports_are_refused_and_nobody_is_called_dead() {
    let _turn = turn();
    let mut cluster = Cluster::start(1, &[]);
    let gateway = on(&cluster, "--lease 3s --detector missed:3");
    assert_eq!(gateway.report("one", "web", "running", 1).status, 200);
    gateway.heartbeat("one", 1, 1_000);
    wait_until("the node is alive", || state_of(&gateway, "one").as_deref() == Some("alive"));
    cluster.kill(0);
    let mut seq = 1;
    let mut refused = 0;
    // Longer than the lease and than every detector.
    for _ in 0..12 {
        seq += 1;
        assert_eq!(gateway.heartbeat("one", seq, 1_000).status, 200, "a heartbeat is heard without a store");
        let_pass(Duration::from_millis(500));
    }
    let answer = gateway.report("one", "web", "running", 2);
    refused += usize::from(answer.body["error"]["code"] == "store_unavailable");
    assert_eq!((answer.status, refused), (503, 1), "{answer:?}");
    assert!(answer.head.contains("retry-after: 5"), "{answer:?}");
    cluster.start_member(0);
    let stored = report_until_taken(&gateway, 3);
    assert_eq!(stored.body["outcome"], "stored", "{stored:?}");
    // It is silent from now on, and found as a node that died is found.
    wait_until("the node is unreachable", || state_of(&gateway, "one").as_deref() == Some("unreachable"));
    let (_, newest) = position(&gateway);
    let told = gateway.watch(0, newest);
    let states: Vec<&str> = told.iter().filter_map(|(_, data)| data["state"].as_str()).collect();
    assert_eq!(states, ["alive", "unreachable"]);
    let versions: Vec<u64> = told.iter().filter_map(|(_, data)| data["version"].as_u64()).collect();
    assert!(versions == [1, 3] || versions == [1, 2, 3], "{versions:?}");
    assert!(gateway.said().contains("the store is away"), "{}", gateway.said());
    assert!(gateway.said().contains("the store is back"), "{}", gateway.said());
}

#[test]
fn a_killed_leader_loses_nothing_that_was_acknowledged() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, &[]);
    let (a, b) = (on(&cluster, ""), on(&cluster, ""));
    let mut acknowledged = 0;
    for version in 1..=60 {
        if version == 20 {
            let leader = cluster.leader();
            cluster.kill(leader);
        }
        let gateway = if version % 2 == 0 { &a } else { &b };
        let answer = report_until_taken(gateway, version);
        assert!(matches!(answer.body["outcome"].as_str(), Some("stored" | "duplicate")), "{answer:?}");
        acknowledged = version;
    }
    let (_, newest) = position(&a);
    let versions = |gateway: &Gateway| -> Vec<u64> {
        gateway.watch(0, newest).iter().filter_map(|(_, data)| data["version"].as_u64()).collect()
    };
    assert_eq!(versions(&a), (1..=acknowledged).collect::<Vec<u64>>());
    wait_until("the other gateway has heard it all", || position(&b).1 >= newest);
    assert_eq!(versions(&b), versions(&a));
}

#[test]
fn an_etcd_that_is_full_is_told_and_served_again_when_there_is_room() {
    let _turn = turn();
    let cluster = Cluster::start(1, &["--quota-backend-bytes", "1000000"]);
    let gateway = on(&cluster, "");
    assert_eq!(gateway.report("one", "web", "running", 1).status, 200);
    // Somebody else fills it.
    let filler = "x".repeat(100_000);
    wait_until("etcd is full", || !cluster.try_etcdctl(&["put", "theirs", &filler]).status.success());
    wait_until("a report is refused", || {
        let answer = gateway.report("one", "web", "running", 2);
        answer.status == 503 && answer.body["error"]["code"] == "store_unavailable"
    });
    assert!(gateway.said().contains("space exceeded"), "{}", gateway.said());
    cluster.etcdctl(&["compact", &cluster.revision()]);
    cluster.etcdctl(&["defrag"]);
    cluster.etcdctl(&["alarm", "disarm"]);
    report_until_taken(&gateway, 3);
}

#[test]
fn what_was_compacted_is_a_gap_for_a_subscriber_that_was_away() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let gateway = on(&cluster, "");
    let first = gateway.report("one", "web", "running", 1).body["revision"].as_u64().unwrap();
    for version in 2..=5 {
        gateway.report("one", "web", "running", version);
    }
    cluster.etcdctl(&["compact", &cluster.revision()]);
    let last = gateway.report("one", "web", "running", 6).body["revision"].as_u64().unwrap();
    // Who was there all the time still knows it; who comes now does not, and says so.
    assert_eq!(gateway.watch(first, last).len(), 5);
    let late = on(&cluster, "");
    assert_eq!(late.watch(first, last)[0].0, "gap");
    let after = late.watch(first, last)[0].1["first"].as_u64().unwrap() - 1;
    let told = late.watch(after, last);
    assert_eq!(told.iter().filter_map(|(_, data)| data["version"].as_u64()).collect::<Vec<_>>(), [6]);
}

#[test]
fn an_etcd_that_comes_back_empty_is_another_row() {
    let _turn = turn();
    let mut cluster = Cluster::start(1, &[]);
    let gateway = on(&cluster, "");
    let last = gateway.report("one", "web", "running", 9).body["revision"].as_u64().unwrap();
    let (lineage, _) = position(&gateway);
    cluster.kill(0);
    fs::remove_dir_all(cluster.path("m0")).unwrap();
    cluster.start_member(0);
    let stored = report_until_taken(&gateway, 4);
    wait_until("the gateway has noticed", || position(&gateway).0 != lineage);
    let stored = if stored.body["outcome"] == "stored" { stored } else { report_until_taken(&gateway, 4) };
    assert_eq!(stored.body["version"], 4, "{stored:?}");
    let (_, newest) = position(&gateway);
    assert_eq!(gateway.watch(format!("{lineage}-{last}"), newest)[0].0, "gap");
    assert!(gateway.said().contains("the store was replaced"), "{}", gateway.said());
}

#[test]
fn what_cannot_be_a_store_is_refused_before_anything_is_served() {
    let _turn = turn();
    let (cluster, other) = (Cluster::start(1, &[]), Cluster::start(1, &[]));
    let refused = |arguments: &str, words: &[&str]| {
        let scene = Gateway::scene();
        let ended = scene.run(&format!("gateway --listen 127.0.0.1:0 --token-file tokens --store etcd {arguments}"));
        assert!(!matches!(ended.code, Some(0)), "{}", ended.stderr);
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
        ended.code
    };
    assert_eq!(refused("", &["--endpoints"]), Some(2));
    assert_eq!(refused("--endpoints http://127.0.0.1:9", &["cannot reach etcd", "hint"]), Some(3));
    let both = format!("--endpoints {},{}", cluster.endpoint(0), other.endpoint(0));
    assert_eq!(refused(&both, &["two different clusters", "hint"]), Some(3));
    cluster.etcdctl(&["put", "later/meta", r#"{"schema":2,"lineage":"00ff"}"#]);
    let later = words(&cluster, "--etcd-prefix later");
    let later = later.strip_prefix("--store etcd").unwrap();
    assert_eq!(refused(later, &["schema 2", "hint"]), Some(3));

    for line in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "guest:guest"],
        &["role", "add", "theirs"],
        &["role", "grant-permission", "theirs", "readwrite", "theirs/", "--prefix=true"],
        &["user", "grant-role", "guest", "theirs"],
        &["auth", "enable"],
    ] {
        other.etcdctl(line);
    }
    let guest = format!("--endpoints {} --etcd-user guest --etcd-password-file password", other.endpoints());
    let scene = Gateway::scene();
    scene.write("password", "guest\n");
    let line = format!("gateway --listen 127.0.0.1:0 --token-file tokens --store etcd {guest}");
    let ended = scene.run(&line);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("permission denied") && ended.stderr.contains("hint"), "{}", ended.stderr);
    // With rights to its own prefix it serves.
    scene.write("tokens", "one 1111111111111111\n* rrrrrrrrrrrrrrrr\n");
    let gateway = Gateway::start_in(scene, &format!("--store etcd {guest} --etcd-prefix theirs"));
    assert_eq!(gateway.report("one", "web", "running", 1).status, 200);
    gateway.end(Signal::SIGTERM);
}

#[test]
fn an_older_copy_of_etcd_is_another_row_and_what_it_lacks_can_be_told_again() {
    let _turn = turn();
    let mut cluster = Cluster::start(1, &[]);
    let gateway = on(&cluster, "");
    gateway.report("one", "web", "running", 1);
    let (lineage, _) = position(&gateway);
    let (saved, restored) = (cluster.path("saved"), cluster.path("m0"));
    cluster.etcdctl(&["snapshot", "save", &saved]);
    let last =
        (2..=20).map(|version| gateway.report("one", "web", "running", version).body["revision"].as_u64().unwrap());
    let last = last.max().unwrap();
    cluster.kill(0);
    fs::remove_dir_all(&restored).unwrap();
    cluster.restore(0, &saved);
    cluster.start_member(0);
    wait_until("the gateway has noticed", || {
        let view = gateway.ask("GET", "/v1/view", READER, "");
        view.status == 200 && view.body["lineage"].as_str().is_some_and(|found| found != lineage)
    });
    let stored = report_until_taken(&gateway, 3);
    assert_eq!((&stored.body["outcome"], &stored.body["version"]), (&"stored".into(), &3.into()), "{stored:?}");
    let (_, newest) = position(&gateway);
    assert_eq!(gateway.watch(format!("{lineage}-{last}"), newest)[0].0, "gap");
    // A gateway that starts now is in the same row.
    assert_eq!(position(&on(&cluster, "")).0, position(&gateway).0);
}

/// The member that a gateway speaks to stands still and closes nothing.
#[test]
fn a_member_that_stands_still_is_left_for_another() {
    let _turn = turn();
    let cluster = Cluster::start(3, &[]);
    let gateway = on(&cluster, "--lease 3s");
    report_until_taken(&gateway, 1);
    for (at, version) in (0..3).zip(2..) {
        cluster.signal(at, Signal::SIGSTOP);
        report_until_taken(&gateway, version);
        cluster.signal(at, Signal::SIGCONT);
        cluster.wait_until_healthy();
    }
    let (_, newest) = position(&gateway);
    let told = gateway.watch(0, newest);
    let versions: Vec<u64> = told.iter().filter_map(|(_, data)| data["version"].as_u64()).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[test]
fn etcd_is_spoken_to_over_tls() {
    let _turn = turn();
    let authority = Authority::new("etcd");
    let cluster = Cluster::with_tls(&authority.identity(&["localhost", "127.0.0.1"]), &[]);
    let scene = Gateway::scene();
    scene.write("ca.pem", &authority.pem);
    let gateway = Gateway::start_in(scene, &words(&cluster, "--etcd-ca-file ca.pem"));
    assert_eq!(gateway.report("one", "web", "running", 1).body["outcome"], "stored");
    let scene = Gateway::scene();
    let line = format!("gateway --listen 127.0.0.1:0 --token-file tokens {}", words(&cluster, ""));
    let ended = scene.run(&line);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot reach etcd") && ended.stderr.contains("hint"), "{}", ended.stderr);
}
