//! Processes that stand still for a while, as a debugger, a full disk or `docker pause` makes them: nobody concludes anything
//! from their own absence, and nobody learns from that of others.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::Run;
use offloadctl::sys::clock;
use serde_json::Value;

use crate::agent::{agent, until_node};
use crate::far_end::{FarEnd, Manner};
use crate::gateway::Gateway;
use crate::measure::{read, series};
use crate::support::program::{Scene, Started, poll};

/// Stops a process for so long.
fn stop(process: impl Fn(Signal), span: Duration) {
    process(Signal::SIGSTOP);
    std::thread::sleep(span);
    process(Signal::SIGCONT);
}

fn states(gateway: &Gateway) -> Vec<String> {
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let changes = gateway.watch(0, revision);
    let states = changes.iter().filter_map(|(_, change): &(String, Value)| Some(change["state"].as_str()?.to_owned()));
    states.collect()
}

/// How long the ends of a measurement stand still below.
const PAUSE: Duration = Duration::from_millis(300);

/// What came of a probe in the middle of which `stopped` stood still, by TCP and by UDP at once.
fn probed(scene: &Scene, address: &str, stopped: impl Fn(&Started) -> Option<Started>) -> Run {
    let line =
        format!("probe rtt far={address} --channel echo,udp --rate 50/s --count 400 --timeout 5s --json --no-save");
    let probe = scene.start(&line);
    std::thread::sleep(Duration::from_secs(1));
    let other = stopped(&probe);
    stop(|signal| other.as_ref().unwrap_or(&probe).signal(signal), PAUSE);
    let run = read(&probe.end());
    drop(other);
    run
}

#[test]
fn a_far_end_that_stands_still_for_a_moment_is_slow_and_loses_nothing() {
    let scene = Scene::new();
    let (echo, address) = scene.echo();
    let echo = std::cell::Cell::new(Some(echo));
    let run = probed(&scene, &address, |_| echo.take());
    for name in ["rtt.echo", "rtt.echo_udp"] {
        let series = series(&run.series, name);
        assert_eq!((series.counts.attempt_count, series.counts.ok_count), (400, 400), "{name}: {:?}", series.counts);
        let (median, longest) = (series.summary.p50_ns.unwrap(), series.summary.max_ns.unwrap());
        assert!((250_000_000..2_000_000_000).contains(&longest) && median < 50_000_000, "{name}: {longest} {median}");
    }
}

#[test]
fn a_near_end_that_stands_still_for_a_moment_is_late_and_loses_nothing() {
    let scene = Scene::new();
    let (_echo, address) = scene.echo();
    let run = probed(&scene, &address, |_| None);
    for name in ["rtt.echo", "rtt.echo_udp"] {
        let counts = series(&run.series, name).counts;
        assert_eq!((counts.attempt_count, counts.ok_count), (400, 400), "{name}: {counts:?}");
        let slip = series(&run.series, &format!("{name}.slip")).summary.max_ns.unwrap();
        assert!((200_000_000..2_000_000_000).contains(&slip), "{name}: {slip}");
    }
}

#[test]
fn answers_that_came_while_the_near_end_stood_still_beyond_its_timeout_are_read_before_they_are_called_lost() {
    let far = FarEnd::start(Manner::Delay(Duration::from_millis(200)));
    let scene = Scene::new();
    let line = format!("probe rtt far={} --channel echo --rate 50/s --count 200 --timeout 500ms", far.address());
    let probe = scene.start(&format!("{line} --json --no-save"));
    poll("the first answers", Duration::from_secs(20), || (far.frames() >= 50).then_some(()));
    stop(|signal| probe.signal(signal), Duration::from_secs(1));
    let ended = probe.end();
    let run = Run::parse(&ended.stdout).unwrap();
    let counts = series(&run.series, "rtt.echo").counts;
    assert_eq!(counts.ok_count, counts.attempt_count, "{counts:?}");
    assert!(counts.skipped_count > 0, "{counts:?}");
}

/// Detectors with room for a busy machine: each suspects after 2 s to 3 s of silence.
const DETECTORS: [&str; 4] = ["missed:3/margin=1s", "phi:8/pause=1s", "phi-akka:8/pause=1s", "chen:2s"];

/// Longer than any of them waits.
const LONG: Duration = Duration::from_secs(5);

/// Does the same with a gateway of each detector, all at once.
fn with_each(what: impl Fn(Gateway, Started, &str) + Sync) {
    let what = &what;
    std::thread::scope(|scope| {
        for detector in DETECTORS {
            scope.spawn(move || {
                let gateway = Gateway::start(&format!("--detector {detector}"));
                let agent = agent(&gateway, "500ms");
                until_node(&gateway, "one", "alive");
                // So many heartbeats that a detector believes what it has seen.
                std::thread::sleep(Duration::from_secs(6));
                what(gateway, agent, detector);
            });
        }
    });
}

#[test]
fn an_agent_that_stood_still_and_dies_later_is_noticed_as_soon_as_one_that_never_did() {
    with_each(|gateway, agent, detector| {
        stop(|signal| agent.signal(signal), LONG);
        until_node(&gateway, "one", "alive");
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(states(&gateway), ["alive", "unreachable", "alive"], "{detector}");
        agent.signal(Signal::SIGKILL);
        let killed = clock::now();
        until_node(&gateway, "one", "unreachable");
        let noticed = clock::now().since(killed);
        // Where the stop was learnt it takes 9 s.
        assert!(noticed < Duration::from_secs(5), "{detector}: {noticed:?}");
    });
}

#[test]
fn a_gateway_that_stood_still_accuses_nobody_and_notices_who_died_meanwhile() {
    with_each(|gateway, agent, detector| {
        stop(|signal| gateway.signal(signal), LONG);
        poll("a word on it", Duration::from_secs(20), || gateway.said().contains("stood still for").then_some(()));
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(states(&gateway), ["alive"], "{detector}");
        gateway.signal(Signal::SIGSTOP);
        agent.signal(Signal::SIGKILL);
        std::thread::sleep(Duration::from_secs(2));
        gateway.signal(Signal::SIGCONT);
        until_node(&gateway, "one", "unreachable");
    });
}
