//! Local etcd clusters of our own, one for each value of a setting, gone when they are dropped.
//!
//! Separate from the measurement, which knows only endpoints. Everything of a cluster lives in a temporary folder, its
//! write-ahead log or data where the setting says so, and the kernel ends its members if we are killed.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;

use crate::sys::clock;
use crate::sys::exec::{Server, ending_text, find_program, free_port};
use crate::wire::{Fetch, Trust, TrustPem, Url, UrlError, fetch};

/// How long a cluster may take until all its members serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two questions whether it serves.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Bytes of an answer about its health.
const HEALTH_BYTES: usize = 4096;

/// Lines of a member's log that are shown when it does not serve.
const LOG_LINES: usize = 3;

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

/// A cluster that does not serve.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program.
    #[error("there is no program `{}`", .0.display())]
    Program(PathBuf),
    /// A folder that cannot be used.
    #[error("cannot make a folder in `{}`", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system does not let it start.
    #[error("`{}` cannot be started", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended instead of serving.
    #[error("etcd with {setting} does not serve: {ending}; its log:\n{log}")]
    Ended {
        /// With which setting.
        setting: Setting,
        /// How it ended.
        ending: String,
        /// The last lines it wrote.
        log: String,
    },
    /// It neither ended nor serves.
    #[error("etcd with {setting} does not serve after {} s; its log:\n{log}", PATIENCE.as_secs())]
    Silent {
        /// With which setting.
        setting: Setting,
        /// The last lines it wrote.
        log: String,
    },
    /// An address of ours is wrong, which is a bug.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// TLS cannot be set up, though it is not used here.
    #[error(transparent)]
    Trust(#[from] crate::wire::TlsError),
}

/// A text that is no setting.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingError {
    /// Not of the form.
    #[error("`{0}` is not `SETTING=VALUE[,VALUE]`, a flag of etcd without its dashes")]
    Form(String),
    /// A flag we give ourselves.
    #[error("`{0}` is given by offloadctl itself: its clusters listen on free ports of 127.0.0.1")]
    Ours(String),
    /// Two values that are one.
    #[error("`{0}` is there twice")]
    Twice(String),
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
    /// Turns that each measurement is made in, all settings in each turn.
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
    log: PathBuf,
}

impl Cluster {
    /// Starts `count` members of `program` and waits until each of them serves.
    ///
    /// # Errors
    /// When one does not; those that do are stopped again.
    pub async fn start(program: &Path, setting: Setting, count: usize) -> Result<Self, SpawnError> {
        let found = find_program(program).ok_or_else(|| SpawnError::Program(program.to_owned()))?;
        let (home, own) = folders(&setting)?;
        let ports = free_ports(count).map_err(|source| SpawnError::Start { program: found.clone(), source })?;
        let mut members = Vec::with_capacity(count);
        for (at, (client, _)) in ports.iter().enumerate() {
            let log = home.path().join(format!("n{at}.log"));
            let arguments = arguments(at, &ports, &setting, home.path(), own.as_ref().map(TempDir::path));
            let server = File::create(&log)
                .and_then(|file| Server::start(&found, &arguments, &file))
                .map_err(|source| SpawnError::Start { program: found.clone(), source })?;
            members.push(Member { server, endpoint: format!("http://127.0.0.1:{client}").parse()?, log });
        }
        let mut cluster = Self { members, _folders: std::iter::once(home).chain(own).collect(), setting };
        cluster.wait().await?;
        Ok(cluster)
    }

    /// Where its members serve clients.
    pub fn endpoints(&self) -> impl Iterator<Item = &Url> {
        self.members.iter().map(|member| &member.endpoint)
    }

    async fn wait(&mut self) -> Result<(), SpawnError> {
        let trust = Trust::from_pem(&TrustPem { insecure: true, ..TrustPem::default() })?;
        let began = clock::now();
        for member in &mut self.members {
            while !is_healthy(&member.endpoint, &trust).await? {
                if let Ok(Some(status)) = member.server.ended() {
                    return Err(member.ended(&self.setting, status));
                }
                if clock::now().since(began) > PATIENCE {
                    let (setting, log) = (self.setting.clone(), read(&member.log, Part::Last));
                    return Err(SpawnError::Silent { setting, log });
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        }
        Ok(())
    }
}

impl Member {
    /// It ended instead of serving.
    fn ended(&self, setting: &Setting, status: ExitStatus) -> SpawnError {
        // A usage error is followed by pages of help: what is wrong stands above it.
        let part = if status.code() == Some(2) { Part::First } else { Part::Last };
        SpawnError::Ended { setting: setting.clone(), ending: ending_text(status), log: read(&self.log, part) }
    }
}

/// A folder for all that a cluster leaves, and one in the place that the setting names.
fn folders(setting: &Setting) -> Result<(TempDir, Option<TempDir>), SpawnError> {
    let make = |folder: &Path| {
        let made = tempfile::Builder::new().prefix("offloadctl-etcd-").tempdir_in(folder);
        made.map_err(|source| SpawnError::Folder { folder: folder.to_owned(), source })
    };
    let own = setting.folder().map(|folder| make(Path::new(folder))).transpose()?;
    Ok((make(&std::env::temp_dir())?, own))
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

async fn is_healthy(endpoint: &Url, trust: &Trust) -> Result<bool, UrlError> {
    let url = endpoint.with_path("/health")?;
    let (timeout, max_body) = (Duration::from_secs(2), HEALTH_BYTES);
    let answer = fetch(Fetch { url: &url, address: None, trust, headers: &[], timeout, max_body }).await;
    Ok(answer.is_ok_and(|answer| answer.status == 200))
}

/// Which lines of a log say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    First,
    Last,
}

/// Some lines of a log, or what keeps us from reading them.
fn read(log: &Path, part: Part) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let from = if part == Part::First { 0 } else { lines.len().saturating_sub(LOG_LINES) };
            lines.iter().skip(from).take(LOG_LINES).copied().collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("(it cannot be read: {error})"),
    }
}

impl Setting {
    /// The folder that the setting names, if it names one.
    fn folder(&self) -> Option<&str> {
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
        let mut settings: Vec<Setting> = Vec::new();
        for value in values.split(',') {
            let setting = Setting { flag: Some((name.to_owned(), value.to_owned())) };
            if settings.contains(&setting) {
                return Err(SettingError::Twice(setting.to_string()));
            }
            settings.push(setting);
        }
        Ok(Self(settings))
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
        assert_eq!(texts("a=1,1"), Err(SettingError::Twice("a=1".into())));
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
