//! Who may call a node dead: the gateway that its agent reaches, by a lease of etcd, and nobody else.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::Stamp;
use offloadctl::sys::clock;
use serde_json::json;

use super::cluster::Cluster;
use super::gateways::{on, position, state_of};
use crate::gateway::Gateway;
use crate::host::{let_pass, turn, wait_until};
use crate::support::program::{Scene, Started};

/// The lease of these tests; etcd's least is 2 s by default.
const LEASE: Duration = Duration::from_secs(3);

/// What etcd takes to notice that a lease has ended, and a busy machine beside it.
const SLACK: Duration = Duration::from_secs(4);

fn gateways(cluster: &Cluster) -> (Gateway, Gateway) {
    let arguments = "--lease 3s --detector missed:3";
    (on(cluster, arguments), on(cluster, arguments))
}

/// Nodes whose silence this gateway judges.
fn owned(gateway: &Gateway) -> u64 {
    let text = gateway.text("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix("offloadctl_gateway_owned_nodes ")).unwrap();
    line.trim().parse().unwrap()
}

/// What was told of nodes, after a position.
fn node_states(gateway: &Gateway) -> Vec<String> {
    let (_, newest) = position(gateway);
    let nodes = gateway.watch(0, newest).into_iter().filter(|(name, _)| name == "node");
    nodes.map(|(_, data)| data["state"].as_str().unwrap().to_owned()).collect()
}

/// An agent of the node `one`, connected to the first of these gateways that it reaches.
fn agent(gateways: &[&Gateway], interval: &str) -> (Scene, Started) {
    let scene = Scene::new();
    let pem = |gateway: &&Gateway| std::fs::read_to_string(gateway.scene.path("data/certificate.pem")).unwrap();
    scene.write("ca.pem", &gateways.iter().map(pem).collect::<String>());
    scene.write("token", "one 1111111111111111\n");
    scene.write("script", r#"{"task_id":"web","status":"running"}"#);
    let url = |gateway: &&Gateway| format!("wss://localhost:{}", gateway.address.rsplit_once(':').unwrap().1);
    let servers: Vec<String> = gateways.iter().map(url).collect();
    let config = json!({ "server": servers, "interval": interval, "node_id": "one", "token_file": "token",
        "ca_file": "ca.pem", "sources": { "script": "script" } });
    scene.write("agent.conf", &config.to_string());
    let started = scene.start("agent --config agent.conf");
    (scene, started)
}

#[test]
fn heartbeats_in_a_row_move_a_node_and_a_report_does_not() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = gateways(&cluster);
    a.heartbeat("one", 1, 60_000);
    wait_until("the node has an owner", || owned(&a) == 1);
    for version in 1..=5 {
        b.report("one", "web", "running", version);
    }
    // One heartbeat that strays is none in a row.
    b.heartbeat("one", 2, 60_000);
    let_pass(Duration::from_millis(500));
    assert_eq!((owned(&a), owned(&b)), (1, 0));
    b.heartbeat("one", 3, 60_000);
    wait_until("the node has moved", || (owned(&a), owned(&b)) == (0, 1));
}

#[test]
fn an_agent_that_reconnects_after_a_kill_is_never_called_dead() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = gateways(&cluster);
    let (_scene, agent) = agent(&[&a, &b], "300ms");
    wait_until("somebody owns the node", || owned(&a) + owned(&b) == 1);
    let (dying, left) = if owned(&a) == 1 { (a, b) } else { (b, a) };
    dying.end(Signal::SIGKILL);
    wait_until("the other one owns it", || owned(&left) == 1);
    // Beyond the end of the lease of the dead, and of every detector that could have begun with it.
    let_pass(LEASE + Duration::from_secs(2));
    assert_eq!(state_of(&left, "one").as_deref(), Some("alive"));
    assert!(!node_states(&left).contains(&"unreachable".to_owned()), "{:?}", node_states(&left));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
    wait_until("it has left", || state_of(&left, "one").as_deref() == Some("left"));
}

#[test]
fn a_node_that_dies_with_its_gateway_is_found_within_the_lease_and_not_before() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = gateways(&cluster);
    // Three intervals and the margin.
    let detection = Duration::from_millis(3 * 500 + 200);
    for seq in 1..=3 {
        a.heartbeat("one", seq, 500);
    }
    wait_until("the node has an owner", || owned(&a) == 1);
    a.end(Signal::SIGKILL);
    let died: Stamp = clock::now();
    wait_until("the node is unreachable", || {
        let is_dead = state_of(&b, "one").as_deref() == Some("unreachable");
        assert!(!is_dead || owned(&b) == 1, "a gateway accused what it does not own");
        is_dead
    });
    let took = clock::now().since(died);
    // The lease was kept alive a third of its time ago at most, and etcd never ends one early.
    assert!(took + LEASE / 3 + Duration::from_millis(300) >= LEASE + detection, "{took:?}");
    assert!(took <= LEASE + detection + Duration::from_millis(512 * 3 - 1500) + SLACK, "{took:?}");
}

/// A gateway that stands still loses its lease, and what it believes when it goes on is refused by etcd.
#[test]
fn a_gateway_that_stood_still_accuses_nobody_when_it_goes_on() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let (a, b) = gateways(&cluster);
    for seq in 1..=2 {
        a.heartbeat("one", seq, 1_000);
    }
    wait_until("the node has an owner", || owned(&a) == 1);
    a.signal(Signal::SIGSTOP);
    for seq in 3..=14 {
        b.heartbeat("one", seq, 1_000);
        let_pass(Duration::from_millis(500));
    }
    assert_eq!(owned(&b), 1);
    a.signal(Signal::SIGCONT);
    for seq in 15..=22 {
        b.heartbeat("one", seq, 1_000);
        let_pass(Duration::from_millis(500));
    }
    assert_eq!((owned(&a), owned(&b)), (0, 1));
    assert_eq!(node_states(&b), ["alive"]);
    assert_eq!(node_states(&a), ["alive"]);
}

/// A gateway that is cut off from etcd alone: its agents go to the other one before that would call them dead.
#[test]
fn an_agent_whose_gateway_has_lost_its_store_goes_to_the_other_and_is_never_called_dead() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let port = cluster.endpoint(0).rsplit_once(':').unwrap().1.parse().unwrap();
    let relays = [(); 2].map(|()| Relay::start(port));
    let [a, b] = relays.each_ref().map(|relay| {
        let line = format!("--store etcd --endpoints http://127.0.0.1:{} --lease 3s --detector missed:3", relay.port);
        Gateway::start(&line)
    });
    let (_scene, agent) = agent(&[&a, &b], "500ms");
    wait_until("somebody owns the node", || owned(&a) + owned(&b) == 1);
    let (lost, left) = if owned(&a) == 1 { (0, &b) } else { (1, &a) };
    relays[lost].cut();
    wait_until("the other one owns it", || owned(left) == 1);
    let_pass(Duration::from_secs(6));
    assert_eq!(state_of(left, "one").as_deref(), Some("alive"), "{}\n{}\n{}", agent.said(), a.said(), b.said());
    relays[lost].mend();
    let lost = if lost == 0 { &a } else { &b };
    wait_until("the store is back", || lost.said().contains("the store is back"));
    let_pass(Duration::from_secs(3));
    assert_eq!((owned(left), owned(lost)), (1, 0));
    for gateway in [left, lost] {
        assert!(!node_states(gateway).contains(&"unreachable".to_owned()), "{:?}", node_states(gateway));
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

/// A way to etcd that can be cut: connections end, and new ones lead nowhere.
struct Relay {
    port: u16,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (cut, kept) = (Arc::clone(&is_cut), Arc::clone(&open));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if cut.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                    thread::spawn(move || std::io::copy(&mut from, &mut into));
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Self { port, is_cut, open }
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        for stream in self.open.lock().unwrap().drain(..) {
            // One that has ended already is cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::Release);
    }
}
