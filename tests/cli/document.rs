//! What a measurement writes: documents that fit the schema, every output format, and silence where it was asked for.

use std::fs;

use offloadctl::echo::Embedded;
use offloadctl::model::Run;
use serde_json::Value;

use crate::support::code_of;
use crate::support::program::Scene;
use crate::support::schema::{RUN, declared, valid};

#[test]
fn every_kind_of_run_is_one_valid_document_on_stdout() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let far = far.address();
    for line in [
        "--emulate local-dc,hybrid --rate 50/s --count 20".to_owned(),
        "--emulate cross-region --concurrency 4 --count 20 --warmup 100ms".to_owned(),
        "--emulate local-dc --spacing poisson --rate 100/s --duration 500ms --seed 7".to_owned(),
        format!("far={far} --rate 50/s --count 20 --label site=lab --label who=me"),
        format!("far={far} --channel connect,echo,udp --rate 50/s --count 10 -4"),
    ] {
        let ended = scene.run(&format!("probe rtt {line} --json --no-save"));
        let run = valid(RUN, &ended.stdout);
        let code = code_of(run["validity"]["valid"] == true);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{line}");
        assert_eq!((&run["complete"], &run["command"]), (&Value::Bool(true), &"probe rtt".into()), "{line}");
    }
    assert!(!scene.path("state").exists(), "--no-save kept a run");
}

#[test]
fn json_is_the_same_by_both_names_and_in_a_file() {
    let scene = Scene::new();
    let line = "probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5 --seed 3";
    let ended = scene.run(&format!("{line} --format json --output run.json --runs-dir runs --quiet"));
    let printed = valid(RUN, &ended.stdout);
    assert_eq!(valid(RUN, &fs::read_to_string(scene.path("run.json")).unwrap()), printed);
    let id = printed["id"].as_str().unwrap();
    let kept = fs::read_to_string(scene.path("runs").join(format!("{id}.json"))).unwrap();
    assert_eq!(valid(RUN, &kept), printed);
    assert_eq!(printed["seed"], 3);
    assert_eq!(scene.run(&format!("{line} --json --format table")).code, Some(2));
}

#[test]
fn each_output_has_the_format_of_its_suffix() {
    let scene = Scene::new();
    scene.write("x.md", "what was there before\n");
    let outputs = "--output x.md -o x.csv -o x.txt -o x.json";
    let ended = scene.run(&format!("probe rtt --emulate local-dc --channel echo --concurrency 1 --count 30 {outputs}"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("run kept in "), "{}", ended.stderr);
    let text = |name: &str| fs::read_to_string(scene.path(name)).unwrap();
    assert_eq!(text("x.txt"), ended.stdout);
    assert!(text("x.md").contains("\n| target | channel |"), "{}", text("x.md"));
    valid(RUN, &text("x.json"));
    let csv = text("x.csv");
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.len() > 3 && columns.iter().all(|n| *n >= columns[0]), "{csv}");
    let left: Vec<_> = fs::read_dir(scene.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "four outputs and the state folder: {left:?}");
}

#[test]
fn an_output_may_be_a_device() {
    let scene = Scene::new();
    let line = "probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5 --quiet";
    std::os::unix::fs::symlink("/dev/null", scene.path("null.txt")).unwrap();
    let ended = scene.run(&format!("{line} --output null.txt"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(fs::symlink_metadata(scene.path("null.txt")).unwrap().is_symlink(), "the link was replaced by a file");
}

#[test]
fn quiet_says_nothing_but_what_is_bad() {
    let scene = Scene::new();
    let line = "--channel echo --concurrency 1 --count 5 --timeout 50ms --quiet";
    let good = scene.run(&format!("probe rtt --emulate local-dc {line}"));
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""));
    assert!(good.stdout.contains("local-dc"));
    let bad = scene.run(&format!("probe rtt shut=127.0.0.1:1 {line}"));
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.starts_with("bad: rtt.echo{") && bad.stderr.lines().count() == 1, "{}", bad.stderr);
}

#[test]
fn a_topology_file_alone_names_the_targets() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let own = format!("[target.near]\naddress = \"{}\"\n\n[target.away]\nemulate = \"local-dc\"\n", far.address());
    scene.write("own.toml", &own);
    let ended = scene.run("probe rtt --topology own.toml --channel echo --concurrency 1 --count 10 --json");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = valid(RUN, &ended.stdout);
    let targets: Vec<&str> = run["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["name"] == "rtt.echo")
        .filter_map(|s| s["labels"]["target"].as_str())
        .collect();
    assert_eq!(targets, ["away", "near"]);
}

/// Nothing is measured that is not declared: neither a name nor a label nor a unit. Documents of servers and engines are held against it where
/// those run.
#[test]
fn the_document_of_every_command_holds_what_its_catalogue_declares() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let rtt = format!("far={} near={} --rate 50/s --count 20", far.address(), far.address());
    for line in [
        format!("probe rtt {rtt}"),
        "probe rtt --emulate hybrid --concurrency 1 --count 20".to_owned(),
        "doctor".to_owned(),
        "trace --count 20 --rate 50/s".to_owned(),
        "diagnose".to_owned(),
        "bench heartbeat --trials 200 --mistake-beats 2000 --nodes 9".to_owned(),
        "probe api http://127.0.0.1:9/ --count 2".to_owned(),
    ] {
        let ended = scene.run(&format!("{line} --json --quiet"));
        declared(&Run::parse(&ended.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {}", ended.stderr)));
    }
}
