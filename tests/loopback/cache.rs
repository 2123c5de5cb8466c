//! `probe api --cache` against a played API server of programmed delays: every way to read is as fast and as late as it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Labels, Run, Series};

use crate::cluster::{Cluster, Manner};
use crate::lateness::beside;
use crate::measure::read;
use crate::support::program::{Ended, Scene};
use crate::support::schema::{RUN, declared, valid};

/// How far above what was programmed a figure may be on an idle machine.
const SLACK: Duration = Duration::from_millis(30);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn labels(read: &str, via: Option<&str>) -> Labels {
    let labels = Labels::new().with("read", read);
    via.map_or(labels.clone(), |via| labels.with("via", via))
}

#[track_caller]
fn of<'a>(run: &'a Run, name: &str, read: &str, via: Option<&str>) -> &'a Series {
    run.find(name, &labels(read, via)).unwrap_or_else(|| panic!("there is no {name} of {read}"))
}

fn figure(run: &Run, name: &str, read: &str, via: Option<&str>) -> Option<f64> {
    run.value(&format!("api.cache.{name}"), &labels(read, via))
}

fn probe(cluster: &Cluster, more: &str) -> Ended {
    Scene::new().run(&format!("probe api {} --cache --json --no-save --quiet {more}", cluster.url()))
}

/// Does something while nodes change this often, one after another.
fn while_changing<T>(cluster: &Cluster, often: Duration, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                thread::sleep(often);
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                match number % 4 {
                    0 => cluster.touch("d"),
                    1 => cluster.touch("a"),
                    2 => cluster.remove("d"),
                    _ => cluster.move_on(),
                }
            }
        });
        let done = work();
        is_over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn each_way_to_read_is_as_fast_and_as_late_as_it_was_told() {
    let (quorum, cached, lag) = (ms(40), ms(15), ms(350));
    let cluster = Cluster::start(Manner { quorum, cached, lag, bookmark: Some(ms(200)), ..Manner::default() });
    let (run, lateness) =
        beside(|| while_changing(&cluster, ms(600), || read(&probe(&cluster, "--duration 6s --rate 20/s"))));
    declared(&run);
    let slack = lateness.above(SLACK) + lateness.worst;
    for (way, programmed) in [("quorum", quorum), ("watch_cache", cached), ("informer", Duration::ZERO)] {
        let service = &of(&run, "api.cache.service", way, None).summary;
        assert!(service.min_ns.unwrap() >= programmed.as_nanos() as u64, "{way}: {service:?}");
        assert!(
            service.p50_ns.unwrap() <= (programmed + lateness.above(SLACK)).as_nanos() as u64,
            "{way}: {service:?}"
        );
    }
    let informer = of(&run, "api.cache.service", "informer", None).summary.p50_ns.unwrap();
    assert!(informer < 1_000_000, "a store of three nodes is read in {informer} ns");
    // A read through etcd shows a change within the gap between two of them and its own length, and the cache and each event come
    // so late after the change.
    let seen_within = ms(50) + quorum + slack;
    for way in ["watch_cache", "informer"] {
        let staleness = &of(&run, "api.cache.staleness", way, None).summary;
        let worst = staleness.max_ns.unwrap();
        assert!(worst >= (lag - seen_within.min(lag)).as_nanos() as u64, "{way}: {worst}, beside {lateness:?}");
        assert!(worst <= (lag + slack).as_nanos() as u64, "{way}: {worst}, beside {lateness:?}");
        assert_eq!(staleness.min_ns, Some(0), "{way} is right again after a while");
    }
    let truth = &of(&run, "api.cache.staleness", "quorum", None).summary;
    assert_eq!(truth.max_ns, Some(0), "a read through etcd lacks nothing that one has shown");
    let lagged = of(&run, "api.cache.lag", "informer", None);
    assert!(lagged.summary.max_ns.unwrap() <= (lag + slack).as_nanos() as u64, "{:?}", lagged.summary);
    assert!(lagged.summary.max_ns.unwrap() >= (lag - seen_within.min(lag)).as_nanos() as u64, "{:?}", lagged.summary);
    let changes = run.value("api.cache.changes", &Labels::new()).unwrap();
    // Every fourth time only another resource changes.
    assert!((5.0..=9.0).contains(&changes), "{changes}");
    assert!(lagged.counts.ok_count as f64 + figure(&run, "untold", "informer", None).unwrap() == changes);
    assert!(figure(&run, "untold", "informer", None).unwrap() <= 1.0);
    assert_eq!(figure(&run, "requests_per_h", "quorum", None), Some(720.0));
    assert_eq!(figure(&run, "requests_per_h", "informer", None), Some(8.0), "a watch lasts seven and a half minutes");
    assert_eq!((cluster.asked("watch"), figure(&run, "restarts", "informer", None)), (1, Some(0.0)));
    let answer = run.answer.unwrap();
    assert!(
        answer.starts_with("An informer saves 712 of 720 requests an hour (one read each 5.00 s): a read takes "),
        "{answer}"
    );
    assert!(answer.contains(" late"), "{answer}");
}

#[test]
fn an_informer_goes_on_where_watches_end_and_versions_are_forgotten() {
    let manner = Manner { watch: Some(ms(1300)), bookmark: Some(ms(100)), ..Manner::default() };
    let cluster = Cluster::start(manner);
    let run = while_changing(&cluster, ms(150), || {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(ms(2500));
                cluster.forget();
            });
            read(&probe(&cluster, "--duration 7s --rate 20/s"))
        })
    });
    assert!(cluster.asked("watch") >= 4, "{}", cluster.asked("watch"));
    let restarts = figure(&run, "restarts", "informer", None).unwrap();
    assert!(restarts >= 4.0, "{restarts}");
    assert!(figure(&run, "requests_per_h", "informer", None).unwrap() > restarts / 9.0 * 3600.0);
    assert!(figure(&run, "untold", "informer", None).unwrap() <= 2.0, "what it missed it learns from the next list");
    let told = run.findings.iter().find(|finding| finding.id == "informer_began_again").expect("it is told");
    assert!(told.text.contains("1 of them because the server had forgotten the version (410)"), "{}", told.text);
    // It stood still for the pause of a reflector, 0.8 to 1.6 s, and its answers were as old.
    let worst = of(&run, "api.cache.staleness", "informer", None).summary.max_ns.unwrap();
    assert!(worst >= 500_000_000, "{worst}");
}

#[test]
fn a_token_that_is_renewed_in_the_middle_reaches_the_informer() {
    let token = Arc::new(Mutex::new("s3cret-one".to_owned()));
    let manner = Manner { token: Some(Arc::clone(&token)), watch: Some(ms(1200)), ..Manner::default() };
    let (cluster, scene) = (Cluster::start(manner), Scene::new());
    scene.write("token", "s3cret-one");
    let line = format!(
        "probe api {} --cache --json --no-save --quiet --token-file token --duration 8s --rate 20/s",
        cluster.url()
    );
    let run = while_changing(&cluster, ms(200), || {
        let started = scene.start(&line);
        thread::sleep(ms(2500));
        *token.lock().unwrap() = "s3cret-two".to_owned();
        scene.write("token", "s3cret-two");
        read(&started.end())
    });
    assert!(cluster.asked("refused") >= 1, "the first token ends");
    assert!(cluster.asked("watch") >= 4, "{}", cluster.asked("watch"));
    assert!(figure(&run, "untold", "informer", None).unwrap() <= 2.0);
    assert!(run.findings.iter().any(|finding| finding.id == "credentials_renewed"), "{:?}", run.findings);
    assert!(run.warnings.iter().any(|warning| warning.id == "credentials_in_the_clear"), "{:?}", run.warnings);
    let written = serde_json::to_string(&run).unwrap();
    assert!(!written.contains("s3cret"), "no token is in the run");
}

#[test]
fn where_nothing_changes_nothing_is_known_of_lateness() {
    let cluster = Cluster::start(Manner::default());
    let run = read(&probe(&cluster, "--count 20 --rate 20/s --interval 30s"));
    let of_cache = |series: &Series| series.name.starts_with("api.cache.") && series.name.ends_with("ness");
    assert!(!run.series.iter().any(of_cache) && run.find("api.cache.lag", &labels("informer", None)).is_none());
    assert_eq!(run.value("api.cache.changes", &Labels::new()), Some(0.0));
    assert_eq!(figure(&run, "untold", "informer", None), None);
    assert_eq!(figure(&run, "requests_per_h", "watch_cache", None), Some(120.0));
    let told = run.findings.iter().find(|finding| finding.id == "nothing_changed").expect("it is told");
    assert!(told.advice.as_ref().unwrap().text.contains("leases"));
}

#[test]
fn a_proxy_that_does_not_cache_or_does_not_tell_is_named() {
    let (cluster, silent) =
        (Cluster::start(Manner::default()), Cluster::start(Manner { is_silent: true, ..Manner::default() }));
    for (through, id) in [(&cluster, "proxy_does_not_cache"), (&silent, "proxy_does_not_tell")] {
        let run = read(&probe(through, &format!("--via {} --count 10 --rate 20/s", through.url())));
        let via = through.address().to_string();
        assert!(
            run.findings.iter().any(|finding| finding.id == id && finding.text.contains(&via)),
            "{:?}",
            run.findings
        );
        let hits = figure(&run, "hit_ratio", "quorum", Some(&via));
        assert_eq!(hits, (id == "proxy_does_not_cache").then_some(0.0));
        assert_eq!(of(&run, "api.cache", "informer", Some(&via)).counts.ok_count, 10);
    }
}

#[test]
fn a_proxy_that_carries_no_watch_is_measured_without_one() {
    let cluster = Cluster::start(Manner::default());
    let proxy = Cluster::start(Manner { forbidden: Some("watch"), ..Manner::default() });
    let run = read(&probe(&cluster, &format!("--via {} --count 10 --rate 20/s", proxy.url())));
    let via = proxy.address().to_string();
    let told = run.findings.iter().find(|finding| finding.id == "no_watch_through_proxy").expect("it is told");
    assert!(told.text.contains("may not `watch` it") && told.advice.is_some(), "{}", told.text);
    assert_eq!(of(&run, "api.cache", "quorum", Some(&via)).counts.ok_count, 10);
    assert!(run.find("api.cache", &labels("informer", Some(&via))).is_none());
}

#[test]
fn what_cannot_be_cached_says_why_and_what_to_do() {
    let refused = |manner: Manner, more: &str| {
        let cluster = Cluster::start(manner);
        let ended = probe(&cluster, more);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        ended.stderr
    };
    for verb in ["list", "watch"] {
        let said = refused(Manner { forbidden: Some(verb), ..Manner::default() }, "");
        assert!(said.contains(&format!("this login may not `{verb}` it: nodes is forbidden: User \"eve\"")), "{said}");
        assert!(said.contains(&format!("kubectl auth can-i {verb} RESOURCE")), "{said}");
    }
    let said = refused(Manner { refuses_watch: true, ..Manner::default() }, "");
    assert!(said.contains("answered with 405: the server does not allow") && said.contains("api-resources"), "{said}");
    let said = refused(Manner { ignores_watch: true, ..Manner::default() }, "");
    assert!(said.contains("it cannot be watched") && said.contains("api-resources"), "{said}");
    let said = refused(Manner::default(), "--path /readyz");
    assert!(said.contains("answered with 404") && said.contains("/api/v1/nodes"), "{said}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let cluster = Cluster::start(Manner::default());
    for (more, part) in [
        ("--path /a --path /b", "give one --path"),
        ("--path /a?watch=1", "`watch`, which --cache sets itself"),
        ("--via ftp://x", "does not begin with"),
        ("--interval 0s", "--interval"),
        ("--reuse", "cannot be used with"),
        ("--fail-if api.cache{read=other}.p95>1s", "there is no read `other`"),
        ("--fail-if api.ttfb.p95>1s", "no series and no scalar"),
    ] {
        let ended = probe(&cluster, more);
        assert_eq!(ended.code, Some(2), "{more}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{more}: {}", ended.stderr);
    }
    let without = Scene::new().run(&format!("probe api {} --via http://127.0.0.1:1", cluster.url()));
    assert_eq!(without.code, Some(2), "{}", without.stderr);
    assert_eq!(cluster.asked("quorum"), 0, "nothing was asked");
}

#[test]
fn an_interrupt_leaves_what_was_read() {
    let cluster = Cluster::start(Manner::default());
    let scene = Scene::new();
    let started =
        scene.start(&format!("probe api {} --cache --json --no-save --duration 60s --rate 50/s", cluster.url()));
    while_changing(&cluster, ms(100), || thread::sleep(Duration::from_secs(2)));
    started.signal(Signal::SIGINT);
    let ended = started.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap();
    assert!(!run.complete && of(&run, "api.cache", "quorum", None).counts.ok_count > 20);
    assert!(of(&run, "api.cache.staleness", "informer", None).counts.ok_count > 10);
}
