//! The agent of the program with the gateway of the program: what is told, what is healed, who is accused.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::certificate::Authority;
use crate::gateway::Gateway;
use crate::support::program::{Ended, Scene, Started, poll};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

const SCRIPT: &str = r#"{"task_id":"{node}-web","status":"running","payload":{"image":"nginx"}}
{"task_id":"{node}-job","status":"pending"}
{"after":"300ms","task_id":"{node}-job","status":"running"}
{"after":"300ms","task_id":"{node}-job","status":"completed"}
"#;

/// The configuration of node `one` with these further keys.
fn configure(gateway: &Gateway, scheme: &str, interval: &str, more: &str) {
    let port = gateway.address.rsplit_once(':').unwrap().1;
    gateway.scene.write("script", SCRIPT);
    gateway.scene.write(
        "agent.conf",
        &format!(
            r#"{{"server":"{scheme}://localhost:{port}","interval":"{interval}","metrics":["cpu","memory","disk"],
"node_id":"one","token_file":"tokens","ca_file":"data/certificate.pem","sources":{{"script":"script"}}{more}}}"#
        ),
    );
}

fn started(gateway: &Gateway) -> Started {
    gateway.scene.start("agent --config agent.conf")
}

pub fn agent(gateway: &Gateway, interval: &str) -> Started {
    agent_over(gateway, "wss", interval)
}

fn agent_over(gateway: &Gateway, scheme: &str, interval: &str) -> Started {
    configure(gateway, scheme, interval, "");
    started(gateway)
}

fn ended(agent: Started, signal: Signal) -> Ended {
    agent.signal(signal);
    agent.end()
}

/// Waits until the gateway shows a task in this status.
fn until_task(gateway: &Gateway, id: &str, status: &str) -> Value {
    poll(&format!("`{id}` {status}"), PATIENCE, || {
        let tasks = gateway.read("/v1/tasks");
        let task = tasks["items"].as_array()?.iter().find(|task| task["task_id"] == *id)?.clone();
        (task["status"] == *status).then_some(task)
    })
}

/// Waits until the gateway shows a node in this state.
pub fn until_node(gateway: &Gateway, id: &str, state: &str) -> Value {
    poll(&format!("node `{id}` {state}"), PATIENCE, || {
        let nodes = gateway.read("/v1/nodes");
        let node = nodes["items"].as_array()?.iter().find(|node| node["node_id"] == *id)?.clone();
        (node["state"] == *state).then_some(node)
    })
}

fn said(agent: &Started, what: &str) {
    poll(&format!("`{what}`"), PATIENCE, || agent.said().contains(what).then_some(()));
}

#[test]
fn changes_and_heartbeats_reach_the_gateway_and_a_goodbye_is_no_loss() {
    all_is_told("wss");
}

#[test]
fn changes_and_heartbeats_reach_the_gateway_and_a_goodbye_is_no_loss_over_grpc() {
    all_is_told("grpcs");
}

fn all_is_told(scheme: &str) {
    let gateway = Gateway::start("");
    let agent = agent_over(&gateway, scheme, "200ms");
    until_task(&gateway, "one-job", "completed");
    let web = until_task(&gateway, "one-web", "running");
    assert_eq!((&web["node_id"], &web["payload"]["image"]), (&"one".into(), &"nginx".into()));
    let node = poll("a heartbeat with the use of the node and an exchange of clocks", PATIENCE, || {
        let node = until_node(&gateway, "one", "alive");
        (node["usage"]["cpu_ratio"].is_f64() && node["clock"]["error_ns"].is_u64()).then_some(node)
    });
    assert_eq!((&node["interval_ms"], &node["task_count"]), (&200.into(), &1.into()));
    assert!(node["usage"]["memory_ratio"].is_f64() && node["usage"]["disk_ratio"].is_f64(), "{node}");
    let left = ended(agent, Signal::SIGTERM);
    assert_eq!(left.code, Some(0), "{left:?}");
    until_node(&gateway, "one", "left");
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let states = gateway.watch(0, revision);
    let accused = states.iter().find(|(_, change)| change.to_string().contains("unreachable"));
    assert_eq!(accused, None);
}

#[test]
fn an_agent_that_is_killed_is_suspect_at_once_and_unreachable_by_its_deadline() {
    killed("wss");
}

#[test]
fn an_agent_that_is_killed_is_suspect_at_once_and_unreachable_by_its_deadline_over_grpc() {
    killed("grpcs");
}

fn killed(scheme: &str) {
    let gateway = Gateway::start("");
    let agent = agent_over(&gateway, scheme, "200ms");
    until_node(&gateway, "one", "alive");
    until_task(&gateway, "one-web", "running");
    ended(agent, Signal::SIGKILL);
    until_node(&gateway, "one", "unreachable");
    assert_eq!(until_task(&gateway, "one-web", "unknown")["node_id"], "one");
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let changes = gateway.watch(0, revision);
    let states: Vec<&str> = changes.iter().filter_map(|(_, change)| change["state"].as_str()).collect();
    assert_eq!(states, ["alive", "suspect", "unreachable"]);
}

#[test]
fn after_a_crash_of_the_gateway_the_agent_comes_back_and_nothing_wrong_is_told() {
    comes_back("wss");
}

#[test]
fn after_a_crash_of_the_gateway_the_agent_comes_back_and_nothing_wrong_is_told_over_grpc() {
    comes_back("grpcs");
}

fn comes_back(scheme: &str) {
    let gateway = Gateway::start("");
    let agent = agent_over(&gateway, scheme, "200ms");
    until_task(&gateway, "one-job", "completed");
    let before = gateway.read("/v1/tasks")["items"].clone();
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let address = gateway.address.clone();
    let (scene, _) = gateway.end(Signal::SIGKILL);
    said(&agent, "the gateway went away; trying again");
    assert!(!agent.said().contains("://"), "{}", agent.said());
    let gateway = Gateway::start_at(scene, &address, "");
    poll("a heartbeat after the return", PATIENCE, || {
        let node = until_node(&gateway, "one", "alive");
        (node["heartbeat_age_ms"].as_u64().is_some() && node["connection_count"] == 1).then_some(())
    });
    // Two quiet heartbeats: had their digests disagreed, everything would have been sent once more.
    let beats = |gateway: &Gateway| until_node(gateway, "one", "alive")["clock"]["offset_ns"].clone();
    let first = beats(&gateway);
    poll("another exchange of clocks", PATIENCE, || (beats(&gateway) != first).then_some(()));
    assert_eq!(gateway.read("/v1/tasks")["items"], before);
    let now = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    if now > revision {
        let changes = gateway.watch(revision, now);
        assert!(changes.iter().all(|(_, change)| change["state"] == "alive"), "{changes:?}");
    }
    assert_eq!(ended(agent, Signal::SIGINT).code, Some(0));
    until_node(&gateway, "one", "left");
}

#[test]
fn of_two_agents_with_one_name_the_later_one_speaks_and_the_other_ends() {
    superseded("wss");
}

#[test]
fn of_two_agents_with_one_name_the_later_one_speaks_and_the_other_ends_over_grpc() {
    superseded("grpcs");
}

fn superseded(scheme: &str) {
    let gateway = Gateway::start("");
    let first = agent_over(&gateway, scheme, "200ms");
    until_node(&gateway, "one", "alive");
    let second = started(&gateway);
    let ended_first = first.end();
    assert_eq!(ended_first.code, Some(3), "{ended_first:?}");
    assert!(ended_first.stderr.contains("another agent speaks for node `one`"), "{ended_first:?}");
    assert!(ended_first.stderr.contains("hint: let one agent speak for a node"), "{ended_first:?}");
    until_node(&gateway, "one", "alive");
    assert_eq!(ended(second, Signal::SIGTERM).code, Some(0));
}

#[test]
fn a_byte_order_mark_before_a_file_is_no_part_of_it() {
    let scene = Gateway::scene();
    let tokens = std::fs::read_to_string(scene.path("tokens")).unwrap();
    scene.write("tokens", &format!("\u{feff}{tokens}"));
    let gateway = Gateway::start_in(scene, "");
    configure(&gateway, "wss", "200ms", "");
    for (from, to) in [("agent.conf", "agent.conf"), ("script", "script"), ("data/certificate.pem", "ca.pem")] {
        let text = std::fs::read_to_string(gateway.scene.path(from)).unwrap();
        gateway.scene.write(to, &format!("\u{feff}{}", text.replace("data/certificate.pem", "ca.pem")));
    }
    let agent = started(&gateway);
    until_node(&gateway, "one", "alive");
    until_task(&gateway, "one-web", "running");
    assert_eq!(ended(agent, Signal::SIGTERM).code, Some(0));
}

#[test]
fn a_check_asks_the_sources_whether_they_are_there() {
    let scene = Scene::new();
    let config =
        |source: &str| format!(r#"{{"server":"wss://localhost","interval":"1s","node_id":"one","sources":{source}}}"#);
    scene.write("agent.conf", &config(r#"{"docker":{"socket":"no.sock"}}"#));
    let ended = scene.run("agent --config agent.conf --check");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let told = "no.sock` cannot be watched: no connection to its socket: No such file or directory";
    assert!(ended.stderr.contains(told) && ended.stderr.contains("hint: start the engine"), "{ended:?}");
    scene.write("agent.conf", &config("{}"));
    assert_eq!(scene.run("agent --config agent.conf --check").code, Some(0));
}

#[test]
fn a_wrong_token_is_told_once_and_a_right_one_is_taken_at_sighup() {
    wrong_token("wss");
}

#[test]
fn a_wrong_token_is_told_once_and_a_right_one_is_taken_at_sighup_over_grpc() {
    wrong_token("grpcs");
}

fn wrong_token(scheme: &str) {
    let gateway = Gateway::start("");
    configure(&gateway, scheme, "200ms", "");
    gateway.scene.write("own", "wrong-wrong-wrong-wrong\n");
    let path = gateway.scene.path("agent.conf");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"tokens\"", "\"own\"");
    gateway.scene.write("agent.conf", &text);
    let agent = started(&gateway);
    said(&agent, ": the token is not known");
    poll("three attempts that are refused", PATIENCE, || (refused(&gateway) >= 3).then_some(()));
    assert_eq!(agent.said().matches("the token is not known").count(), 1, "{}", agent.said());
    gateway.scene.write("own", "1111111111111111\n");
    agent.signal(Signal::SIGHUP);
    until_node(&gateway, "one", "alive");
    let told = ended(agent, Signal::SIGTERM).stderr;
    assert!(!told.contains("1111") && !told.contains("wrong-wrong"), "{told}");
}

/// How many requests the gateway has refused for their token.
fn refused(gateway: &Gateway) -> u64 {
    let mut connection = gateway.connect(None);
    let request = b"GET /metrics HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut connection, request).unwrap();
    let text = String::from_utf8_lossy(&crate::gateway::read_all(&mut connection)).into_owned();
    let line = text.lines().find(|line| line.contains("unauthorized") && !line.starts_with('#'));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
}

#[test]
fn a_gateway_that_is_not_who_it_should_be_gets_nothing() {
    let gateway = Gateway::start("");
    configure(&gateway, "wss", "200ms", "");
    let other = Gateway::start("");
    std::fs::copy(other.scene.path("data/certificate.pem"), gateway.scene.path("other.pem")).unwrap();
    let path = gateway.scene.path("agent.conf");
    let text = std::fs::read_to_string(&path).unwrap().replace("data/certificate.pem", "other.pem");
    gateway.scene.write("agent.conf", &text);
    let agent = started(&gateway);
    said(&agent, "trying again");
    assert!(agent.said().contains("certificate"), "{}", agent.said());
    let ended = ended(agent, Signal::SIGTERM);
    assert!(ended.code == Some(0) && ended.stderr.contains("could not be told"), "{ended:?}");
    assert_eq!(gateway.read("/v1/view")["revision"], 0);
}

#[test]
fn a_new_interval_is_taken_at_sighup_and_a_wrong_configuration_changes_nothing() {
    let gateway = Gateway::start("");
    let agent = agent(&gateway, "200ms");
    until_task(&gateway, "one-job", "completed");
    gateway.scene.write("agent.conf", "{");
    agent.signal(Signal::SIGHUP);
    said(&agent, "not reloaded");
    configure(&gateway, "wss", "300ms", "");
    agent.signal(Signal::SIGHUP);
    poll("the new interval", PATIENCE, || (until_node(&gateway, "one", "alive")["interval_ms"] == 300).then_some(()));
    until_task(&gateway, "one-web", "running");
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let changes = gateway.watch(0, revision);
    assert!(changes.iter().all(|(_, change)| change["state"] != "suspect"), "the connection stays: {changes:?}");
    assert_eq!(ended(agent, Signal::SIGTERM).code, Some(0));
}

#[test]
fn requests_carry_the_same_as_a_websocket() {
    let gateway = Gateway::start("");
    configure(&gateway, "https", "200ms", "");
    let agent = started(&gateway);
    until_task(&gateway, "one-job", "completed");
    until_task(&gateway, "one-web", "running");
    let node = until_node(&gateway, "one", "alive");
    assert_eq!(node["interval_ms"], 200);
    assert_eq!(ended(agent, Signal::SIGTERM).code, Some(0));
    until_node(&gateway, "one", "left");
}

#[test]
fn a_fleet_is_many_agents_in_one_process() {
    let gateway = Gateway::start("");
    let tokens: String = (1..=20).map(|n| format!("one-{n} token-of-fleet-node-{n}\n")).collect();
    gateway.scene.write("tokens", &format!("{tokens}* rrrrrrrrrrrrrrrr\n"));
    gateway.signal(Signal::SIGHUP);
    poll("the tokens of the fleet", PATIENCE, || gateway.said().contains("reloaded: 21").then_some(()));
    configure(&gateway, "wss", "500ms", "");
    let fleet = gateway.scene.start("agent --config agent.conf --fleet 20");
    until_task(&gateway, "one-20-job", "completed");
    let count = |state: &str| gateway.read("/v1/view")["node_count"][state].as_u64();
    poll("twenty nodes", PATIENCE, || (count("alive") == Some(20)).then_some(()));
    assert_eq!(ended(fleet, Signal::SIGTERM).code, Some(0));
    assert_eq!(count("left"), Some(20));
}

#[test]
fn a_quiet_agent_says_that_it_is_refused_and_nothing_while_all_is_well() {
    let gateway = Gateway::start("");
    configure(&gateway, "wss", "200ms", "");
    let good = gateway.scene.start("agent --config agent.conf --quiet");
    until_node(&gateway, "one", "alive");
    let good = ended(good, Signal::SIGTERM);
    assert_eq!((good.code, good.stderr.as_str()), (Some(0), ""));
    gateway.scene.write("wrong", "one 9999999999999999");
    let port = gateway.address.rsplit_once(':').unwrap().1;
    let config = format!(
        r#"{{"server":"wss://localhost:{port}","interval":"1s","node_id":"one","token_file":"wrong",
"ca_file":"data/certificate.pem","sources":{{"script":"script"}}}}"#
    );
    gateway.scene.write("wrong.conf", &config);
    let refused = gateway.scene.start("agent --config wrong.conf --quiet");
    said(&refused, "the token is not known");
    ended(refused, Signal::SIGTERM);
}

#[test]
fn a_client_certificate_stands_for_the_token() {
    certified("wss");
}

#[test]
fn a_client_certificate_stands_for_the_token_over_grpc() {
    certified("grpcs");
}

fn certified(scheme: &str) {
    let authority = Authority::new("agents");
    let one = authority.identity(&["one"]);
    let scene = Scene::new();
    let files = [("tokens", "* rrrrrrrrrrrrrrrr"), ("ca.pem", &authority.pem)];
    let own = [("one.pem", one.certificate.as_str()), ("one.key", &one.key)];
    files.iter().chain(&own).for_each(|(name, text)| scene.write(name, text));
    let gateway = Gateway::start_in(scene, "--client-ca ca.pem");
    configure(&gateway, scheme, "200ms", r#","client_cert":"one.pem","client_key":"one.key""#);
    let config =
        std::fs::read_to_string(gateway.scene.path("agent.conf")).unwrap().replace(r#""token_file":"tokens","#, "");
    gateway.scene.write("agent.conf", &config);
    let agent = started(&gateway);
    until_task(&gateway, "one-web", "running");
    until_node(&gateway, "one", "alive");
    assert_eq!(ended(agent, Signal::SIGTERM).code, Some(0));
}

#[test]
fn an_adaptive_agent_is_quick_while_things_change_and_slow_when_they_do_not() {
    let gateway = Gateway::start("");
    configure(&gateway, "wss", "200ms", r#","adaptive":{"shortest":"100ms","longest":"800ms"}"#);
    let agent = started(&gateway);
    until_task(&gateway, "one-job", "completed");
    let promised = || until_node(&gateway, "one", "alive")["interval_ms"].as_u64().unwrap_or(0);
    poll("the longest interval, once all is calm", PATIENCE, || (promised() >= 700).then_some(()));
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let changes = gateway.watch(0, revision);
    let accused = changes.iter().find(|(_, change)| change["state"] == "unreachable");
    assert_eq!(accused, None, "who promises a longer wait is not accused during it");
    let shortest = changes.iter().filter_map(|(_, change)| change["interval_ms"].as_u64()).min();
    assert!(shortest.is_some_and(|shortest| shortest <= 200), "{shortest:?}");
    assert_eq!(ended(agent, Signal::SIGTERM).code, Some(0));
}
