//! The agent with a real Podman, through the part of its API that is Docker's.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::docker::{until, until_connected, watch};
use crate::gateway::Gateway;
use crate::host::{may_administer, path_of, turn};
use crate::support::program::poll;

/// Limits that a host without further privileges may set.
const RUN: [&str; 6] = ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];

/// A Podman with its data in a temporary folder and one image, which holds busybox alone.
struct Engine {
    folder: TempDir,
    service: Option<Child>,
}

impl Engine {
    fn start() -> Self {
        let mut engine = Self { folder: TempDir::new().unwrap(), service: None };
        let root = engine.path("rootfs/bin");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::copy(path_of("busybox", "busybox-static"), root.join("busybox")).unwrap();
        for name in ["sh", "sleep", "true", "false"] {
            std::os::unix::fs::symlink("busybox", root.join(name)).unwrap();
        }
        let (rootfs, archive) = (engine.path("rootfs"), engine.path("image.tar"));
        let packed = Command::new("tar").arg("-C").arg(rootfs).arg("-cf").arg(&archive).arg(".").status();
        assert!(packed.unwrap().success());
        engine.podman(&["import", &archive.display().to_string(), "local/busybox:1"]);
        let address = format!("unix://{}", engine.path("podman.sock").display());
        let mut service = engine.command();
        service.args(["system", "service", "--time", "0", &address]);
        engine.service =
            Some(service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        poll("Podman", std::time::Duration::from_secs(40), || engine.path("podman.sock").exists().then_some(()));
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(path_of("podman", "podman"));
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        command
    }

    /// Runs a command and returns the last line of what it printed.
    #[track_caller]
    fn podman(&self, arguments: &[&str]) -> String {
        let done = self.command().args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().lines().last().unwrap_or_default().to_owned()
    }

    /// Makes a container with these options and this command, and returns its id.
    #[track_caller]
    fn make(&self, act: &[&str], name: &str, command: &[&str]) -> String {
        self.podman(&[act, &RUN, &["--name", name, "local/busybox:1"], command].concat())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whatever is left: the service knows nothing of containers when it ends.
        let _ = self.command().args(["rm", "--all", "--force", "--time", "0"]).output();
        if let Some(mut service) = self.service.take() {
            let _ = kill(Pid::from_raw(service.id() as i32), Signal::SIGTERM);
            let _ = service.wait();
        }
    }
}

#[test]
fn what_happens_to_containers_of_podman_is_known_to_the_gateway() {
    if !may_administer("podman") {
        return;
    }
    let _turn = turn();
    let engine = Engine::start();
    let before = engine.make(&["run", "-d"], "before", &["true"]);
    engine.podman(&["wait", "before"]);
    let gateway = Gateway::start("");
    let agent = watch(&gateway, &engine.path("podman.sock"));
    until_connected(&gateway);
    until(&gateway, &before, "completed", |facts| facts["name"] == "before" && facts["exit_code"] == 0);
    let finished = engine.podman(&["inspect", "--format", "{{.State.FinishedAt.UnixNano}}", "before"]);
    let told: offloadctl::model::WallTime =
        serde_json::from_value(gateway.read(&format!("/v1/tasks/{before}"))["timestamp"].clone()).unwrap();
    assert_eq!(told.unix_nanos().to_string(), finished);
    let made = engine.make(&["create"], "made", &["true"]);
    until(&gateway, &made, "pending", |_| true);
    let web = engine.make(&["run", "-d"], "web", &["sleep", "100"]);
    until(&gateway, &web, "running", |facts| facts["memory_bytes"].is_u64());
    let bad = engine.make(&["run", "-d"], "bad", &["sh", "-c", "exit 3"]);
    until(&gateway, &bad, "failed", |facts| facts["exit_code"] == 3);
    engine.podman(&["rename", "web", "web-2"]);
    until(&gateway, &web, "running", |facts| facts["name"] == "web-2");
    engine.podman(&["rm", "made"]);
    until(&gateway, &made, "unknown", |_| true);
    engine.podman(&["kill", "web-2"]);
    until(&gateway, &web, "failed", |facts| facts["exit_code"] == 137);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.end().code, Some(0));
}
