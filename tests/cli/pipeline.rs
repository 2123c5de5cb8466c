//! The workflow that pipelines copy: its steps are run as they stand.

use std::fs;
use std::process::Command;

use crate::support::program::Scene;

/// The lines of the step of this name.
fn step(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/ci/github.yml");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("- name: {name}\n")).unwrap();
    let (_, body) = rest.split_once("        run: |\n").unwrap();
    let lines = body.lines().take_while(|line| line.starts_with("          "));
    lines.map(|line| format!("{}\n", &line[10..])).collect()
}

#[test]
fn the_workflow_keeps_a_baseline_and_judges_a_change_by_it() {
    let scene = Scene::new();
    fs::create_dir(scene.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_offloadctl"), scene.path("bin/offloadctl")).unwrap();
    for (name, mean) in [("fast", "2ms"), ("slow", "20ms")] {
        let profile = format!("[profile.link]\nrtt_mean = \"{mean}\"\nrtt_p95 = \"{mean}\"\njitter = \"0ms\"\n");
        scene.write(&format!("{name}.toml"), &format!("{profile}[target.far]\nemulate = \"link\"\n"));
    }
    // A machine that is busy with other tests is slower by more than a twentieth, and by less than ten times.
    scene.write("offload.toml", "[baseline]\ntolerance = \"100%\"\n");
    let run = |branch: &str, topology: &str| {
        let measure = format!("probe rtt --topology {topology}.toml --channel echo --concurrency 1 --count 60");
        let mut command = Command::new("bash");
        command.arg("-ec").arg(step("Measure and compare")).current_dir(scene.path("")).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", scene.path("bin").display())).env("HOME", scene.path(""));
        command.env("OFFLOADCTL_RUNS_DIR", "offload-runs").env("GITHUB_STEP_SUMMARY", scene.path("summary.md"));
        let ended = command.env("BRANCH", branch).env("MEASURE", measure).output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        (ended.status.code(), said)
    };
    for _ in 0..4 {
        let (code, said) = run("main", "fast");
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = run("feature", "slow");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("::error title=regression::p50 of rtt.echo{target=far} is "), "{said}");
    let summary = fs::read_to_string(scene.path("summary.md")).unwrap();
    assert!(summary.contains("### comparison · 1 run against 4 runs of the baseline"), "{summary}");
    for file in ["offload.html", "offload.xml"] {
        assert!(scene.path(file).exists(), "{file}");
    }
    let (code, said) = run("feature", "fast");
    assert_eq!(code, Some(0), "{said}");
}
