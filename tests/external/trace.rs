//! `trace` with containers of a real Docker Engine: each hop from the call to a subscriber, and that nothing of ours stays.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Labels, Run};
use offloadctl::source::ebpf;
use serde_json::Value;

use crate::docker::Engine;
use crate::host::{may_administer, turn};
use crate::support::code_of;
use crate::support::program::{Scene, Started, poll};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// The label of everything of ours.
const MARK: &str = "label=offloadctl.owner";

fn started(scene: &Scene, engine: &Engine, line: &str) -> Started {
    let socket = format!("unix://{}/docker.sock", engine.folder.path().display());
    scene.start_with(line, &[("DOCKER_HOST", &socket), ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")])
}

/// Containers and images of ours that an engine has.
fn ours(engine: &Engine) -> (usize, usize) {
    let count = |arguments: &[&str]| engine.docker(arguments).lines().count();
    (count(&["ps", "-aq", "--filter", MARK]), count(&["images", "-q", "--filter", MARK]))
}

fn mean(run: &Run, setting: &str, hop: &str) -> Option<f64> {
    let labels = Labels::new().with("hop", hop);
    run.value("trace.mean", &if setting.is_empty() { labels } else { labels.with("setting", setting) })
}

#[test]
fn a_container_is_followed_from_the_call_to_a_subscriber_by_events_and_by_lists() {
    if !may_administer("trace") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let scene = Scene::new();
    let line = "trace --json --compare source=docker,poll=500ms --count 12 --rate 2/s";
    let ended = started(&scene, &engine, line).end();
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    assert_eq!(ended.code, code_of(run.validity.valid), "{}", ended.stderr);
    for setting in ["docker", "poll=500ms"] {
        let total = run.find("trace.total", &Labels::new().with("setting", setting)).unwrap();
        assert_eq!((total.counts.attempt_count, total.counts.ok_count), (12, 12), "{setting}: {:?}", run.warnings);
        for hop in ["runtime", "event", "agent", "wire", "gateway", "store", "publish", "subscriber", "unexplained"] {
            assert!(mean(&run, setting, hop).is_some(), "{setting}: no {hop}");
        }
        let has_kernel = mean(&run, setting, "kernel").is_some();
        assert_eq!(has_kernel, ebpf::open().is_ok(), "{setting}");
    }
    // Half of the period in the mean, between a list that comes at once and one that comes a whole period later.
    let waits = mean(&run, "poll=500ms", "event").unwrap() / 1e6;
    let events = mean(&run, "docker", "event").unwrap() / 1e6;
    assert!((80.0..600.0).contains(&waits) && events < waits, "{waits} ms by lists, {events} ms by events");
    assert_eq!(ours(&engine), (0, 0));
}

#[test]
fn a_plain_process_is_followed_by_the_kernels_own_stamps() {
    if !may_administer("trace") || ebpf::open().is_err() {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    // It starts a program of this host.
    let line = "trace --json --source ebpf --count 12 --rate 4/s";
    let ended = scene.start_with(line, &[("PATH", "/usr/bin:/bin")]).end();
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    assert_eq!(ended.code, code_of(run.validity.valid), "{}", ended.stderr);
    let total = run.find("trace.total", &Labels::new()).unwrap();
    assert_eq!((total.counts.attempt_count, total.counts.ok_count), (12, 12), "{:?}", run.warnings);
    // There is no runtime, so that nothing stands between the kernel's stamp and the agent that reads of it.
    let of = |hop: &str| mean(&run, "", hop);
    assert!(of("kernel").is_some() && of("event").is_some() && of("runtime").is_none(), "{:?}", run.scalars);
    assert_eq!(Value::from("ebpf"), run.spec["settings"][0]["source"]);
}

#[test]
fn a_killed_trace_leaves_what_the_next_one_removes_and_an_interrupted_one_leaves_nothing() {
    if !may_administer("trace") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let scene = Scene::new();
    let line = "trace --json --quiet --no-save --source docker --count 1000 --rate 4/s";
    let killed = started(&scene, &engine, line);
    poll("a container of ours", PATIENCE, || (ours(&engine).0 > 0).then_some(()));
    killed.signal(Signal::SIGKILL);
    killed.end();
    assert!(ours(&engine).0 > 0);
    let next = started(&scene, &engine, line);
    std::thread::sleep(Duration::from_secs(4));
    next.signal(Signal::SIGINT);
    let ended = next.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let run = Run::parse(&ended.stdout).unwrap();
    assert!(!run.complete && run.warnings.iter().any(|warning| warning.id == "leftover"), "{:?}", run.warnings);
    assert_eq!(ours(&engine), (0, 0));
}

#[test]
fn an_agent_that_polls_is_what_a_diagnosis_names_first() {
    if !may_administer("diagnose") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let scene = Scene::new();
    scene.write("offload.toml", "[diagnose]\nsource = \"poll=2s\"\n");
    let ended = started(&scene, &engine, "diagnose --json --no-save").end();
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let found = document["findings"].as_array().unwrap();
    let first = found.iter().find(|finding| finding["id"] != "busy_host").unwrap();
    assert_eq!(first["id"], "polled_runtime", "{found:#?}");
    assert_eq!(first["advice"]["setting"], "sources.docker.poll");
    assert_eq!(ours(&engine), (0, 0));
}

#[test]
fn an_etcd_that_is_named_is_read_gently_and_nothing_is_written() {
    let _turn = turn();
    let cluster = crate::etcd::cluster::Cluster::start(1, &[]);
    let scene = Scene::new();
    let before = cluster.revision();
    scene.write("offload.toml", &format!("[diagnose]\netcd = [\"{}\", \"http://127.0.0.1:1\"]\n", cluster.endpoint(0)));
    let ended = scene.run("diagnose --json --no-save");
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    crate::support::schema::declared(&run);
    let reads: Vec<_> = run.series.iter().filter(|series| series.name == "diagnose.etcd_read").collect();
    assert_eq!(reads.len(), 1, "{:?}", run.warnings);
    assert_eq!(reads[0].label("target"), cluster.endpoint(0));
    // Five a second for three seconds, and the first at once.
    let counts = &reads[0].counts;
    assert!((10..=16).contains(&counts.attempt_count) && counts.ok_count == counts.attempt_count, "{counts:?}");
    let unread = run.warnings.iter().filter(|warning| warning.text.contains("http://127.0.0.1:1")).count();
    assert_eq!(unread, 1, "one that is not there hides no other: {:?}", run.warnings);
    // A member that has just begun has too few fsyncs for a percentile; that it was asked is told all the same.
    assert!(run.scalars.iter().any(|scalar| scalar.name == "diagnose.etcd_fsync_p99"), "{:?}", run.warnings);
    assert_eq!((cluster.revision(), cluster.keys()), (before, Vec::new()));
}

#[test]
fn no_engine_and_an_image_that_there_is_not_are_told() {
    if !may_administer("trace") {
        return;
    }
    let _turn = turn();
    let scene = Scene::new();
    let ended = scene.run("trace --source docker --docker-host /nowhere/docker.sock --count 1 --no-save");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(
        ended.stderr.contains("/nowhere/docker.sock") && ended.stderr.contains("--docker-host"),
        "{}",
        ended.stderr
    );
    let engine = Engine::start();
    let ended = started(&scene, &engine, "trace --source docker --image absent:1 --count 1 --no-save").end();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("absent"), "{}", ended.stderr);
}
