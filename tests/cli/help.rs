//! Help, version, completions and manual pages.

use crate::snapshot::exact;
use crate::support::program::Scene;

const CASES: [(&str, &str); 18] = [
    ("help-agent", "agent --help"),
    ("help", "--help"),
    ("help-bench", "bench --help"),
    ("help-bench-etcd", "bench etcd --help"),
    ("help-bench-heartbeat", "bench heartbeat --help"),
    ("help-completions", "completions --help"),
    ("help-doctor", "doctor --help"),
    ("help-echo", "echo --help"),
    ("help-gateway", "gateway --help"),
    ("help-man", "man --help"),
    ("help-probe", "probe --help"),
    ("help-probe-api", "probe api --help"),
    ("help-probe-rtt", "probe rtt --help"),
    ("help-report", "report --help"),
    ("help-topology", "topology --help"),
    ("help-topology-emulate", "topology emulate --help"),
    ("help-topology-list", "topology list --help"),
    ("version", "--version"),
];

#[test]
fn help_is_as_reviewed() {
    let scene = Scene::new();
    for (name, line) in CASES {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        exact(name, line, &ended);
    }
}

#[test]
fn topologies_are_listed() {
    let scene = Scene::new();
    scene.write(
        "own.toml",
        "[profile.edge]\nrtt_mean = \"45ms\"\nrtt_p95 = \"90ms\"\njitter = \"12ms\"\nloss = \"1%\"\n",
    );
    for (name, line) in [
        ("topology-list", "topology list"),
        ("topology-list-json", "topology list --json"),
        ("topology-list-own", "topology list --topology own.toml"),
    ] {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        exact(name, line, &ended);
    }
}

#[test]
fn each_shell_has_completions_and_each_command_a_page() {
    let scene = Scene::new();
    for (line, expected) in [
        ("completions bash", "complete -F _offloadctl"),
        ("completions zsh", "#compdef offloadctl"),
        ("completions fish", "complete -c offloadctl"),
        ("man", ".SH SUBCOMMANDS"),
        ("man probe rtt", r"\-\-emulate"),
        ("man report", r"\-\-prune"),
    ] {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(ended.stdout.contains(expected), "{line} does not hold {expected:?}");
        assert!(!ended.stdout.contains("\u{1b}["), "{line} is coloured");
    }
}
