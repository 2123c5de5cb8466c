//! `bench heartbeat` as a whole: networks from files, one document from one seed, a dumped trial, and Ctrl-C.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::snapshot::exact;
use crate::support::program::{Scene, Started, poll};
use crate::support::schema::{RUN, valid};

/// Until then something must have happened that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Processor time after which a batch of trials has surely been simulated: a second.
const WORKED: u64 = 100;

fn fixture(name: &str) -> String {
    fs::read_to_string(format!("{}/fixtures/run/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn named<'a>(run: &'a Value, list: &str, name: &str) -> &'a Value {
    run[list].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// Processor time that a program has taken so far, in ticks of the system, of which a second has 100.
fn processor_ticks(started: &Started) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", started.id())).unwrap();
    // The name is in brackets and may hold anything; user and system time are the 12th and 13th word after it.
    let words: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    words[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_file_that_is_no_network_is_told_with_what_would_be_one() {
    let scene = Scene::new();
    let complete = fixture("complete");
    let etcd = complete.replace("\"probe rtt\"", "\"bench etcd\"").replace("\"rtt.", "\"etcd.");
    scene.write("etcd.json", &etcd);
    scene.write("few.json", &complete);
    scene.write("silent.json", &fixture("total-silence"));
    scene.write("cut.json", &complete[..complete.len() / 2]);
    scene.write("other.json", "{\"name\": \"something else\"}\n");
    for (name, code) in [("etcd", 2), ("few", 2), ("silent", 2), ("cut", 3), ("other", 3)] {
        let line = format!("bench heartbeat --network {name}.json");
        let ended = scene.run(&line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{line}: {}", ended.stderr);
        exact(&format!("bench-heartbeat-network-{name}"), &line, &ended);
    }
    assert!(!scene.path("state").exists(), "a usage error left a folder for runs behind");
}

#[test]
fn a_value_given_twice_is_measured_once() {
    let scene = Scene::new();
    let heartbeat = "bench heartbeat --interval 5s,5s --detector missed:2,missed:2 --network ideal,ideal --trials 100 --mistake-beats 1000";
    let rtt = "probe rtt --emulate local-dc,local-dc --channel udp,udp --count 3 --concurrency 1";
    for (line, name) in [(heartbeat, "heartbeat.detection"), (rtt, "rtt.echo_udp")] {
        let ended = scene.run(&format!("{line} --no-save --json"));
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        let run: Value = serde_json::from_str(&ended.stdout).unwrap();
        let series = run["series"].as_array().unwrap();
        assert_eq!(series.iter().filter(|series| series["name"] == name).count(), 1, "{line}");
    }
}

#[test]
fn one_seed_gives_one_document_but_for_times_of_day_and_what_it_cost() {
    let scene = Scene::new();
    let document = |seed: u32| {
        let line = "bench heartbeat --interval 2s --detector missed:2,phi:3/pause=0s,k8s-lease --network hybrid";
        let more =
            "--loss 2%/burst=3 --duplicate 1% --reorder --trials 1500 --mistake-beats 5000 --nodes 9 --no-save --json";
        let ended = scene.run(&format!("{line} {more} --seed {seed}"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let mut run = valid(RUN, &ended.stdout);
        let fields = run.as_object_mut().unwrap();
        // All that may differ: who the run is, when it was, how long it took, what it cost, how busy the machine was.
        for name in ["id", "started_at", "elapsed_ns", "self_cost"] {
            assert!(fields.remove(name).is_some(), "{name}");
        }
        assert!(fields["environment"].as_object_mut().unwrap().remove("load_average").is_some());
        serde_json::to_string(&run).unwrap()
    };
    let first = document(3);
    assert_eq!(first, document(3));
    assert_ne!(first, document(4));
}

#[test]
fn a_dumped_trial_is_one_that_was_counted() {
    let scene = Scene::new();
    let line = "bench heartbeat --interval 2s --detector missed:2 --loss 10% --trials 1 --mistake-beats 1 --seed 5";
    let ended = scene.run(&format!("{line} --no-save --json --dump-trial 1 trial.csv"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("trial 1, a detection of ") && ended.stderr.ends_with(", written to trial.csv\n"));
    let run = valid(RUN, &ended.stdout);
    let text = fs::read_to_string(scene.path("trial.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines[0], ["at_ns", "since_crash_ns", "event", "sequence", "deadline_ns"]);
    let suspected = lines.iter().rfind(|line| line[2] == "suspected").unwrap();
    assert_eq!(named(&run, "series", "heartbeat.detection")["summary"]["max_ns"].to_string(), suspected[1]);
    for event in ["sent", "received", "deadline_moved", "crashed"] {
        assert!(lines.iter().any(|line| line[2] == event), "no {event} in {text}");
    }
}

#[test]
fn a_place_for_a_trial_that_cannot_be_written_is_told_before_anything_is_simulated() {
    let scene = Scene::new();
    // It would take for ever, so that an answer within the deadline is one from before.
    let line =
        "bench heartbeat --interval 2s --detector missed:2 --trials 100000000000 --dump-trial 1 nowhere/trial.csv";
    let ended = scene.run(line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.starts_with("error: cannot write `nowhere/trial.csv`: "), "{}", ended.stderr);
}

#[test]
fn hours_are_announced_and_an_interrupt_keeps_what_was_simulated() {
    let scene = Scene::new();
    let line =
        "bench heartbeat --interval 2s --detector missed:1 --trials 100000000000 --dump-trial 1 trial.csv -o run.json";
    let started = scene.start(line);
    let said = poll("the estimate", PATIENCE, || Some(started.said()).filter(|said| said.ends_with('\n')));
    assert!(said.starts_with("about ") && said.contains(" for 1 setting: 200."), "{said}");
    let before = processor_ticks(&started);
    poll("a batch of trials", PATIENCE, || (processor_ticks(&started) >= before + WORKED).then_some(()));
    started.signal(Signal::SIGINT);
    let ended = started.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("SIMULATION") && ended.stdout.contains("INCOMPLETE"), "{}", ended.stdout);
    let run = valid(RUN, &fs::read_to_string(scene.path("run.json")).unwrap());
    let count = named(&run, "series", "heartbeat.detection")["attempt_count"].as_u64().unwrap();
    assert!(count >= 1000 && count.is_multiple_of(1000), "{count} trials are whole batches");
    assert_eq!(
        (&run["complete"], named(&run, "scalars", "heartbeat.mistakes_per_day_high")["value"].is_null()),
        (&Value::Bool(false), true)
    );
    assert!(run["warnings"].as_array().unwrap().iter().any(|warning| warning["id"] == "interrupted"));
    assert!(ended.stderr.contains("trial 1 was not written") && !scene.path("trial.csv").exists());
}

#[test]
fn a_usual_detector_that_does_not_fit_is_left_out_and_told() {
    let scene = Scene::new();
    let line = "bench heartbeat --interval 1h --trials 1000 --mistake-beats 1000 --seed 1 --json --no-save";
    let ended = scene.run(line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = valid(RUN, &ended.stdout);
    let warnings: Vec<&str> =
        run["warnings"].as_array().unwrap().iter().filter_map(|one| one["text"].as_str()).collect();
    assert!(warnings.iter().any(|text| text.starts_with("left out: `k8s-lease` cannot work")), "{warnings:?}");
    assert!(run["spec"]["detectors"].as_array().unwrap().len() > 2 && !ended.stdout.contains("detector=k8s-lease"));
    let asked = scene.run(&line.replace("--interval", "--detector k8s-lease --interval"));
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
}
