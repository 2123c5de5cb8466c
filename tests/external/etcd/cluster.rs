//! A cluster of real etcd members on 127.0.0.1, each with its data in a temporary folder.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offloadctl::model::Run;
use tempfile::TempDir;

use crate::certificate::Identity;
use crate::host::{path_of, wait_until};
use crate::program::{Call, Ended, OFFLOADCTL};
use crate::server::free_port;

/// Members that are stopped by their id when it is dropped.
pub struct Cluster {
    members: Vec<Member>,
    scheme: &'static str,
    folder: TempDir,
}

struct Member {
    words: Vec<String>,
    child: Option<Child>,
    port: u16,
}

impl Cluster {
    /// `count` members with these options besides.
    #[track_caller]
    pub fn start(count: usize, options: &[&str]) -> Self {
        Self::with(count, options, None)
    }

    /// One member whose clients must speak TLS to it.
    #[track_caller]
    pub fn with_tls(identity: &Identity, options: &[&str]) -> Self {
        Self::with(1, options, Some(identity))
    }

    #[track_caller]
    fn with(count: usize, options: &[&str], identity: Option<&Identity>) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let scheme = if identity.is_some() { "https" } else { "http" };
        // Both ports of a member are looked for at once, so that no other member takes the second.
        let mut ports: Vec<(u16, u16)> = Vec::new();
        while ports.len() < count {
            let pair = (free_port(), free_port());
            let is_new = |port: u16| ports.iter().all(|(client, peer)| *client != port && *peer != port);
            if pair.0 != pair.1 && is_new(pair.0) && is_new(pair.1) {
                ports.push(pair);
            }
        }
        let peers: Vec<String> =
            ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://127.0.0.1:{peer}")).collect();
        let member = |(at, &(port, peer)): (usize, &(u16, u16))| {
            let client = format!("{scheme}://127.0.0.1:{port}");
            let peer = format!("http://127.0.0.1:{peer}");
            let mut words = vec![path_of("etcd", "etcd-server").to_str().unwrap().to_owned()];
            for (option, value) in [
                ("--name", format!("m{at}")),
                ("--data-dir", path(&format!("m{at}"))),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", peers.join(",")),
            ] {
                words.extend([option.to_owned(), value]);
            }
            words.extend(options.iter().map(|word| (*word).to_owned()));
            Member { words, child: None, port }
        };
        let mut members: Vec<Member> = ports.iter().enumerate().map(member).collect();
        if let Some(identity) = identity {
            fs::write(path("server.crt"), &identity.certificate).unwrap();
            fs::write(path("server.key"), &identity.key).unwrap();
            let files = ["--cert-file", &path("server.crt"), "--key-file", &path("server.key")].map(str::to_owned);
            members.iter_mut().for_each(|member| member.words.extend(files.clone()));
        }
        let mut cluster = Self { members, scheme, folder };
        (0..count).for_each(|at| cluster.start_member(at));
        cluster.wait_until_healthy();
        cluster
    }

    /// A place in the folder of the cluster.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// All endpoints, as `--endpoints` wants them.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.members.len()).map(|at| self.endpoint(at)).collect();
        all.join(",")
    }

    /// One endpoint.
    pub fn endpoint(&self, at: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.members[at].port)
    }

    /// Starts a member, for the first time or again.
    #[track_caller]
    pub fn start_member(&mut self, at: usize) {
        let log = File::create(self.folder.path().join(format!("m{at}.log"))).unwrap();
        let member = &mut self.members[at];
        let mut command = Command::new(&member.words[0]);
        command.args(&member.words[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        member.child = Some(command.spawn().unwrap());
    }

    /// Waits until a write to every member succeeds.
    #[track_caller]
    pub fn wait_until_healthy(&self) {
        if self.scheme == "https" {
            // Its tests say themselves whom to trust; here it is enough that it listens.
            let port = self.members[0].port;
            return wait_until("etcd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        wait_until("the cluster is healthy", || self.try_etcdctl(&["endpoint", "health"]).status.success());
    }

    /// Kills a member at once, as a crash would.
    pub fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a member a signal.
    #[track_caller]
    pub fn signal(&self, at: usize, signal: Signal) {
        let id = self.members[at].child.as_ref().unwrap().id();
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// Makes the folder of a member that is gone from a snapshot, as the only member of its cluster.
    #[track_caller]
    pub fn restore(&self, at: usize, snapshot: &str) {
        let words = &self.members[at].words;
        let value = |flag: &str| words[words.iter().position(|word| word == flag).unwrap() + 1].clone();
        let mut arguments = vec!["snapshot".to_owned(), "restore".to_owned(), snapshot.to_owned()];
        for flag in ["--name", "--data-dir", "--initial-cluster", "--initial-advertise-peer-urls"] {
            arguments.extend([flag.to_owned(), value(flag)]);
        }
        self.etcdctl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Which member leads.
    #[track_caller]
    pub fn leader(&self) -> usize {
        let text = self.etcdctl(&["endpoint", "status", "--write-out", "simple"]);
        // endpoint, id, version, size, is leader, is learner, ...
        let is_leader = |line: &str| line.split(", ").nth(4) == Some("true");
        text.lines().position(is_leader).unwrap_or_else(|| panic!("no leader in {text}"))
    }

    /// What `etcdctl` says; fails where it fails.
    #[track_caller]
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.try_etcdctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `etcdctl` on all endpoints.
    #[track_caller]
    pub fn try_etcdctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(path_of("etcdctl", "etcd-client"));
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoints()]).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// All keys of the cluster.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let text = self.etcdctl(&["get", "", "--prefix", "--keys-only"]);
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The newest revision.
    #[track_caller]
    pub fn revision(&self) -> String {
        let text = self.etcdctl(&["get", "nothing", "--write-out", "fields"]);
        let line = text.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
        line.to_owned()
    }

    /// The words of `offloadctl bench etcd` on this cluster, with the run document on standard output.
    pub fn words(&self, line: &str) -> Vec<String> {
        let words = format!("{OFFLOADCTL} bench etcd --json --no-save --endpoints {} {line}", self.endpoints());
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// Starts it.
    pub fn bench(&self, line: &str) -> Call {
        Call::start(&self.words(line))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // Both fail only where the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program itself, without the `timeout` in front of it, so that signals reach it.
pub struct Bare(Child);

impl Bare {
    /// Starts the words.
    #[track_caller]
    pub fn start(words: &[String], place: &Path) -> Self {
        let [out, err] = ["out", "err"].map(|name| File::create(place.join(name)).unwrap());
        let mut command = Command::new(&words[0]);
        Self(command.args(&words[1..]).stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap())
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end, and reads what it wrote.
    #[track_caller]
    pub fn end(mut self, place: &Path) -> Ended {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        Ended { code: status.and_then(|status| status.code()), stdout: read("out"), stderr: read("err") }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A scalar of this name whose labels hold this text.
#[track_caller]
pub fn scalar(run: &Run, name: &str, label: &str) -> Option<f64> {
    let found = run.scalars.iter().find(|scalar| scalar.name == name && scalar.labels.to_string().contains(label));
    found.unwrap_or_else(|| panic!("no scalar {name} with {label} in {:?}", run.scalars)).value
}
