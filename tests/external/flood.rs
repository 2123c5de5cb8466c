//! Real engines that tell more than their subscribers read: what Docker drops without a word is counted, and healed; containerd
//! drops nothing, and is late.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Labels, Run};
use offloadctl::sys::clock;

use crate::docker::{Engine, until, until_connected, watch};
use crate::gateway::Gateway;
use crate::host::{let_pass, may_administer, turn};
use crate::runtime::Runtime;
use crate::support::program::{Scene, poll};

/// Some more than the 1,024 events that an engine keeps for a subscriber and those that its socket holds; for each further one it
/// waits a tenth of a second before it is dropped.
const EVENTS: usize = 1_150;

/// Changes of a label of a container, each some 4 KB of event: four times what a socket holds.
const LABELS: usize = 200;

/// For how long an event waits at least.
const WAITING: Duration = Duration::from_secs(2);

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(40);

/// Lets the engine tell of something that changes no container: a command that is made ready in one, with a long text of colons
/// and spaces, and never run.
fn flood(socket: &Path, container: &str) {
    let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
    let body = format!(r#"{{"Cmd":["echo","{}"]}}"#, "die: start: ".repeat(400));
    let mut request = String::new();
    write!(request, "POST /containers/{container}/exec HTTP/1.1\r\nHost: engine\r\n").unwrap();
    write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    for _ in 0..EVENTS {
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length, mut is_made) = (String::new(), 0, false);
        while stream.read_line(&mut line).unwrap() > 2 {
            is_made |= line.starts_with("HTTP/1.1 201");
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        assert!(is_made);
        stream.read_exact(&mut vec![0; length]).unwrap();
    }
}

#[test]
fn what_an_engine_drops_is_missed_by_its_events_and_healed_by_the_agents_list() {
    if !may_administer("flood") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let socket = engine.folder.path().join("docker.sock");
    let base = engine.run("base", &["sleep", "200"]);
    let gateway = Gateway::start("");
    let agent = watch(&gateway, &socket);
    until_connected(&gateway);
    until(&gateway, &base, "running", |_| true);
    let scene = Scene::new();
    let line = "probe events --json --watch --duration 12s --source docker,ebpf --docker-host";
    let watcher = scene.start(&format!("{line} unix://{}", socket.display()));
    let_pass(Duration::from_secs(3));
    for stopped in [&agent, &watcher] {
        stopped.signal(Signal::SIGSTOP);
    }
    flood(&socket, &base);
    let lost = engine.run("lost", &["sleep", "200"]);
    // What is read by then stood in the queue for longer than any that is read in time.
    let_pass(Duration::from_secs(3));
    for stopped in [&agent, &watcher] {
        stopped.signal(Signal::SIGCONT);
    }
    let_pass(Duration::from_secs(1));
    let after = engine.run("after", &["sleep", "200"]);
    until(&gateway, &after, "running", |_| true);
    until(&gateway, &lost, "running", |_| true);
    let ended = watcher.end();
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let told = |source: &str| {
        let labels = Labels::new().with("source", source).with("event", "start");
        run.find("events.behind", &labels).map(|series| (series.counts.ok_count, series.counts.lost_count))
    };
    assert_eq!((told("docker"), told("ebpf")), (Some((1, 1)), Some((2, 0))), "{:?}", run.warnings);
    for name in ["base", "lost", "after"] {
        engine.docker(&["rm", "--force", name]);
    }
    poll("their ends", PATIENCE, || {
        let counts = gateway.read("/v1/view")["task_count"].clone();
        (counts["failed"] == 3).then_some(())
    });
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn a_container_that_lives_for_a_moment_is_told_by_every_stream_by_its_name() {
    if !may_administer("flood") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let gateway = Gateway::start("");
    let agent = watch(&gateway, &engine.folder.path().join("docker.sock"));
    until_connected(&gateway);
    let scene = Scene::new();
    let place = engine.folder.path().display();
    let line = format!(
        "probe events --json --watch --duration 8s --source docker,containerd,ebpf --docker-host unix://{place}/docker.sock --containerd {place}/exec/containerd/containerd.sock"
    );
    let watcher = scene.start(&line);
    let_pass(Duration::from_secs(2));
    let brief = engine.run("brief", &["true"]);
    engine.docker(&["wait", "brief"]);
    // Removed before anybody can have looked it up again.
    engine.docker(&["rm", "brief"]);
    until(&gateway, &brief, "completed", |facts| facts["name"] == "brief" && facts["exit_code"] == 0);
    let ended = watcher.end();
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    for source in ["docker", "containerd", "ebpf"] {
        for event in ["start", "exit"] {
            let labels = Labels::new().with("source", source).with("event", event);
            let series = run.find("events.behind", &labels).unwrap_or_else(|| panic!("{source} {event}"));
            assert_eq!((series.counts.ok_count, series.counts.lost_count), (1, 0), "{source} {event}");
        }
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn what_containerd_tells_a_subscriber_that_stands_still_waits_and_nothing_is_missed() {
    if !may_administer("flood") {
        return;
    }
    let _turn = turn();
    let runtime = Runtime::start();
    let run = |name: &str| runtime.ctr(&["run", "--detach", "docker.io/local/pause:1", name]);
    run("base");
    let scene = Scene::new();
    let line = "probe events --json --watch --duration 20s --source containerd,poll-containerd=1s --namespace k8s.io --containerd";
    let watcher = scene.start(&format!("{line} {}", runtime.socket().display()));
    let_pass(Duration::from_secs(3));
    watcher.signal(Signal::SIGSTOP);
    let stopped = clock::now();
    let text = "x".repeat(4_000);
    for number in 0..LABELS {
        runtime.ctr(&["containers", "label", "base", &format!("k={number}{text}")]);
    }
    run("late");
    let_pass(WAITING);
    let for_ns = clock::now().nanos_since(stopped);
    watcher.signal(Signal::SIGCONT);
    let_pass(Duration::from_secs(1));
    run("after");
    let ended = watcher.end();
    let found = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    for source in ["containerd", "poll-containerd=1s"] {
        let labels = Labels::new().with("source", source).with("event", "start");
        let behind = found.find("events.behind", &labels).unwrap_or_else(|| panic!("{source}"));
        assert_eq!((behind.counts.ok_count, behind.counts.lost_count), (2, 0), "{source}: {:?}", found.warnings);
        assert_eq!(found.value("events.missed", &Labels::new().with("source", source)).unwrap_or(0.0), 0.0, "{source}");
    }
    // By its own stamp the event waited in containerd while its subscriber stood still, and no longer.
    let labels = Labels::new().with("source", "containerd").with("event", "start");
    let receipt = found.find("events.receipt", &labels).expect("containerd stamps its events").summary.max_ns.unwrap();
    let waited = WAITING.as_nanos() as u64..for_ns + PATIENCE.as_nanos() as u64 / 10;
    assert!(waited.contains(&receipt), "{receipt} of {waited:?}");
}
