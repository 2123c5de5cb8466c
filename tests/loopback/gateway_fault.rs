//! The gateway under what should not be sent: every case is answered as documented, and it serves on.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::sys::clock;
use serde_json::json;

use crate::gateway::{Gateway, ONE, READER, read_all};
use crate::support::program::poll;

const GOOD: &str =
    r#"{"task_id":"t","status":"running","node_id":"one","timestamp":"2026-01-02T03:04:05Z","unknown":{"a":[1]}}"#;

fn with(key: &str, value: &str) -> Vec<u8> {
    let good: serde_json::Value = serde_json::from_str(GOOD).unwrap();
    let mut fields = good.as_object().unwrap().clone();
    fields.insert(key.to_owned(), serde_json::from_str(value).unwrap());
    serde_json::to_vec(&fields).unwrap()
}

#[test]
fn bodies_that_mean_nothing_are_refused_each_with_its_code() {
    let gateway = Gateway::start("");
    let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("unknown fields", GOOD.into(), 200, ""),
        ("truncated", GOOD.as_bytes()[..40].into(), 400, "invalid_json"),
        ("empty", Vec::new(), 400, "invalid_json"),
        ("not UTF-8", b"{\"task_id\":\"\xff\xfe\"}".into(), 400, "invalid_json"),
        ("nested deeply", deep.into(), 422, "invalid_report"),
        ("oversized", vec![b' '; (1 << 20) + 1], 413, "too_large"),
        ("a list", b"[1]".into(), 422, "invalid_report"),
        ("a number for a name", with("task_id", "7"), 422, "invalid_report"),
        ("another status", with("status", r#""done""#), 422, "invalid_report"),
        ("a missing field", br#"{"task_id":"t"}"#.into(), 422, "invalid_report"),
        ("no time", with("timestamp", r#""yesterday""#), 422, "invalid_report"),
        ("the far future", with("timestamp", r#""2199-01-01T00:00:00Z""#), 422, "invalid_report"),
        ("the far past", with("timestamp", r#""1969-01-01T00:00:00Z""#), 422, "invalid_report"),
        ("a huge name", with("task_id", &json!("x".repeat(100_000)).to_string()), 422, "invalid_report"),
        ("a negative version", with("version", "-1"), 422, "invalid_report"),
        ("a huge version", with("version", "18446744073709551615"), 422, "invalid_report"),
        ("a long payload", with("payload", &json!("x".repeat(20_000)).to_string()), 422, "invalid_report"),
    ];
    for (name, body, status, code) in cases {
        let headers = [("content-type", "application/json; charset=utf-8"), ("authorization", ONE)];
        let answer = gateway.ask_with(gateway.connect(None), &headers, ("POST", "/v1/status", &body));
        let told = answer.body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((answer.status, told), (status, code), "{name}: {answer:?}");
    }
    assert_eq!(gateway.read("/v1/view")["revision"], json!(1));
}

#[test]
fn requests_that_nobody_takes_are_told_why() {
    let gateway = Gateway::start("");
    let ask = |method, path, headers: &[(&str, &str)]| {
        gateway.ask_with(gateway.connect(None), headers, (method, path, GOOD.as_bytes()))
    };
    let token = ("authorization", ONE);
    let json = ("content-type", "application/json");
    let cases = [
        (ask("POST", "/v1/status", &[token, ("content-type", "text/plain")]), 415, ""),
        (ask("POST", "/v1/status", &[token]), 415, ""),
        (ask("POST", "/v1/status", &[json]), 401, "www-authenticate: bearer"),
        (ask("POST", "/v1/status", &[json, ("authorization", "Bearer wrong-wrong-wrong")]), 401, ""),
        (ask("GET", "/v1/status", &[token]), 405, "allow: post"),
        (ask("DELETE", "/v1/tasks/t", &[token]), 405, "allow: get"),
        (ask("GET", "/v2", &[token]), 404, ""),
        (ask("GET", "/v1/tasks/%ff", &[token]), 404, ""),
        (ask("GET", "/v1/tasks?limit=0&node=one", &[token]), 422, ""),
        (ask("GET", "/v1/tasks?limit=many&node=one", &[token]), 422, ""),
        (ask("GET", "/state", &[token]), 426, ""),
    ];
    for (answer, status, header) in cases {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.head.contains(header), "{answer:?}");
        assert!(answer.body["error"]["message"].is_string() && answer.body["error"]["hint"].is_string(), "{answer:?}");
    }
}

#[test]
fn more_than_a_nodes_share_is_told_when_to_come_again() {
    let gateway = Gateway::start("--node-rate 3");
    let statuses: Vec<u16> = (1..=12).map(|version| gateway.report("one", "t", "running", version).status).collect();
    assert!(statuses.starts_with(&[200, 200, 200]) && statuses.contains(&429), "{statuses:?}");
    let refused =
        (13..).map(|version| gateway.report("one", "t", "running", version)).find(|answer| answer.status == 429);
    assert!(refused.unwrap().head.contains("retry-after: 1"));
    assert_eq!(gateway.report("two", "other", "running", 1).status, 200);
}

#[test]
fn a_slow_client_and_a_foreign_one_are_cut_off_and_delay_nobody() {
    let gateway = Gateway::start("");
    let began = clock::now();
    let mut slow = gateway.connect(None);
    slow.write_all(b"POST /v1/status HTTP/1.1\r\nhost: gat").unwrap();
    let silent = TcpStream::connect(&gateway.address).unwrap();
    let mut foreign = TcpStream::connect(&gateway.address).unwrap();
    foreign.write_all(b"GET / HTTP/1.0\r\n\r\n\x00\xff\xfe garbage").unwrap();
    assert_eq!(gateway.report("one", "t", "running", 1).status, 200);
    assert!(clock::now().since(began) < Duration::from_secs(5));
    let _ = read_all(&mut slow);
    let cut_off = clock::now().since(began);
    assert!(cut_off >= Duration::from_secs(9) && cut_off < Duration::from_secs(20), "{cut_off:?}");
    for (name, mut stream) in [("silent", silent), ("foreign", foreign)] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // An end or a reset; that nothing comes for so long is no end.
        let ended = std::io::copy(&mut stream, &mut std::io::sink());
        let is_open =
            ended.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(!is_open && clock::now().since(began) < Duration::from_secs(25), "{name}: {ended:?}");
    }
    assert_eq!(gateway.report("one", "t", "completed", 2).status, 200);
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_and_delays_nobody() {
    let gateway = Gateway::start("--node-rate 1000000");
    let mut silent = gateway.connect(None);
    let request = format!("GET /v1/watch?from=0 HTTP/1.1\r\nhost: gateway\r\nauthorization: {READER}\r\n\r\n");
    silent.write_all(request.as_bytes()).unwrap();
    let watchers = || {
        let metrics = gateway.text("/metrics");
        metrics.lines().find_map(|line| line.strip_prefix("offloadctl_gateway_watchers ")?.parse::<u32>().ok())
    };
    poll("the subscriber", Duration::from_secs(10), || (watchers() == Some(1)).then_some(()));
    // More than both ends of a connection hold: 20 batches of some 900 KB.
    let payload = "x".repeat(15_000);
    let batch = |number: u64| {
        let report = |task: u64| {
            json!({ "task_id": format!("t{task}"), "status": "running", "node_id": "one", "version": number,
                    "timestamp": "2026-01-02T03:04:05Z", "payload": payload })
        };
        json!({ "reports": (0..60).map(report).collect::<Vec<_>>() }).to_string()
    };
    for number in 1..=20 {
        assert_eq!(gateway.ask("POST", "/v1/status/batch", ONE, &batch(number)).status, 200);
    }
    let began = clock::now();
    let events = gateway.watch(1_100, 1_200);
    assert_eq!(events.len(), 100);
    assert!(clock::now().since(began) < Duration::from_secs(10));
    poll("the end of the subscription", Duration::from_secs(80), || (watchers() == Some(0)).then_some(()));
    assert_eq!(gateway.watch(0, 1).first().map(|(name, _)| name.as_str()), Some("task"));
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let gateway = Gateway::start("");
    let _ = gateway.report("one", "t", "running", 1);
    let (scene, ended) = gateway.end(Signal::SIGTERM);
    assert_eq!(ended.code, Some(0));
    let store = scene.path("data/state.redb");
    let damaged = vec![0x5a; 8192];
    std::fs::write(&store, &damaged).unwrap();
    let refused = scene.run("gateway --listen 127.0.0.1:0 --data-dir data --token-file tokens");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("state.redb") && refused.stderr.contains("hint"), "{refused:?}");
    assert_eq!(std::fs::read(&store).unwrap(), damaged);
}

#[test]
fn a_store_is_used_by_one_gateway_at_a_time() {
    let gateway = Gateway::start("");
    let second = gateway.scene.run("gateway --listen 127.0.0.1:0 --data-dir data --token-file tokens");
    assert_eq!(second.code, Some(3), "{second:?}");
    assert!(second.stderr.contains("hint"), "{second:?}");
    assert_eq!(gateway.report("one", "t", "running", 1).status, 200);
}
