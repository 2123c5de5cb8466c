//! An emulated link between other programs: never less than what it was told, every byte and every end in its order, and
//! bounded in whatever it holds.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::sys::clock;

use crate::lateness::beside;
use crate::measure::{probe_in, read};
use crate::support::program::{Ended, Scene, Started, poll};

/// The round trip of the constant links here, and how far above it a measured mean may be on an idle machine.
const RTT_NS: u64 = 20_000_000;
const SLACK: Duration = Duration::from_millis(20);

/// Until then something must have happened that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// No answer by then is none at all.
const SILENCE: Duration = Duration::from_millis(300);

const PROFILES: &str = r#"
[profile.constant]
rtt_mean = "20ms"
rtt_p95 = "20ms"
jitter = "0ms"

[profile.lossy]
rtt_mean = "2ms"
rtt_p95 = "2ms"
jitter = "0ms"
loss = "20%"

[profile.varied]
rtt_mean = "50ms"
rtt_p95 = "100ms"
jitter = "37ms"

[profile.narrow]
rtt_mean = "20ms"
rtt_p95 = "20ms"
jitter = "0ms"
bandwidth = "8Mbit/s"
"#;

/// A link that runs.
struct Link {
    scene: Scene,
    program: Started,
    address: String,
}

impl Link {
    fn start(arguments: &str, to: &str) -> Self {
        let scene = Scene::new();
        scene.write("own.toml", PROFILES);
        let line = format!("topology emulate {arguments} --topology own.toml --listen 127.0.0.1:0 --to {to}");
        let program = scene.start(&line);
        let address = poll("the address of the link", PATIENCE, || {
            let said = program.said();
            Some(said.split_once(" from ")?.1.split_once(" to ")?.0.to_owned())
        });
        Self { scene, program, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn end(self) -> Ended {
        self.program.signal(Signal::SIGINT);
        let ended = self.program.end();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
        ended
    }
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn both_ways_of_both_protocols_are_never_early() {
    let scene = Scene::new();
    let (_echo, far) = scene.echo();
    let link = Link::start("constant", &far);
    let line = format!("far={} --channel echo,udp --rate 50/s --count 100 --timeout 5s", link.address);
    let (run, lateness) = beside(|| read(&probe_in(&link.scene, &line)));
    for name in ["rtt.echo", "rtt.echo_udp"] {
        let series = run.series.iter().find(|series| series.name == name).unwrap();
        assert_eq!((series.counts.ok_count, series.counts.attempt_count), (100, 100), "{name}");
        assert!(series.summary.min_ns >= Some(RTT_NS), "{name}: {:?} ns", series.summary.min_ns);
        let above = Duration::from_nanos(series.summary.mean_ns.unwrap() - RTT_NS);
        assert!(above <= lateness.above(SLACK), "{name}: a mean {above:?} above, beside {lateness:?}");
    }
    let said = link.end().stderr;
    assert!(said.contains("\nTCP: 1 connection, 0 refused, 0 turned away, "), "{said}");
    assert!(said.contains("; delivered late by p50 "), "{said}");
    assert!(said.contains(" 0 lost as the profile says, 0 dropped for want of room; 1 peer, "), "{said}");
}

#[test]
fn round_trips_vary_as_the_profile_says() {
    let scene = Scene::new();
    let (_echo, far) = scene.echo();
    let link = Link::start("varied --seed 3", &far);
    let line = format!("far={} --channel echo,udp --concurrency 1 --count 100 --timeout 5s", link.address);
    let run = read(&probe_in(&link.scene, &line));
    for name in ["rtt.echo", "rtt.echo_udp"] {
        let series = run.series.iter().find(|series| series.name == name).unwrap();
        // Halves of different round trips would vary by 8 ms; a hundred round trips have a standard error of 3 ms.
        let jitter_ns = series.summary.ipdv_mean_ns.unwrap();
        assert!(jitter_ns >= 25_000_000, "{name}: neighbours differ by {jitter_ns} ns");
    }
    link.end();
}

#[test]
fn a_datagram_after_a_refusal_is_carried() {
    let (near, far) = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap()).into();
    let (address, mut buffer) = (far.local_addr().unwrap(), [0; 8]);
    drop(far);
    let link = Link::start("constant --udp", &address.to_string());
    near.connect(&link.address).unwrap();
    // The kernel tells of a refusal when the next one is sent, which is refused as well.
    poll("the word of a refusal", PATIENCE, || {
        near.send(b"one").unwrap();
        link.program.said().contains("does not take").then_some(())
    });
    near.send(b"one").unwrap();
    // It leaves after half of that; if not, it is the next one that the kernel tells nothing at.
    thread::sleep(Duration::from_nanos(RTT_NS));
    let far = UdpSocket::bind(address).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    near.send(b"two").unwrap();
    // Some of the others may be under way still.
    while far.recv(&mut buffer).map(|length| &buffer[..length]).unwrap() != b"two" {}
    link.end();
}

#[test]
fn connections_go_on_while_there_is_no_room_for_another() {
    let (listener, far) = listener();
    let link = Link::start("constant --tcp", &far);
    let mut first = link.connect();
    first.write_all(b"x").unwrap();
    let (mut served, _) = listener.accept().unwrap();
    served.read_exact(&mut [0; 1]).unwrap();
    let id = link.program.id();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    // Of the further ones, one finds room for itself and none for its far end; the others are not even accepted.
    let limit = format!("--nofile={}:{}", open + 2, open + 2);
    let set = std::process::Command::new("prlimit").args(["--pid", &id.to_string(), &limit]).status().unwrap();
    assert!(set.success());
    let further = [(); 8].map(|()| link.connect());
    poll("the word of it", PATIENCE, || link.program.said().contains("this host has no room for more").then_some(()));
    let (took, lateness) = beside(|| {
        (0..10)
            .map(|_| {
                let began = clock::now();
                first.write_all(b"x").unwrap();
                served.read_exact(&mut [0; 1]).unwrap();
                served.write_all(b"y").unwrap();
                first.read_exact(&mut [0; 1]).unwrap();
                clock::now().since(began)
            })
            .min()
            .unwrap()
    });
    assert!(took <= Duration::from_nanos(RTT_NS) + lateness.above(SLACK), "{took:?} beside {lateness:?}");
    drop(further);
    let said = link.end().stderr;
    assert!(said.contains(", 0 refused, ") && !said.contains(" 0 turned away"), "{said}");
    assert!(!said.contains("does not take"), "{said}");
}

#[test]
fn a_half_closed_connection_stays_half_open_until_the_other_half_is_closed() {
    let (listener, far) = listener();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        stream.write_all(heard.to_uppercase().as_bytes()).unwrap();
    });
    let link = Link::start("constant --tcp", &far);
    let mut near = link.connect();
    let began = clock::now();
    near.write_all(b"all of it").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).unwrap();
    let took = clock::now().since(began);
    assert_eq!(answer, "ALL OF IT");
    assert!(took >= Duration::from_nanos(RTT_NS), "the end overtook the link: {took:?}");
    server.join().unwrap();
    let said = link.end().stderr;
    assert!(said.contains(", 9 B there, 9 B back") && !said.contains("UDP"), "{said}");
}

#[test]
fn a_megabyte_arrives_as_it_was_sent() {
    let (listener, far) = listener();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    });
    let link = Link::start("local-dc --seed 3", &far);
    let near = link.connect();
    let sent: Vec<u8> = (0..1u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (mut writer, all) = (near.try_clone().unwrap(), sent.clone());
    let writing = thread::spawn(move || {
        writer.write_all(&all).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    (&near).read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    server.join().unwrap();
    assert!(received == sent, "{} bytes of {} came back, or others", received.len(), sent.len());
    assert!(link.end().stderr.contains(", 1.00 MiB there, 1.00 MiB back"));
}

#[test]
fn a_far_end_that_refuses_is_a_close_that_is_told_once() {
    let (listener, far) = listener();
    drop(listener);
    let link = Link::start("constant --tcp", &far);
    for _ in 0..2 {
        let began = clock::now();
        let closed = link.connect().read(&mut [0; 1]);
        assert!(matches!(&closed, Ok(0)) || closed.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        // The refusal is as far away as anything else there.
        assert!(clock::now().since(began) >= Duration::from_nanos(RTT_NS));
    }
    let said = link.end().stderr;
    assert_eq!(said.matches("does not take what is carried to it").count(), 1, "{said}");
    assert!(said.contains("TCP: 2 connections, 2 refused, "), "{said}");
}

#[test]
fn a_broken_connection_is_broken_at_the_other_side_too() {
    let (listener, far) = listener();
    let link = Link::start("constant --tcp", &far);
    let mut near = link.connect();
    near.write_all(b"x").unwrap();
    let (server, _) = listener.accept().unwrap();
    (&server).read_exact(&mut [0; 1]).unwrap();
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    link.end();
}

#[test]
fn more_connections_and_peers_than_allowed_are_turned_away() {
    let (listener, far) = listener();
    let link = Link::start("constant --max-connections 1", &far);
    let mut first = link.connect();
    first.write_all(b"x").unwrap();
    let (mut served, _) = listener.accept().unwrap();
    served.read_exact(&mut [0; 1]).unwrap();
    assert!(matches!(link.connect().read(&mut [0; 1]), Ok(0) | Err(_)));
    served.write_all(b"y").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();

    let far = UdpSocket::bind(&far).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut buffer = [0; 8];
    for peer in &peers {
        peer.connect(&link.address).unwrap();
        peer.set_read_timeout(Some(SILENCE)).unwrap();
        peer.send(b"hello").unwrap();
    }
    let (length, from) = far.recv_from(&mut buffer).unwrap();
    far.send_to(&buffer[..length], from).unwrap();
    assert_eq!(peers[0].recv(&mut buffer).unwrap(), 5);
    assert!(peers[1].recv(&mut buffer).is_err());
    let said = link.end().stderr;
    assert!(said.contains("TCP: 1 connection, 0 refused, 1 turned away"), "{said}");
    assert!(said.contains("; 1 peer, 0 refused, 1 turned away"), "{said}");
}

#[test]
fn what_a_receiver_does_not_take_stops_its_sender() {
    let (listener, far) = listener();
    let link = Link::start("constant --tcp", &far);
    let mut near = link.connect();
    near.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    near.write_all(b"x").unwrap();
    let (_served, _) = listener.accept().unwrap();
    let (piece, mut written) = (vec![7; 64 << 10], 0);
    while let Ok(length) = near.write(&piece) {
        written += length;
        assert!(written < 64 << 20, "the link holds without a limit");
    }
    assert!(written > 4 << 20, "the link held {written} bytes only");
    link.end();
}

#[test]
fn the_profile_loses_datagrams_and_they_are_counted() {
    let scene = Scene::new();
    let (_echo, far) = scene.echo();
    let link = Link::start("lossy --seed 5 --udp", &far);
    let line = format!("far={} --channel udp --rate 200/s --count 300 --timeout 1s", link.address);
    let run = read(&probe_in(&link.scene, &line));
    let counts = run.series.iter().find(|series| series.name == "rtt.echo_udp").unwrap().counts;
    // Each direction loses a fifth, so 36 % of 300 are 108 with a standard deviation of 8.3; four of them either way.
    assert!((75..=141).contains(&counts.lost_count), "{} lost", counts.lost_count);
    let said = link.end().stderr;
    let lost: u64 =
        said.split_once(" lost as the profile says").unwrap().0.rsplit_once(' ').unwrap().1.parse().unwrap();
    let dropped = said.split_once(" dropped for want of room").unwrap().0.rsplit_once(' ').unwrap().1;
    let lost = lost + dropped.parse::<u64>().unwrap();
    // Greetings beside the attempts may have been lost as well.
    assert!((counts.lost_count..=counts.lost_count + 5).contains(&lost), "{lost} of {}: {said}", counts.lost_count);
}

#[test]
fn all_connections_share_the_bandwidth() {
    const BYTES: usize = 100_000;
    let (listener, far) = listener();
    let link = Link::start("narrow --tcp", &far);
    let began = clock::now();
    let senders = [(); 2].map(|()| {
        let mut near = link.connect();
        thread::spawn(move || {
            near.write_all(&vec![1; BYTES]).unwrap();
            near
        })
    });
    for _ in 0..2 {
        let (mut served, _) = listener.accept().unwrap();
        served.read_exact(&mut vec![0; BYTES]).unwrap();
    }
    let took = clock::now().since(began);
    // 200,000 bytes at 8 Mbit/s are 200 ms, and half a round trip.
    assert!(took >= Duration::from_millis(209), "{took:?}");
    for sender in senders {
        sender.join().unwrap();
    }
    link.end();
}

#[test]
fn a_link_ends_after_its_duration() {
    let scene = Scene::new();
    let line = "topology emulate local-dc --listen 127.0.0.1:0 --to 127.0.0.1:1 --duration 100ms --quiet";
    let ended = scene.run(line);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
}
