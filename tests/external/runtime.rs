//! A containerd that serves CRI, with its data in a temporary folder, a network for Pods, and the image of their sandboxes.
//!
//! Separate from the tests that ask it: what it leaves behind (shims, mounts, an interface) is ended here by its id.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offloadctl::source::image::Archive;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::host::path_of;
use crate::support::program::poll;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image of sandboxes; its busybox sleeps.
const PAUSE: &str = "docker.io/local/pause:1";

/// A containerd.
pub struct Runtime {
    pub folder: TempDir,
    /// Of the interface that its Pods are bridged to.
    bridge: String,
    daemon: Option<Child>,
}

impl Runtime {
    /// Starts it, and imports the image of sandboxes.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut runtime = Self { folder, bridge: format!("ofl{}", std::process::id()), daemon: None };
        runtime.configure("");
        runtime.start_again();
        let image = runtime.path("pause.tar");
        fs::write(&image, runtime.pause()).unwrap();
        runtime.ctr(&["images", "import", image.to_str().unwrap()]);
        runtime
    }

    /// Writes its configuration, with this at its beginning.
    pub fn configure(&self, more: &str) {
        fs::create_dir_all(self.path("cni")).unwrap();
        let network = json!({"cniVersion": "0.4.0", "name": self.bridge, "plugins": [{
            "type": "bridge", "bridge": self.bridge, "isGateway": false, "ipMasq": false,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.213.0.0/16"}]], "dataDir": self.path("ipam")},
        }]});
        fs::write(self.path("cni/10-test.conflist"), network.to_string()).unwrap();
        let config = format!(
            r#"version = 2
root = "{place}/root"
state = "{place}/state"
{more}
[grpc]
address = "{place}/containerd.sock"
[ttrpc]
address = "{place}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{place}/cni"
"#,
            place = self.folder.path().display()
        );
        fs::write(self.path("config.toml"), config).unwrap();
    }

    /// Starts it with the data that it had.
    pub fn start_again(&mut self) {
        path_of("host-local", "containernetworking-plugins");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(path_of("containerd", "containerd"));
        command.arg("--config").arg(self.path("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        poll("containerd", PATIENCE, || {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
            UnixStream::connect(self.socket()).ok()?;
            // Its plugins come after its socket.
            self.try_ctr(&["version"]).then_some(())
        });
    }

    /// Ends it with this signal; its containers go on.
    pub fn stop(&mut self, signal: Signal) {
        if let Some(mut daemon) = self.daemon.take() {
            // It fails only where it is gone already.
            let _ = kill(Pid::from_raw(daemon.id() as i32), signal);
            let _ = daemon.wait();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    /// Runs a command of its client in the namespace of Kubernetes and returns what it printed.
    #[track_caller]
    pub fn ctr(&self, arguments: &[&str]) -> String {
        let done = self.client(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn try_ctr(&self, arguments: &[&str]) -> bool {
        self.client(arguments).output().unwrap().status.success()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(path_of("ctr", "containerd"));
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]).args(arguments);
        command
    }

    /// Sandboxes and containers that there are, and images beside that of sandboxes.
    pub fn held(&self) -> (usize, usize) {
        let images = self.ctr(&["images", "ls", "-q"]);
        let images = images.lines().filter(|name| name.contains("/offloadctl/")).count();
        (self.ctr(&["containers", "ls", "-q"]).lines().count(), images)
    }

    /// The image of sandboxes as `docker save` would write it.
    fn pause(&self) -> Vec<u8> {
        let root = self.path("image");
        fs::create_dir_all(&root).unwrap();
        let layer = Archive::of_this_host().unwrap().whole();
        let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {"Entrypoint": ["/busybox", "sleep", "1000000"]},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]);
        fs::write(root.join("layer.tar"), layer).unwrap();
        fs::write(root.join("config.json"), config.to_string()).unwrap();
        fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
        let packed = Command::new("tar").arg("-C").arg(root).args(["-cf", "-", "."]).output().unwrap();
        assert!(packed.status.success());
        packed.stdout
    }

    /// The programs that watch over its containers.
    fn shims(&self) -> Vec<Pid> {
        let place = self.folder.path().as_os_str().as_encoded_bytes();
        let is_ours = |process: &Path| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            line.windows(place.len()).any(|part| part == place)
                && fs::read_to_string(process.join("comm")).is_ok_and(|name| name.starts_with("containerd-shim"))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let ours = entries.filter(|path| is_ours(path));
        ours.filter_map(|path| Some(Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?))).collect()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            let tasks = self.client(&["tasks", "ls", "-q"]).output().map(|done| done.stdout).unwrap_or_default();
            for task in String::from_utf8_lossy(&tasks).split_whitespace() {
                self.try_ctr(&["tasks", "delete", "--force", task]);
            }
        }
        self.stop(Signal::SIGTERM);
        for shim in self.shims() {
            let _ = kill(shim, Signal::SIGKILL);
        }
        let place = self.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| at.starts_with(&place));
        for mount in ours.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
        // It is there only where a Pod had a network.
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).stderr(Stdio::null()).status();
    }
}
