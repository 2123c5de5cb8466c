//! `bench protocol` against a real echo behind a link of known delay, and what it refuses before measuring.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::echo::protocol::Protocol;
use offloadctl::model::{Labels, Run};

use crate::support::program::{Scene, Started, poll};
use crate::support::schema::{RUN, declared, valid};

/// Those of one connection to one port; Raft has members.
const ONE_PORT: [Protocol; 5] =
    [Protocol::Grpc, Protocol::GrpcStream, Protocol::Websocket, Protocol::Http1, Protocol::Http2];

const PATIENCE: Duration = Duration::from_secs(20);

/// What the link adds to everything that goes to the far end.
const DELAY: Duration = Duration::from_millis(20);

/// What the run is told: a peer is asked each so long, and a message is lost after so long.
const KEEPALIVE: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(500);

/// What a busy machine may add to the least beyond that.
const SLACK: Duration = Duration::from_millis(15);

/// An echo with these protocols, its port, and where its certificate is.
fn echo(scene: &Scene, protocols: &str) -> (Started, u16, String) {
    let line = format!("echo --listen 127.0.0.1:0 --protocols {protocols} --protocol-listen 127.0.0.1:0");
    let started = scene.start(&line);
    let (port, file) = poll("the echo", PATIENCE, || {
        let said = started.said();
        let port = said.split_once("https://127.0.0.1:")?.1.split(' ').next()?.parse().ok()?;
        let file = said.split_once("--ca-file ")?.1.lines().next()?.to_owned();
        Some((port, file))
    });
    (started, port, file)
}

/// Copies what comes, each piece so much later.
fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut bytes) {
        if length == 0 {
            break;
        }
        std::thread::sleep(delay);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // It fails only where the other side has closed already.
    let _ = to.shutdown(Shutdown::Both);
}

/// A link to a port of this host that is late by [`DELAY`] one way.
fn late_link(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { return };
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || copy(near, far, DELAY));
            std::thread::spawn(move || copy(far_again, near_again, Duration::ZERO));
        }
    });
    port
}

#[test]
fn no_protocol_is_faster_than_its_link_and_none_much_slower() {
    let scene = Scene::new();
    let (echo, port, file) = echo(&scene, "grpc,grpc-stream,websocket,http1,http2");
    let link = late_link(port);
    let line = format!(
        "bench protocol https://localhost:{link} --ca-file {file} --rate 10/s --duration 2s --containers 1,100 --in-flight 4 --keepalive 300ms --timeout 500ms --json"
    );
    let ended = scene.run(&line);
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    declared(&run);
    for protocol in ONE_PORT {
        let labels = Labels::new().with("protocol", protocol.word());
        let report = labels.clone().with("containers", "100");
        for (name, labels, hops) in
            [("protocol.heartbeat", &labels, 1), ("protocol.report", &report, 1), ("protocol.cold", &labels, 2)]
        {
            let series = run.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}: {:?}", run.warnings));
            // The least of all: a busy machine is late at times, and not always.
            let min = series.summary.min_ns.unwrap();
            // A new connection goes over the link once for TLS at least, and once for the message.
            let least = DELAY.as_nanos() as u64 * hops;
            assert!(min >= least, "{protocol} {name}: {min} ns");
            assert!(hops > 1 || min <= least + SLACK.as_nanos() as u64, "{protocol} {name}: {min} ns");
            assert_eq!(series.counts.ok_count, series.counts.attempt_count, "{protocol} {name}");
        }
        let most = run.value("protocol.highest_rate", &labels).unwrap();
        // Four in flight, each of which takes 20 ms at least.
        assert!(most > 20.0 && most <= 4.0 / DELAY.as_secs_f64(), "{protocol}: {most}");
        assert!(run.value("protocol.server_cpu", &labels).unwrap() > 0.0, "{protocol}");
        faults_cost_what_they_must(&run, protocol);
    }
    echo.signal(Signal::SIGTERM);
    echo.end();
}

/// A silent peer is noticed by the settings, and no sooner; of eight heartbeats that are sent 1 ms apart the first has its receipt
/// when the connection is cut, and those on their way are sent again.
fn faults_cost_what_they_must(run: &Run, protocol: Protocol) {
    let labels = Labels::new().with("protocol", protocol.word());
    let spans = |name: &str| {
        let series = run.find(name, &labels).unwrap_or_else(|| panic!("no {name} of {protocol}"));
        // Where the link held all receipts together, a cut found none missing.
        let (ok, all) = (series.counts.ok_count, series.counts.attempt_count);
        assert!(ok == all && (1..=3).contains(&all), "{name} of {protocol}: {ok} of {all}");
        (series.summary.min_ns.unwrap(), series.summary.max_ns.unwrap())
    };
    let value = |name: &str| run.value(name, &labels).unwrap_or_else(|| panic!("no {name} of {protocol}"));
    // A timer of milliseconds may be early by one.
    let settings = if protocol == Protocol::Http1 { TIMEOUT } else { KEEPALIVE } - Duration::from_millis(2);
    let (least, most) = spans("protocol.silent_peer");
    let allowed = (settings.max(KEEPALIVE * 2) + Duration::from_secs(1)).as_nanos() as u64;
    assert!(least >= settings.as_nanos() as u64 && most < allowed, "{protocol}: {least} to {most} ns");
    // A new connection is one round trip over the slow link for TLS at least, the message another.
    let (least, _) = spans("protocol.cut");
    let links = (DELAY * 2).as_nanos() as u64;
    assert!(least >= links && value("protocol.cut_gap") > 0.0, "{protocol}: {least} ns");
    let (again, twice) = (value("protocol.sent_again"), value("protocol.duplicated"));
    assert!((1.0..=24.0).contains(&again) && twice <= again, "{protocol}: {again} again, {twice} twice");
    let bytes = value("protocol.heartbeat_bytes");
    assert!((150.0..2_000.0).contains(&bytes), "{protocol}: {bytes} bytes");
}

#[test]
fn what_had_arrived_before_a_cut_arrives_twice() {
    let line = "bench protocol --protocols grpc-stream,websocket --containers 1 --rate 50/s --duration 200ms --in-flight 1 --json";
    let ended = Scene::new().run(line);
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    for protocol in ["grpc-stream", "websocket"] {
        let value = |name: &str| run.value(name, &Labels::new().with("protocol", protocol)).unwrap();
        let (again, twice) = (value("protocol.sent_again"), value("protocol.duplicated"));
        // In each of three cuts the link holds receipts of 5 ms, and heartbeats are 1 ms apart.
        assert!((3.0..=24.0).contains(&again) && (3.0..=again).contains(&twice), "{protocol}: {again}, {twice}");
    }
}

#[test]
#[cfg(feature = "raft")]
fn three_members_agree_and_lose_their_leader() {
    let scene = Scene::new();
    let ended = scene.run("bench protocol --protocols raft --containers 1 --rate 50/s --duration 1s --json");
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    declared(&run);
    let labels = Labels::new().with("protocol", "raft");
    let report = run.find("protocol.report", &labels.clone().with("containers", "1")).unwrap();
    assert_eq!(report.counts.ok_count, report.counts.attempt_count, "{:?}", report.counts);
    let election = run.find("protocol.election", &labels).unwrap();
    // No member stands for election before the shortest election timeout.
    let least = offloadctl::echo::raft::ELECTION.0.as_nanos() as u64;
    assert!(election.counts.ok_count == 5 && election.summary.min_ns.unwrap() >= least, "{:?}", election.summary);
    assert!(run.answer.unwrap_or_default().contains("commit a report"));
}

#[test]
#[cfg(feature = "raft")]
fn an_echo_has_members_on_the_ports_after_its_own() {
    let scene = Scene::new();
    let (echo, port, file) = echo(&scene, "raft,http1");
    let line = format!(
        "bench protocol https://localhost:{port} --ca-file {file} --protocols raft --containers 1 --rate 20/s --duration 1s --json"
    );
    let ended = scene.run(&line);
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let labels = Labels::new().with("protocol", "raft");
    assert!(run.find("protocol.heartbeat", &labels).unwrap().counts.ok_count > 10);
    assert!(run.find("protocol.election", &labels).is_none(), "a cluster of somebody else loses no leader");
    echo.signal(Signal::SIGTERM);
    echo.end();
}

#[test]
#[cfg(not(feature = "raft"))]
fn a_build_without_raft_says_how_to_get_it() {
    let ended = Scene::new().run("bench protocol --protocols raft");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("--features full"), "{}", ended.stderr);
}

#[test]
fn what_the_far_end_lacks_is_told_before_anything_is_measured() {
    let scene = Scene::new();
    let (echo, port, file) = echo(&scene, "grpc");
    let refused = |line: &str| {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{line}: {}", ended.stderr);
        ended.stderr
    };
    let target = format!("bench protocol https://localhost:{port}");
    let said = refused(&format!("{target} --ca-file {file} --protocols grpc,websocket"));
    assert!(said.contains("does not offer websocket; it offers grpc"), "{said}");
    let said = refused(&format!("{target} --protocols grpc"));
    assert!(said.contains("--ca-file"), "{said}");
    echo.signal(Signal::SIGTERM);
    echo.end();
    let said = refused(&format!("{target} --ca-file {file} --protocols grpc"));
    assert!(said.contains("--ca-file") || said.contains("certificate"), "its certificate went with it: {said}");
}

#[test]
fn an_interrupt_leaves_what_was_measured() {
    let scene = Scene::new();
    let started = scene.start("bench protocol --protocols grpc,websocket --containers 1 --duration 60s --json");
    std::thread::sleep(Duration::from_secs(3));
    started.signal(Signal::SIGINT);
    let ended = started.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap();
    let beats = run.find("protocol.heartbeat", &Labels::new().with("protocol", "grpc")).unwrap();
    assert!(!run.complete && beats.counts.ok_count > 50, "{:?}", beats.counts);
}
