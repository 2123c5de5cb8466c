//! The system that changes travel through: an agent and a gateway of ours in child processes, or those that run here already.
//!
//! Separate from the following, which knows only a subscriber and whoever acts. What was started ends when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::TraceError;
use super::spec::{GatewaySpec, NODE, Setting, Source, TraceSpec};
use super::subscriber::Subscriber;
use crate::sync::client::own::{OwnGateway, Tokens};
use crate::sys::file::read_text;
use crate::sys::server::{Server, ServerError, folder};
use crate::wire::{TlsSpec, Trust, Url};

/// Longest token file.
const LONGEST_FILE: u64 = 64 << 20;

/// What errors call our agent.
const AGENT: &str = "the agent";

/// A system that runs. The fields are dropped in this order: what reads goes before what is read.
pub struct System {
    /// The end of the way.
    pub subscriber: Subscriber,
    agent: Option<Server>,
    gateway: Option<OwnGateway>,
    /// The pipe that our agent reads, where it reads one.
    pub pipe: Option<PathBuf>,
    _folder: TempDir,
}

/// Where a gateway is, and what is needed to speak with it.
struct Reached {
    url: Url,
    token_file: PathBuf,
    ca_file: Option<PathBuf>,
    reader: String,
}

impl System {
    /// Starts what of it is ours, and subscribes.
    ///
    /// # Errors
    /// When a part of it is not there.
    pub async fn start(spec: &TraceSpec, setting: &Setting) -> Result<Self, TraceError> {
        let folder = folder("trace", None)?;
        let (gateway, reached) = match &spec.gateway {
            Some(given) => (None, Reached::read(given, spec.node.is_none())?),
            None => {
                let more = ["--trace", "--store", setting.store.name(), "--node-rate", "10000"];
                let own = OwnGateway::start(folder.path(), [NODE], &more).await?;
                let reader = own.tokens.reader().unwrap_or_default().to_owned();
                let reached = Reached {
                    url: own.url.clone(),
                    token_file: own.token_file.clone(),
                    ca_file: Some(own.ca_file.clone()),
                    reader,
                };
                (Some(own), reached)
            }
        };
        let trust = TlsSpec { ca_file: reached.ca_file.clone(), ..TlsSpec::default() };
        let trust = Trust::load(&trust).map_err(TraceError::Trust)?;
        let subscriber = Subscriber::start(reached.url.clone(), trust, reached.reader.clone()).await?;
        let (mut pipe, mut agent) = (spec.pipe.clone(), None);
        if spec.node.is_none() {
            if setting.source == Source::Script {
                pipe = Some(make_pipe(folder.path())?);
            }
            agent = Some(start_agent(folder.path(), spec, setting, &reached, pipe.as_deref())?);
        }
        Ok(Self { subscriber, agent, gateway, pipe, _folder: folder })
    }

    /// Whether everything that is ours still runs.
    ///
    /// # Errors
    /// When a part of it has ended, with its last words.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.gateway.as_mut().map_or(Ok(()), OwnGateway::check)?;
        self.agent.as_mut().map_or(Ok(()), Server::check)
    }

    /// What our agent said last, for a person who wonders why nothing arrives.
    pub fn last_words(&self) -> Option<String> {
        self.agent.as_ref().map(Server::last_words).filter(|words| !words.is_empty())
    }
}

impl Reached {
    fn read(given: &GatewaySpec, needs_node: bool) -> Result<Self, TraceError> {
        let absolute = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let path = &given.token_file;
        let text = read_text(path, LONGEST_FILE);
        let text = text.map_err(|source| TraceError::TokenFile { path: path.clone(), source })?;
        let tokens = Tokens::parse(&text);
        let missing = |name: &str| TraceError::Token { path: path.clone(), missing: name.to_owned() };
        let reader = tokens.reader().ok_or_else(|| missing("*"))?.to_owned();
        if needs_node {
            tokens.of(NODE).ok_or_else(|| missing(NODE))?;
        }
        let ca_file = given.ca_file.as_deref().map(absolute);
        Ok(Self { url: given.url.clone(), token_file: absolute(path), ca_file, reader })
    }
}

fn make_pipe(folder: &Path) -> Result<PathBuf, ServerError> {
    let path = folder.join("changes");
    let made = mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR);
    made.map_err(|error| ServerError::Start { name: AGENT.to_owned(), source: error.into() })?;
    Ok(path)
}

fn start_agent(
    folder: &Path,
    spec: &TraceSpec,
    setting: &Setting,
    reached: &Reached,
    pipe: Option<&Path>,
) -> Result<Server, ServerError> {
    let failed = |source| ServerError::Start { name: AGENT.to_owned(), source };
    let config = json!({
        "server": format!("wss://{}", reached.url.authority()),
        "interval": "5s",
        "node_id": NODE,
        "token_file": reached.token_file,
        "ca_file": reached.ca_file,
        "sources": sources(spec, setting, pipe),
        "trace": true,
    });
    let path = folder.join("agent.conf");
    fs::write(&path, config.to_string()).map_err(failed)?;
    let arguments = ["agent".into(), "--config".into(), path.into_os_string()];
    Server::start_own(AGENT, &arguments, folder.join("agent.log"))
}

/// The sources of our agent, as its configuration names them.
fn sources(spec: &TraceSpec, setting: &Setting, pipe: Option<&Path>) -> Value {
    match setting.source {
        Source::Script => json!({ "script": pipe }),
        Source::Docker => json!({ "docker": { "socket": spec.docker_socket } }),
        Source::Poll(every) => {
            let every = humantime::format_duration(every).to_string();
            json!({ "docker": { "socket": spec.docker_socket, "poll": every } })
        }
        // The kernel knows no labels: those of a container are told by the engine when it is made, long before it is started.
        Source::Ebpf if setting.is_by_engine => json!({ "ebpf": {}, "docker": { "socket": spec.docker_socket } }),
        Source::Ebpf => json!({ "ebpf": {} }),
    }
}
