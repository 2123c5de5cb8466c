//! `bench etcd --workload lease`: as many leases as are asked for, each kept alive, and none left.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Run, Series};

use super::cluster::{Bare, Cluster, scalar};
use super::series;
use crate::host::{let_pass, turn, wait_until};

/// The ids of the leases that there are.
fn leases(cluster: &Cluster) -> Vec<String> {
    let said = cluster.etcdctl(&["lease", "list"]);
    said.lines().filter(|line| !line.contains("found") && !line.is_empty()).map(str::to_owned).collect()
}

fn counts(series: &Series) -> (u64, u64, u64) {
    (series.counts.attempt_count, series.counts.ok_count, series.counts.error_count)
}

#[test]
fn leases_are_granted_kept_alive_and_revoked() {
    let _turn = turn();
    let cluster = Cluster::start(3, &[]);
    let theirs = cluster.etcdctl(&["lease", "grant", "600"]);
    let line = "--workload put,lease --leases 150 --count 1200 --clients 1,8 --connections 3 --lease-ttl 20s";
    let run = cluster.bench(line).end().run(0);
    for clients in ["clients=1,", "clients=8,"] {
        let labels = format!("{clients}leases=150");
        let (grant, renew) = (series(&run, "etcd.lease_grant", &labels), series(&run, "etcd.lease_keepalive", &labels));
        assert_eq!((counts(grant), counts(renew)), ((150, 150, 0), (1200, 1200, 0)), "{labels}");
        for one in [grant, renew] {
            assert!(one.summary.min_ns.is_some_and(|ns| ns > 20_000), "{}", one.full_name());
            let rate = scalar(&run, &format!("{}.throughput", one.name), &labels);
            assert!(rate.is_some_and(|rate| rate > 20.0), "{}: {rate:?}", one.full_name());
        }
        // A grant is written by a majority, a keepalive is answered by the leader alone.
        assert!(renew.summary.p50_ns < grant.summary.p50_ns, "{labels}");
    }
    let left = leases(&cluster);
    assert!(left.len() == 1 && theirs.contains(&left[0]), "{left:?} of {theirs}");
    let open = cluster.bench("--workload lease --leases 100 --rate 200/s --duration 2s --lease-ttl 5s").end().run(0);
    assert_eq!(counts(series(&open, "etcd.lease_keepalive", "leases=100")), (400, 400, 0));
    let text = open.answer.unwrap();
    assert!(text.contains("keepalives/s") && text.contains("nodes ask which renew their lease each 10 s"), "{text}");
}

#[test]
fn a_lease_that_somebody_revokes_is_an_error_and_its_name_is_told() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let bench = cluster.bench("--workload lease --leases 10 --rate 50/s --duration 5s");
    wait_until("there are leases", || leases(&cluster).len() == 10);
    let_pass(Duration::from_secs(1));
    cluster.etcdctl(&["lease", "revoke", &leases(&cluster)[3]]);
    let run = bench.end().run(0);
    let renew = series(&run, "etcd.lease_keepalive", "leases=10");
    let gone = renew.failure_kinds.get("lease_gone").copied().unwrap_or(0);
    assert_eq!(gone, renew.counts.error_count);
    assert!((5..=30).contains(&gone) && renew.counts.ok_count > 200, "{:?}", renew.counts);
    assert!(leases(&cluster).is_empty());
}

#[test]
fn an_interrupt_and_a_member_that_is_killed_leave_no_lease_for_longer_than_it_lives() {
    let _turn = turn();
    let mut cluster = Cluster::start(1, &[]);
    let place = tempfile::tempdir().unwrap();
    let line = "--workload lease --leases 40 --clients 4 --duration 60s --lease-ttl 60s";
    let bench = Bare::start(&cluster.words(line), place.path());
    wait_until("there are leases", || leases(&cluster).len() == 40);
    let_pass(Duration::from_millis(500));
    bench.signal(Signal::SIGINT);
    let run: Run = bench.end(place.path()).run(130);
    assert!(!run.complete && series(&run, "etcd.lease_keepalive", "").counts.ok_count > 0);
    assert!(leases(&cluster).is_empty());
    let bench = cluster.bench("--workload lease --leases 20 --rate 100/s --duration 7s");
    wait_until("there are leases again", || leases(&cluster).len() == 20);
    let_pass(Duration::from_secs(1));
    cluster.kill(0);
    let_pass(Duration::from_secs(1));
    cluster.start_member(0);
    let run = bench.end().run(0);
    let renew = series(&run, "etcd.lease_keepalive", "leases=20");
    assert!(renew.counts.failed_count >= 50 && renew.counts.ok_count >= 200, "{:?}", renew.counts);
    assert_eq!(renew.outage_count, 1, "one gap, and then they go on");
    assert!(leases(&cluster).is_empty());
}
