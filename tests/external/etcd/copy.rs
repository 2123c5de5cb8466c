//! Backup, restore and migration of stores on real clusters.

use nix::sys::signal::Signal;

use super::cluster::Cluster;
use super::gateways::{on, position, state_of, words};
use crate::gateway::{Gateway, ONE};
use crate::host::turn;

/// A task and a node in a store.
fn fill(gateway: &Gateway) {
    assert_eq!(gateway.report("one", "web", "running", 7).status, 200);
    assert_eq!(gateway.heartbeat("one", 1, 60_000).status, 200);
    crate::host::wait_until("the node is alive", || state_of(gateway, "one").as_deref() == Some("alive"));
}

fn expect_filled(gateway: &Gateway) {
    let task = gateway.ask("GET", "/v1/tasks/web", ONE, "").body;
    assert_eq!((task["version"].as_u64(), task["status"].as_str()), (Some(7), Some("running")), "{task}");
    assert_eq!(state_of(gateway, "one").as_deref(), Some("alive"));
    assert_eq!(gateway.report("one", "web", "running", 6).body["outcome"], "stale");
    assert_eq!(gateway.report("one", "web", "completed", 8).body["outcome"], "stored");
}

#[test]
fn a_backup_goes_from_each_store_to_each() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let at = |prefix: &str| format!("--endpoints {} --etcd-prefix {prefix}", cluster.endpoints());
    let gateway = on(&cluster, "--etcd-prefix first");
    fill(&gateway);
    // While the gateway runs.
    let saved = gateway.scene.run(&format!("gateway backup {} saved", at("first")));
    assert_eq!(saved.code, Some(0), "{}", saved.stderr);
    assert!(saved.stderr.contains("written: 1 tasks and 1 nodes"), "{}", saved.stderr);
    let (lineage, _) = position(&gateway);

    let scene = Gateway::scene();
    std::fs::copy(gateway.scene.path("saved"), scene.path("saved")).unwrap();
    let restored = scene.run(&format!("gateway restore {} saved", at("second")));
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let again = scene.run(&format!("gateway restore {} saved", at("second")));
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    assert!(again.stderr.contains("already keys below `second/`"), "{}", again.stderr);
    let second = on(&cluster, "--etcd-prefix second");
    assert_ne!(position(&second).0, lineage);
    expect_filled(&second);

    let restored = scene.run("gateway restore --data-dir data saved");
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    expect_filled(&Gateway::start_in(scene, ""));
    let nothing = gateway.scene.run(&format!("gateway backup {} other", at("third")));
    assert_eq!(nothing.code, Some(3), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("no store below `third/`"), "{}", nothing.stderr);
}

#[test]
fn a_store_in_a_folder_moves_to_etcd() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let gateway = Gateway::start("");
    fill(&gateway);
    let line = format!("gateway migrate --data-dir data --endpoints {}", cluster.endpoints());
    let busy = gateway.scene.run(&line);
    assert_eq!(busy.code, Some(3), "{}", busy.stderr);
    assert!(busy.stderr.contains("in use"), "{}", busy.stderr);
    assert_eq!(cluster.keys(), [""; 0]);
    let (scene, _) = gateway.end(Signal::SIGTERM);
    let moved = scene.run(&line);
    assert_eq!(moved.code, Some(0), "{}", moved.stderr);
    assert!(moved.stderr.contains("copied: 1 tasks and 1 nodes"), "{}", moved.stderr);
    expect_filled(&Gateway::start_in(scene, &words(&cluster, "")));
}
