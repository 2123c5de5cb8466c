//! `agent.conf`: what an agent is told to do, as its users write it.
//!
//! Separate because it is an interface of its own. A key that is not known is refused, with those that are: a typing error
//! must not become a default. Paths are taken from the folder of the file.

mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

pub use server::{Mode, Server};

use server::WrittenServer;

use crate::detect::Bounds;
use crate::sync::message::{LONGEST_ID, is_visible};
use crate::sys::file::read_text;
use crate::wire::{TlsSpec, UrlError};

/// Longest file that is read.
const LONGEST_FILE: u64 = 1 << 20;

/// Intervals that a gateway takes.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3_600);

/// Where Docker listens unless it was told otherwise.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Where containerd listens, and a runtime by CRI where it is containerd.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The namespaces of containerd that are watched if nobody says which: Docker's, Kubernetes's, and that of its own client.
const NAMESPACES: [&str; 3] = ["moby", "k8s.io", "default"];

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("the {what} `{}` cannot be read", path.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not the JSON that it should be; the source says line and column.
    #[error("the configuration `{}` is wrong", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// The server is no address of ours.
    #[error("`server` is wrong")]
    Server(#[from] UrlError),
    /// A value is outside of its bounds.
    #[error("`{key}` is wrong: {what}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// There is no token for a node.
    #[error("the token file `{}` has {what}", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// What is there instead; never a token.
        what: String,
    },
}

impl ConfigError {
    /// Whether whoever wrote the configuration has to change it, and not something around it.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Form { .. } | Self::Server(_) | Self::Value { .. })
    }

    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.is_usage().then_some("docs/guide/agent.md lists the keys")
    }
}

/// What of the node is told with each heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Share of the processors.
    pub cpu: bool,
    /// Share of the memory.
    pub memory: bool,
    /// Share of the root file system.
    pub disk: bool,
}

/// Where tasks are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// The socket of a Docker Engine, and how often it is listed where its events are not asked for.
    Docker(PathBuf, Option<Duration>),
    /// The socket of a containerd, and the namespaces whose tasks are told.
    Containerd(PathBuf, Vec<String>),
    /// The socket by which a runtime serves CRI.
    Cri(PathBuf),
    /// The kernel's tracepoints.
    Ebpf,
    /// A script.
    Script(PathBuf),
}

/// A configuration that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The gateways, at least one: whichever is there.
    pub servers: Vec<Server>,
    /// Time between heartbeats.
    pub interval: Duration,
    /// Bounds between which the interval follows the need.
    pub adaptive: Option<Bounds>,
    /// What is told of the node.
    pub metrics: Metrics,
    /// The name of the node, if it is not that of the host.
    pub node_id: Option<String>,
    /// The file of the token.
    pub token_file: Option<PathBuf>,
    /// Whom to trust and whose certificate to show.
    pub tls: TlsSpec,
    /// Where tasks are seen.
    pub sources: Vec<SourceSpec>,
    /// Whether changes of containers that bear the label of a trace get stamps on their way.
    pub is_traced: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    server: WrittenServer,
    #[serde(deserialize_with = "span")]
    interval: Duration,
    #[serde(default)]
    metrics: Vec<Metric>,
    node_id: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    sources: Option<WrittenSources>,
    adaptive: Option<WrittenBounds>,
    #[serde(default)]
    trace: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Metric {
    Cpu,
    Memory,
    Disk,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSources {
    docker: Option<WrittenDocker>,
    containerd: Option<WrittenContainerd>,
    cri: Option<WrittenCri>,
    ebpf: Option<WrittenEbpf>,
    script: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenContainerd {
    socket: Option<PathBuf>,
    namespaces: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCri {
    socket: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEbpf {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDocker {
    socket: Option<PathBuf>,
    #[serde(default, deserialize_with = "optional_span")]
    poll: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBounds {
    #[serde(deserialize_with = "span")]
    shortest: Duration,
    #[serde(deserialize_with = "span")]
    longest: Duration,
}

impl AgentConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON, or says what cannot be meant.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read("configuration", path)?;
        let written = serde_json::from_str::<Written>(&text);
        let written = written.map_err(|source| ConfigError::Form { path: path.to_owned(), source })?;
        Self::check(written, path.parent().unwrap_or(Path::new("")))
    }

    fn check(written: Written, folder: &Path) -> Result<Self, ConfigError> {
        let servers = written.server.list()?;
        let interval = within("interval", written.interval)?;
        let adaptive = written.adaptive.map(|bounds| bounds.check()).transpose()?;
        if let Some(id) = &written.node_id {
            check_node_id(id)?;
        }
        let beside = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        let tls = TlsSpec {
            ca_file: beside(written.ca_file),
            client_cert: beside(written.client_cert),
            client_key: beside(written.client_key),
            insecure: false,
        };
        let mut metrics = Metrics::default();
        for metric in written.metrics {
            match metric {
                Metric::Cpu => metrics.cpu = true,
                Metric::Memory => metrics.memory = true,
                Metric::Disk => metrics.disk = true,
            }
        }
        let sources = match written.sources {
            Some(sources) => sources.list(folder)?,
            None => vec![SourceSpec::Docker(DOCKER_SOCKET.into(), None)],
        };
        let (node_id, token_file, is_traced) = (written.node_id, beside(written.token_file), written.trace);
        Ok(Self { servers, interval, adaptive, metrics, node_id, token_file, tls, sources, is_traced })
    }

    /// The token of a node: its line in a file of lines `NODE_ID TOKEN`, or the only word of the file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no token of this node.
    pub fn token(&self, node_id: &str) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = read("token file", path)?;
        let token = token_of(&text, node_id);
        token.map(Some).map_err(|what| ConfigError::Token { path: path.clone(), what })
    }
}

impl WrittenBounds {
    fn check(self) -> Result<Bounds, ConfigError> {
        let (shortest, longest) = (within("adaptive", self.shortest)?, within("adaptive", self.longest)?);
        if shortest > longest {
            let what = "`shortest` is longer than `longest`".to_owned();
            return Err(ConfigError::Value { key: "adaptive", what });
        }
        Ok(Bounds { shortest, longest })
    }
}

impl WrittenSources {
    fn list(self, folder: &Path) -> Result<Vec<SourceSpec>, ConfigError> {
        let docker = self.docker.map(|docker| {
            let poll = docker.poll.map(|every| within("poll", every)).transpose()?;
            Ok(SourceSpec::Docker(folder.join(docker.socket.unwrap_or(DOCKER_SOCKET.into())), poll))
        });
        let containerd = self.containerd.map(|containerd| {
            let namespaces = containerd.namespaces.unwrap_or_else(|| NAMESPACES.map(str::to_owned).to_vec());
            if namespaces.is_empty() || !namespaces.iter().all(|name| is_namespace(name)) {
                let what = "`namespaces` are names of letters, digits, dots, dashes and underscores".to_owned();
                return Err(ConfigError::Value { key: "containerd", what });
            }
            Ok(SourceSpec::Containerd(folder.join(containerd.socket.unwrap_or(CONTAINERD_SOCKET.into())), namespaces))
        });
        let cri = self.cri.map(|cri| SourceSpec::Cri(folder.join(cri.socket.unwrap_or(CONTAINERD_SOCKET.into()))));
        let ebpf = self.ebpf.map(|WrittenEbpf {}| SourceSpec::Ebpf);
        let script = self.script.map(|path| SourceSpec::Script(folder.join(path)));
        let others = cri.into_iter().chain(ebpf).chain(script).map(Ok);
        docker.into_iter().chain(containerd).chain(others).collect()
    }
}

/// A namespace as containerd allows it: it stands in a filter.
fn is_namespace(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 76 && name.chars().all(is_fine)
}

/// Checks a name of a node by the rules of the gateway.
///
/// # Errors
/// When it is empty, too long, or has white space in it.
pub fn check_node_id(id: &str) -> Result<(), ConfigError> {
    let wrong = |what: String| Err(ConfigError::Value { key: "node_id", what });
    if id.is_empty() || id.len() > LONGEST_ID {
        return wrong(format!("it has {} bytes, not 1 to {LONGEST_ID}", id.len()));
    }
    if !is_visible(id) {
        return wrong("it has white space, control characters or invisible ones in it".to_owned());
    }
    Ok(())
}

fn token_of(text: &str, node_id: &str) -> Result<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let token = match lines.as_slice() {
        [only] if only.len() == 1 => only[0],
        lines => {
            let own = lines.iter().find(|line| line.len() == 2 && line[0] == node_id);
            own.map(|line| line[1]).ok_or_else(|| format!("neither one token alone nor a line `{node_id} TOKEN`"))?
        }
    };
    let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sendable { Ok(token.to_owned()) } else { Err("a token that is not plain ASCII".to_owned()) }
}

fn read(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { what, path: path.to_owned(), source };
    read_text(path, LONGEST_FILE).map_err(failed)
}

fn within(key: &'static str, span: Duration) -> Result<Duration, ConfigError> {
    if INTERVALS.contains(&span) {
        return Ok(span);
    }
    Err(ConfigError::Value { key, what: "intervals are from `10ms` to `60m`".to_owned() })
}

/// A time with its unit, where there is one.
fn optional_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    span(deserializer).map(Some)
}

/// A time with its unit.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| de::Error::custom(format!("`{text}` is no time: write, for example, `500ms`, `5s` or `1m`")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MISSION: &str =
        r#"{ "server": "wss://hub.example.com/state", "interval": "5s", "metrics": ["cpu", "memory", "disk"] }"#;

    fn parse(text: &str) -> Result<AgentConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.conf");
        fs::write(&path, text).unwrap();
        AgentConfig::read(&path).map_err(|error| match error {
            ConfigError::Form { source, .. } => source.to_string(),
            error => error.to_string(),
        })
    }

    #[test]
    fn the_configuration_as_its_users_write_it() {
        let config = parse(MISSION).unwrap();
        assert_eq!(config.servers[0].url.to_string(), "https://hub.example.com/state");
        assert_eq!((config.servers[0].mode, config.interval), (Mode::Socket, Duration::from_secs(5)));
        assert_eq!(config.metrics, Metrics { cpu: true, memory: true, disk: true });
        assert_eq!(config.sources, [SourceSpec::Docker(DOCKER_SOCKET.into(), None)]);
        assert_eq!((config.node_id, config.adaptive, config.token_file), (None, None, None));
    }

    #[test]
    fn every_optional_key_and_paths_beside_the_file() {
        let text = r#"{"server":"https://h:1","interval":"500ms","node_id":"n","token_file":"token","ca_file":"/ca",
            "client_cert":"c","client_key":"k","sources":{"script":"s","docker":{"socket":"/d","poll":"2s"}},"trace":true,
            "adaptive":{"shortest":"1s","longest":"1m"}}"#;
        let config = parse(text).unwrap();
        assert_eq!((config.servers[0].mode, config.servers[0].url.path()), (Mode::Requests, "/"));
        assert!(config.token_file.unwrap().parent().unwrap().is_absolute());
        assert_eq!(config.tls.ca_file, Some("/ca".into()));
        assert_eq!(config.sources[0], SourceSpec::Docker("/d".into(), Some(Duration::from_secs(2))));
        assert!(config.is_traced);
        assert_eq!(config.adaptive.unwrap().longest, Duration::from_secs(60));
        assert_eq!(parse(r#"{"server":"wss://h","interval":"1m"}"#).unwrap().servers[0].url.path(), "/state");
        let several = parse(r#"{"server":["grpcs://a:1","wss://b"],"interval":"1m"}"#).unwrap().servers;
        let several: Vec<(Mode, String)> = several.iter().map(|one| (one.mode, one.url.to_string())).collect();
        let expected = [(Mode::Stream, "https://a:1/".to_owned()), (Mode::Socket, "https://b/state".to_owned())];
        assert_eq!(several, expected);
        for zone in ["%25lo", "%lo"] {
            let server = parse(&format!(r#"{{"server":"wss://[fe80::1{zone}]:7","interval":"1m"}}"#))
                .unwrap()
                .servers
                .remove(0)
                .url;
            assert_eq!((&*server.socket_host(), server.authority().as_str()), ("fe80::1%lo", "[fe80::1]:7"));
        }
        assert_eq!(parse(r#"{"server":"wss://h","interval":"1m","sources":{}}"#).unwrap().sources, []);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_says_why() {
        let cases = [
            (
                "{\n\"server\":\"wss://h\",\n\"intervall\":\"5s\"}",
                "unknown field `intervall`, expected one of `server`",
            ),
            ("{\n\"server\":\"wss://h\",\n\"intervall\":\"5s\"}", "line 3"),
            (r#"{"server":"wss://h"}"#, "missing field `interval`"),
            (r#"{"server":"wss://h","interval":5}"#, "expected a string"),
            (r#"{"server":"wss://h","interval":"5"}"#, "write, for example"),
            (r#"{"server":"wss://h","interval":"2ms"}"#, "from `10ms`"),
            (r#"{"server":"ws://h","interval":"5s"}"#, "neither `wss://`"),
            (r#"{"server":"https://h/state","interval":"5s"}"#, "leave it out"),
            (r#"{"server":"grpcs://h/x","interval":"5s"}"#, "leave it out"),
            (r#"{"server":[],"interval":"5s"}"#, "has 0 addresses"),
            (r#"{"server":["wss://h",7],"interval":"5s"}"#, "neither an address nor a list"),
            (r#"{"server":["wss://h","ftp://h"],"interval":"5s"}"#, "neither `wss://`"),
            (r#"{"server":"wss://u:p@h","interval":"5s"}"#, "`server` is wrong"),
            (r#"{"server":"wss://h","interval":"5s","metrics":["gpu"]}"#, "unknown variant `gpu`"),
            (r#"{"server":"wss://h","interval":"5s","node_id":"a b"}"#, "white space"),
            (r#"{"server":"wss://h","interval":"5s","sources":{"podman":{}}}"#, "unknown field `podman`"),
            (r#"{"server":"wss://h","interval":"5s","adaptive":{"shortest":"2s","longest":"1s"}}"#, "longer than"),
        ];
        for (text, expected) in cases {
            let told = parse(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn a_token_stands_alone_or_in_the_line_of_its_node() {
        assert_eq!(token_of("\n secret \n", "n"), Ok("secret".to_owned()));
        assert_eq!(token_of("# all\nm one\nn two\n", "n"), Ok("two".to_owned()));
        for text in ["", "m one\no two\n", "a\nb\n"] {
            assert!(token_of(text, "n").is_err(), "{text}");
        }
        assert!(!token_of("schlüssel-geheim", "n").unwrap_err().contains("geheim"));
    }
}
