//! A reader that has gone away: no error, no panic, exit 0.

use std::io::pipe;
use std::process::Stdio;

use crate::support::program::Scene;

const LINES: [&str; 11] = [
    "--help",
    "--version",
    "probe rtt --help",
    "completions bash",
    "man probe rtt",
    "topology list",
    "topology list --json",
    "report run.json",
    "report run.json --json",
    "report --list",
    "probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5",
];

#[test]
fn a_closed_stdout_is_fine() {
    let scene = Scene::new();
    scene.write("run.json", include_str!("../../fixtures/run/complete.json"));
    for line in LINES {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = scene.command(line).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{line}: {stderr}");
        assert!(!stderr.contains("panic") && !stderr.contains("error"), "{line}: {stderr}");
    }
}

#[test]
fn a_closed_stderr_is_fine() {
    let scene = Scene::new();
    let lines = [
        ("probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5", 0),
        ("probe rtt --count 0", 2),
        ("report missing.json", 3),
    ];
    for (line, code) in lines {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = scene.command(line).stdout(Stdio::piped()).stderr(writer).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{line}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let scene = Scene::new();
    for line in
        ["topology list", "completions bash", "probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5"]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = scene.command(line).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(3), "{line}: {stderr}");
        assert!(stderr.starts_with("error: cannot write to stdout: "), "{line}: {stderr}");
    }
}
