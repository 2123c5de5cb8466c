//! Good, bad, inconclusive and invalid measurements, and what each exits with.

use std::net::{TcpListener, UdpSocket};

use offloadctl::echo::Embedded;
use serde_json::Value;

use crate::snapshot::{exact, measured};
use crate::support::program::{Ended, Scene};
use crate::support::schema::{RUN, valid};

/// A closed loop is always valid, however busy the machine: what is shown does not depend on it.
const TWENTY_FOUR: &str = "--concurrency 8 --count 24 --timeout 200ms --quiet";

#[test]
fn a_refused_port_is_bad() {
    let scene = Scene::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = format!("probe rtt shut={free} --channel connect {TWENTY_FOUR}");
    let ended = scene.run(&line);
    assert_eq!(ended.code, Some(1));
    measured("verdict-refused", &line, &ended);
    let run = valid(RUN, &scene.run(&format!("{line} --json")).stdout);
    let series = series(&run, "rtt.tcp_connect");
    assert_eq!((&series["attempt_count"], &series["refused_count"]), (&24.into(), &24.into()));
}

#[test]
fn total_silence_is_bad_and_never_a_zero() {
    let scene = Scene::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (channel, name, address) in
        [("echo", "rtt.echo", tcp.local_addr().unwrap()), ("udp", "rtt.echo_udp", udp.local_addr().unwrap())]
    {
        let line = format!("probe rtt mute={address} --channel {channel} {TWENTY_FOUR}");
        let ended = scene.run(&line);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stdout.contains("> 200 ms"), "{}", ended.stdout);
        measured(&format!("verdict-silence-{channel}"), &line, &ended);
        let run = valid(RUN, &scene.run(&format!("{line} --json")).stdout);
        let series = series(&run, name);
        assert_eq!((&series["attempt_count"], &series["lost_count"]), (&24.into(), &24.into()));
        for figure in ["min_ns", "mean_ns", "p50_ns", "p99_ns", "max_ns"] {
            assert_eq!(series["summary"][figure], Value::Null, "{name} {figure}");
        }
        assert_eq!(series["summary"]["beyond_timeout"][0], "p50");
    }
}

#[test]
fn a_gate_passes_fails_or_cannot_say() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let run = format!("probe rtt far={} --channel echo --concurrency 1 --count 50 --quiet", far.address());
    for (name, gates, code) in [
        ("pass", "--fail-if rtt.echo.p50>30s --fail-if rtt.echo{target=far}.max>30s", 0),
        ("fail", "--fail-if rtt.echo.p50>1ns --fail-if rtt.echo.p50>30s", 1),
        ("too-few", "--fail-if rtt.echo.p999>30s", 4),
        ("fail-outweighs-too-few", "--fail-if rtt.echo.p999>30s --fail-if rtt.echo.min>1ns", 1),
        ("loss", "--fail-if rtt.echo.loss_ratio>50%", 0),
    ] {
        let line = format!("{run} {gates}");
        let ended = scene.run(&line);
        assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
        let verdict = ended.stdout.find("gate: ").expect("the table ends with the gate");
        // The table before it holds a histogram, whose rows are figures throughout.
        let ended = Ended { stdout: ended.stdout[verdict..].to_owned(), ..ended };
        measured(&format!("verdict-gate-{name}"), &line, &ended);
    }
}

#[test]
fn gates_on_a_stored_run_judge_as_they_would_have_then() {
    let scene = Scene::new();
    scene.write("run.json", include_str!("../../fixtures/run/complete.json"));
    for (name, line, code) in [
        ("report-gate-pass", "report run.json --fail-if rtt.echo{target=dc}.p95>5ms", 0),
        ("report-gate-fail", "report run.json --fail-if rtt.echo.p95>2ms", 1),
        ("report-gate-inconclusive", "report run.json --fail-if rtt.echo.p95>2150us", 4),
    ] {
        let ended = scene.run(line);
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
        exact(name, line, &ended);
    }
    let ended = scene.run("report run.json --fail-if rtt.nothing.p95>2ms");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[test]
fn what_the_generator_spoilt_is_shown_as_invalid_and_not_judged() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let line = format!(
        "probe rtt far={} --channel echo --rate 100000/s --duration 1s --max-in-flight 4 --quiet",
        far.address()
    );
    let ended = scene.run(&line);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(4), ""));
    assert!(ended.stdout.starts_with("INVALID: rtt.echo{"), "{}", ended.stdout);
    let run = valid(RUN, &scene.run(&format!("{line} --json")).stdout);
    assert_eq!(run["validity"]["valid"], false);
    let series = series(&run, "rtt.echo");
    let count = |name: &str| series[name].as_u64().unwrap();
    assert_eq!(count("attempt_count") + count("skipped_count"), 100_000);
    for gate in ["rtt.echo.p50>30s", "rtt.echo.p50>1ns"] {
        let ended = scene.run(&format!("{line} --fail-if {gate}"));
        assert_eq!(ended.code, Some(4), "{gate}");
        assert!(ended.stdout.starts_with("INVALID: "), "{}", ended.stdout);
        assert!(ended.stderr.contains("the run is invalid"), "{}", ended.stderr);
    }
}

#[test]
fn findings_fail_a_run_only_where_that_is_asked_for() {
    let scene = Scene::new();
    scene.write("run.json", include_str!("../../fixtures/run/complete.json"));
    for (line, code, said) in [
        ("report run.json", 0, ""),
        ("report run.json --fail-on problem", 1, "bad: outage: the target was silent for 400 ms\n"),
        ("report run.json --fail-on notice", 1, "bad: outage: the target was silent for 400 ms\n"),
        ("report run.json --fail-on severe", 2, "error: invalid value"),
    ] {
        let ended = scene.run(line);
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(said), "{line}: {}", ended.stderr);
    }
}

#[test]
fn max_loss_decides_how_much_silence_is_bad() {
    let scene = Scene::new();
    scene.write(
        "lossy.toml",
        "[profile.lossy]\nrtt_mean = \"1ms\"\nrtt_p95 = \"1ms\"\njitter = \"0ms\"\nloss = \"40%\"\n",
    );
    let line = "probe rtt --topology lossy.toml --emulate lossy --channel udp --concurrency 8 --count 100 --timeout 100ms --seed 1 --quiet";
    for (max_loss, code) in [("100%", 0), ("95%", 0), ("5%", 1), ("0%", 1)] {
        let ended = scene.run(&format!("{line} --max-loss {max_loss}"));
        assert_eq!(ended.code, Some(code), "--max-loss {max_loss}: {}", ended.stderr);
        assert_eq!(ended.stderr.starts_with("bad: rtt.echo_udp{target=lossy}: "), code == 1, "{}", ended.stderr);
    }
}

fn series<'a>(run: &'a Value, name: &str) -> &'a Value {
    let all = run["series"].as_array().unwrap();
    all.iter().find(|series| series["name"] == name).unwrap_or_else(|| panic!("there is no {name}"))
}
