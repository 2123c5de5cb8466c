//! Stored runs: shown, merged, listed and pruned.

use std::fs;

use serde_json::Value;

use crate::snapshot::exact;
use crate::support::program::{Ended, Scene};
use crate::support::schema::{RUN, valid};

const REPORT: &str = "docs/reference/report.schema.json";

/// A short run under this seed, kept with the others.
fn measure(scene: &Scene, seed: u32, more: &str) -> Ended {
    let line =
        format!("probe rtt --emulate local-dc --channel echo --concurrency 1 --count 30 --seed {seed} --quiet {more}");
    let ended = scene.run(&line);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
    ended
}

#[test]
fn a_stored_run_is_shown_in_every_format() {
    let scene = Scene::new();
    for name in ["complete", "incomplete", "total-silence"] {
        let fixture = format!("{}/fixtures/run/{name}.json", env!("CARGO_MANIFEST_DIR"));
        fs::copy(fixture, scene.path(&format!("{name}.json"))).unwrap();
    }
    for (name, line) in [
        ("report-complete", "report complete.json"),
        ("report-complete-csv", "report complete.json --format csv"),
        ("report-complete-markdown", "report complete.json --format markdown"),
        ("report-incomplete", "report incomplete.json"),
        ("report-total-silence", "report total-silence.json"),
    ] {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        exact(name, line, &ended);
    }
    for files in ["complete.json", "incomplete.json", "complete.json incomplete.json total-silence.json"] {
        let document = valid(REPORT, &scene.run(&format!("report {files} --json")).stdout);
        assert_eq!((&document["gate"], &document["comparisons"]), (&Value::Null, &Value::Array(Vec::new())));
    }
    let gated = scene.run("report complete.json --json --fail-if rtt.echo.p95>2ms");
    assert_eq!((gated.code, &valid(REPORT, &gated.stdout)["gate"]["decision"]), (Some(1), &"fail".into()));
}

#[test]
fn runs_of_one_spec_are_merged() {
    let scene = Scene::new();
    measure(&scene, 1, "-o a.json");
    measure(&scene, 2, "-o b.json");
    let run = |name: &str| valid(RUN, &fs::read_to_string(scene.path(name)).unwrap());
    let (a, b) = (run("a.json"), run("b.json"));
    assert_eq!(a["spec_hash"], b["spec_hash"], "the seed is not part of the hash");
    let document = valid(REPORT, &scene.run("report a.json b.json --merge --json").stdout);
    let runs = document["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &runs[0]["merged_from"]), (1, &Value::Array(vec![a["id"].clone(), b["id"].clone()])));
    let response = |run: &Value| {
        let all = run["series"].as_array().unwrap();
        all.iter().find(|series| series["name"] == "rtt.echo").unwrap().clone()
    };
    let (merged, a, b) = (response(&runs[0]), response(&a), response(&b));
    assert_eq!((&merged["attempt_count"], &merged["summary"]["ipdv_mean_ns"]), (&60.into(), &Value::Null));
    let least = [&a, &b].map(|series| series["summary"]["min_ns"].as_u64().unwrap()).into_iter().min().unwrap();
    assert_eq!(merged["summary"]["min_ns"], least);
    let apart = valid(REPORT, &scene.run("report a.json b.json --json").stdout);
    assert_eq!(apart["runs"].as_array().unwrap().len(), 2, "nothing is merged that nobody asked for");
    let table = scene.run("report a.json b.json --merge");
    assert_eq!((table.code, table.stdout.contains("local-dc")), (Some(0), true), "{}", table.stdout);
}

#[test]
fn runs_of_two_specs_stand_beside_each_other() {
    let scene = Scene::new();
    measure(&scene, 1, "-o a.json");
    measure(&scene, 1, "--timeout 2s -o b.json");
    let document = valid(REPORT, &scene.run("report a.json b.json --merge --json").stdout);
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn the_store_is_listed_limited_and_pruned() {
    let scene = Scene::new();
    assert_eq!(scene.run("report --list").code, Some(0), "an empty store is no error");
    let ids: Vec<String> = (1..=3)
        .map(|seed| {
            let run = valid(RUN, &measure(&scene, seed, "--json").stdout);
            run["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let list = scene.run("report --list");
    let listed: Vec<&str> = list.stdout.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(listed, ids.iter().rev().map(String::as_str).collect::<Vec<_>>(), "newest first");
    let json: Value = serde_json::from_str(&scene.run("report --list --json").stdout).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["id"]), (3, &ids[2].as_str().into()));

    let newest = valid(REPORT, &scene.run("report --json").stdout);
    assert_eq!(newest["runs"][0]["id"], ids[2].as_str());
    let two = valid(REPORT, &scene.run("report --last 2 --merge --json").stdout);
    assert_eq!(two["runs"][0]["merged_from"], serde_json::json!(ids[1..]));

    let pruned = scene.run("report --prune --keep 1");
    assert_eq!((pruned.code, pruned.stdout.as_str()), (Some(0), "deleted 2 runs, kept 1\n"));
    assert_eq!(valid(REPORT, &scene.run("report --last 9 --json").stdout)["runs"][0]["id"], ids[2].as_str());
    assert_eq!(scene.run("report --prune --keep 0").stdout, "deleted 1 runs, kept 0\n");
}

#[test]
fn a_report_goes_into_files_too() {
    let scene = Scene::new();
    measure(&scene, 1, "");
    let ended = scene.run("report --output r.md -o r.json -o r.csv");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    valid(REPORT, &fs::read_to_string(scene.path("r.json")).unwrap());
    assert!(fs::read_to_string(scene.path("r.md")).unwrap().contains("local-dc"));
    assert!(fs::read_to_string(scene.path("r.csv")).unwrap().contains("local-dc"));
}

#[test]
fn a_figure_over_time_names_the_run_with_which_it_changed() {
    let scene = Scene::new();
    for (name, mean) in [("fast", "20ms"), ("slow", "120ms")] {
        let profile = format!("[profile.link]\nrtt_mean = \"{mean}\"\nrtt_p95 = \"{mean}\"\njitter = \"0ms\"\n");
        scene.write(&format!("{name}.toml"), &format!("{profile}[target.far]\nemulate = \"link\"\n"));
    }
    let run = |name: &str| {
        let line = format!("probe rtt --topology {name}.toml --channel echo --concurrency 1 --count 20 --json --quiet");
        valid(RUN, &scene.run(&line).stdout)["id"].as_str().unwrap().to_owned()
    };
    for _ in 0..6 {
        run("fast");
    }
    let changed = run("slow");
    run("slow");
    let line = "report --trend rtt.echo{target=far}.p50";
    let ended = scene.run(&format!("{line} -o trend.html"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("It changed with run {changed}: ")), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches('●').count(), 8, "{}", ended.stdout);
    assert!(fs::read_to_string(scene.path("trend.html")).unwrap().contains("<circle"));
    let document = valid(REPORT, &scene.run(&format!("{line} --json --last 7")).stdout);
    assert_eq!(
        (&document["trend"]["points"].as_array().unwrap().len(), &document["trend"]["left"]["run_id"]),
        (&7, &changed.as_str().into())
    );
    assert_eq!(scene.run(&format!("{line} --since 1ms")).code, Some(3), "nothing is so young");
    for (wrong, why) in
        [("rtt.ecko.p50", "no command measures it"), ("rtt.echo", "no command measures it"), ("", "no figure")]
    {
        let ended = scene.command("report --trend").arg(wrong).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{wrong}: {said}");
        assert!(said.contains(why) || said.contains("it is not a figure"), "{wrong}: {said}");
    }
}
