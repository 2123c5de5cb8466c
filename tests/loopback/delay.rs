//! A far end that answers after a known time: never less is measured, and little more.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use offloadctl::echo::FRAME_LENGTH;
use offloadctl::probe::rtt::Channel;
use socket2::{Domain, Socket, Type};

use crate::far_end::{FarEnd, Manner};
use crate::lateness::{Lateness, beside};
use crate::measure::{library, probe, read, series};
use crate::support::program::Scene;

/// How far above the programmed delay a median may be on an idle machine: two threads wake up in between.
const SLACK: Duration = Duration::from_millis(15);

/// The first retransmission of a SYN comes a second after it (TCP_TIMEOUT_INIT); timers of the kernel count in ticks of
/// up to 10 ms, and the tick in which it was set has begun already.
const SYN_TIMEOUT: Duration = Duration::from_millis(990);

const CHANNELS: [(&str, &str, Channel); 2] =
    [("echo", "rtt.echo", Channel::Echo), ("udp", "rtt.echo_udp", Channel::Udp)];

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}

#[test]
fn the_library_measures_a_programmed_delay() {
    for delay in [Duration::from_millis(5), Duration::from_millis(20)] {
        let far = FarEnd::start(Manner::Delay(delay));
        let target = format!("far={}", far.address());
        let (measured, lateness) = beside(|| library(&target, &[Channel::Echo, Channel::Udp], 50, 50));
        for (_, name, _) in CHANNELS {
            check((&measured.series, lateness), name, delay, 50);
        }
    }
}

#[test]
fn the_program_measures_a_programmed_delay() {
    for delay in [Duration::from_millis(5), Duration::from_millis(20)] {
        let far = FarEnd::start(Manner::Delay(delay));
        for load in ["--rate 50/s", "--concurrency 1"] {
            let line = format!("far={} --channel echo,udp --count 50 {load}", far.address());
            let (run, lateness) = beside(|| probe(&line));
            for (_, name, _) in CHANNELS {
                check((&run.series, lateness), name, delay, 50);
            }
        }
    }
}

#[test]
fn delays_that_overlap_do_not_add_up() {
    let delay = Duration::from_millis(100);
    let far = FarEnd::start(Manner::Delay(delay));
    // Twenty are under way at any time.
    let line = format!("far={} --channel echo,udp --count 200 --rate 200/s", far.address());
    let (run, lateness) = beside(|| probe(&line));
    for (_, name, _) in CHANNELS {
        check((&run.series, lateness), name, delay, 200);
    }
}

#[track_caller]
fn check((all, lateness): (&[offloadctl::model::Series], Lateness), name: &str, delay: Duration, count: u64) {
    let slack = lateness.above(SLACK);
    for name in [name.to_owned(), format!("{name}.service")] {
        let series = series(all, &name);
        let summary = &series.summary;
        assert_eq!((series.counts.attempt_count, series.counts.ok_count), (count, count), "{name}");
        let (min, p50) = (summary.min_ns.unwrap(), summary.p50_ns.unwrap());
        assert!(min >= nanos(delay), "{name}: {min} ns is less than {delay:?}");
        assert!(p50 <= nanos(delay + slack), "{name}: {p50} ns is more than {delay:?} and {slack:?}");
    }
    let slip = series(all, &format!("{name}.slip")).summary.min_ns.unwrap();
    assert!(slip < nanos(slack), "{name}: every start slipped, by {slip} ns or more");
}

/// A handshake cannot be delayed from user space, but a full backlog makes the kernel drop the SYN, which its sender
/// repeats after a second.
#[test]
fn a_handshake_that_has_to_be_repeated_takes_as_long_as_the_kernel_waits() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    let _fills_the_backlog = TcpStream::connect(address).unwrap();
    let scene = Scene::new();
    let started = scene.start(&format!(
        "probe rtt far={address} --channel connect,udp --rate 10/s --count 1 --timeout 20s --json --no-save"
    ));
    // The handshake is planned before the datagram: when this is here, its SYN has been dropped.
    let mut ping = [0; FRAME_LENGTH];
    let (_, peer) = datagrams.recv_from(&mut ping).unwrap();
    datagrams.send_to(&ping, peer).unwrap();
    let _waited = listener.accept().unwrap();
    let stamp = offloadctl::model::Stamp::from_nanos(1);
    datagrams.send_to(&offloadctl::echo::answer(&ping, stamp, stamp).unwrap(), peer).unwrap();
    let run = read(&started.end());
    let connect = series(&run.series, "rtt.tcp_connect");
    let took = connect.summary.min_ns.unwrap();
    assert_eq!((connect.counts.attempt_count, connect.counts.ok_count), (1, 1));
    assert!(took >= nanos(SYN_TIMEOUT), "{took} ns");
    assert!(took <= nanos(Duration::from_secs(2)), "{took} ns");
    assert_eq!(series(&run.series, "rtt.echo_udp").counts.ok_count, 1, "an echoed PING is no answer, its PONG is");
}
