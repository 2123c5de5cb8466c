//! Local etcd clusters of our own, one for each value of a setting, gone when they are dropped.
//!
//! Separate from the measurement, which knows only endpoints. Everything of a cluster lives in a temporary folder, its
//! write-ahead log or data where the setting says so, and the kernel ends its members if we are killed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;

use super::EtcdError;
use crate::sys::exec::free_port;
use crate::sys::server::{Server, ServerError, folder};
use crate::wire::{Fetch, Trust, TrustPem, Url, fetch};

/// How long a member may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer about its health.
const HEALTH_BYTES: usize = 4096;

/// Flags that say where members are and how they find each other: ours to give.
const OURS: [&str; 8] = [
    "advertise-client-urls",
    "config-file",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "listen-client-urls",
    "listen-peer-urls",
    "name",
];

/// Flags whose value is a folder, in which each member gets a new one of its own.
const FOLDERS: [&str; 2] = ["data-dir", "wal-dir"];

/// A text that is no setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingError {
    /// Not of the form.
    #[error("`{0}` is not `SETTING=VALUE[,VALUE]`, a flag of etcd without its dashes")]
    Form(String),
    /// A flag we give ourselves.
    #[error("`{0}` is given by offloadctl itself: its clusters listen on free ports of 127.0.0.1")]
    Ours(String),
}

/// One value of one flag of etcd, or its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The flag without its dashes and its value; `None` is etcd as it comes.
    pub flag: Option<(String, String)>,
}

/// All values that are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings(pub Vec<Setting>);

/// Which clusters to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpawnSpec {
    /// The program.
    pub program: PathBuf,
    /// One cluster each.
    pub settings: Vec<Setting>,
    /// Members of each cluster.
    pub members: usize,
    /// Rounds that each measurement is made in, all settings in each round.
    pub rounds: u32,
}

/// A running cluster. Its members end before their folders are removed.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    _folders: Vec<TempDir>,
    /// With which setting it runs.
    pub setting: Setting,
}

#[derive(Debug)]
struct Member {
    server: Server,
    endpoint: Url,
}

impl Cluster {
    /// Starts `count` members of `program` and waits until each of them serves.
    ///
    /// # Errors
    /// When one does not; those that do are stopped again.
    pub async fn start(program: &Path, setting: Setting, count: usize) -> Result<Self, EtcdError> {
        let name = format!("etcd with {setting}");
        let own = setting.folder().map(|place| folder("etcd", Some(Path::new(place)))).transpose()?;
        let home = folder("etcd", None)?;
        let ports = free_ports(count).map_err(|source| ServerError::Start { name: name.clone(), source })?;
        let mut members = Vec::with_capacity(count);
        for (at, (client, _)) in ports.iter().enumerate() {
            let arguments = arguments(at, &ports, &setting, home.path(), own.as_ref().map(TempDir::path));
            let server = Server::start(&name, program, &arguments, home.path().join(format!("n{at}.log")))?;
            members.push(Member { server, endpoint: format!("http://127.0.0.1:{client}").parse()? });
        }
        let trust = Trust::from_pem(&TrustPem { insecure: true, ..TrustPem::default() })?;
        for Member { server, endpoint } in &mut members {
            let health = endpoint.with_path("/health")?;
            server.ready(PATIENCE, async || is_healthy(&health, &trust).await.then_some(())).await?;
        }
        Ok(Self { members, _folders: std::iter::once(home).chain(own).collect(), setting })
    }

    /// Where its members serve clients.
    pub fn endpoints(&self) -> impl Iterator<Item = &Url> {
        self.members.iter().map(|member| &member.endpoint)
    }
}

/// A port for clients and one for peers for each member.
fn free_ports(count: usize) -> io::Result<Vec<(u16, u16)>> {
    let mut ports: Vec<u16> = Vec::new();
    while ports.len() < 2 * count {
        let port = free_port()?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn arguments(at: usize, ports: &[(u16, u16)], setting: &Setting, home: &Path, own: Option<&Path>) -> Vec<String> {
    let (client, peer) = ports[at];
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let cluster: Vec<String> =
        ports.iter().enumerate().map(|(n, (_, peer))| format!("n{n}=http://127.0.0.1:{peer}")).collect();
    let mut flags = vec![
        format!("--name=n{at}"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={}", cluster.join(",")),
    ];
    let own_flag = setting.flag.as_ref().map(|(name, _)| name.as_str());
    if own_flag != Some("data-dir") {
        flags.push(format!("--data-dir={}", home.join(format!("n{at}")).display()));
    }
    match (&setting.flag, own) {
        (Some((name, _)), Some(own)) => flags.push(format!("--{name}={}", own.join(format!("n{at}")).display())),
        (Some((name, value)), None) => flags.push(format!("--{name}={value}")),
        (None, _) => {}
    }
    flags
}

async fn is_healthy(health: &Url, trust: &Trust) -> bool {
    let (timeout, max_body) = (Duration::from_secs(2), HEALTH_BYTES);
    let answer =
        fetch(Fetch { url: health, address: None, server_name: None, trust, headers: &[], timeout, max_body }).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

impl Setting {
    /// The folder that the setting names, if it names one.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        let (name, value) = self.flag.as_ref()?;
        FOLDERS.contains(&name.as_str()).then_some(value)
    }
}

impl FromStr for Settings {
    type Err = SettingError;

    /// `snapshot-count=5000,10000`; an empty text is etcd as it comes.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        if text.is_empty() {
            return Ok(Self(vec![Setting::default()]));
        }
        let wrong = || SettingError::Form(text.to_owned());
        let (name, values) = text.trim_start_matches('-').split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || values.split(',').any(str::is_empty) {
            return Err(wrong());
        }
        if OURS.contains(&name) {
            return Err(SettingError::Ours(name.to_owned()));
        }
        let setting = |value: &str| Setting { flag: Some((name.to_owned(), value.to_owned())) };
        Ok(Self(values.split(',').map(setting).collect()))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.flag {
            Some((name, value)) => write!(f, "{name}={value}"),
            None => f.write_str("defaults"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<Vec<String>, SettingError> {
        text.parse::<Settings>().map(|settings| settings.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn settings_as_people_type_them() {
        assert_eq!(texts("").unwrap(), ["defaults"]);
        assert_eq!(texts("snapshot-count=5000,10000").unwrap(), ["snapshot-count=5000", "snapshot-count=10000"]);
        assert_eq!(texts("--wal-dir=/a").unwrap(), ["wal-dir=/a"]);
        assert_eq!(texts("snapshot-count"), Err(SettingError::Form("snapshot-count".into())));
        assert_eq!(texts("a=1,,2"), Err(SettingError::Form("a=1,,2".into())));
        assert_eq!(texts("name=x"), Err(SettingError::Ours("name".into())));
    }

    #[test]
    fn a_folder_of_the_setting_is_divided_among_the_members() {
        let setting = texts("wal-dir=/fast").unwrap().pop().unwrap();
        assert_eq!(setting, "wal-dir=/fast");
        let setting = Setting { flag: Some(("wal-dir".into(), "/fast".into())) };
        let flags = arguments(1, &[(1, 2), (3, 4)], &setting, Path::new("/home"), Some(Path::new("/fast/own")));
        assert!(flags.contains(&"--wal-dir=/fast/own/n1".to_owned()), "{flags:?}");
        assert!(flags.contains(&"--data-dir=/home/n1".to_owned()), "{flags:?}");
        assert!(flags.contains(&"--initial-cluster=n0=http://127.0.0.1:2,n1=http://127.0.0.1:4".to_owned()));
    }
}
