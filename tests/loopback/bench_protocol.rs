//! `bench protocol` against a real echo behind a link of known delay, and what it refuses before measuring.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::echo::protocol::Protocol;
use offloadctl::model::{Labels, Run};

use crate::support::program::{Scene, Started, poll};
use crate::support::schema::{RUN, declared, valid};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the link adds to everything that goes to the far end.
const DELAY: Duration = Duration::from_millis(20);

/// What a busy machine may add to the mean beyond that.
const SLACK: Duration = Duration::from_millis(30);

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
        "bench protocol https://localhost:{link} --ca-file {file} --rate 10/s --duration 2s --containers 1,100 --in-flight 4 --json"
    );
    let ended = scene.run(&line);
    valid(RUN, &ended.stdout);
    let run = Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    declared(&run);
    for protocol in Protocol::ALL {
        let labels = Labels::new().with("protocol", protocol.word());
        let report = labels.clone().with("containers", "100");
        for (name, labels, hops) in
            [("protocol.heartbeat", &labels, 1), ("protocol.report", &report, 1), ("protocol.cold", &labels, 2)]
        {
            let series = run.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}: {:?}", run.warnings));
            let (min, mean) = (series.summary.min_ns.unwrap(), series.summary.mean_ns.unwrap());
            // A new connection goes over the link once for TLS at least, and once for the message.
            let least = DELAY.as_nanos() as u64 * hops;
            assert!(min >= least, "{protocol} {name}: {min} ns");
            assert!(hops > 1 || mean <= least + SLACK.as_nanos() as u64, "{protocol} {name}: {mean} ns");
            assert_eq!(series.counts.ok_count, series.counts.attempt_count, "{protocol} {name}");
        }
        let most = run.value("protocol.highest_rate", &labels).unwrap();
        // Four in flight, each of which takes 20 ms at least.
        assert!(most > 20.0 && most <= 4.0 / DELAY.as_secs_f64(), "{protocol}: {most}");
        assert!(run.value("protocol.server_cpu", &labels).unwrap() > 0.0, "{protocol}");
    }
    echo.signal(Signal::SIGTERM);
    echo.end();
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
