//! `offload.toml`: names for addresses, gates for every run, and what a mistake in it says.

use offloadctl::echo::Embedded;

use crate::support::program::Scene;
use crate::support::schema::{RUN, valid};

const FEW: &str = "--channel echo --concurrency 1 --count 30 --json --no-save";

#[test]
fn a_name_stands_for_its_address_and_a_gate_of_the_file_judges_every_run() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let address = far.address();
    let file = |gate: &str| {
        let targets = format!("[targets]\ndc = \"{address}\"\nedge = \"{address}\"\napi = \"https://127.0.0.1:1/\"\n");
        scene.write("offload.toml", &format!("{targets}[gates]\nfail_if = ['{gate}', 'etcd.put.p95 > 1s']\n"));
    };
    for (gate, line, code, targets) in [
        ("rtt.echo.p50 > 30s", "dc", 0, vec!["dc"]),
        ("rtt.echo.p50 > 1ns", "dc", 1, vec!["dc"]),
        ("rtt.echo{target=edge}.p50 > 1ns", "dc", 0, vec!["dc"]),
        ("rtt.echo{target=edge}.p50 > 1ns", "", 1, vec!["dc", "edge"]),
    ] {
        file(gate);
        let ended = scene.run(&format!("probe rtt {line} {FEW}"));
        assert_eq!(ended.code, Some(code), "{gate} {line}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("read offload.toml: 3 targets, 2 gates\n"), "{}", ended.stderr);
        let run = valid(RUN, &ended.stdout);
        let series = run["series"].as_array().unwrap().iter().filter(|series| series["name"] == "rtt.echo");
        let found: Vec<_> = series.filter_map(|series| series["labels"]["target"].as_str()).collect();
        assert_eq!(found.into_iter().filter(|name| *name != "loopback").collect::<Vec<_>>(), targets);
    }
    // Another file is read instead, and nothing is said where nothing may be.
    scene.write("own.toml", "");
    let ended = scene.run(&format!("probe rtt dc={address} {FEW} --config own.toml --quiet"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_mistake_is_told_before_anything_is_measured() {
    let scene = Scene::new();
    for (text, what) in [
        ("[target]\n", "unknown field `target`"),
        ("[gates]\nfail_if = ['rtt.ecko.p50 > 1s']\n", "no command measures `rtt.ecko`"),
        ("targets = 5\n", "offload.toml: "),
        ("[targets\n", "offload.toml: "),
    ] {
        scene.write("offload.toml", text);
        for line in ["probe rtt --emulate local-dc --count 5", "doctor", "report"] {
            let ended = scene.run(line);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{line} with {text}: {}", ended.stderr);
            assert!(ended.stderr.contains(what), "{line} with {text}: {}", ended.stderr);
        }
    }
    assert!(!scene.path("state").exists());
    let ended = scene.run("doctor --config missing.toml");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
}
