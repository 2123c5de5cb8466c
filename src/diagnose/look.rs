//! What is on this host at its usual places: looked at, not asked for anything but its metrics.
//!
//! Separate from the measuring. It changes nothing, runs nothing, and goes to no other host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::facts::Member;
use crate::wire::{self, Exposition, Spread, TlsSpec, Trust, Url};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Fsyncs below which a window has no 99th percentile.
const FEW: f64 = 100.0;

/// Where things usually are.
const DOCKER: &str = "/var/run/docker.sock";
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const ETCD: &str = "http://127.0.0.1:2379";
const GATEWAY: &str = "127.0.0.1:7443";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The socket of a Docker Engine that takes connections from us.
    pub docker: Option<PathBuf>,
    /// That of containerd.
    pub containerd: Option<PathBuf>,
    /// An etcd that tells its metrics.
    pub etcd: Option<String>,
    /// A gateway's usual port takes connections.
    pub gateway: Option<String>,
    /// The kernel tells us of processes by its tracepoints.
    pub kernel: bool,
    /// A kubeconfig, whose server is elsewhere.
    pub kubeconfig: Option<PathBuf>,
    /// What is there and is not for us, in a sentence each.
    pub closed: Vec<String>,
}

/// Looks at the usual places.
pub async fn look() -> Found {
    let mut found = Found::default();
    for (name, path) in [("Docker", DOCKER), ("containerd", CONTAINERD)] {
        let path = Path::new(path);
        if !path.exists() {
            continue;
        }
        match timeout(PATIENCE, UnixStream::connect(path)).await {
            Ok(Ok(_)) if name == "Docker" => found.docker = Some(path.to_owned()),
            Ok(Ok(_)) => found.containerd = Some(path.to_owned()),
            Ok(Err(error)) => {
                found.closed.push(format!("{name} at {} takes no connection from us ({error})", path.display()))
            }
            Err(_) => found.closed.push(format!("{name} at {} does not answer", path.display())),
        }
    }
    if scrape(ETCD).await.is_some() {
        found.etcd = Some(ETCD.to_owned());
    }
    if timeout(PATIENCE, TcpStream::connect(GATEWAY)).await.is_ok_and(|connected| connected.is_ok()) {
        found.gateway = Some(GATEWAY.to_owned());
    }
    let named = std::env::var_os("KUBECONFIG").map(PathBuf::from);
    let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    found.kubeconfig = named.or(usual).filter(|path| path.is_file());
    found
}

/// A member's disks as its metrics tell them at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Disks {
    fsync: Option<Spread>,
    commit: Option<Spread>,
}

/// What a member tells now; `None` where it is no etcd, or does not answer.
pub async fn scrape(endpoint: &str) -> Option<Disks> {
    let url: Url = endpoint.parse().ok()?;
    let url = url.with_path("/metrics").ok()?;
    let trust = Trust::load(&TlsSpec::default()).ok()?;
    Disks::of(&Exposition::parse(&wire::scrape(&url, &trust).await?))
}

impl Disks {
    fn of(scrape: &Exposition) -> Option<Self> {
        let spread = |name: &str| Spread::of(scrape, name, |_| true);
        let fsync = spread("etcd_disk_wal_fsync_duration_seconds");
        let commit = spread("etcd_disk_backend_commit_duration_seconds");
        fsync.is_some().then_some(Self { fsync, commit })
    }

    /// What a member did between two moments; since its start where that was too little.
    #[must_use]
    pub fn until(&self, later: &Self, name: &str) -> Member {
        let window = later.fsync.as_ref().zip(self.fsync.as_ref()).and_then(|(later, earlier)| later.since(earlier));
        let is_enough = window.as_ref().is_some_and(|window| window.count() >= FEW);
        let of = |later: &Option<Spread>, earlier: &Option<Spread>| match is_enough {
            true => later.as_ref().zip(earlier.as_ref()).and_then(|(later, earlier)| later.since(earlier)),
            false => later.clone(),
        };
        let (fsync, commit) = (of(&later.fsync, &self.fsync), of(&later.commit, &self.commit));
        Member {
            name: name.to_owned(),
            fsync_p99: fsync.as_ref().and_then(Spread::p99_ns),
            fsyncs: fsync.as_ref().map_or(0.0, Spread::count),
            commit_p99: commit.as_ref().and_then(Spread::p99_ns),
            is_since_start: !is_enough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(fast: u64, all: u64) -> Disks {
        let text = format!(
            "etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.008\"}} {fast}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.016\"}} {fast}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.032\"}} {all}\n\
             etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             etcd_disk_wal_fsync_duration_seconds_sum 1\netcd_disk_wal_fsync_duration_seconds_count {all}\n"
        );
        Disks::of(&Exposition::parse(&text)).unwrap()
    }

    #[test]
    fn a_window_with_few_fsyncs_falls_back_to_the_whole_life() {
        let busy = disks(1_000, 1_000).until(&disks(1_000, 1_200), "a");
        assert_eq!((busy.fsync_p99, busy.is_since_start), (Some((16e6, Some(32e6))), false));
        let quiet = disks(1_000, 1_000).until(&disks(1_010, 1_010), "a");
        assert_eq!((quiet.fsync_p99, quiet.is_since_start, quiet.fsyncs), (Some((0.0, Some(8e6))), true, 1_010.0));
        assert_eq!(Disks::of(&Exposition::parse("up 1\n")), None);
    }
}
