//! The examination of the host that runs the tests: whatever it can do, the document says it, and quickly.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::program::{Scene, poll};
use crate::support::schema::{RUN, valid};

fn list<'a>(run: &'a Value, key: &str) -> &'a [Value] {
    run[key].as_array().unwrap()
}

#[test]
fn every_check_has_a_verdict_and_what_does_not_work_a_reason_and_a_remedy() {
    let scene = Scene::new();
    let ended = scene.run("doctor --json --output doctor.json");
    let run = valid(RUN, &ended.stdout);
    let problems = list(&run, "findings").iter().filter(|finding| finding["severity"] == "problem").count();
    assert_eq!(
        (ended.code, ended.stderr.lines().count()),
        (Some(i32::from(problems > 0)), problems),
        "{}",
        ended.stderr
    );
    let able: Vec<&Value> = list(&run, "scalars").iter().filter(|scalar| scalar["name"] == "doctor.able").collect();
    for wanted in
        ["clock", "icmp", "kernel_links", "kernel_stamps", "loopback", "open_files", "privileges", "processor"]
    {
        assert!(able.iter().any(|scalar| scalar["labels"]["what"] == wanted), "nothing is said of {wanted}");
    }
    for scalar in &able {
        let what = &scalar["labels"]["what"];
        let finding = list(&run, "findings").iter().find(|finding| finding["id"] == *what).unwrap();
        let is_fine = scalar["value"] == 1.0;
        assert_eq!(finding["severity"] == "info", is_fine, "{finding}");
        assert!(is_fine || finding["text"].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        assert!(scalar["value"] != 0.0 || finding["advice"]["text"].is_string(), "{finding}");
    }
    let wakeup = list(&run, "series").iter().find(|series| series["name"] == "timer.wakeup").unwrap();
    assert_eq!(wakeup["ok_count"], 1_000);
    assert!(list(&run, "series").iter().any(|series| series["name"] == "rtt.floor.echo"));
    // Three seconds on a host of its own; the tests share theirs.
    assert!(run["elapsed_ns"].as_u64().unwrap() < 15_000_000_000, "{}", run["elapsed_ns"]);
    assert!(scene.path("doctor.json").is_file());
    let runs: Vec<_> = std::fs::read_dir(scene.path("state/offloadctl/runs")).unwrap().collect();
    assert!(runs.is_empty(), "an examination is no run to be kept: {runs:?}");
}

#[test]
fn a_host_on_which_a_default_command_cannot_measure_is_bad() {
    let scene = Scene::new();
    scene.write("file", "");
    let ended = scene.run("doctor --runs-dir file/runs");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("bad: stored runs: cannot keep runs in `file/runs`"), "{}", ended.stderr);
    assert!(ended.stdout.contains("--no-save"), "{}", ended.stdout);
    assert!(
        ended.stdout.lines().any(|line| line.starts_with("stored runs") && line.contains(" no ")),
        "{}",
        ended.stdout
    );
}

/// Runs the program where it may have so few files open.
fn with_files(scene: &Scene, limit: u32, line: &str) -> Output {
    let program = scene.command(line);
    let mut shell = Command::new("/bin/sh");
    // What the tests' own parent left open would count, too.
    let script = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n \"$0\" && exec \"$@\"";
    shell.args(["-c", script, &limit.to_string()]).arg(program.get_program());
    shell.args(program.get_args()).current_dir(scene.path("")).stdin(Stdio::null()).env_clear();
    shell.env("HOME", scene.path("")).env("XDG_STATE_HOME", scene.path("state")).output().unwrap()
}

#[test]
fn a_host_without_files_for_a_measurement_is_told_of_with_the_remedy() {
    for limit in [12, 14, 24] {
        let scene = Scene::new();
        let ended = with_files(&scene, limit, "doctor --json");
        assert_eq!(ended.status.code(), Some(1), "{limit}: {}", String::from_utf8_lossy(&ended.stderr));
        let run = valid(RUN, std::str::from_utf8(&ended.stdout).unwrap());
        let finding = |id: &str| list(&run, "findings").iter().find(|finding| finding["id"] == id).unwrap();
        assert_eq!(finding("open_files")["severity"], "problem", "{limit}: {}", finding("open_files"));
        // The loopback's echo cannot even start with so few; with a few more, its two ends race for the last.
        if limit == 12 {
            let loopback = finding("loopback");
            assert_eq!((&loopback["evidence"][0], &loopback["severity"]), (&"not tried".into(), &"problem".into()));
        }
        assert!(finding("open_files")["advice"]["text"].as_str().unwrap().contains("ulimit"));
        assert_eq!(finding("clock")["severity"], "info", "the others are told as ever");
    }
}

/// Whether the program has a handler of SIGINT, by the kernel's word.
fn catches_interrupts(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (Signal::SIGINT as u32 - 1) & 1 == 1
}

#[test]
fn an_interrupted_examination_calls_nothing_bad() {
    let scene = Scene::new();
    let started = scene.start("doctor --runs-dir runs --json");
    // What is left when it begins to listen to signals takes over a second.
    poll("its handler of signals", Duration::from_secs(20), || catches_interrupts(started.id()).then_some(()));
    started.signal(Signal::SIGINT);
    let ended = started.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(130), ""));
    let run = valid(RUN, &ended.stdout);
    assert_eq!((&run["complete"], list(&run, "findings").len()), (&Value::Bool(false), 0));
}

#[test]
fn a_gate_may_ask_for_what_a_host_must_be_able_to_do() {
    let scene = Scene::new();
    let ended = scene.run("doctor --quiet --fail-if doctor.able{what=loopback}<1 --fail-if clock.read>1000000");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = scene.run("doctor --quiet --fail-if timer.wakeup.p50>1ns");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}
