//! Help, version, completions and manual pages.

use crate::snapshot::exact;
use crate::support::program::Scene;

const CASES: [(&str, &str); 25] = [
    ("help-agent", "agent --help"),
    ("help", "--help"),
    ("help-bench", "bench --help"),
    ("help-bench-cri", "bench cri --help"),
    ("help-bench-etcd", "bench etcd --help"),
    ("help-bench-heartbeat", "bench heartbeat --help"),
    ("help-bench-protocol", "bench protocol --help"),
    ("help-compare", "compare --help"),
    ("help-completions", "completions --help"),
    ("help-diagnose", "diagnose --help"),
    ("help-doctor", "doctor --help"),
    ("help-echo", "echo --help"),
    ("help-gateway", "gateway --help"),
    ("help-man", "man --help"),
    ("help-probe", "probe --help"),
    ("help-probe-api", "probe api --help"),
    ("help-probe-events", "probe events --help"),
    ("help-probe-rtt", "probe rtt --help"),
    ("help-report", "report --help"),
    ("help-topology", "topology --help"),
    ("help-topology-emulate", "topology emulate --help"),
    ("help-topology-list", "topology list --help"),
    ("help-topology-run", "topology run --help"),
    ("help-trace", "trace --help"),
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

#[test]
fn every_page_that_a_page_refers_to_is_written() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("pages")).unwrap();
    let ended = scene.run("man --output-dir pages");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let pages = std::fs::read_dir(scene.path("pages")).unwrap().map(|entry| entry.unwrap().path());
    let mut references = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap().replace(r"\-", "-");
        for word in text.split_whitespace().filter(|word| word.starts_with("offloadctl-") && word.ends_with("(1)")) {
            let name = word.replace("(1)", ".1");
            assert!(scene.path("pages").join(&name).exists(), "{} refers to {name}", page.display());
            references += 1;
        }
    }
    assert!(references > 10, "{references} references");
    assert_eq!(scene.run("man --output-dir missing").code, Some(3));
}
