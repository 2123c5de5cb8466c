//! Counts: exactly as many attempts as were asked for, each with one end.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::far_end::{FarEnd, Manner};
use crate::measure::{probe, series};
use crate::support::program::Scene;

const CHANNELS: [&str; 3] = ["rtt.tcp_connect", "rtt.echo", "rtt.echo_udp"];

fn prompt() -> FarEnd {
    FarEnd::start(Manner::Delay(Duration::ZERO))
}

#[test]
fn a_count_is_kept_exactly_by_every_loop() {
    let far = prompt();
    for load in [
        "--count 100 --rate 200/s",
        "--count 1 --rate 1/s",
        "--count 101 --rate 500/s --spacing poisson --seed 3",
        "--count 100 --concurrency 1",
        "--count 100 --concurrency 8",
        "--count 3 --concurrency 8",
        "--count 100 --concurrency 8 --warmup 200ms",
    ] {
        let run = probe(&format!("far={} --channel connect,echo,udp {load}", far.address()));
        let count: u64 = load.split(' ').nth(1).unwrap().parse().unwrap();
        for name in CHANNELS {
            let counts = series(&run.series, name).counts;
            assert_eq!(
                (counts.attempt_count, counts.ok_count, counts.skipped_count),
                (count, count, 0),
                "{name}: {load}"
            );
        }
    }
}

#[test]
fn the_same_attempts_are_counted_whatever_becomes_of_them() {
    let silent = FarEnd::start(Manner::Deaf);
    for load in ["--count 30 --rate 100/s", "--count 30 --concurrency 8"] {
        let run = probe(&format!("far={} --channel connect,echo,udp {load} --timeout 200ms", silent.address()));
        let counts = CHANNELS.map(|name| series(&run.series, name).counts);
        assert_eq!(counts.map(|counts| counts.attempt_count), [30; 3], "{load}");
        assert_eq!(counts.map(|counts| counts.ok_count), [30, 0, 0], "{load}");
        assert_eq!(counts.map(|counts| counts.lost_count), [0, 30, 30], "{load}");
    }
}

#[test]
fn a_duration_holds_as_many_starts_as_its_rate_says() {
    let far = prompt();
    for (load, count) in [("--rate 100/s --duration 1s", 100), ("--rate 90/m --duration 2s", 3)] {
        let run = probe(&format!("far={} --channel echo {load}", far.address()));
        assert_eq!(series(&run.series, "rtt.echo").counts.attempt_count, count, "{load}");
    }
}

#[test]
fn a_closed_loop_ends_with_its_duration() {
    let far = FarEnd::start(Manner::Delay(Duration::from_millis(10)));
    let run = probe(&format!("far={} --channel echo --concurrency 2 --duration 1s", far.address()));
    let counts = series(&run.series, "rtt.echo").counts;
    // Two at a time, each at least 10 ms: 200 at most, and one more each that was under way at the end.
    assert!((20..=202).contains(&counts.attempt_count), "{counts:?}");
    assert!(run.elapsed_ns >= 990_000_000, "{}", run.elapsed_ns);
}

#[test]
fn both_ends_count_the_same() {
    let scene = Scene::new();
    let (echo, address) = scene.echo();
    let run = probe(&format!("far={address} --channel echo,udp --count 100 --concurrency 8"));
    for name in ["rtt.echo", "rtt.echo_udp"] {
        assert_eq!(series(&run.series, name).counts.ok_count, 100, "{name}");
    }
    echo.signal(Signal::SIGTERM);
    let said = echo.end().stderr;
    // Three more than were counted are nobody's attempts: the PING that greets every connection, and one by each channel with
    // whose answer the far end tells its stamps of the last attempt.
    assert!(said.contains("echo stopped: 203 answered, 1 connections, 0 turned away, 0 foreign"), "{said}");
}

#[test]
fn the_first_attempt_counts_like_any_other() {
    let far = prompt();
    for (channel, name) in [("connect", "rtt.tcp_connect"), ("echo", "rtt.echo"), ("udp", "rtt.echo_udp")] {
        let run = probe(&format!("far={} --channel {channel} --rate 50/s --count 5", far.address()));
        let series = series(&run.series, name);
        assert_eq!(series.counts.ok_count, 5, "{name}: {:?}", series.failure_kinds);
    }
}
