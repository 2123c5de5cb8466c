//! Signals in the middle: what was measured is written, whole, and nothing else is left behind.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::echo::{EchoLimits, EchoServer, bind_pair};
use offloadctl::sys::clock;
use serde_json::Value;

use crate::snapshot::exact;
use crate::support::program::{Scene, Started, poll};
use crate::support::schema::{RUN, valid};

/// Until then something must have happened that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// So long a program may take to end when it is told to; it has a file to write and to flush to the disk.
const SOON: Duration = Duration::from_secs(5);

/// A minute of 50 a second against an echo, with two outputs; it is returned when a second of it is measured.
fn in_the_middle(scene: &Scene) -> (Started, EchoServer) {
    let (tcp, udp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
    let line = format!(
        "probe rtt far={} --channel echo --rate 50/s --duration 60s -o out/run.json -o out/run.md",
        tcp.local_addr().unwrap()
    );
    let far = EchoServer::start(tcp, udp, EchoLimits::default()).unwrap();
    let started = scene.start(&line);
    poll("a second of answers", PATIENCE, || (far.statistics().answered.load(Ordering::Relaxed) >= 50).then_some(()));
    (started, far)
}

fn scene() -> Scene {
    let scene = Scene::new();
    fs::create_dir(scene.path("out")).unwrap();
    scene
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_interrupted_run_is_a_valid_document_marked_incomplete() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let scene = scene();
        let (started, _far) = in_the_middle(&scene);
        let told = clock::now();
        started.signal(signal);
        let ended = started.end();
        let took = clock::now().since(told);
        assert_eq!(ended.code, Some(130), "{signal}: {}", ended.stderr);
        assert!(took < SOON, "{signal} took {took:?}");
        assert!(ended.stdout.contains("far"), "the table is printed: {}", ended.stdout);
        assert_eq!(names(&scene.path("out")), ["run.json", "run.md"], "{signal}");
        let written = fs::read_to_string(scene.path("out/run.json")).unwrap();
        let run = valid(RUN, &written);
        let (response, counts) = (&run["series"][0], ["ok_count", "lost_count", "refused_count", "failed_count"]);
        let sum: u64 = counts.iter().map(|name| response[name].as_u64().unwrap()).sum();
        assert_eq!((&run["complete"], &response["name"]), (&Value::Bool(false), &"rtt.echo".into()));
        assert_eq!(response["attempt_count"], sum);
        assert!((45..3000).contains(&sum), "{sum} attempts of about 50");
        let kept = names(&scene.path("state/offloadctl/runs"));
        assert_eq!(kept.len(), 1, "{kept:?}");
        let kept = fs::read_to_string(scene.path("state/offloadctl/runs").join(&kept[0])).unwrap();
        assert_eq!(valid(RUN, &kept), run);
    }
}

#[test]
fn a_hangup_that_was_to_be_ignored_is_ignored() {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    let scene = scene();
    let line = "probe rtt --emulate local-dc --channel echo --rate 20/s --duration 2s --quiet -o out/run.json";
    let program = scene.command(line);
    // As `nohup` starts it.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(scene.path(".")).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGHUP).unwrap();
    let status = child.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 4)), "{status}");
    let run = valid(RUN, &fs::read_to_string(scene.path("out/run.json")).unwrap());
    assert_eq!(run["complete"], true);
}

#[test]
fn an_interrupt_before_the_first_attempt_leaves_an_empty_incomplete_run() {
    let scene = scene();
    // It accepts and never answers: whether it is an echo is waited for as long as the timeout.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    // A gate on a series that was never begun does not turn an interruption into a usage error.
    let line = format!("probe rtt mute={address} --timeout 50s --json -o out/run.json --fail-if rtt.echo.p50>1s");
    let started = scene.start(&line);
    let mut ping = [0; 72];
    let mut asked = mute.accept().unwrap().0;
    asked.read_exact(&mut ping).unwrap();
    let told = clock::now();
    started.signal(Signal::SIGINT);
    let ended = started.end();
    let took = clock::now().since(told);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(took < SOON, "it took {took:?}");
    let run = valid(RUN, &ended.stdout);
    assert_eq!((&run["complete"], &run["series"]), (&Value::Bool(false), &Value::Array(Vec::new())));
    assert_eq!(valid(RUN, &fs::read_to_string(scene.path("out/run.json")).unwrap()), run);
}

#[test]
fn a_gate_does_not_hide_that_a_run_was_interrupted() {
    let scene = scene();
    let (tcp, udp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = tcp.local_addr().unwrap();
    let far = EchoServer::start(tcp, udp, EchoLimits::default()).unwrap();
    let gates = "--fail-if rtt.echo.p50>1ns --fail-if rtt.echo.p50>30s";
    let started = scene.start(&format!("probe rtt far={address} --channel echo --rate 50/s --duration 60s {gates}"));
    poll("a second of answers", PATIENCE, || (far.statistics().answered.load(Ordering::Relaxed) >= 50).then_some(()));
    started.signal(Signal::SIGINT);
    assert_eq!(started.end().code, Some(130));
}

#[test]
fn what_is_killed_leaves_nothing_that_could_be_taken_for_a_run() {
    let scene = scene();
    scene.write("out/run.json", "what was there before\n");
    let (started, _far) = in_the_middle(&scene);
    started.signal(Signal::SIGKILL);
    assert_eq!(started.end().code, None);
    assert_eq!(fs::read_to_string(scene.path("out/run.json")).unwrap(), "what was there before\n");
    let strangers: Vec<String> = names(&scene.path("out"))
        .into_iter()
        .filter(|name| name != "run.json" && !(name.starts_with(".offloadctl-") && name.ends_with(".tmp")))
        .collect();
    assert_eq!(strangers, [""; 0]);
    let stored = scene.run("report --list");
    assert_eq!((stored.code, stored.stdout.lines().count()), (Some(0), 1), "{}", stored.stdout);
    assert_eq!(scene.run("report").code, Some(3), "no run is stored");
    assert_eq!(scene.run("report out/run.json").code, Some(3));
}

#[test]
fn an_echo_serves_until_it_is_told_to_stop() {
    for (name, signal) in [("echo-interrupted", Signal::SIGINT), ("echo-terminated", Signal::SIGTERM)] {
        let scene = Scene::new();
        let (echo, address) = scene.echo();
        let probe =
            scene.run(&format!("probe rtt far={address} --channel echo,udp --concurrency 1 --count 10 --quiet"));
        assert_eq!((probe.code, probe.stderr.as_str()), (Some(0), ""));
        let told = clock::now();
        echo.signal(signal);
        let mut ended = echo.end();
        let took = clock::now().since(told);
        assert!(took < SOON, "{signal} took {took:?}");
        assert_eq!(ended.code, Some(0));
        // A greeting and ten of each channel; the far stamps of the last cost one more where the kernel stamped by then.
        let all = ["21 answered", "22 answered", "23 answered"];
        let told = all.iter().find(|told| ended.stderr.contains(**told)).expect(&ended.stderr);
        ended.stderr = ended.stderr.replace(told, all[2]);
        exact(name, "echo --listen 127.0.0.1:0", &ended);
    }
}

#[test]
fn an_echo_of_protocols_says_how_to_trust_it_and_takes_its_certificate_away() {
    let scene = Scene::new();
    let echo =
        scene.start("echo --listen 127.0.0.1:0 --protocols grpc,http1,http1,http2 --protocol-listen 127.0.0.1:0");
    let said = poll("the sentence of the protocols", PATIENCE, || {
        let said = echo.said();
        said.ends_with(" (TCP and UDP)\n").then_some(said)
    });
    let line = said.lines().next().unwrap();
    let (told, trusted) = line.split_once("; trust it with --ca-file ").expect(line);
    let url = told.strip_prefix("protocols listening on ").and_then(|rest| rest.strip_suffix(" (grpc, http1, http2)"));
    let url = url.expect(line);
    let probe = |trust: &str| scene.run(&format!("probe api {url}/protocols {trust} --count 5 --quiet --no-save"));
    let trusting = probe(&format!("--ca-file {trusted}"));
    // On a busy machine its figures are invalid; it was answered all the same.
    let is_answered = |code: Option<i32>| [Some(0), Some(4)].contains(&code);
    assert!(is_answered(trusting.code), "{}", trusting.stderr);
    assert!(!is_answered(probe("").code), "nobody else has signed it");
    echo.signal(Signal::SIGINT);
    let ended = echo.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("protocols stopped: 0 answered\n"), "{}", ended.stderr);
    assert!(!Path::new(trusted).parent().unwrap().exists(), "{trusted} goes with it");
}
