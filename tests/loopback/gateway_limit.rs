//! What one client may take of the gateway: its share of requests, and connections that it does not use.

use std::io::Write as _;
use std::time::Duration;

use offloadctl::sys::clock;
use serde_json::json;

use crate::gateway::{Gateway, ONE, READER, read_all};

/// What opens an HTTP/2 connection (RFC 9113): the preface, and settings without a wish.
const HTTP2_BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[test]
fn who_reads_more_than_their_share_is_told_when_to_come_again_and_delays_nobody() {
    let gateway = Gateway::start("--node-rate 5");
    let ask = |path: &str, token: &str| gateway.ask("GET", path, token, "");
    let mut answers = (0..30).map(|_| ask("/v1/view", READER));
    assert!((0..5).all(|_| answers.next().unwrap().status == 200));
    let refused = answers.find(|answer| answer.status == 429).unwrap();
    assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
    assert_eq!(refused.body["error"]["code"], json!("rate_limited"));
    assert_eq!(ask("/v1/tasks?node=one", ONE).status, 200);
    // A page ten times as long counts as ten.
    assert_eq!(ask("/v1/tasks?node=one&limit=1000", ONE).status, 429);
    let metrics = |token: &str| gateway.ask("GET", "/metrics", token, "").status;
    assert!((0..30).any(|_| metrics(READER) == 429));
    assert!(gateway.text("/metrics").starts_with("HTTP/1.1 200"));
    assert_eq!(metrics("Bearer wrong-wrong-wrong"), 401);
}

#[test]
fn a_node_that_tells_much_at_once_is_still_heard() {
    let gateway = Gateway::start("--node-rate 5");
    let task = |n: u32| json!({ "task_id": format!("t{n}"), "status": "running", "version": n, "timestamp": "2026-01-02T03:04:05Z" });
    let tasks: Vec<_> = (1..=200).map(task).collect();
    let state = json!({ "node_id": "one", "epoch": 1, "version": 200, "checksum": "", "tasks": tasks }).to_string();
    assert_eq!(gateway.ask("POST", "/v1/state", ONE, &state).status, 200);
    assert_eq!(gateway.ask("POST", "/v1/state", ONE, &state).status, 429);
    assert_eq!(gateway.heartbeat("one", 1, 60_000).status, 200);
}

#[test]
fn connections_that_nobody_asks_anything_on_are_closed_and_make_room() {
    let gateway = Gateway::start("--max-connections 2");
    let began = clock::now();
    let mut quiet = [(); 2].map(|()| gateway.connect_speaking(None, &["h2"]));
    for connection in &mut quiet {
        connection.write_all(HTTP2_BEGINS).unwrap();
    }
    // Both are there once they have spoken, and then there is no room for a third.
    for connection in &mut quiet {
        let mut first = [0];
        std::io::Read::read_exact(connection, &mut first).unwrap();
    }
    let mut third = gateway.connect(None);
    assert!(
        third.write_all(b"GET /healthz HTTP/1.1\r\nhost: gateway\r\n\r\n").is_err() || read_all(&mut third).is_empty()
    );
    for connection in &mut quiet {
        let _ = read_all(connection);
    }
    // 20 s without a request, and up to 10 s for a goodbye that these do not answer. Pings would only end them at 50 s.
    let after = clock::now().since(began);
    assert!(after >= Duration::from_secs(19) && after < Duration::from_secs(40), "{after:?}");
    assert_eq!(gateway.report("one", "t", "running", 1).status, 200);
}
