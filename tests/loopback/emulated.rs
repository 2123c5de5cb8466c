//! Emulated links: what is measured stands on what the link was told to do, exchange by exchange.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use offloadctl::model::{LinkProfile, Run, Series};
use offloadctl::sys::clock;
use offloadctl::topo::{Emulation, Responder};

use crate::lateness::{Lateness, beside};
use crate::measure::{probe, probe_in, read};
use crate::support::program::Scene;

/// How far above the programmed mean a measured mean may be on an idle machine: four wake-ups, in a debug build.
const SLACK: Duration = Duration::from_millis(20);

/// Holds each channel of each target against its programmed series.
#[track_caller]
fn check((run, lateness): &(Run, Lateness), targets: usize, count: u64) {
    let slack = lateness.above(SLACK);
    let mut checked = 0;
    for programmed in run.series.iter().filter(|series| series.name.ends_with(".programmed")) {
        let beside = |name: &str| {
            let mut all = run.series.iter();
            all.find(|series| series.name == name && series.labels == programmed.labels)
                .unwrap_or_else(|| panic!("there is no {name}{}", programmed.labels))
        };
        let name = programmed.name.strip_suffix(".programmed").unwrap();
        for measured in [beside(name), beside(&format!("{name}.service"))] {
            never_less(measured, programmed, count, slack);
        }
        checked += 1;
    }
    assert_eq!(checked, targets * 2, "echo and udp of each target");
}

#[track_caller]
fn never_less(measured: &Series, programmed: &Series, count: u64, slack: Duration) {
    let name = measured.full_name();
    assert_eq!((measured.counts.attempt_count, programmed.counts.attempt_count), (count, count), "{name}");
    assert_eq!(measured.counts.ok_count, programmed.counts.ok_count, "{name}");
    let (m, p) = (&measured.summary, &programmed.summary);
    for (what, measured, programmed) in [
        ("min", m.min_ns, p.min_ns),
        ("mean", m.mean_ns, p.mean_ns),
        ("p50", m.p50_ns, p.p50_ns),
        ("p90", m.p90_ns, p.p90_ns),
        ("p95", m.p95_ns, p.p95_ns),
        ("max", m.max_ns, p.max_ns),
    ] {
        // Few exchanges have no high quantiles, on either side.
        let Some((measured, programmed)) = measured.zip(programmed) else {
            assert!((measured, programmed) == (None, None) && count < 200, "{name}: {what}");
            continue;
        };
        assert!(measured >= programmed, "{name}: {what} {measured} ns is less than the {programmed} ns programmed");
    }
    let above = Duration::from_nanos(m.mean_ns.unwrap() - p.mean_ns.unwrap());
    assert!(above <= slack, "{name}: the mean is {above:?} above the programmed one, {slack:?} are allowed");
}

#[test]
fn a_constant_link_is_measured_as_it_was_told() {
    let scene = Scene::new();
    scene.write("own.toml", "[profile.ten]\nrtt_mean = \"10ms\"\nrtt_p95 = \"10ms\"\njitter = \"0ms\"\n");
    let line = "--topology own.toml --emulate ten --rate 100/s --count 200";
    let measured = beside(|| read(&probe_in(&scene, line)));
    check(&measured, 1, 200);
    for series in measured.0.series.iter().filter(|series| series.name.ends_with(".programmed")) {
        // Each exchange draws 10 ms; the order of messages may hold one back, and nothing lets one go early.
        assert!(series.summary.min_ns >= Some(10_000_000), "{}", series.full_name());
    }
}

#[test]
fn the_built_in_links_are_measured_as_they_were_told() {
    let measured = beside(|| probe("--emulate local-dc,cross-region,hybrid --rate 100/s --count 200 --seed 11"));
    check(&measured, 3, 200);
}

#[test]
fn a_closed_loop_over_a_link_is_measured_as_it_was_told() {
    check(&beside(|| probe("--emulate local-dc --concurrency 4 --count 400 --seed 11")), 1, 400);
}

#[test]
fn warm_up_is_left_out_of_both_sides() {
    // The link goes by when an exchange reaches it. The last of the warm-up is so far ahead of the first that is recorded that
    // a busy machine does not make it one of those.
    check(&beside(|| probe("--emulate local-dc --rate 3/s --count 15 --warmup 1s --seed 11")), 1, 15);
}

#[test]
fn what_a_link_loses_is_what_is_counted_as_lost() {
    let scene = Scene::new();
    scene.write(
        "own.toml",
        "[profile.lossy]\nrtt_mean = \"2ms\"\nrtt_p95 = \"2ms\"\njitter = \"0ms\"\nloss = \"20%\"\n",
    );
    let run = read(&probe_in(
        &scene,
        "--topology own.toml --emulate lossy --channel echo,udp --rate 100/s --count 300 --timeout 2s --seed 5",
    ));
    let counts = |name: &str| run.series.iter().find(|series| series.name == name).unwrap().counts;
    let (measured, programmed) = (counts("rtt.echo_udp"), counts("rtt.echo_udp.programmed"));
    assert_eq!((measured.attempt_count, programmed.attempt_count), (300, 300));
    assert_eq!(measured.lost_count, programmed.lost_count);
    // Each direction loses a fifth, so 36 % of 300 are 108 with a standard deviation of 8.3; four of them either way.
    assert!((75..=141).contains(&measured.lost_count), "{} lost", measured.lost_count);
}

#[test]
fn a_stream_over_a_lossy_link_waits_and_loses_nothing() {
    let scene = Scene::new();
    scene
        .write("own.toml", "[profile.lossy]\nrtt_mean = \"2ms\"\nrtt_p95 = \"2ms\"\njitter = \"0ms\"\nloss = \"5%\"\n");
    let run = read(&probe_in(
        &scene,
        "--topology own.toml --emulate lossy --channel echo --rate 100/s --count 200 --timeout 5s --seed 5",
    ));
    let echo = run.series.iter().find(|series| series.name == "rtt.echo").unwrap();
    assert_eq!((echo.counts.ok_count, echo.counts.lost_count), (200, 0));
    // A lost segment is sent again after 200 ms.
    assert!(echo.summary.max_ns >= Some(202_000_000), "{:?}", echo.summary.max_ns);
}

#[test]
fn each_connection_to_a_link_has_delays_of_its_own() {
    let profile = LinkProfile {
        rtt_mean_ns: 50_000_000,
        rtt_p95_ns: 100_000_000,
        jitter_ns: 37_000_000,
        loss_ratio: 0.0,
        bandwidth_bits_per_s: None,
    };
    let responder = Responder { message_length: 1, answer: |message, _| Some(message.to_vec()) };
    let links = Emulation::start(&[profile], responder, 3, |address| {
        let tcp = TcpListener::bind(address)?;
        let udp = UdpSocket::bind(tcp.local_addr()?)?;
        Ok((tcp, udp))
    });
    let links = links.unwrap();
    let round_trips = [(); 4].map(|()| {
        let mut near = TcpStream::connect(links.targets[0].address).unwrap();
        let began = clock::now();
        near.write_all(b"x").unwrap();
        near.read_exact(&mut [0; 1]).unwrap();
        clock::now().since(began)
    });
    let (least, most) = (round_trips.iter().min().unwrap(), round_trips.iter().max().unwrap());
    assert!(*most > *least * 3 / 2, "each begins as the one before did: {round_trips:?}");
}
