//! What goes wrong in the middle: a leader that dies, a watch whose revisions are compacted away, a Ctrl-C.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::Run;

use super::cluster::{Bare, Cluster};
use super::series;
use crate::host::{let_pass, turn, wait_until};
use crate::program::{OFFLOADCTL, call, findings};
use crate::server::Server;

#[test]
fn a_killed_leader_is_a_gap_on_the_timeline() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, &[]);
    let running = cluster.bench("--rate 50/s --duration 8s --connections 3 --timeout 1s");
    wait_until("it writes", || !cluster.keys().is_empty());
    let_pass(Duration::from_secs(1));
    let leader = cluster.leader();
    cluster.kill(leader);
    let_pass(Duration::from_secs(4));
    cluster.start_member(leader);
    let ended = running.end();
    let run = ended.run(0);

    let put = series(&run, "etcd.put", "");
    let counts = &put.counts;
    assert_eq!(counts.attempt_count + counts.skipped_count, 400);
    // Without a leader for about a second; and a third of the attempts goes to a member that is not there for four.
    assert!(counts.unanswered_count() >= 50 && counts.ok_count >= 150, "{counts:?} {:?}", put.failure_kinds);
    assert!(put.outage_count >= 1, "{counts:?} {:?}", put.failure_kinds);
    let known = ["no_leader", "not_connected", "connection_lost", "leader_changed", "timeout", "unavailable"];
    for kind in put.failure_kinds.keys() {
        assert!(known.contains(&kind.as_str()), "{kind} in {:?}", put.failure_kinds);
    }
    assert!(put.failure_kinds.contains_key("not_connected"), "{:?}", put.failure_kinds);
    let silent = put.timeline.iter().filter(|interval| interval.counts.unanswered_count() > 0).count();
    assert!(silent >= 2, "{:?}", put.timeline);
    assert_eq!(findings(&run, "etcd_leader_changes").len(), 1, "{:?}", run.findings);
    cluster.wait_until_healthy();
    assert_eq!(cluster.keys(), [""; 0]);
}

#[test]
fn one_dead_endpoint_of_three_is_left_out() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, &[]);
    cluster.kill((cluster.leader() + 1) % 3);
    let run = cluster.bench("--count 60 --connections 3").end().run(0);
    assert_eq!(series(&run, "etcd.put", "").counts.ok_count, 60);
    assert!(run.warnings.iter().any(|warning| warning.id == "endpoint_down"), "{:?}", run.warnings);
}

#[test]
fn a_cluster_without_a_majority_says_so() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, &[]);
    cluster.kill(1);
    cluster.kill(2);
    wait_until("the leader has stepped down", || {
        !cluster.try_etcdctl(&["get", "a", "--command-timeout", "300ms"]).status.success()
    });
    let_pass(Duration::from_secs(2));
    let ended = cluster.bench("--count 10").end();
    assert_eq!(ended.code, Some(3), "{}", ended.stdout);
    assert!(ended.stderr.contains("leader") || ended.stderr.contains("timed out"), "{}", ended.stderr);
}

#[test]
fn a_compaction_under_a_watch_is_told() {
    let _turn = turn();
    let mut cluster = Cluster::start(1, &[]);
    let place = tempfile::tempdir().unwrap();
    let bench = Bare::start(&cluster.words("--workload watch --rate 50/s --duration 6s --timeout 2s"), place.path());
    wait_until("it writes", || !cluster.keys().is_empty());
    let_pass(Duration::from_secs(1));
    // While the program stands still, the member goes away, comes back, writes and compacts all that was before.
    bench.signal(Signal::SIGSTOP);
    cluster.kill(0);
    cluster.start_member(0);
    cluster.wait_until_healthy();
    (0..5).for_each(|_| drop(cluster.etcdctl(&["put", "theirs", "1"])));
    cluster.etcdctl(&["compact", &cluster.revision()]);
    bench.signal(Signal::SIGCONT);
    // It stood still itself, and says so: most of its starts were late.
    let run = bench.end(place.path()).run(4);

    let watch = series(&run, "etcd.watch", "");
    assert!(watch.counts.ok_count >= 100, "{:?} {:?}", watch.counts, watch.failure_kinds);
    assert_eq!(findings(&run, "etcd_watch_compacted").len(), 1, "{:?}", run.findings);
    assert_eq!(findings(&run, "etcd_watch_reopened").len(), 1, "{:?}", run.findings);
    assert_eq!(cluster.keys(), ["theirs"]);
}

#[test]
fn an_interrupt_leaves_a_run_and_no_key() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = tempfile::tempdir().unwrap();
        let bench = Bare::start(&cluster.words("--duration 60s --clients 8 --workload mixed,watch"), place.path());
        wait_until("it writes", || cluster.keys().len() > 500);
        let_pass(Duration::from_millis(500));
        bench.signal(signal);
        let run: Run = bench.end(place.path()).run(130);
        assert!(!run.complete && series(&run, "etcd.put", "").counts.ok_count > 0);
        assert_eq!(cluster.keys(), [""; 0]);
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    cluster.etcdctl(&["put", "ofl-owner/elsew1", "process=1 started=1 space=1 kernel=00000000000000ff"]);
    cluster.etcdctl(&["put", "ofl-elsew1/1", "theirs"]);
    let place = tempfile::tempdir().unwrap();
    let bench = Bare::start(&cluster.words("--duration 60s --clients 8"), place.path());
    wait_until("it writes", || cluster.keys().len() > 500);
    let beside = cluster.bench("--count 5").end().run(0);
    assert!(beside.warnings.iter().all(|warning| !warning.text.contains("removed:")), "{:?}", beside.warnings);
    bench.signal(Signal::SIGKILL);
    bench.end(place.path());
    assert!(cluster.keys().len() > 500);

    let run = cluster.bench("--count 5").end().run(0);
    let told: Vec<&str> =
        run.warnings.iter().filter(|warning| warning.id == "leftover").map(|warning| warning.text.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|text| text.contains("were removed: process ")), "{told:?}");
    // Whose process cannot be known is named, with the command, and left.
    let by_hand = format!("`etcdctl --endpoints {} del --prefix ofl-elsew1/`", cluster.endpoints());
    assert!(told.iter().any(|text| text.contains(&by_hand)), "{told:?}");
    assert_eq!(cluster.keys(), ["ofl-elsew1/1", "ofl-owner/elsew1"]);
}

#[test]
fn a_proxy_that_sends_clients_away_costs_no_answer() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let proxy = Server::nginx_grpc(&cluster.endpoint(0), 5);
    let line = format!(
        "bench etcd --json --no-save --endpoints http://127.0.0.1:{} --rate 200/s --duration 4s --workload put,watch",
        proxy.port
    );
    let words: Vec<String> = [OFFLOADCTL].into_iter().chain(line.split(' ')).map(str::to_owned).collect();
    let run = call(&words).run(0);
    let put = series(&run, "etcd.put", "");
    assert_eq!(put.counts.ok_count, put.counts.attempt_count, "{:?} {:?}", put.counts, put.failure_kinds);
    assert_eq!(put.outage_count, 0);
    assert!(put.counts.attempt_count > 700, "{:?}", put.counts);
    let watch = series(&run, "etcd.watch", "");
    assert_eq!(watch.counts.ok_count, watch.counts.attempt_count, "{:?} {:?}", watch.counts, watch.failure_kinds);
    // Many at once, of which a connection takes five.
    let words: Vec<String> =
        words.iter().map(|word| word.replace("--rate", "--clients").replace("200/s", "32")).collect();
    let run = call(&words).run(0);
    let put = series(&run, "etcd.put", "");
    assert_eq!(put.counts.ok_count, put.counts.attempt_count, "{:?} {:?}", put.counts, put.failure_kinds);
    assert!(put.counts.attempt_count > 500, "{:?}", put.counts);
    assert_eq!(cluster.keys(), [""; 0]);
}
