//! Networks of the tests' own: both families, dead addresses, local addresses, and `ping` for comparison.

use std::time::Duration;

use crate::host::{may_administer, path_of, turn};
use crate::namespace::{FAR_V4, FAR_V6, LINK, NEAR_V4, NEAR_V6, Pair};
use crate::program::{call, expect_all_answered, findings, probe, series};
use crate::server::Server;

#[test]
fn dead_addresses_are_counted_on_schedule() {
    if !may_administer("network::dead_addresses_are_counted_on_schedule") {
        return;
    }
    let _turn = turn();
    let pair = Pair::new();
    // What is sent to a station that does not exist vanishes without a word.
    pair.near.ip(&format!("neighbour add 10.77.0.9 lladdr 02:00:00:00:00:09 dev {LINK} nud permanent"));
    pair.near.ip("route add unreachable 10.78.0.0/24");
    let targets = ["hole=10.77.0.9:7", "nobody=10.77.0.10:7", "barred=10.78.0.1:7"];
    let arguments = ["--channel", "connect,icmp", "--duration", "2s", "--timeout", "500ms", "--no-save"];
    let ended = call(&pair.near.inside(&probe(&[&targets[..], &arguments].concat())));
    let run = ended.run(1);

    for name in ["rtt.tcp_connect", "rtt.icmp"] {
        for target in ["hole", "nobody", "barred"] {
            let dead = series(&run, name, target);
            let counts = &dead.counts;
            assert_eq!((counts.attempt_count, counts.skipped_count), (20, 0), "{}: {counts:?}", dead.full_name());
            let unreachable = dead.failure_kinds.get("unreachable").copied().unwrap_or_default();
            assert_eq!(counts.lost_count + unreachable, 20, "{}: {counts:?}", dead.full_name());
            assert_eq!((dead.summary.p50_ns, dead.summary.min_ns), (None, None));
        }
        assert_eq!(series(&run, name, "hole").counts.lost_count, 20);
        assert_eq!(series(&run, name, "barred").counts.failed_count, 20);
    }
    let elapsed = Duration::from_nanos(run.elapsed_ns);
    assert!(elapsed >= Duration::from_millis(2350), "it ended before the last timeout: {elapsed:?}");
    // The last start was late by what its slip says; were one waited for before the next, it would take 20 timeouts.
    let slips = run.series.iter().filter(|series| series.name.ends_with(".slip"));
    let latest = Duration::from_nanos(slips.filter_map(|slip| slip.summary.max_ns).max().unwrap());
    assert!(elapsed <= Duration::from_millis(4000) + latest, "dead targets held it up: {elapsed:?}");
    assert!(ended.stderr.contains("hole"), "{}", ended.stderr);
}

#[test]
fn every_channel_works_over_both_families() {
    if !may_administer("network::every_channel_works_over_both_families") {
        return;
    }
    let _turn = turn();
    let pair = Pair::new();
    let echo = Server::echo_inside(&pair.far.prefix());
    let target = format!("far=far.test:{}", echo.port);
    let rule = format!("far.test:{}:{FAR_V4},[{FAR_V6}]", echo.port);
    for (family, near, far) in [("-4", NEAR_V4, FAR_V4), ("-6", NEAR_V6, FAR_V6)] {
        for bind in [&[][..], &["--bind", near]] {
            let common = [target.as_str(), "--resolve", &rule, family, "--duration", "1s", "--no-save"];
            let run = call(&pair.near.inside(&probe(&[&common, bind].concat()))).run(0);
            for name in ["rtt.tcp_connect", "rtt.icmp", "rtt.echo", "rtt.echo_udp"] {
                let answered = series(&run, name, "far");
                expect_all_answered(answered, 10);
                assert_eq!(answered.labels.value("address"), Some(far));
            }
        }
    }
}

#[test]
fn a_blackhole_route_is_counted_on_every_channel() {
    if !may_administer("network::a_blackhole_route_is_counted_on_every_channel") {
        return;
    }
    let _turn = turn();
    let pair = Pair::new();
    pair.near.ip("route add blackhole 192.0.2.0/24");
    let arguments = ["far=192.0.2.7:7777", "--channel", "connect,icmp,udp", "--duration", "1s", "--no-save"];
    let run = call(&pair.near.inside(&probe(&arguments))).run(1);
    for name in ["rtt.tcp_connect", "rtt.icmp", "rtt.echo_udp"] {
        let unreachable = series(&run, name, "far");
        assert_eq!(unreachable.failure_kinds.get("unreachable"), Some(&10), "{name}: {:?}", unreachable.failure_kinds);
    }
}

#[test]
fn a_name_with_a_dead_address_is_measured_at_its_live_one() {
    let _turn = turn();
    let echo = Server::echo();
    let rule = format!("two.test:{}:[::1],127.0.0.1", echo.port);
    let target = format!("two=two.test:{}", echo.port);
    let run = call(&probe(&[&target, "--resolve", &rule, "--duration", "1s", "--no-save"])).run(0);
    let connect = series(&run, "rtt.tcp_connect", "two");
    expect_all_answered(connect, 10);
    assert_eq!(connect.labels.value("address"), Some("127.0.0.1"));
    let passed_over = findings(&run, "address_passed_over");
    assert!(matches!(passed_over[..], [text] if text.contains("::1")), "{passed_over:?}");
}

#[test]
fn icmp_agrees_with_ping() {
    if !may_administer("network::icmp_agrees_with_ping") {
        return;
    }
    let _turn = turn();
    let pair = Pair::new();
    let ping = path_of("ping", "iputils-ping");
    let words = [ping.to_str().unwrap(), "-q", "-c", "100", "-i", "0.01", FAR_V4].map(str::to_owned);
    let said = call(&pair.near.inside(&words)).stdout;
    let theirs = average_ns(&said).unwrap_or_else(|| panic!("ping said: {said}"));
    let target = format!("far={FAR_V4}");
    let arguments = [&target, "--channel", "icmp", "--rate", "100/s", "--count", "100", "--no-save"];
    let run = call(&pair.near.inside(&probe(&arguments))).run(0);
    let ours = series(&run, "rtt.icmp.service", "far").summary.p50_ns.unwrap() as f64;
    assert!(ours < 3.0 * theirs && theirs < 3.0 * ours, "we say {ours} ns, ping says {theirs} ns");
}

/// The average of `rtt min/avg/max/mdev = 0.045/0.061/0.110/0.013 ms`.
pub fn average_ns(said: &str) -> Option<f64> {
    let figures = said.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "))?;
    Some(figures.split('/').nth(1)?.parse::<f64>().ok()? * 1e6)
}
