//! An agent with several sources of the same containers: each step is told to the gateway once, whoever sees it first.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::docker::{Engine, until, until_connected};
use crate::gateway::Gateway;
use crate::host::{may_administer, turn};
use crate::support::program::{Started, poll};

const PATIENCE: Duration = Duration::from_secs(60);

/// An agent of node `one` with these sources.
fn agent(gateway: &Gateway, sources: &str) -> Started {
    let port = gateway.address.rsplit_once(':').unwrap().1;
    let config = format!(
        r#"{{"server":"wss://localhost:{port}","interval":"1s","node_id":"one","token_file":"tokens",
"ca_file":"data/certificate.pem","sources":{{{sources}}}}}"#
    );
    gateway.scene.write("agent.conf", &config);
    gateway.scene.start("agent --config agent.conf")
}

#[test]
fn docker_containerd_and_the_kernel_tell_each_step_of_a_container_once() {
    if !may_administer("sources") {
        return;
    }
    let _turn = turn();
    let mut engine = Engine::start();
    let before = engine.run("before", &["sleep", "100"]);
    let gateway = Gateway::start("");
    let folder = engine.folder.path().display().to_string();
    let sources = format!(
        r#""docker":{{"socket":"{folder}/docker.sock"}},
"containerd":{{"socket":"{folder}/exec/containerd/containerd.sock"}},"ebpf":{{}}"#
    );
    let agent = agent(&gateway, &sources);
    until_connected(&gateway);
    until(&gateway, &before, "running", |facts| facts["name"] == "before");
    let id = engine.run("short", &["sh", "-c", "exit 3"]);
    until(&gateway, &id, "failed", |facts| facts["exit_code"] == 3 && facts["name"] == "short");
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let told = gateway.watch(0, revision);
    let of = |id: &str| -> Vec<String> {
        let changes = told.iter().filter(|(_, change)| change["task_id"] == *id);
        let mut states: Vec<String> =
            changes.filter_map(|(_, change)| change["status"].as_str().map(str::to_owned)).collect();
        // What another source knows beside the state follows as an addition.
        states.dedup();
        states
    };
    // A container that lives for a moment may be over before the gateway is told that it runs.
    let short = of(&id);
    assert!(short.windows(2).all(|pair| pair[0] != pair[1]) && short.last().unwrap() == "failed", "{short:?}");
    let order = ["pending", "running", "failed"];
    assert!(short.iter().is_sorted_by_key(|state| order.iter().position(|known| known == state)), "{short:?}");

    // The engine stops and takes its containerd along: the kernel alone sees how its containers end.
    engine.stop();
    poll("a word on the engine", PATIENCE, || agent.said().contains("cannot be watched").then_some(()));
    until(&gateway, &before, "failed", |_| true);
    engine.start_again();
    let after = engine.run("after", &["sleep", "100"]);
    until(&gateway, &after, "running", |facts| facts["name"] == "after");
    engine.docker(&["rm", "--force", "after"]);
    until(&gateway, &after, "failed", |facts| facts["exit_code"] == 137);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn a_runtime_by_cri_alone_is_enough() {
    if !may_administer("sources") {
        return;
    }
    let _turn = turn();
    let runtime = crate::runtime::Runtime::start();
    let gateway = Gateway::start("");
    let socket = runtime.socket().display().to_string();
    let sources = format!(r#""containerd":{{"socket":"{socket}"}},"cri":{{"socket":"{socket}"}}"#);
    let agent = agent(&gateway, &sources);
    until_connected(&gateway);
    let events = format!(
        "probe events --json --quiet --act cri --source containerd --containerd {socket} --cri {socket} --count 1 --alive 3s"
    );
    let ended = gateway.scene.run(&events);
    assert!(ended.stdout.contains("\"events.step\""), "{}", ended.stderr);
    // Its container was killed, and so was its sandbox.
    poll("both to have ended", PATIENCE, || {
        let tasks = gateway.read("/v1/tasks");
        let items = tasks["items"].as_array()?.clone();
        let failed = items.iter().filter(|task| task["status"] == "failed" && task["payload"]["exit_code"] == 137);
        (failed.count() >= 1).then_some(())
    });
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}
