//! Two sides of runs: what is said, what it exits with, and what cannot be compared.

use std::fs;

use offloadctl::echo::Embedded;
use serde_json::Value;

use crate::support::program::Scene;
use crate::support::schema::valid;

const REPORT: &str = "docs/reference/report.schema.json";

/// Runs of an emulated link whose round trips take so long, kept as `NAME-N.json`.
fn measured(scene: &Scene, name: &str, mean: &str, runs: usize) -> Vec<String> {
    let profile = format!(
        "[profile.link]\nrtt_mean = \"{mean}\"\nrtt_p95 = \"{mean}\"\njitter = \"0ms\"\n[target.far]\nemulate = \"link\"\n"
    );
    scene.write(&format!("{name}.toml"), &profile);
    let file = |n: usize| format!("{name}-{n}.json");
    for n in 0..runs {
        let line = format!("probe rtt --topology {name}.toml --channel echo --concurrency 1 --count 60 --quiet");
        let ended = scene.run(&format!("{line} --label side={name} -o {}", file(n)));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    (0..runs).map(file).collect()
}

fn baseline(files: &[String]) -> String {
    files.iter().map(|file| format!("--baseline {file} ")).collect()
}

#[test]
fn slower_is_a_regression_equal_is_none_and_too_little_is_not_enough() {
    let scene = Scene::new();
    let (before, slow) = (measured(&scene, "before", "2ms", 4), measured(&scene, "slow", "6ms", 4));
    let line = format!("report {}{}", baseline(&before), slow.join(" "));
    let ended = scene.run(&format!("{line} --json"));
    let document = valid(REPORT, &ended.stdout);
    let p50 = document["comparisons"].as_array().unwrap().iter().find(|one| one["statistic"] == "p50").unwrap();
    assert_eq!((ended.code, &p50["verdict"]), (Some(1), &"regression".into()), "{p50}");
    let shift = p50["shift_ratio"].as_f64().unwrap();
    assert!((1.2..2.4).contains(&shift), "{shift}");
    assert_eq!(document["sides"]["baseline"].as_array().unwrap().len(), 4);
    let shown = scene.run(&line);
    assert_eq!(shown.code, Some(1));
    assert!(
        shown.stdout.contains("p50 of rtt.echo{target=far} is ") && shown.stdout.contains("REGRESSION"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("what was asked differs"), "{}", shown.stdout);

    // The same by label, and a gate whose limit is the baseline.
    for (gate, code) in [("baseline + 20%", 1), ("baseline + 1000%", 0)] {
        let line = format!("report slow-3.json --baseline-label side=before --fail-if 'rtt.echo.p50 > {gate}'");
        let mut command = scene.command("report slow-3.json --baseline-label side=before --fail-if");
        let ended = command.arg(format!("rtt.echo.p50 > {gate}")).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{line}: {}", String::from_utf8_lossy(&ended.stdout));
    }

    // As good as before is judged by the shift of the other direction.
    let better = format!("report {}{} --json", baseline(&slow), before.join(" "));
    let ended = scene.run(&better);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    // One and one, at the edge of the tolerance.
    let line = "report --baseline before-0.json before-1.json --tolerance 0% --fail-if rtt.echo.p95>1s --json";
    let ended = scene.run(line);
    assert_eq!(ended.code, Some(4), "{}", ended.stdout);
    let one = &valid(REPORT, &ended.stdout)["comparisons"][0];
    assert_eq!((&one["verdict"], one["runs_needed"].is_u64()), (&"not_enough_data".into(), true), "{one}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    scene.write("complete.json", include_str!("../../fixtures/run/complete.json"));
    scene.write("odd.json", "{\"a\": 1}");
    fs::create_dir(scene.path("empty")).unwrap();
    fs::create_dir(scene.path("mixed")).unwrap();
    scene.write("mixed/a.json", include_str!("../../fixtures/run/complete.json"));
    scene.write("mixed/odd.json", "{\"schema\": \"offloadctl.run/9\"}");
    scene.write("other.json", include_str!("../../fixtures/run/incomplete.json"));
    for (line, code, said) in [
        ("report --baseline complete.json complete.json", 2, "is on both sides"),
        ("report complete.json --fail-if rtt.echo.p50>baseline", 2, "there is no baseline to judge it by"),
        ("report --baseline missing.json complete.json", 3, "missing.json"),
        ("report --baseline odd.json complete.json", 3, "odd.json"),
        ("report --baseline empty complete.json", 3, "there is no run in `empty`"),
        ("report complete.json --baseline-label who=nobody", 3, "no stored run fits the baseline"),
    ] {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{line}: {}", ended.stderr);
    }
    // A file that nobody understands does not hide the others of its folder; one that is given twice counts once.
    let ended = scene.run("report --baseline mixed --baseline complete.json other.json --json");
    assert!(ended.stderr.contains("left out: ") && ended.stderr.contains("given twice"), "{}", ended.stderr);
    assert_eq!(valid(REPORT, &ended.stdout)["sides"]["baseline"].as_array().unwrap().len(), 1);
    let ended = scene.run("report --baseline mixed other.json other.json --json");
    assert!(ended.stderr.contains("given twice"), "{}", ended.stderr);
    // What both could have had and do not is not enough data; it is no mistake.
    let ended = scene.run("report --baseline mixed other.json --fail-if rtt.icmp.p50>baseline");
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    // Before anything is measured.
    let line = format!("probe rtt far={} --fail-if rtt.echo.p50>baseline", far.address());
    let ended = scene.run(&line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
}

#[test]
fn a_measurement_is_compared_as_it_ends() {
    let scene = Scene::new();
    measured(&scene, "link", "2ms", 4);
    let line =
        "probe rtt --topology link.toml --channel echo --concurrency 1 --count 60 --quiet --baseline-label side=link";
    let ended = scene.run(&format!("{line} --tolerance 50% --json -o report.md"));
    // One run against four, beside other tests: a busy machine may leave it open.
    assert!(matches!(ended.code, Some(0 | 4)), "{}", ended.stderr);
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["schema"], "offloadctl.run/1");
    let text = fs::read_to_string(scene.path("report.md")).unwrap();
    assert!(text.contains("comparison · 1 run against 4 runs of the baseline"), "{text}");
}

#[test]
fn both_sides_are_measured_in_turns_and_a_command_that_measures_nothing_is_refused() {
    let scene = Scene::new();
    for (name, mean) in [("a", "2ms"), ("b", "4ms")] {
        let profile = format!("[profile.link]\nrtt_mean = \"{mean}\"\nrtt_p95 = \"{mean}\"\njitter = \"0ms\"\n");
        scene.write(&format!("{name}.toml"), &format!("{profile}[target.far]\nemulate = \"link\"\n"));
    }
    let side = |name: &str| format!("probe rtt --topology '{name}.toml' --channel echo --concurrency 1 --count 30");
    let compare = |current: &str, against: &str, more: &[&str]| {
        let mut command = scene.command("compare --quiet --runs 4 --against");
        let ended = command.arg(against).arg(current).args(more).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, text, said) = compare(&side("b"), &side("a"), &["--json"]);
    assert_eq!(code, Some(1), "{said}");
    let document = valid(REPORT, &text);
    assert_eq!(document["runs"].as_array().unwrap().len(), 8);
    assert_eq!(document["sides"]["verdict"], "regression", "{}", document["sides"]);
    let begun = |at: usize| document["runs"][at]["started_at"].as_str().unwrap().to_owned();
    // The baseline stands first: A1 B1, B2 A2, A3 B3, B4 A4.
    let mut order: Vec<usize> = (0..8).collect();
    order.sort_by_key(|at| begun(*at));
    assert_eq!(order, [0, 4, 5, 1, 2, 6, 7, 3]);
    assert_eq!(scene.run("report --list --json").stdout.matches("\"id\"").count(), 8, "each run is kept");

    for (command, why) in [
        ("topology list", "it measures nothing"),
        ("probe rtt 'far", "a quote in it does not end"),
        ("probe rtt far=127.0.0.1:1 --cuont 5", "--cuont"),
        ("probe rtt far=127.0.0.1:1 --json", "leave --json"),
        ("", "it measures nothing"),
    ] {
        let (code, text, said) = compare(command, &side("a"), &[]);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{command}: {said}");
        assert!(said.contains(why), "{command}: {said}");
    }
    let (code, text, said) = compare("probe api --kubeconfig missing", &side("a"), &[]);
    assert_eq!((code, text.as_str()), (Some(3), ""), "{said}");
    assert!(said.contains("missing"), "{said}");
}

#[test]
fn a_comparison_that_is_interrupted_says_what_it_has() {
    let scene = Scene::new();
    let side = "probe rtt --emulate local-dc --channel echo --rate 20/s --duration 2s";
    let mut command = scene.command("compare --quiet --runs 9 --json --no-save --against");
    let child = command.args([side, side]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let document = valid(REPORT, std::str::from_utf8(&ended.stdout).unwrap());
    // The one that was whole, where a busy machine had the time for it, and the one that was cut off.
    assert!((1..=2).contains(&document["runs"].as_array().unwrap().len()), "{document}");
}
