//! Agents and gateways whose time of day is wrong when they start, as it is on a board without a battery, on a real monotonic
//! clock: once it is right, everything is right within seconds.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::model::WallTime;
use offloadctl::sys::clock;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::support::program::{Scene, Started, poll};

/// Longest wait for what a right clock heals: seconds.
const HEALED_WITHIN: Duration = Duration::from_secs(15);

const SCRIPT: &str = r#"{"task_id":"web","status":"running"}
{"task_id":"job","status":"completed"}
{"after":"100ms","task_id":"late","status":"running"}
"#;

/// What is far from now, as the preloaded library reads it.
const WRONG: [&str; 4] = ["-20000d", "+2d", "+1d", "-2d"];

/// Where the library is that lies about the time of day.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime"));
    let place = places.map(|place| place.join("libfaketime.so.1")).find(|place| place.exists());
    place.unwrap_or_else(|| panic!("libfaketime.so.1 is not there; install the package faketime"))
}

/// A time of day that a test sets, for one process.
struct Lie<'a> {
    scene: &'a Scene,
    environment: Vec<(String, String)>,
}

impl<'a> Lie<'a> {
    fn new(scene: &'a Scene, offset: &str) -> Self {
        let lie = Self {
            scene,
            environment: vec![
                ("LD_PRELOAD".to_owned(), library().display().to_string()),
                ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
                ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
                ("FAKETIME_TIMESTAMP_FILE".to_owned(), scene.path("offset").display().to_string()),
            ],
        };
        lie.set(offset);
        lie
    }

    /// The file appears whole: the other process reads it at any time.
    fn set(&self, offset: &str) {
        self.scene.write("offset.new", &format!("{offset}\n"));
        std::fs::rename(self.scene.path("offset.new"), self.scene.path("offset")).unwrap();
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.environment.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

fn configure(gateway: &Gateway) {
    let port = gateway.address.rsplit_once(':').unwrap().1;
    gateway.scene.write("script", SCRIPT);
    gateway.scene.write(
        "agent.conf",
        &format!(
            r#"{{"server":"wss://localhost:{port}","interval":"1s","node_id":"one","token_file":"tokens",
"ca_file":"data/certificate.pem","sources":{{"script":"script"}}}}"#
        ),
    );
}

/// Waits until every task of the script is told, with a time that is about now.
fn until_told(gateway: &Gateway, wrong: &str) {
    let is_now = |task: &Value| {
        let at: WallTime = serde_json::from_value(task["timestamp"].clone()).unwrap();
        (at.unix_seconds() - clock::wall_now().unix_seconds()).abs() < 3600
    };
    poll(&format!("every task after {wrong}"), HEALED_WITHIN, || {
        let tasks = gateway.read("/v1/tasks");
        let tasks = tasks["items"].as_array()?;
        let is_told = |(id, status): (&str, &str)| {
            // What has ended is not told again: it may keep the time of a clock that was a day or less ahead.
            let is_right = |task: &Value| task["status"] == *status && (id == "job" || is_now(task));
            tasks.iter().any(|task| task["task_id"] == *id && is_right(task))
        };
        [("web", "running"), ("job", "completed"), ("late", "running")].into_iter().all(is_told).then_some(())
    });
}

fn end(agent: Started) {
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn an_agent_whose_clock_was_wrong_tells_everything_once_it_is_right() {
    for wrong in WRONG {
        let gateway = Gateway::start("");
        configure(&gateway);
        let lie = Lie::new(&gateway.scene, wrong);
        let agent = gateway.scene.start_with("agent --config agent.conf", &lie.variables());
        std::thread::sleep(Duration::from_secs(3));
        lie.set("+0");
        // A clock that was behind and is believed is not found out by the agent: its tasks are told all the same.
        if wrong == "-2d" {
            poll("the tasks", HEALED_WITHIN, || (gateway.read("/v1/view")["task_count"]["running"] == 2).then_some(()));
        } else {
            until_told(&gateway, wrong);
        }
        end(agent);
    }
}

#[test]
fn a_gateway_whose_clock_was_wrong_takes_everything_once_it_is_right_and_has_forgotten_nothing() {
    for wrong in WRONG {
        let gateway = Gateway::start("");
        assert_eq!(gateway.report("two", "over", "completed", 1).status, 200);
        let address = gateway.address.clone();
        let (scene, _) = gateway.end(Signal::SIGTERM);
        let folder = Scene::new();
        let lie = Lie::new(&folder, wrong);
        let gateway = Gateway::start_with(scene, (&address, ""), &lie.variables());
        configure(&gateway);
        let agent = gateway.scene.start("agent --config agent.conf");
        std::thread::sleep(Duration::from_secs(3));
        lie.set("+0");
        until_told(&gateway, wrong);
        assert_eq!(gateway.read("/v1/tasks/over")["status"], "completed", "{wrong}");
        assert_eq!(gateway.read("/v1/nodes/one")["state"], "alive", "{wrong}");
        let offset = gateway.read("/v1/nodes/one")["clock"]["offset_ns"].as_i64();
        poll("the offset of the clocks", HEALED_WITHIN, || {
            let offset = gateway.read("/v1/nodes/one")["clock"]["offset_ns"].as_i64()?;
            (offset.abs() < 1_000_000_000).then_some(())
        });
        assert!(offset.is_some(), "{wrong}");
        end(agent);
    }
}
