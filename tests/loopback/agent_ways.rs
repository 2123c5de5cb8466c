//! An agent with several gateways, and the same told over each of the three ways.

use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::sys::clock;
use serde_json::{Value, json};

use crate::agent::until_node;
use crate::gateway::Gateway;
use crate::support::program::{Scene, Started, poll};

const PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait before another gateway is tried, and what a busy machine adds to it.
const STEP: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(3);

fn url(gateway: &Gateway, scheme: &str) -> String {
    format!("{scheme}://localhost:{}", gateway.address.rsplit_once(':').unwrap().1)
}

/// An agent of node `one` in a folder of its own that trusts these gateways, for these addresses.
fn agent(servers: &Value, trusted: &[&Gateway]) -> (Scene, Started) {
    let scene = Scene::new();
    let pem = |gateway: &&Gateway| std::fs::read_to_string(gateway.scene.path("data/certificate.pem")).unwrap();
    scene.write("ca.pem", &trusted.iter().map(pem).collect::<String>());
    scene.write("token", "one 1111111111111111\n");
    scene.write(
        "script",
        r#"{"task_id":"web","status":"running","payload":{"b":1.50}}
{"after":"300ms","task_id":"job","status":"running"}
{"after":"300ms","task_id":"job","status":"completed"}
"#,
    );
    write(&scene, servers);
    let started = scene.start("agent --config agent.conf");
    (scene, started)
}

fn write(scene: &Scene, servers: &Value) {
    let config = json!({ "server": servers, "interval": "200ms", "node_id": "one", "token_file": "token",
        "ca_file": "ca.pem", "sources": { "script": "script" } });
    scene.write("agent.conf", &config.to_string());
}

fn is_connected(gateway: &Gateway) -> bool {
    let nodes = gateway.read("/v1/nodes");
    nodes["items"].as_array().unwrap().iter().any(|node| node["connection_count"] == 1)
}

#[test]
fn when_its_gateway_goes_away_an_agent_is_with_another_within_one_step() {
    let (a, b) = (Gateway::start(""), Gateway::start(""));
    let servers = json!([url(&a, "grpcs"), url(&b, "wss")]);
    let (_scene, agent) = agent(&servers, &[&a, &b]);
    let is_first = poll("a connection", PATIENCE, || (is_connected(&a) || is_connected(&b)).then(|| is_connected(&a)));
    let (dying, other) = if is_first { (a, b) } else { (b, a) };
    poll("the task", PATIENCE, || (dying.read("/v1/nodes/one")["state"] == "alive").then_some(()));
    dying.end(Signal::SIGKILL);
    let began = clock::now();
    poll("the other gateway", PATIENCE, || is_connected(&other).then_some(()));
    let took = clock::now().since(began);
    assert!(took <= STEP + SLACK, "{took:?}");
    until_node(&other, "one", "alive");
    poll("its tasks", PATIENCE, || {
        (other.read("/v1/tasks")["items"].as_array().unwrap().iter().any(|task| task["task_id"] == "web")).then_some(())
    });
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
    until_node(&other, "one", "left");
}

#[test]
fn of_a_list_one_is_dead_one_refuses_the_token_and_one_is_not_trusted_and_the_last_is_found() {
    let good = Gateway::start("");
    let strange = Gateway::start("");
    let refusing = {
        let scene = Scene::new();
        scene.write("tokens", "one 9999999999999999\n* rrrrrrrrrrrrrrrr\n");
        Gateway::start_in(scene, "")
    };
    let bad = [json!("grpcs://127.0.0.1:9"), json!(url(&refusing, "grpcs")), json!(url(&strange, "wss"))];
    let (scene, agent) = agent(&json!(bad), &[&good, &refusing]);
    poll("word of each", PATIENCE, || {
        let said = agent.said();
        ["cannot connect", "the token is not known", "certificate"].iter().all(|word| said.contains(word)).then_some(())
    });
    poll("three rounds", PATIENCE, || {
        let text = refusing.text("/metrics");
        let line = text.lines().find(|line| line.contains("code=\"unauthorized\""))?;
        (line.rsplit(' ').next()?.parse::<u64>().ok()? >= 3).then_some(())
    });
    assert_eq!(agent.said().matches("the token is not known").count(), 1, "{}", agent.said());
    let all: Vec<Value> = bad.into_iter().chain([json!(url(&good, "grpcs"))]).collect();
    write(&scene, &json!(all));
    agent.signal(Signal::SIGHUP);
    until_node(&good, "one", "alive");
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn periodic_and_event_driven_reports_are_the_same_over_each_way() {
    let told = ["https", "wss", "grpcs"].map(|scheme| {
        let gateway = Gateway::start("");
        let (_scene, agent) = agent(&json!(url(&gateway, scheme)), &[&gateway]);
        poll("the end of the job", PATIENCE, || {
            let tasks = gateway.read("/v1/tasks");
            let tasks = tasks["items"].as_array()?;
            tasks.iter().any(|task| task["task_id"] == "job" && task["status"] == "completed").then_some(())
        });
        let clock = || until_node(&gateway, "one", "alive")["clock"].clone();
        poll("an exchange of clocks, hence two heartbeats", PATIENCE, || clock()["error_ns"].is_u64().then_some(()));
        let interval = until_node(&gateway, "one", "alive")["interval_ms"].clone();
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.end().code, Some(0), "{scheme}");
        until_node(&gateway, "one", "left");
        let tasks = gateway.read("/v1/tasks")["items"].clone();
        let told: Vec<Value> = tasks
            .as_array()
            .unwrap()
            .iter()
            .map(|task| {
                json!([task["task_id"], task["status"], task["version"], task["payload"].to_string(), task["node_id"]])
            })
            .collect();
        (told, interval)
    });
    assert_eq!(told[0], told[1]);
    assert_eq!(told[1], told[2]);
    assert_eq!((told[0].0.len(), &told[0].1), (2, &json!(200)), "{told:?}");
}
