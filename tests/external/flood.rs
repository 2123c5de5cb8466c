//! A real Docker Engine that tells more than its subscriber reads: what it drops without a word is counted, and healed.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::{Labels, Run};

use crate::docker::{Engine, until, until_connected, watch};
use crate::gateway::Gateway;
use crate::host::{let_pass, may_administer, turn};
use crate::support::program::{Scene, poll};

/// Some more than the 1,024 events that an engine keeps for a subscriber and those that its socket holds; for each further one it
/// waits a tenth of a second before it is dropped.
const EVENTS: usize = 1_150;

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
