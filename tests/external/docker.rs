//! The agent with a real Docker Engine: what happens to containers is known to the gateway.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::host::{may_administer, path_of, turn};
use crate::support::program::{Started, poll};

/// Longest wait for anything here: an engine takes seconds to stop a container.
const PATIENCE: Duration = Duration::from_secs(40);

/// A Docker Engine with its data in a temporary folder and one image, which holds busybox alone.
pub struct Engine {
    pub folder: TempDir,
    daemon: Option<Child>,
}

impl Engine {
    /// Starts it, and imports its image.
    pub fn start() -> Self {
        let mut engine = Self { folder: TempDir::new().unwrap(), daemon: None };
        engine.start_again();
        let busybox = path_of("busybox", "busybox-static");
        let root = engine.folder.path().join("rootfs/bin");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::copy(busybox, root.join("busybox")).unwrap();
        for name in ["sh", "sleep", "tail", "true", "false"] {
            std::os::unix::fs::symlink("busybox", root.join(name)).unwrap();
        }
        let place = engine.folder.path().display().to_string();
        let archive = format!("{place}/image.tar");
        let packed = Command::new("tar").args(["-C", &format!("{place}/rootfs"), "-cf", &archive, "."]).status();
        assert!(packed.unwrap().success());
        engine.docker(&["import", &archive, "local/busybox:1"]);
        engine
    }

    /// Starts it with the data that it had.
    pub fn start_again(&mut self) {
        let place = self.folder.path().display();
        let path = |name: &str| format!("{place}/{name}");
        let log = std::fs::File::create(path("log")).unwrap();
        let mut command = Command::new(path_of("dockerd", "docker.io"));
        command.args(["-H", &format!("unix://{}", path("docker.sock")), "--data-root", &path("data")]);
        command.args(["--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        poll("the Docker Engine", PATIENCE, || {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "dockerd ended: {}", std::fs::read_to_string(path("log")).unwrap_or_default());
            UnixStream::connect(path("docker.sock")).ok()
        });
    }

    /// Ends it as an administrator does: it takes its containers and its containerd along.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // Both fail only where it is gone already.
            let _ = kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM);
            let _ = daemon.wait();
        }
    }

    /// Runs a command of the client and returns what it printed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let socket = format!("unix://{}/docker.sock", self.folder.path().display());
        let done = Command::new(path_of("docker", "docker.io")).args(["-H", &socket]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command of the client; whether it succeeded.
    pub fn try_docker(&self, arguments: &[&str]) -> bool {
        let socket = format!("unix://{}/docker.sock", self.folder.path().display());
        let done = Command::new(path_of("docker", "docker.io")).args(["-H", &socket]).args(arguments).output().unwrap();
        done.status.success()
    }

    /// Starts a container and returns its id.
    #[track_caller]
    pub fn run(&self, name: &str, command: &[&str]) -> String {
        self.docker(&[&["run", "-d", "--network", "none", "--name", name, "local/busybox:1"], command].concat())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An agent of node `one` that watches the engine behind this socket.
pub fn watch(gateway: &Gateway, socket: &Path) -> Started {
    let port = gateway.address.rsplit_once(':').unwrap().1;
    let config = format!(
        r#"{{"server":"wss://localhost:{port}","interval":"1s","metrics":["cpu","memory"],"node_id":"one",
"token_file":"tokens","ca_file":"data/certificate.pem","sources":{{"docker":{{"socket":"{}"}}}}}}"#,
        socket.display()
    );
    gateway.scene.write("agent.conf", &config);
    gateway.scene.start("agent --config agent.conf")
}

/// Waits until the agent is heard.
pub fn until_connected(gateway: &Gateway) {
    poll("the agent", PATIENCE, || (gateway.read("/v1/view")["node_count"]["alive"] == 1).then_some(()));
}

/// Waits until the gateway shows a container with this status and this in its payload.
#[track_caller]
pub fn until(gateway: &Gateway, id: &str, status: &str, holds: impl Fn(&Value) -> bool) {
    poll(&format!("container {id} {status}"), PATIENCE, || {
        let tasks = gateway.read("/v1/tasks");
        let task = tasks["items"].as_array()?.iter().find(|task| task["task_id"] == *id)?.clone();
        (task["status"] == *status && holds(&task["payload"])).then_some(())
    });
}

#[test]
fn a_container_that_its_engine_starts_again_is_running_until_its_last_end() {
    if !may_administer("docker") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let gateway = Gateway::start("");
    let agent = watch(&gateway, &engine.folder.path().join("docker.sock"));
    until_connected(&gateway);
    let again = engine.docker(
        &[
            &["run", "-d", "--network", "none", "--restart", "on-failure:2", "--name", "again", "local/busybox:1"][..],
            &["sh", "-c", "sleep 0.5; exit 4"],
        ]
        .concat(),
    );
    until(&gateway, &again, "failed", |facts| facts["exit_code"] == 4);
    assert_eq!(engine.docker(&["inspect", "--format", "{{.RestartCount}}", "again"]), "2");
    let revision = gateway.read("/v1/view")["revision"].as_u64().unwrap();
    let told = gateway.watch(0, revision);
    let mut told: Vec<&str> = told.iter().filter_map(|(_, change)| change["status"].as_str()).collect();
    // What it uses is told as well.
    told.dedup();
    assert_eq!(told, ["pending", "running", "failed"]);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}

#[test]
fn what_happens_to_containers_is_known_to_the_gateway_also_after_a_restart_of_the_engine() {
    if !may_administer("docker") {
        return;
    }
    let _turn = turn();
    let mut engine = Engine::start();
    let before = engine.run("before", &["true"]);
    let gateway = Gateway::start("");
    let agent = watch(&gateway, &engine.folder.path().join("docker.sock"));
    until(&gateway, &before, "completed", |facts| facts["name"] == "before" && facts["exit_code"] == 0);
    let finished = engine.docker(&["inspect", "--format", "{{.State.FinishedAt}}", "before"]);
    assert_eq!(gateway.read(&format!("/v1/tasks/{before}"))["timestamp"], finished);
    let made = engine.docker(&["create", "--name", "made", "--network", "none", "local/busybox:1", "true"]);
    until(&gateway, &made, "pending", |_| true);
    let busy = engine.run("busy", &["sh", "-c", "while true; do :; done"]);
    until(&gateway, &busy, "running", |facts| {
        facts["cpu_cores"].as_f64().is_some_and(|cores| cores > 0.1) && facts["memory_bytes"].is_u64()
    });
    let bad = engine.run("bad", &["false"]);
    until(&gateway, &bad, "failed", |facts| facts["exit_code"] == 1);
    engine.docker(&["rename", "bad", "worse"]);
    until(&gateway, &bad, "failed", |facts| facts["name"] == "worse" && facts["exit_code"] == 1);
    engine.docker(&["rm", "made"]);
    until(&gateway, &made, "unknown", |_| true);
    engine.stop();
    poll("a word on the engine", PATIENCE, || agent.said().contains("cannot be watched").then_some(()));
    engine.start_again();
    until(&gateway, &busy, "failed", |_| true);
    let after = engine.run("after", &["sleep", "100"]);
    until(&gateway, &after, "running", |facts| facts["image"] == "local/busybox:1");
    engine.docker(&["rm", "--force", "after"]);
    until(&gateway, &after, "failed", |facts| facts["exit_code"] == 137);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}
