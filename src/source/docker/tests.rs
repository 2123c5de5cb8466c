//! The source with an engine that says what a test wants, and with what a real one has said.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

// Recorded from a real engine: see `fixtures/README.md`.
const LIST: &str = include_str!("../../../fixtures/docker/list.json");
const EVENTS: &str = include_str!("../../../fixtures/docker/events.jsonl");

const GOOD: TaskState = TaskState::Ended { is_success: true };
const BAD: TaskState = TaskState::Ended { is_success: false };

/// An engine on a socket of its own; its threads end with the test's process.
struct Fake {
    folder: TempDir,
    says: Arc<Mutex<Says>>,
}

#[derive(Default)]
struct Says {
    list: Value,
    details: Value,
    streams: Vec<UnixStream>,
}

impl Fake {
    fn start(list: Value) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let says = Arc::new(Mutex::new(Says { list, ..Says::default() }));
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &shared);
            }
        });
        Self { folder, says }
    }

    fn docker(&self) -> Docker {
        Docker::new(&self.folder.path().join("socket"), None)
    }

    fn set(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn list(&self, list: Value) {
        self.set(|says| says.list = list);
    }

    fn say(&self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.set(|says| says.streams.iter_mut().for_each(|stream| stream.write_all(chunk.as_bytes()).unwrap()));
    }

    /// An event of container `a`, now.
    fn event(&self, action: &str, attributes: Value) {
        let now = clock::wall_now().unix_nanos() as i64;
        let actor = json!({ "ID": "a", "Attributes": attributes });
        self.say(
            &(json!({ "Type": "container", "Action": action, "Actor": actor, "timeNano": now }).to_string() + "\n"),
        );
    }

    fn end_streams(&self) {
        self.set(|says| says.streams.clear());
    }
}

/// One request, and its answer.
fn serve(mut stream: UnixStream, says: &Mutex<Says>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().trim_start_matches("/v1.47").to_owned();
    let mut says = says.lock().unwrap();
    let body = match path.split('?').next().unwrap() {
        "/version" => json!({ "ApiVersion": "1.47" }),
        "/containers/json" => says.list.clone(),
        "/containers/a/json" => says.details.clone(),
        "/events" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            return says.streams.push(stream);
        }
        _ => Value::Null,
    };
    let (code, body) = (if body.is_null() { 404 } else { 200 }, body.to_string());
    let answer = format!("HTTP/1.1 {code} As asked\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).unwrap();
}

fn container(state: &str, status: &str) -> Value {
    json!([{ "Id": "a", "Names": ["/web"], "Image": "img:1", "State": state, "Status": status }])
}

async fn next(docker: &mut Docker) -> Event {
    timeout(Duration::from_secs(10), docker.next()).await.unwrap().unwrap()
}

fn name_of(seen: &Sighting) -> String {
    let facts: Value = serde_json::from_str(seen.payload.as_deref().unwrap()).unwrap();
    facts["name"].as_str().unwrap_or_default().to_owned()
}

/// What was told of each container, by its name.
fn told(event: Event) -> BTreeMap<String, TaskState> {
    match event {
        Event::Known(all) | Event::Changed(all) => all.iter().map(|seen| (name_of(seen), seen.state)).collect(),
        event => panic!("{event:?}"),
    }
}

/// The only container that an event tells of.
fn one(event: Event) -> (String, TaskState) {
    let told = told(event);
    assert_eq!(told.len(), 1, "{told:?}");
    told.into_iter().next().unwrap()
}

fn web(state: TaskState) -> (String, TaskState) {
    ("web".to_owned(), state)
}

fn without_engine() -> Docker {
    Docker::new(Path::new("/nowhere"), None)
}

fn recorded() -> Vec<Entry> {
    read::list(LIST.as_bytes()).unwrap().entries
}

fn happenings() -> Vec<Happening> {
    EVENTS.lines().filter_map(|line| read::happening(&serde_json::from_str(line).unwrap())).collect()
}

#[test]
fn a_list_says_where_every_container_stands() {
    let known = told(without_engine().know(recorded(), clock::wall_now()));
    let expected = [("bad", BAD), ("good", GOOD), ("made", TaskState::Pending), ("web", TaskState::Running)];
    assert_eq!(known, expected.map(|(name, state)| (name.to_owned(), state)).into());
}

#[tokio::test]
async fn the_recorded_stream_tells_every_change_once() {
    let mut docker = without_engine();
    let mut told = Vec::new();
    for happening in happenings() {
        told.extend(docker.take(happening).await.map(|event| match event {
            Event::Changed(seen) => format!("{} {:?}", name_of(&seen[0]), seen[0].state),
            Event::Vanished(id) => format!("{} vanished", &id[..4]),
            event => panic!("{event:?}"),
        }));
    }
    let expected = [
        "made Pending",
        "web Pending",
        "web Running",
        "good Pending",
        "good Running",
        "good Ended { is_success: true }",
        "bad Pending",
        "bad Running",
        "bad Ended { is_success: false }",
        "web Ended { is_success: false }",
        "d4a4 vanished",
        "134b vanished",
    ];
    assert_eq!(told, expected);
}

#[test]
fn after_a_gap_an_end_is_not_told_again_and_a_state_keeps_its_beginning() {
    let mut docker = without_engine();
    let first = WallTime::from_unix_nanos(1_000_000_000);
    let Event::Known(before) = docker.know(recorded(), first) else { panic!("no list") };
    let Event::Known(again) = docker.know(recorded(), clock::wall_now()) else { panic!("no list") };
    assert_eq!(again.iter().map(name_of).collect::<BTreeSet<_>>(), ["made", "web"].map(str::to_owned).into());
    assert!(again.iter().all(|seen| before.contains(seen)));
}

#[tokio::test]
async fn what_happened_while_the_list_was_made_is_no_news() {
    let mut docker = without_engine();
    docker.know(recorded(), clock::wall_now());
    let text = EVENTS.lines().take_while(|line| !line.contains("\"attach\""));
    for line in text {
        let Some(happening) = read::happening(&serde_json::from_str(line).unwrap()) else { continue };
        assert_eq!(docker.take(happening).await, None);
    }
}

#[tokio::test]
async fn a_container_in_a_state_that_nobody_knows_hides_no_other_and_is_told_of_once() {
    let odd = json!({ "Id": "b", "Names": ["/odd"], "State": "stopped" });
    let fake = Fake::start(json!([container("running", "")[0], odd, { "State": "running" }]));
    let mut docker = fake.docker();
    let expected = [("web", TaskState::Running), ("odd", TaskState::Unknown)];
    assert_eq!(told(next(&mut docker).await), expected.map(|(name, state)| (name.to_owned(), state)).into());
    for what in ["`stopped` is no state", "has no id"] {
        let Event::Odd(text) = next(&mut docker).await else { panic!("{what}") };
        assert!(text.contains(what), "{text}");
    }
    fake.end_streams();
    assert!(matches!(next(&mut docker).await, Event::Trouble(_)));
    assert_eq!(told(next(&mut docker).await).len(), 2);
    fake.event("rename", json!({ "name": "other" }));
    assert_eq!(one(next(&mut docker).await).0, "other");
}

#[tokio::test]
async fn another_name_is_told_by_the_event_and_by_the_list_after_a_gap() {
    let fake = Fake::start(container("running", ""));
    let mut docker = fake.docker();
    assert_eq!(one(next(&mut docker).await), web(TaskState::Running));
    fake.event("rename", json!({ "name": "web-2", "oldName": "/web" }));
    assert_eq!(one(next(&mut docker).await), ("web-2".to_owned(), TaskState::Running));
    fake.list(json!([{ "Id": "a", "Names": ["/web-3"], "State": "running" }]));
    fake.end_streams();
    assert!(matches!(next(&mut docker).await, Event::Trouble(_)));
    assert_eq!(one(next(&mut docker).await), ("web-3".to_owned(), TaskState::Running));
    // Of one that is over as well.
    fake.list(json!([{ "Id": "a", "Names": ["/web-3"], "State": "exited", "Status": "Exited (0) now" }]));
    fake.event("die", json!({ "exitCode": "0" }));
    assert_eq!(one(next(&mut docker).await), ("web-3".to_owned(), GOOD));
    fake.event("rename", json!({ "name": "old" }));
    assert_eq!(one(next(&mut docker).await), ("old".to_owned(), GOOD));
}

#[tokio::test]
async fn what_waits_to_be_started_again_is_running_until_its_last_end() {
    let fake = Fake::start(container("running", "Up"));
    let mut docker = fake.docker();
    assert_eq!(one(next(&mut docker).await), web(TaskState::Running));
    fake.list(container("restarting", "Restarting (1) 1 second ago"));
    fake.event("die", json!({ "exitCode": "1" }));
    fake.event("start", json!({}));
    fake.event("die", json!({ "exitCode": "1" }));
    fake.event("rename", json!({ "name": "so far nothing else" }));
    assert_eq!(one(next(&mut docker).await), ("so far nothing else".to_owned(), TaskState::Running));
    // Somebody stops it while it waits: no process ends.
    fake.list(container("exited", "Exited (1) 1 second ago"));
    fake.event("stop", json!({}));
    assert_eq!(one(next(&mut docker).await).1, BAD);
}

#[tokio::test]
async fn what_a_list_says_now_outweighs_an_end_that_was_told() {
    let fake = Fake::start(container("exited", "Exited (0) 1 second ago"));
    let mut docker = fake.docker();
    assert_eq!(one(next(&mut docker).await), web(GOOD));
    fake.list(container("running", "Up"));
    fake.end_streams();
    assert!(matches!(next(&mut docker).await, Event::Trouble(_)));
    assert_eq!(one(next(&mut docker).await), web(TaskState::Running));
    fake.list(container("exited", "Exited (2) 1 second ago"));
    fake.event("die", json!({ "exitCode": "2" }));
    assert_eq!(one(next(&mut docker).await), web(BAD));
}

#[tokio::test]
async fn the_times_are_those_of_the_engine_and_the_same_for_the_next_agent() {
    let fake = Fake::start(container("exited", "Exited (0) 3 weeks ago"));
    let at = "2026-01-02T03:04:05.678Z";
    fake.set(|says| says.details = json!({ "State": { "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": at } }));
    for _ in 0..2 {
        let Event::Known(all) = next(&mut fake.docker()).await else { panic!("no list") };
        assert_eq!(serde_json::to_value(all[0].at).unwrap(), json!(at));
    }
}

#[tokio::test]
async fn the_events_of_podman_are_understood_and_what_is_no_event_is_passed_over() {
    let fake = Fake::start(json!([]));
    let mut docker = fake.docker();
    assert!(matches!(next(&mut docker).await, Event::Known(all) if all.is_empty()));
    fake.event("create", json!({ "name": "web" }));
    assert_eq!(one(next(&mut docker).await), web(TaskState::Pending));
    fake.event("start", json!({ "name": "web" }));
    assert_eq!(one(next(&mut docker).await), web(TaskState::Running));
    fake.say("this is no event\n{\"Type\":\"image\",\"Action\":\"remove\",\"Actor\":{\"ID\":\"a\"}}{\"odd\":1}\n");
    fake.event("died", json!({ "containerExitCode": "3" }));
    assert_eq!(one(next(&mut docker).await), web(BAD));
    fake.event("remove", json!({}));
    assert_eq!(next(&mut docker).await, Event::Vanished("a".to_owned()));
}

#[test]
fn small_differences_in_use_are_no_news() {
    let mut container =
        Container { state: TaskState::Running, since: clock::wall_now(), facts: Facts::default(), last: None };
    let mut look = |s: u64, cpu_ms: u64, memory_bytes: u64| {
        let used = Consumption { cpu: Duration::from_millis(cpu_ms), memory_bytes };
        container.consume(Stamp::from_nanos(s * 1_000_000_000), used)
    };
    assert!(look(0, 0, 3 << 20));
    assert!(look(5, 1_250, 3 << 20));
    assert!(!look(10, 2_501, (3 << 20) + 4096));
    assert!(look(15, 2_501, 3 << 20));
    assert!(look(20, 2_501, 5 << 20));
}
