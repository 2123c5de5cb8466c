//! `probe events` with a real Docker Engine: what each source knew, and that nothing of ours stays, whatever ends the run.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offloadctl::model::{Labels, Run, Series};

use crate::docker::Engine;
use crate::host::{let_pass, may_administer, turn};
use crate::support::code_of;
use crate::support::program::{Ended, Scene, poll};
use crate::support::schema::{RUN, declared, valid};

/// Longest wait for anything here: a container takes a second to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The label of everything of ours.
const MARK: &str = "label=offloadctl.owner";

fn line(engine: &Engine, arguments: &str) -> String {
    format!("probe events --json --docker-host unix://{}/docker.sock {arguments}", engine.folder.path().display())
}

#[track_caller]
fn run_of(ended: &Ended) -> Run {
    if !ended.stdout.is_empty() {
        valid(RUN, &ended.stdout);
    }
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    declared(&run);
    run
}

#[track_caller]
fn series<'a>(run: &'a Run, source: &str, event: &str) -> &'a Series {
    let labels = Labels::new().with("source", source).with("event", event);
    run.find("events.since_act", &labels).unwrap_or_else(|| panic!("no {event} of {source}: {:?}", run.warnings))
}

fn counted(run: &Run, what: &str, source: &str) -> Option<f64> {
    run.value(&format!("events.{what}"), &Labels::new().with("source", source))
}

/// Containers and images of ours that an engine has.
fn ours(engine: &Engine) -> (usize, usize) {
    let count = |arguments: &[&str]| engine.docker(arguments).lines().count();
    (count(&["ps", "-aq", "--filter", MARK]), count(&["images", "-q", "--filter", MARK]))
}

/// A container that is not ours was left alone; the engine would wait long for its end.
#[track_caller]
fn let_go(engine: &Engine, foreign: &str) {
    assert_eq!(engine.docker(&["inspect", "--format", "{{.State.Running}}", foreign]), "true");
    engine.docker(&["rm", "--force", foreign]);
}

#[test]
fn every_act_is_known_by_its_event_and_later_by_a_list() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let foreign = engine.run("foreign", &["sleep", "100"]);
    let scene = Scene::new();
    let containerd = engine.folder.path().join("exec/containerd/containerd.sock");
    let load = "--count 24 --rate 4/s --alive 700ms --burst 2";
    let sources = format!(
        "--source docker,poll=200ms,containerd,poll-containerd=200ms --containerd {} {load}",
        containerd.display()
    );
    let ended = scene.run(&line(&engine, &sources));
    let run = run_of(&ended);
    assert_eq!(ended.code, code_of(run.validity.valid), "{}", ended.stderr);
    for event in ["create", "start", "exit", "destroy"] {
        let docker = series(&run, "docker", event);
        assert_eq!((docker.counts.attempt_count, docker.counts.ok_count), (24, 24), "{event}");
        let labels = Labels::new().with("source", "docker").with("event", event);
        let receipt = run.find("events.receipt", &labels).unwrap();
        assert!(receipt.summary.mean_ns < docker.summary.mean_ns, "{event}: its own time lies after the call");
        assert!(docker.summary.max_ns.unwrap() < PATIENCE.as_nanos() as u64, "{event}");
    }
    for what in ["missed", "duplicated", "reordered", "collapsed"] {
        assert_eq!(counted(&run, what, "docker"), Some(0.0), "{what}");
    }
    // A container lives longer than the span between two lists, and lies ended for longer than that.
    assert_eq!(
        (counted(&run, "missed", "poll=200ms"), counted(&run, "duplicated", "poll=200ms")),
        (Some(0.0), Some(0.0))
    );
    // What containerd calls a container comes and goes with its process, so it tells of neither making nor removal.
    for event in ["start", "exit"] {
        assert_eq!(series(&run, "containerd", event).counts.ok_count, 24, "{event}");
    }
    let is_of_tasks = |one: &&Series| one.label("source").contains("containerd");
    let told = run.series.iter().filter(is_of_tasks).map(|one| one.label("event"));
    assert!(told.clone().all(|event| ["start", "exit"].contains(&event)), "{:?}", told.collect::<Vec<_>>());
    // A busy machine lists late: what was not seen is missed, and nothing falls between the two.
    let counts = &series(&run, "poll-containerd=200ms", "start").counts;
    assert_eq!((counts.attempt_count, counts.ok_count + counts.lost_count), (24, 24));
    assert!(counts.ok_count > 12, "{counts:?}");
    for what in ["missed", "duplicated", "reordered"] {
        assert_eq!(counted(&run, what, "containerd"), Some(0.0), "{what}");
    }
    let mean = |source: &str| series(&run, source, "start").summary.mean_ns.unwrap();
    assert!(mean("poll=200ms") > mean("docker"), "{} and {}", mean("poll=200ms"), mean("docker"));
    assert!(counted(&run, "watcher_cpu", "docker").is_some_and(|cores| cores < 0.5));
    assert_eq!(ours(&engine), (0, 0));
    let_go(&engine, &foreign);
}

#[test]
fn nothing_of_ours_stays_after_an_interrupt_nor_after_the_run_that_follows_a_kill() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let foreign = engine.run("foreign", &["sleep", "300"]);
    let scene = Scene::new();
    let begin = || {
        let started = scene.start(&line(&engine, "--count 200 --alive 30s"));
        // Two that run: the first of them was launched whole, however busy the machine is.
        let running = || engine.docker(&["ps", "-q", "--filter", MARK]).lines().count();
        poll("running containers", PATIENCE, || (running() > 1).then_some(()));
        started
    };
    let interrupted = begin();
    interrupted.signal(Signal::SIGINT);
    let ended = interrupted.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!run_of(&ended).complete);
    assert_eq!(ours(&engine), (0, 0));

    let killed = begin();
    killed.signal(Signal::SIGKILL);
    drop(killed.end());
    let (containers, images) = ours(&engine);
    assert!(containers > 2 && images == 1, "{containers} and {images}");
    let ended = scene.run(&line(&engine, "--source docker --count 1 --alive 100ms"));
    let run = run_of(&ended);
    assert_eq!(ended.code, code_of(run.validity.valid), "{}", ended.stderr);
    let left = run.warnings.iter().find(|warning| warning.id == "leftover").unwrap();
    assert!(left.text.contains("that a run left when it was killed"), "{}", left.text);
    assert_eq!(ours(&engine), (0, 0));
    let_go(&engine, &foreign);
}

#[test]
fn an_engine_that_stops_in_the_middle_ends_no_run_and_its_leftovers_are_told() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let mut engine = Engine::start();
    let scene = Scene::new();
    let started = scene.start(&line(&engine, "--source docker,poll=500ms --count 30 --rate 6/s --alive 20s"));
    // Two that run: the first of them was launched whole, however busy the machine is.
    let running = || engine.docker(&["ps", "-q", "--filter", MARK]).lines().count();
    poll("running containers", PATIENCE, || (running() > 1).then_some(()));
    let id = std::fs::read_to_string(engine.folder.path().join("pid")).unwrap();
    kill(Pid::from_raw(id.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let ended = started.end();
    let run = run_of(&ended);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("could not all be removed"), "{}", ended.stderr);
    assert!(run.warnings.iter().any(|warning| warning.text.contains("broke off")), "{:?}", run.warnings);
    let launch = run.series.iter().find(|series| series.name == "events.launch").unwrap();
    assert!(launch.counts.ok_count > 0 && launch.counts.unanswered_count() > 0, "{:?}", launch.counts);

    engine.stop();
    engine.start_again();
    let ended = scene.run(&line(&engine, "--source docker --count 1 --alive 100ms"));
    let run = run_of(&ended);
    assert!(run.warnings.iter().any(|warning| warning.id == "leftover"), "{:?}", run.warnings);
    assert_eq!(ours(&engine), (0, 0));
}

#[test]
fn whatever_happens_is_watched_without_an_act_of_ours() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let scene = Scene::new();
    let started = scene.start(&line(&engine, "--watch --duration 8s --source docker,poll=60s"));
    // It watches a moment after it was started; what comes before that nobody sees.
    let_pass(Duration::from_secs(2));
    engine.run("short", &["sh", "-c", "exit 3"]);
    engine.docker(&["wait", "short"]);
    engine.docker(&["rm", "short"]);
    let ended = started.end();
    let run = run_of(&ended);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!run.series.iter().any(|series| series.name == "events.since_act"), "nobody knows when it was called for");
    assert_eq!((counted(&run, "missed", "docker"), counted(&run, "missed", "poll=60s")), (Some(0.0), Some(4.0)));
    let text = run.findings.iter().find(|finding| finding.id == "events_missed").unwrap();
    assert!(text.text.starts_with("poll=60s never told of 4 acts"), "{}", text.text);
    assert_eq!(ours(&engine), (0, 0));
}

#[test]
fn a_kill_for_want_of_memory_is_told_by_all_that_can_and_odd_actions_change_nothing() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let scene = Scene::new();
    let containerd = engine.folder.path().join("exec/containerd/containerd.sock");
    let watch = format!("--watch --duration 10s --source docker,containerd,ebpf --containerd {}", containerd.display());
    let started = scene.start(&line(&engine, &watch));
    let_pass(Duration::from_secs(2));
    let hungry = ["run", "--network", "none", "--memory", "16m", "local/busybox:1", "tail", "/dev/zero"];
    assert!(!engine.try_docker(&hungry), "it had more memory than its limit");
    // Its process lives for a moment; what is executed beside it begins and ends nothing.
    engine.run("busy", &["sleep", "100"]);
    engine.docker(&["exec", "busy", "sh", "-c", "true: die; true"]);
    engine.docker(&["pause", "busy"]);
    engine.docker(&["unpause", "busy"]);
    engine.docker(&["rename", "busy", "busier"]);
    engine.docker(&["rm", "--force", "busier"]);
    let ended = started.end();
    let run = run_of(&ended);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for source in ["docker", "containerd", "ebpf"] {
        let told = |event: &str| {
            let labels = Labels::new().with("source", source).with("event", event);
            run.find("events.behind", &labels).map(|series| (series.counts.ok_count, series.counts.lost_count))
        };
        assert_eq!([told("start"), told("exit")], [Some((2, 0)); 2], "{source} {:?}", run.warnings);
        // An engine may tell of one kill more than once, each time with another time.
        assert!(told("oom").is_some_and(|(ok, _)| ok >= 1), "{source} {:?}", told("oom"));
        assert_eq!(counted(&run, "duplicated", source), Some(0.0), "{source}");
    }
    let odd: Vec<_> = run.warnings.iter().filter(|warning| warning.text.contains("do not know")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn what_a_containerd_does_while_its_stream_is_broken_is_missed_and_what_comes_after_is_not() {
    if !may_administer("events") {
        return;
    }
    let _turn = turn();
    let mut runtime = crate::runtime::Runtime::start();
    let scene = Scene::new();
    let socket = runtime.socket().display().to_string();
    let line = format!(
        "probe events --json --watch --duration 14s --source containerd,poll-cri=500ms --containerd {socket} --cri {socket}"
    );
    let started = scene.start(&line);
    let_pass(Duration::from_secs(2));
    let act = || {
        let line = format!(
            "probe events --act cri --source containerd --count 1 --alive 1s --quiet --no-save --containerd {socket} --cri {socket}"
        );
        let ended = scene.run(&line);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    act();
    runtime.stop(Signal::SIGKILL);
    let_pass(Duration::from_millis(500));
    runtime.start_again();
    act();
    let ended = started.end();
    let run = run_of(&ended);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told: Vec<&str> = run.warnings.iter().map(|warning| warning.text.as_str()).collect();
    assert!(told.iter().any(|text| text.starts_with("containerd: the events of containerd broke off")), "{told:?}");
    assert!(told.iter().any(|text| text.starts_with("poll-cri=500ms: there is no list")), "{told:?}");
    for source in ["containerd", "poll-cri=500ms"] {
        let labels = Labels::new().with("source", source).with("event", "start");
        // Each Pod is a sandbox and a container.
        let series = run.find("events.behind", &labels).unwrap();
        assert!(series.counts.ok_count >= 3, "{source}: {:?}", series.counts);
    }
}
