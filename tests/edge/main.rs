//! The agent's own build, without the feature `toolkit`: it runs, and says of every other command how to get it.
//! `tests/run` builds it so; with all features there is nothing here to try.
#![cfg(not(feature = "toolkit"))]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::process::{Command, Output};

fn offloadctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offloadctl")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_other_command_exists_and_says_how_to_get_it() {
    let lines = [
        "probe rtt --rate 50/s",
        "bench heartbeat --help",
        "report",
        "echo --listen 127.0.0.1:0",
        "gateway backup x",
        "topology list",
        "completions bash",
        "man -h",
    ];
    for line in lines {
        let args: Vec<&str> = line.split(' ').collect();
        let output = offloadctl(&args);
        assert_eq!(output.status.code(), Some(3), "{line}: {}", said(&output));
        assert!(said(&output).contains("without the feature `toolkit`"), "{line}: {}", said(&output));
        assert!(said(&output).contains("cargo build --release"), "{line}: {}", said(&output));
    }
}

#[test]
fn a_command_that_nobody_knows_is_a_usage_error() {
    assert_eq!(offloadctl(&["prove"]).status.code(), Some(2));
}

#[test]
fn a_source_that_this_build_has_not_is_told_with_the_build_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.conf");
    for source in ["containerd", "cri", "ebpf"] {
        let text = format!(
            r#"{{ "server": "wss://localhost:8443/state", "interval": "5s", "node_id": "node-1", "sources": {{ "{source}": {{}} }} }}"#
        );
        std::fs::write(&config, text).unwrap();
        let output = offloadctl(&["agent", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{source}: {}", said(&output));
        assert!(said(&output).contains("--no-default-features --features agent-full"), "{source}: {}", said(&output));
    }
}

#[test]
fn the_agent_reads_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.conf");
    let text = r#"{ "server": "wss://localhost:8443/state", "interval": "5s", "metrics": ["cpu"], "node_id": "node-1", "sources": {} }"#;
    std::fs::write(&config, text).unwrap();
    let output = offloadctl(&["agent", "--check", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("node-1") || String::from_utf8_lossy(&output.stdout).contains("node-1"));
}

/// `agent-full` has it, which is looked at and not run.
#[cfg(not(feature = "runtimes"))]
#[test]
fn an_agent_without_grpc_says_how_to_get_one_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.conf");
    let text = r#"{ "server": ["wss://localhost:8443", "grpcs://localhost:8443"], "interval": "5s", "node_id": "node-1", "sources": {} }"#;
    std::fs::write(&config, text).unwrap();
    let output = offloadctl(&["agent", "--check", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("without gRPC") && said(&output).contains("--features agent-full"),
        "{}",
        said(&output)
    );
}
