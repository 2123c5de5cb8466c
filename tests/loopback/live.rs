//! `bench heartbeat --live` against what it started itself: what it measures is what the formula says, and nothing stays.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::lateness::beside;
use crate::support::program::{Scene, poll};
use crate::support::schema::{RUN, valid};

/// What an idle machine may add to a mean, or to the moment at which a heartbeat is sent.
const SLACK: Duration = Duration::from_millis(150);

/// The program with its temporary files in the scene, so that nobody else's are taken for its own.
fn live(scene: &Scene, line: &str) -> std::process::Command {
    fs::create_dir_all(scene.path("tmp")).unwrap();
    let mut command = scene.command(&format!("bench heartbeat --live --no-save --quiet --json {line}"));
    command.env("TMPDIR", scene.path("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Processes that were started with a path below this one.
fn children_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(folder)).collect()
}

fn expect_nothing_left(scene: &Scene) {
    assert_eq!(children_of(&scene.path("tmp")), Vec::<String>::new());
    assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
}

fn scalar(run: &Value, name: &str, fault: &str) -> f64 {
    let all = run["scalars"].as_array().unwrap();
    let found = all.iter().find(|one| one["name"] == name && one["labels"]["fault"] == fault);
    found.and_then(|one| one["value"].as_f64()).unwrap_or_else(|| panic!("{name} of {fault}: {found:?}"))
}

fn series<'a>(run: &'a Value, name: &str, fault: &str) -> &'a Value {
    let all = run["series"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name && one["labels"]["fault"] == fault).unwrap()
}

#[test]
fn every_kind_of_death_is_noticed_when_the_formula_says() {
    let scene = Scene::new();
    let faults = ["kill", "freeze", "stuck", "partition"];
    let mut command = live(&scene, "--interval 300ms --nodes 60 --fault kill,freeze,stuck,partition");
    let (output, lateness) = beside(|| command.output().unwrap());
    // All of sixty agents are on their way at once, and each waits for those before it.
    let slack_ns = (lateness.above(SLACK) + lateness.worst).as_nanos() as f64;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run = valid(RUN, std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(run["complete"], true);
    for fault in faults {
        let found = series(&run, "heartbeat.detection", fault);
        assert_eq!((&found["attempt_count"], &found["ok_count"]), (&60.into(), &60.into()), "{fault}");
        let formula = scalar(&run, "heartbeat.formula_mean", fault);
        let (low, high) = (scalar(&run, "heartbeat.mean_low", fault), scalar(&run, "heartbeat.mean_high", fault));
        let near = low - slack_ns..=high + slack_ns;
        assert!(near.contains(&formula), "{fault}: {formula} of {low} to {high}, beside {lateness:?}");
        // Never before three intervals and the margin have passed since the last heartbeat.
        let least = found["summary"]["min_ns"].as_f64().unwrap();
        assert!(least >= 800e6 - slack_ns, "{fault}: {least}, beside {lateness:?}");
        // A heartbeat with its headers is longer than its text, and no hundred times so.
        let (payload, sent) =
            (scalar(&run, "heartbeat.payload_bytes_per_h", fault), scalar(&run, "heartbeat.sent_bytes_per_h", fault));
        // Agents that are late leave heartbeats out; the payload is of those that were planned.
        let is_sent = sent * lateness.stretch > payload && sent < payload * 5.0;
        assert!(payload > 12_000.0 * 100.0 && is_sent, "{fault}: {payload}, {sent}, beside {lateness:?}");
    }
    expect_nothing_left(&scene);
}

#[test]
fn a_run_that_is_interrupted_says_so_and_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let scene = Scene::new();
        let started = live(&scene, "--interval 10s --nodes 10 --fault freeze,partition").spawn().unwrap();
        let is_up = || (children_of(&scene.path("tmp")).len() == 3).then_some(());
        poll("a gateway and two fleets", Duration::from_secs(30), is_up);
        kill(Pid::from_raw(started.id().cast_signed()), signal).unwrap();
        let output = started.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let run = valid(RUN, std::str::from_utf8(&output.stdout).unwrap());
        assert_eq!(run["complete"], false);
        expect_nothing_left(&scene);
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let scene = Scene::new();
    let mut killed = live(&scene, "--interval 10s --nodes 5 --fault freeze").spawn().unwrap();
    let is_up = || (children_of(&scene.path("tmp")).len() == 2).then_some(());
    poll("a gateway and a fleet", Duration::from_secs(30), is_up);
    kill(Pid::from_raw(killed.id().cast_signed()), Signal::SIGKILL).unwrap();
    killed.wait().unwrap();
    assert_eq!(std::fs::read_dir(scene.path("tmp")).unwrap().count(), 1);
    let output = live(&scene, "--interval 300ms --nodes 5 --fault kill").output().unwrap();
    let run = valid(RUN, std::str::from_utf8(&output.stdout).unwrap());
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("had left it when it was killed"), "{warnings}");
    expect_nothing_left(&scene);
}

#[test]
fn a_gateway_that_is_there_already_is_measured_and_one_that_refuses_is_told() {
    let scene = Scene::new();
    let lines: String = (1..=10).map(|node| format!("live-1-{node} agent-{node}-0123456789\n")).collect();
    scene.write("tokens", &format!("* rrrrrrrrrrrrrrrr\n{lines}live-probe pppppppppppppppp\n"));
    scene.write("wrong", &format!("* wwwwwwwwwwwwwwww\n{lines}"));
    let gateway = Gateway::start_in(scene, "");
    let line = |tokens: &str| {
        let target =
            format!("--target https://{} --token-file {tokens} --ca-file data/certificate.pem", gateway.address);
        live(&gateway.scene, &format!("--interval 300ms --nodes 10 --fault partition {target}")).output().unwrap()
    };
    let refused = line("wrong");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(3), 0), "{said}");
    assert!(said.contains("it answered 401: the token is not known\n hint: "), "{said}");
    let output = line("tokens");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = series(&run, "heartbeat.detection", "partition");
    assert_eq!((&found["ok_count"], &found["labels"]["network"]), (&10.into(), &"target".into()));
    let reports =
        run["series"].as_array().unwrap().iter().find(|one| one["name"] == "heartbeat.change_stored").unwrap();
    assert!(reports["ok_count"].as_u64().unwrap() > 5, "{reports}");
    expect_nothing_left(&gateway.scene);
}
