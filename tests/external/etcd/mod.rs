//! `bench etcd` against real clusters: what it measures, what it refuses, and what it leaves behind; and gateways that keep
//! what they know there.

mod away;
pub mod cluster;
mod copy;
mod fault;
mod gateways;
mod lease;
mod owner;
mod refusal;
mod shared_store;
mod spawn;
mod takeover;

use std::time::Duration;

use cluster::{Cluster, scalar};
use offloadctl::model::{Run, Series};

use crate::host::{let_pass, turn};
use crate::program::findings;

/// The only series of this name whose labels hold this text.
#[track_caller]
pub fn series<'a>(run: &'a Run, name: &str, label: &str) -> &'a Series {
    let found: Vec<&Series> =
        run.series.iter().filter(|s| s.name == name && s.labels.to_string().contains(label)).collect();
    let all: Vec<String> = run.series.iter().map(Series::full_name).collect();
    assert_eq!(found.len(), 1, "{name} with {label} among {all:?}");
    found[0]
}

#[test]
fn every_workload_is_answered_and_leaves_no_key() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    cluster.etcdctl(&["put", "theirs", "1"]);
    let line = "--workload put,range,mixed,watch --count 200 --batch 1,10 --clients 1,4 --value-size 64 \
                --consistency linearizable,serializable --key-space 300 --connections 2";
    let run = cluster.bench(line).end().run(0);

    // put 2 x 2, range 2 x 2, mixed 2 x 2 x 2 of two lanes, watch 2.
    let responses: Vec<&Series> = run.responses().collect();
    assert_eq!(responses.len(), 4 + 4 + 16 + 2);
    for series in responses {
        assert_eq!((series.counts.attempt_count, series.counts.ok_count), (200, 200), "{}", series.full_name());
        assert!(series.summary.min_ns.is_some_and(|ns| ns > 20_000), "{}", series.full_name());
    }
    assert_eq!(cluster.keys(), ["theirs"]);

    let plain = "{batch=10,clients=4,value_size=64}";
    let (requests, keys) = (scalar(&run, "etcd.put.throughput", plain), scalar(&run, "etcd.put.keys", plain));
    assert_eq!(requests.map(|requests| (requests * 10.0).round()), keys.map(f64::round));
    assert!(requests.is_some_and(|requests| requests > 50.0), "{requests:?}");
    for name in ["wal_fsync_mean", "wal_fsync_p99_upper", "backend_commit_mean", "db_size_bytes", "quota_bytes"] {
        let value = scalar(&run, &format!("etcd.server.{name}"), "endpoint=127.0.0.1:");
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {value:?}");
    }
    assert_eq!(scalar(&run, "etcd.server.leader_changes", ""), Some(0.0));
    // A single member has nobody to be away from.
    assert_eq!(scalar(&run, "etcd.server.peer_rtt_mean", ""), None);
    assert_eq!((findings(&run, "etcd_verdict").len(), findings(&run, "etcd_watch_order").len()), (1, 1));
}

#[test]
fn the_floor_lies_below_what_is_measured() {
    let _turn = turn();
    let cluster = Cluster::start(3, &[]);
    let run = cluster.bench("--count 400 --endpoints").end();
    // `--endpoints` without a value is a usage error, and nothing was written.
    assert_eq!(run.code, Some(2), "{}", run.stderr);

    // The members measure their round trips every few seconds.
    let_pass(Duration::from_secs(6));
    let run = cluster.bench("--count 400").end().run(0);
    let put = series(&run, "etcd.put.service", "");
    let floor = scalar(&run, "etcd.put.floor", "").unwrap();
    let p50 = put.summary.p50_ns.unwrap() as f64;
    assert!(floor > 0.0 && floor < p50 * 1.5, "floor {floor}, p50 {p50}");
    assert!(scalar(&run, "etcd.server.peer_rtt_mean", "").is_some_and(|rtt| rtt > 0.0));
    let verdict = run.findings.iter().find(|finding| finding.id == "etcd_verdict").unwrap();
    let evidence = verdict.evidence.join("; ");
    assert!(evidence.contains("measured put p50") && evidence.contains("predicted floor"), "{evidence}");
    assert!(verdict.advice.as_ref().unwrap().verify.as_ref().unwrap().contains("offloadctl bench etcd"));
}

#[test]
fn an_open_loop_keeps_its_plan() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let run = cluster.bench("--rate 100/s --duration 2s --workload put,watch").end().run(0);
    for name in ["etcd.put", "etcd.watch"] {
        let response = series(&run, name, "");
        assert_eq!(response.counts.attempt_count + response.counts.skipped_count, 200, "{:?}", response.counts);
        assert_eq!(response.labels.value("clients"), None);
    }
}
