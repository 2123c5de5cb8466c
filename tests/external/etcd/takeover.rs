//! `bench heartbeat --live --fault gateway`: a gateway that dies with its agents, found by another within the formula's time.

use std::fs;

use offloadctl::model::Run;

use super::cluster::scalar;
use crate::gateway::Gateway;
use crate::host::turn;
use crate::program::findings;

#[test]
fn nodes_that_die_with_their_gateway_are_found_when_the_formula_says() {
    let _turn = turn();
    let scene = Gateway::scene();
    fs::create_dir(scene.path("tmp")).unwrap();
    let line = "bench heartbeat --live --no-save --quiet --json --store etcd --lease 3s --fault gateway --interval 500ms \
                --nodes 40";
    let mut command = scene.command(line);
    command.env("TMPDIR", scene.path("tmp")).env("PATH", std::env::var("PATH").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let run: Run = serde_json::from_slice(&output.stdout).unwrap();
    let found = run.series.iter().find(|series| series.name == "heartbeat.detection").unwrap();
    assert_eq!((found.counts.attempt_count, found.counts.ok_count), (40, 40));
    // What is left of the lease, etcd's look, three intervals as they are written, and the margin.
    let silence = 3 * 512 + 200;
    let (least, most) = ((2_000 + silence) * 1_000_000, (3_000 + 500 + silence) * 1_000_000);
    let (min, max) = (found.summary.min_ns.unwrap(), found.summary.max_ns.unwrap());
    assert!(min >= least, "{min} is before {least}");
    // A second for a busy machine.
    assert!(max <= most + 1_000_000_000, "{max} is after {most}");
    assert_eq!(scalar(&run, "heartbeat.mistakes", "fault=gateway"), Some(0.0));
    let text = [findings(&run, "formula_holds"), findings(&run, "formula_fails")].concat().join(" ");
    assert!(text.contains("the lease and the detection after it"), "{text}");
    assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0);
}

#[test]
fn a_gateway_that_has_no_other_beside_it_is_refused() {
    let scene = Gateway::scene();
    for line in ["--fault gateway", "--store etcd --fault gateway,kill --interval 2s", "--store etcd --lease 90s"] {
        let ended = scene.run(&format!("bench heartbeat --live {line}"));
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("hint"), "{}", ended.stderr);
    }
}
