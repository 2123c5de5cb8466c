//! The gateway does what it says, over real connections and across its own death.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::sys::clock;
use serde_json::json;

use crate::certificate::Authority;
use crate::gateway::{Gateway, ONE, READER, TWO, read_all};
use crate::support::program::poll;

#[test]
fn a_report_is_stored_once_and_never_goes_back() {
    let gateway = Gateway::start("");
    let outcome = |status: &str, version| {
        let answer = gateway.report("one", "t", status, version);
        (answer.status, answer.body["outcome"].as_str().unwrap_or_default().to_owned(), answer.body["version"].as_u64())
    };
    assert_eq!(outcome("running", 5), (200, "stored".into(), Some(5)));
    assert_eq!(outcome("running", 5), (200, "duplicate".into(), Some(5)));
    assert_eq!(outcome("pending", 4), (200, "stale".into(), Some(5)));
    assert_eq!(outcome("failed", 5), (409, String::new(), None));
    assert_eq!(outcome("completed", 6), (200, "stored".into(), Some(6)));
    let task = gateway.read("/v1/tasks/t");
    assert_eq!((&task["status"], &task["revision"]), (&json!("completed"), &json!(2)));
}

#[test]
fn what_was_acknowledged_outlives_a_kill_and_subscribers_go_on_where_they_were() {
    let gateway = Gateway::start("");
    for n in 0..20 {
        assert_eq!(gateway.report("one", &format!("t{n}"), "running", 1).body["revision"], json!(n + 1));
    }
    let (scene, _) = gateway.end(Signal::SIGKILL);
    let gateway = Gateway::start_in(scene, "");
    assert_eq!(gateway.report("two", "other", "running", 1).body["revision"], json!(21));
    let events = gateway.watch(15, 21);
    let revisions: Vec<u64> = events.iter().map(|(_, data)| data["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [16, 17, 18, 19, 20, 21]);
    assert_eq!(gateway.read("/v1/tasks?limit=1000")["items"].as_array().unwrap().len(), 21);
}

#[test]
fn a_position_that_never_was_is_told_as_a_gap() {
    let gateway = Gateway::start("");
    let _ = gateway.report("one", "t", "running", 1);
    let told = gateway.watch(1_000, 1_001);
    assert_eq!((told[0].0.as_str(), &told[0].1["first"]), ("gap", &json!(2)));
}

#[test]
fn a_position_from_before_a_backup_was_restored_is_told_as_a_gap_and_not_skipped() {
    let gateway = Gateway::start("");
    let _ = gateway.report("one", "old", "running", 1);
    let (scene, _) = gateway.end(Signal::SIGTERM);
    assert_eq!(scene.run("gateway backup --data-dir data old.backup").code, Some(0));
    let gateway = Gateway::start_in(scene, "");
    let _ = gateway.report("one", "t", "running", 1);
    let position = gateway.read("/v1/view")["position"].as_str().unwrap().to_owned();
    assert!(position.ends_with("-2"), "{position}");
    assert_eq!(gateway.read("/v1/tasks?limit=1")["position"], json!(position));
    assert_eq!(gateway.watch(position.replace("-2", "-1"), 2)[0].0, "task");
    let (scene, _) = gateway.end(Signal::SIGTERM);
    std::fs::remove_file(scene.path("data/state.redb")).unwrap();
    assert_eq!(scene.run("gateway restore --data-dir data old.backup").code, Some(0));
    let gateway = Gateway::start_in(scene, "");
    // Revision 2 is given once more, to another change.
    for task in ["u", "v"] {
        assert_eq!(gateway.report("one", task, "running", 1).status, 200);
    }
    let told = gateway.watch(&position, 3);
    let fresh = gateway.read("/v1/nodes")["position"].clone();
    assert_eq!((told[0].0.as_str(), &told[0].1["after"], &told[0].1["first"]), ("gap", &json!(2), &json!(4)));
    assert_eq!(told[0].1["position"], fresh);
    // A bare number is taken for one of this row.
    assert_eq!(gateway.watch(2, 3)[0].0, "task");
}

#[test]
fn a_silent_node_is_unreachable_when_its_detector_says_so_and_not_before() {
    let gateway = Gateway::start("--detector missed:3/margin=100ms");
    let _ = gateway.report("one", "t", "running", 1);
    // 700 ms after the last heartbeat was received, which was between `before` and `heard`. Late is what a busy machine makes
    // of it: of several times one is not.
    let delays = (0..10).map(|round| {
        let before = clock::now();
        assert!((1..=3).all(|beat| gateway.heartbeat("one", 3 * round + beat, 200).status == 200));
        let heard = clock::now();
        let events = gateway.watch(1 + 2 * round, 3 + 2 * round);
        let told = clock::now();
        assert_eq!((&events[0].1["state"], &events[1].1["state"]), (&json!("alive"), &json!("unreachable")));
        assert!(told.since(before) >= Duration::from_millis(700));
        told.since(heard)
    });
    let mut seen = Vec::new();
    assert!(delays.inspect(|delay| seen.push(*delay)).any(|delay| delay < Duration::from_millis(900)), "{seen:?}");
    let task = gateway.read("/v1/tasks/t");
    assert_eq!((&task["status"], &task["last_status"]), (&json!("unknown"), &json!("running")));
    let _ = gateway.heartbeat("one", 100, 60_000);
    assert_eq!(gateway.read("/v1/tasks/t")["status"], json!("running"));
}

#[test]
fn nobody_is_accused_for_the_absence_of_the_gateway() {
    let gateway = Gateway::start("");
    let _ = gateway.heartbeat("one", 1, 500);
    // What is read is durable; a heartbeat by itself is answered before that.
    assert_eq!(gateway.read("/v1/nodes/one")["state"], json!("alive"));
    let (scene, _) = gateway.end(Signal::SIGKILL);
    std::thread::sleep(Duration::from_secs(3));
    let gateway = Gateway::start_in(scene, "");
    assert_eq!(gateway.read("/v1/nodes/one")["state"], json!("alive"));
    poll("the suspicion", Duration::from_secs(10), || {
        (gateway.read("/v1/nodes/one")["state"] == json!("unreachable")).then_some(())
    });
}

#[test]
fn tokens_are_read_again_at_a_hangup_and_a_broken_file_changes_nothing() {
    let gateway = Gateway::start("");
    let status = |token: &str| gateway.ask("GET", "/v1/view", token, "").status;
    gateway.scene.write("tokens", "broken");
    gateway.signal(Signal::SIGHUP);
    poll("the complaint", Duration::from_secs(10), || gateway.said().contains("not reloaded").then_some(()));
    assert_eq!(status(READER), 200);
    gateway.scene.write("tokens", "* nnnnnnnnnnnnnnnn");
    gateway.signal(Signal::SIGHUP);
    poll("the reload", Duration::from_secs(10), || gateway.said().contains("gateway reloaded").then_some(()));
    assert_eq!((status(READER), status("Bearer nnnnnnnnnnnnnnnn")), (401, 200));
}

#[test]
fn a_client_certificate_is_bound_to_its_node() {
    let authority = Authority::new("agents");
    let scene = crate::support::program::Scene::new();
    scene.write("tokens", "* rrrrrrrrrrrrrrrr");
    scene.write("ca.pem", &authority.pem);
    let gateway = Gateway::start_in(scene, "--client-ca ca.pem");
    let certified = |identity, node: &str| {
        let body = format!(r#"{{"node_id":"{node}","epoch":1,"seq":1,"next_interval_ms":60000}}"#);
        let headers = [("content-type", "application/json")];
        gateway.ask_with(gateway.connect(identity), &headers, ("POST", "/v1/heartbeat", body.as_bytes())).status
    };
    let one = authority.identity(&["one"]);
    assert_eq!((certified(Some(&one), "one"), certified(Some(&one), "two"), certified(None, "one")), (200, 403, 401));
}

#[test]
fn one_node_neither_speaks_for_nor_reads_another() {
    let gateway = Gateway::start("");
    let _ = gateway.report("one", "t", "running", 1);
    let as_two = gateway.ask(
        "POST",
        "/v1/status",
        TWO,
        r#"{"task_id":"t","status":"failed","node_id":"one","timestamp":"2026-01-02T03:04:05Z"}"#,
    );
    assert_eq!((as_two.status, &as_two.body["error"]["code"]), (403, &json!("forbidden")));
    for path in
        ["/v1/tasks/t", "/v1/nodes/one", "/v1/tasks", "/v1/nodes", "/v1/view", "/v1/watch", "/v1/tasks?node=one"]
    {
        assert_eq!(gateway.ask("GET", path, TWO, "").status, 403, "{path}");
    }
    assert_eq!(gateway.ask("GET", "/v1/tasks/t", ONE, "").status, 200);
    let as_reader =
        gateway.ask("POST", "/v1/heartbeat", READER, r#"{"node_id":"one","epoch":1,"seq":1,"next_interval_ms":1000}"#);
    assert_eq!(as_reader.status, 403);
}

#[test]
fn batches_answer_each_report_and_lists_go_on_page_by_page() {
    let gateway = Gateway::start("");
    let report = |task: &str, node: &str| json!({ "task_id": task, "status": "running", "node_id": node, "timestamp": "2026-01-02T03:04:05Z" });
    let batch =
        json!({ "id": 7, "reports": [report("a", "one"), report("b", "two"), report("a", "one"), report("c", "one")] });
    let answer = gateway.ask("POST", "/v1/status/batch", ONE, &batch.to_string());
    assert_eq!((answer.status, &answer.body["id"]), (200, &json!(7)));
    let answers = &answer.body["answers"];
    assert_eq!((&answers[0]["outcome"], &answers[2]["outcome"]), (&json!("stored"), &json!("duplicate")));
    assert_eq!((&answers[1]["error"]["code"], &answers[3]["outcome"]), (&json!("forbidden"), &json!("stored")));
    let first = gateway.read("/v1/tasks?limit=1");
    assert_eq!((&first["items"][0]["task_id"], &first["next_after"]), (&json!("a"), &json!("a")));
    let second = gateway.read("/v1/tasks?limit=1&after=a");
    assert_eq!((&second["items"][0]["task_id"], second.get("next_after")), (&json!("c"), None));
}

#[test]
fn an_empty_event_id_is_as_none() {
    let gateway = Gateway::start("");
    for id in ["", " ", "\t"] {
        let mut connection = gateway.connect(None);
        let head =
            format!("GET /v1/watch HTTP/1.1\r\nhost: gateway\r\nauthorization: {READER}\r\nlast-event-id:{id}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        let mut status = [0; 12];
        connection.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200", "{id:?}");
    }
    let headers = [("authorization", READER), ("last-event-id", "x")];
    let wrong = gateway.ask_with(gateway.connect(None), &headers, ("GET", "/v1/watch", b""));
    assert_eq!(wrong.status, 422, "{wrong:?}");
}

#[test]
fn an_agent_whose_frame_is_too_long_reads_so_before_the_connection_ends() {
    let gateway = Gateway::start("");
    let mut connection = gateway.connect(None);
    let head = format!(
        "GET /state HTTP/1.1\r\nhost: gateway\r\nauthorization: {ONE}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // A text of 4 MiB, masked with zeros (RFC 6455 5.2).
    let length = 4_u64 << 20;
    connection.write_all(&[&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()).unwrap();
    connection.write_all(&vec![b' '; length as usize]).unwrap();
    connection.conn.send_close_notify();
    connection.flush().unwrap();
    let told = String::from_utf8_lossy(&read_all(&mut connection)).into_owned();
    assert!(told.starts_with("HTTP/1.1 101") && told.contains("\"too_large\""), "{told}");
}

#[test]
fn a_report_that_means_nothing_hides_none_of_its_batch() {
    let gateway = Gateway::start("");
    let report = |task: &str, status: &str| json!({ "task_id": task, "status": status, "node_id": "one", "timestamp": "2026-01-02T03:04:05Z", "version": 1 });
    let batch =
        json!({ "id": 7, "reports": [report("a", "paused"), report("b", "running"), 5, report("c", "running")] });
    let answer = gateway.ask("POST", "/v1/status/batch", ONE, &batch.to_string());
    let outcomes: Vec<_> = answer.body["answers"].as_array().unwrap().iter().collect();
    assert_eq!((answer.status, outcomes.len()), (200, 4), "{answer:?}");
    assert_eq!((&outcomes[1]["outcome"], &outcomes[3]["outcome"]), (&json!("stored"), &json!("stored")));
    assert!([0, 2].iter().all(|at| outcomes[*at]["error"]["code"] == "invalid_report"), "{answer:?}");
    let task = |task: &str, status: &str, version: u64| json!({ "task_id": task, "status": status, "version": version, "timestamp": "2026-01-02T03:04:05Z" });
    let tasks = [task("b", "completed", 2), task("c", "paused", 3), task("d", "running", 4)];
    let state = json!({ "node_id": "one", "epoch": 1, "version": 4, "checksum": "", "tasks": tasks });
    let answer = gateway.ask("POST", "/v1/state", ONE, &state.to_string());
    assert_eq!((answer.status, &answer.body["answers"][1]["error"]["code"]), (200, &json!("invalid_report")));
    let status = |task: &str| gateway.read(&format!("/v1/tasks/{task}"))["status"].clone();
    assert_eq!([status("b"), status("c"), status("d")], [json!("completed"), json!("unknown"), json!("running")]);
}
