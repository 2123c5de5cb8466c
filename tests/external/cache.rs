//! `probe api --cache --via` through the cache of a real nginx: what it passes on, how late it is, and that a watch goes through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use offloadctl::model::Labels;

use crate::cluster::{Cluster, Manner};
use crate::host::turn;
use crate::program::{call, findings, probe_api};
use crate::server::Server;

/// What a read through etcd takes.
const QUORUM: Duration = Duration::from_millis(30);

/// How long nginx keeps an answer, and how much longer it may: it counts in whole seconds.
const KEPT_NS: u64 = 1_000_000_000;
const ROUNDED_NS: u64 = 1_000_000_000;

/// What a busy machine may add.
const SLACK_NS: u64 = 500_000_000;

#[test]
fn what_a_proxy_keeps_saves_requests_and_is_late_by_as_long_as_it_keeps_it() {
    let _turn = turn();
    let cluster = Cluster::start(Manner { quorum: QUORUM, ..Manner::default() });
    let nginx = Server::nginx_cache(&cluster.url());
    let via = format!("127.0.0.1:{}", nginx.port);
    let is_over = AtomicBool::new(false);
    let run = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(400));
                cluster.touch("a");
            }
        });
        let url = cluster.url();
        let run =
            call(&probe_api(&[&url, "--cache", "--via", &format!("http://{via}"), "--count", "120", "--rate", "20/s"]));
        is_over.store(true, Ordering::Relaxed);
        run.run(0)
    });
    let labels = |read: &str| Labels::new().with("read", read).with("via", &via);
    let figure = |name: &str, read: &str| run.value(&format!("api.cache.{name}"), &labels(read)).unwrap();
    let series = |name: &str, read: &str| run.find(name, &labels(read)).unwrap();
    for read in ["quorum", "watch_cache"] {
        assert_eq!(series("api.cache", read).counts.ok_count, 120);
        let hits = figure("hit_ratio", read);
        assert!((0.8..1.0).contains(&hits), "{read}: {hits}");
        let worst = series("api.cache.staleness", read).summary.max_ns.unwrap();
        // Something changes four times as often as it is asked for anew.
        assert!((KEPT_NS / 3..=KEPT_NS + ROUNDED_NS + SLACK_NS).contains(&worst), "{read}: {worst}");
    }
    // Our count of what was passed on is that of the server: all but what we asked it directly, once before and 120 times in the run.
    let passed_on = 120.0 * (1.0 - figure("hit_ratio", "quorum"));
    assert_eq!(cluster.asked("quorum"), 121 + passed_on.round() as u64);
    let direct = run.find("api.cache.service", &Labels::new().with("read", "quorum")).unwrap().summary.min_ns.unwrap();
    assert!(direct >= QUORUM.as_nanos() as u64, "{direct}");
    let through = series("api.cache.service", "quorum").summary.p50_ns.unwrap();
    assert!(through < direct, "a hit waits for no server: {through}");
    assert_eq!((cluster.asked("watch"), figure("restarts", "informer")), (2, 0.0));
    assert!(figure("untold", "informer") <= 1.0, "the watch goes through");
    assert!(findings(&run, "proxy_does_not_cache").is_empty() && findings(&run, "no_watch_through_proxy").is_empty());
    assert!(run.answer.as_ref().unwrap().contains(&format!("The cache at {via} ")), "{:?}", run.answer);
}
