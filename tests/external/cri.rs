//! `probe events` with a real runtime by CRI: Pods of ours in steps, what each source knew of them, and that nothing stays.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Labels, Run, Series};
use offloadctl::source::cri::Hand;

use crate::host::{may_administer, turn};
use crate::runtime::Runtime;
use crate::support::code_of;
use crate::support::program::{Ended, Scene, poll};
use crate::support::schema::{RUN, valid};

const PATIENCE: Duration = Duration::from_secs(60);

fn line(runtime: &Runtime, arguments: &str) -> String {
    let socket = runtime.socket();
    let socket = socket.display();
    format!("probe events --json --act cri --containerd {socket} --cri unix://{socket} {arguments}")
}

#[track_caller]
fn run_of(ended: &Ended) -> Run {
    if !ended.stdout.is_empty() {
        valid(RUN, &ended.stdout);
    }
    Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr))
}

#[track_caller]
fn series<'a>(run: &'a Run, source: &str, event: &str) -> &'a Series {
    let labels = Labels::new().with("source", source).with("event", event);
    run.find("events.since_act", &labels).unwrap_or_else(|| panic!("no {event} of {source}: {:?}", run.warnings))
}

fn counted(run: &Run, what: &str, source: &str) -> Option<f64> {
    run.value(&format!("events.{what}"), &Labels::new().with("source", source))
}

/// A sandbox of another process, this one.
fn foreign(runtime: &Runtime) {
    let made = async {
        let (hand, version, no_network) = Hand::open(&runtime.socket(), "foreign").await.unwrap();
        assert_eq!((version.name.as_str(), no_network), ("containerd", None));
        hand.run_sandbox("foreign").await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(made);
}

#[test]
fn a_pod_is_made_in_steps_and_known_by_events_and_later_by_lists() {
    if !may_administer("cri") {
        return;
    }
    let _turn = turn();
    let runtime = Runtime::start();
    foreign(&runtime);
    let scene = Scene::new();
    let ended = scene
        .run(&line(&runtime, "--source containerd,cri,poll-cri=200ms --count 10 --burst 2 --rate 2/s --alive 2500ms"));
    let run = run_of(&ended);
    assert_eq!(ended.code, code_of(run.validity.valid), "{} {:?}", ended.stderr, run.warnings);
    for event in ["create", "start", "exit", "destroy"] {
        let known = series(&run, "containerd", event);
        assert_eq!((known.counts.attempt_count, known.counts.ok_count), (10, 10), "{event}");
    }
    for source in ["containerd", "poll-cri=200ms"] {
        for what in ["missed", "duplicated", "reordered"] {
            assert_eq!(counted(&run, what, source), Some(0.0), "{what} of {source}");
        }
        assert!(counted(&run, "daemon_cpu", source).is_some_and(|cores| cores > 0.0), "{source}");
    }
    // This containerd has no events of CRI, so its lists are asked for each second; it lives and lies for longer.
    let told: Vec<&str> = run.warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert!(told.iter().any(|text| text.contains("no GetContainerEvents (it answers UNIMPLEMENTED)")), "{told:?}");
    assert!(series(&run, "cri", "start").counts.ok_count >= 9, "{:?}", series(&run, "cri", "start").counts);
    let mean = |source: &str| series(&run, source, "start").summary.mean_ns.unwrap();
    assert!(mean("poll-cri=200ms") > mean("containerd") && mean("cri") > mean("containerd"));
    let step = |name: &str| {
        let labels = Labels::new().with("step", name);
        let step = run.find("events.step", &labels).unwrap_or_else(|| panic!("no step {name}"));
        assert_eq!(step.counts.ok_count, 10, "{name}");
        step.summary.mean_ns.unwrap()
    };
    let all: u64 = ["pull", "sandbox", "create", "start"].into_iter().map(step).sum();
    let launch = run.series.iter().find(|series| series.name == "events.launch").unwrap().summary.mean_ns.unwrap();
    assert!(all <= launch, "the steps take {all} ns, all together {launch}");
    assert_eq!(runtime.held(), (1, 0), "what is of another process");
}

#[test]
fn no_pod_and_no_image_stays_after_an_interrupt_nor_after_the_run_that_follows_a_kill() {
    if !may_administer("cri") {
        return;
    }
    let _turn = turn();
    let runtime = Runtime::start();
    foreign(&runtime);
    let scene = Scene::new();
    let begin = || {
        let started = scene.start(&line(&runtime, "--source containerd --count 200 --rate 4/s --alive 30s"));
        poll("Pods", PATIENCE, || (runtime.held().0 > 6).then_some(()));
        started
    };
    let interrupted = begin();
    interrupted.signal(Signal::SIGINT);
    let ended = interrupted.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!run_of(&ended).complete);
    assert_eq!(runtime.held(), (1, 0));

    let killed = begin();
    killed.signal(Signal::SIGKILL);
    drop(killed.end());
    let (containers, images) = runtime.held();
    assert!(containers > 6 && images > 2, "{containers} and {images}");
    let ended = scene.run(&line(&runtime, "--source containerd --count 1 --alive 100ms"));
    let run = run_of(&ended);
    assert_eq!(ended.code, code_of(run.validity.valid), "{}", ended.stderr);
    let left = run.warnings.iter().find(|warning| warning.id == "leftover").unwrap();
    assert!(left.text.contains("that a run left when it was killed"), "{}", left.text);
    assert_eq!(runtime.held(), (1, 0));
}

#[test]
fn what_serves_no_cri_is_told_from_what_is_not_there() {
    if !may_administer("cri") {
        return;
    }
    let _turn = turn();
    let mut runtime = Runtime::start();
    runtime.stop(Signal::SIGTERM);
    runtime.configure(r#"disabled_plugins = ["io.containerd.grpc.v1.cri"]"#);
    runtime.start_again();
    let scene = Scene::new();
    let refused = |socket: &str| {
        let ended = scene.run(&format!("probe events --act cri --source cri --count 1 --cri {socket}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
        ended.stderr
    };
    let said = refused(&runtime.socket().display().to_string());
    assert!(said.contains("Unimplemented") && said.contains("disabled_plugins"), "{said}");
    let file = runtime.path("config.toml");
    let said = refused(&file.display().to_string());
    assert!(said.contains("is no socket") && said.contains("CONTAINER_RUNTIME_ENDPOINT"), "{said}");
    let said = refused("/no/such/socket");
    assert!(said.contains("no connection") && said.contains("start it"), "{said}");
    // Something that speaks another language.
    let _other = std::os::unix::net::UnixListener::bind(runtime.path("silent.sock")).unwrap();
    let said = refused(&runtime.path("silent.sock").display().to_string());
    assert!(said.contains("no answer within 10 s") || said.contains("gRPC"), "{said}");
}

#[test]
fn a_relist_knows_as_late_as_the_formula_says_and_nothing_stays() {
    if !may_administer("cri") {
        return;
    }
    let _turn = turn();
    let runtime = Runtime::start();
    foreign(&runtime);
    let scene = Scene::new();
    let line = |arguments: &str| format!("bench cri --json --cri {} {arguments}", runtime.socket().display());
    let ended =
        scene.run(&line("--relist 200ms,1s --events --containers 2,12 --count 12 --rate 4/s --alive 1500ms --seed 7"));
    let run = run_of(&ended);
    assert_eq!(ended.code, code_of(run.validity.valid), "{} {:?}", ended.stderr, run.warnings);
    for containers in ["2", "12"] {
        let of = |watcher: &str, event: &str| {
            let labels = Labels::new().with("watcher", watcher).with("event", event).with("containers", containers);
            let series = run.find("cri.detection", &labels).unwrap_or_else(|| panic!("{watcher} {event}"));
            assert_eq!((series.counts.attempt_count, series.counts.lost_count), (12, 0), "{watcher} {event}");
            series.summary.mean_ns.unwrap()
        };
        let predicted = |watcher: &str| {
            let labels = Labels::new().with("watcher", watcher).with("containers", containers);
            run.value("cri.predicted_mean", &labels).unwrap() as u64
        };
        for watcher in ["relist=200ms", "relist=1s"] {
            // Of twelve the mean is known to some eight per cent; a busy machine only makes it later.
            let (mean, predicted) = (of(watcher, "start"), predicted(watcher));
            assert!(mean > predicted / 2 && mean < predicted * 3, "{watcher}: {mean} ns, predicted {predicted} ns");
        }
        assert!(
            of("events", "start") < of("relist=200ms", "start") && of("events", "exit") < of("relist=200ms", "exit")
        );
        let lists = run.find("cri.list", &Labels::new().with("containers", containers)).unwrap();
        assert!(lists.counts.ok_count >= 50);
        let cpu = run.value("cri.relist_cpu", &Labels::new().with("containers", containers));
        assert!(cpu.is_some_and(|ns| ns > 1e4 && ns < 1e9), "{cpu:?}");
    }
    let told: Vec<&str> = run.warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert!(told.iter().any(|text| text.contains("are containerd's own, which no kubelet takes")), "{told:?}");
    assert_eq!(runtime.held(), (1, 0));

    let interrupted = scene.start(&line("--containers 30 --relist 1s"));
    poll("containers", PATIENCE, || (runtime.held().0 > 8).then_some(()));
    interrupted.signal(Signal::SIGINT);
    let ended = interrupted.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(runtime.held(), (1, 0));
}
