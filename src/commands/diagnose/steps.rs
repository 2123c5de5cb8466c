//! What a diagnosis does on this host: which commands it runs, what it leaves alone and why.
//!
//! Separate from the running. What `offload.toml` names is measured; of what is merely found here, only what can be looked at without
//! asking anybody for anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::commands::config::Config;
use crate::detect::DetectorSpec;
use crate::diagnose::facts::Detection;
use crate::diagnose::look::Found;
use crate::error::{Exit, Failure};
use crate::model::span::as_nanos;
use crate::source::piped::is_pipe;
use crate::sync::agent::config::{AgentConfig, SourceSpec};
use crate::sys::file::read_text;
use crate::trace::NODE;

/// Changes that are followed, and how many a second, by lines and by containers.
const LINES: [&str; 4] = ["--count", "50", "--rate", "10/s"];
const CONTAINERS: [&str; 4] = ["--count", "20", "--rate", "2/s"];

/// Nobody is asked more often than this.
const GENTLY: [&str; 4] = ["--rate", "5/s", "--duration", "6s"];

/// The detector of a gateway that is told nothing, with its margin.
const DETECTOR: &str = "missed:3";
const MARGIN: Duration = Duration::from_millis(200);

/// Longest configuration of an agent.
const LONGEST_FILE: u64 = 1 << 20;

/// `[diagnose]` of `offload.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiagnoseFile {
    /// A gateway that runs on this host.
    gateway: Option<String>,
    /// Its tokens.
    token_file: Option<PathBuf>,
    /// Whom to trust.
    ca_file: Option<PathBuf>,
    /// The configuration of an agent that runs on this host.
    agent_conf: Option<PathBuf>,
    /// `docker` or `poll=TIME`: containers of our own may be made.
    source: Option<String>,
    /// The gateway's detector.
    detector: Option<String>,
    /// Endpoints whose metrics are read.
    #[serde(default)]
    etcd: Vec<String>,
}

/// One run of another command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is for.
    pub of: Of,
    /// Its words.
    pub words: Vec<String>,
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The way of a change.
    Way,
    /// What the sources of events tell of acts of our own.
    Events,
    /// All links.
    Links,
    /// This server.
    Server(String),
}

/// Everything that is done.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What is looked at, for the title.
    looked_at: Vec<String>,
    /// The commands.
    commands: Vec<String>,
    /// What is not looked at, and what would show it.
    left: Vec<String>,
    /// Interval and detector.
    detection: Written,
    /// Members of etcd whose metrics are read.
    pub etcd: Vec<String>,
    #[serde(skip)]
    steps: Vec<Step>,
    #[serde(skip)]
    known: Detection,
}

#[derive(Clone, Debug, Serialize)]
struct Written {
    #[serde(rename = "interval_ns", serialize_with = "as_nanos")]
    interval: Duration,
    detector: String,
    is_assumed: bool,
}

impl Plan {
    /// What to do, by the file, by what was found here, and by what else is to be included (`kube`, `etcd`).
    ///
    /// # Errors
    /// Where the file says what cannot be meant.
    pub fn make(config: &Config, found: &Found, include: &[Include]) -> Result<Self, Failure> {
        let file = config.diagnose.clone();
        let agent = file.agent_conf.as_deref().map(|path| Agent::read(&config.beside(path))).transpose()?;
        let mut plan = Self {
            looked_at: Vec::new(),
            commands: Vec::new(),
            left: Vec::new(),
            detection: Written { interval: Duration::ZERO, detector: String::new(), is_assumed: true },
            etcd: Vec::new(),
            steps: Vec::new(),
            known: detection(&file, agent.as_ref())?,
        };
        plan.way(config, &file, agent.as_ref());
        plan.events(&file, found);
        plan.targets(config);
        plan.members(&file, found, include);
        plan.rest(&file, found, include);
        plan.detection = Written {
            interval: plan.known.interval,
            detector: plan.known.detector.to_string(),
            is_assumed: plan.known.is_assumed,
        };
        plan.commands = plan.steps.iter().map(|step| format!("offloadctl {}", step.words.join(" "))).collect();
        Ok(plan)
    }

    /// The commands to run.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Interval and detector.
    #[must_use]
    pub fn detection(&self) -> Detection {
        self.known.clone()
    }

    /// What is left alone, a sentence each.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.left.iter().map(String::as_str)
    }

    fn step(&mut self, of: Of, words: &[&[&str]]) {
        let words = words.iter().flat_map(|words| words.iter().map(|word| (*word).to_owned())).collect();
        self.steps.push(Step { of, words });
    }

    /// The way of a change: through the gateway that is named, with the agent that is named; else through ours.
    fn way(&mut self, config: &Config, file: &DiagnoseFile, agent: Option<&Agent>) {
        let path = |path: &Option<PathBuf>| path.as_deref().map(|path| config.beside(path).display().to_string());
        let containers: Vec<&str> = file.source.iter().flat_map(|source| ["--source", source.as_str()]).collect();
        let load: &[&str] = if containers.is_empty() { &LINES } else { &CONTAINERS };
        let (Some(gateway), Some(tokens)) = (&file.gateway, path(&file.token_file)) else {
            let what = if containers.is_empty() {
                "our own agent and gateway"
            } else {
                "our own agent and gateway, on containers"
            };
            self.looked_at.push(what.to_owned());
            if file.gateway.is_some() {
                self.left.push(
                    "the gateway of offload.toml: `token_file` in [diagnose] would let us subscribe to it".to_owned(),
                );
            }
            return self.step(Of::Way, &[&["trace"], load, &containers]);
        };
        let mut through = vec!["--gateway", gateway.as_str(), "--token-file", &tokens];
        let ca_file = path(&file.ca_file);
        through.extend(ca_file.iter().flat_map(|path| ["--ca-file", path.as_str()]));
        self.looked_at.push(gateway.clone());
        match agent.map(|agent| (agent, agent.pipe.as_deref())) {
            Some((agent, pipe)) if pipe.is_some() || !containers.is_empty() => {
                self.looked_at.push(format!("the agent of {}", agent.node));
                let mut own = vec!["--agent", "--node", agent.node.as_str()];
                own.extend(pipe.filter(|_| containers.is_empty()).into_iter().flat_map(|pipe| ["--pipe", pipe]));
                self.step(Of::Way, &[&["trace"], load, &through, &own, &containers]);
            }
            named => {
                if named.is_some() {
                    let text = "the agent of `agent_conf`: to follow a change through it, containers must be started: `source = \"docker\"` in [diagnose] allows that";
                    self.left.push(text.to_owned());
                }
                self.looked_at.push(format!("an agent of our own as {NODE}"));
                self.step(Of::Way, &[&["trace"], load, &through, &containers]);
            }
        }
    }

    /// What the sources tell of acts of our own: of containers where they may be made, else of control groups, by the kernel.
    fn events(&mut self, file: &DiagnoseFile, found: &Found) {
        let words: &[&str] = match &file.source {
            Some(source) if source == "docker" => &["--source", "docker", "--count", "10", "--rate", "2/s"],
            Some(source) => &["--source", &format!("docker,{source}"), "--count", "10", "--rate", "2/s"],
            None if found.kernel => &["--act", "cgroup", "--source", "ebpf", "--count", "15", "--rate", "5/s"],
            None => return,
        };
        self.step(Of::Events, &[&["probe", "events"], words, &["--alive", "300ms"]]);
    }

    /// The targets of the file: servers of HTTP one by one, all others together.
    fn targets(&mut self, config: &Config) {
        let is_http = |address: &str| address.starts_with("https://") || address.starts_with("http://");
        let links: Vec<String> = config
            .targets
            .iter()
            .filter(|(_, address)| !is_http(address))
            .map(|(name, address)| format!("{name}={address}"))
            .collect();
        if !links.is_empty() {
            self.looked_at.push(format!("{} links", links.len()));
            let links: Vec<&str> = links.iter().map(String::as_str).collect();
            self.step(Of::Links, &[&["probe", "rtt"], &links, &GENTLY]);
        }
        for (name, address) in config.targets.iter().filter(|(_, address)| is_http(address)) {
            self.looked_at.push(name.clone());
            self.step(Of::Server(name.clone()), &[&["probe", "api", address.as_str()], &GENTLY]);
        }
    }

    fn members(&mut self, file: &DiagnoseFile, found: &Found, include: &[Include]) {
        let is_here = |endpoint: &str| ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| endpoint.contains(host));
        for endpoint in file.etcd.iter().chain(&found.etcd) {
            if self.etcd.contains(endpoint) {
                continue;
            }
            if is_here(endpoint) || include.contains(&Include::Etcd) {
                self.looked_at.push(format!("etcd at {endpoint}"));
                self.etcd.push(endpoint.clone());
            } else {
                self.left.push(format!("etcd at {endpoint} is on another host: --include etcd reads its metrics"));
            }
        }
    }

    /// What is here and is left alone, with what would show it.
    fn rest(&mut self, file: &DiagnoseFile, found: &Found, include: &[Include]) {
        self.left.extend(found.closed.iter().cloned());
        if let Some(path) = found.docker.as_ref().filter(|_| file.source.is_none()) {
            let text = "containers would have to be started there: `source = \"docker\"` in [diagnose] allows that";
            self.left.push(format!("Docker at {}: {text}", path.display()));
        }
        if let Some(path) = &found.containerd {
            self.left.push(format!(
                "containerd at {}: `offloadctl probe events --source containerd` races it",
                path.display()
            ));
        }
        if let Some(address) = found.gateway.as_ref().filter(|_| file.gateway.is_none()) {
            self.left.push(format!("something listens at {address}, a gateway's usual port: `gateway` and `token_file` in [diagnose] would include it"));
        }
        match &found.kubeconfig {
            Some(path) if include.contains(&Include::Kube) => {
                let path = path.display().to_string();
                self.looked_at.push("the server of the kubeconfig".to_owned());
                self.step(Of::Server("kube".to_owned()), &[&["probe", "api", "--kubeconfig", &path], &GENTLY]);
            }
            Some(path) => {
                self.left.push(format!(
                    "the server of {} is elsewhere, and its login may run a program: --include kube asks it",
                    path.display()
                ));
            }
            None => {}
        }
    }
}

/// What lies beyond this host and is asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// The server of the kubeconfig.
    Kube,
    /// Members of etcd on other hosts.
    Etcd,
}

crate::model::words!(Include { Kube = "kube", Etcd = "etcd" });

/// What of an agent's configuration matters here.
struct Agent {
    node: String,
    interval: Duration,
    place: String,
    pipe: Option<String>,
}

impl Agent {
    fn read(path: &Path) -> Result<Self, Failure> {
        let config = AgentConfig::read(path).map_err(|error| Failure::of(&error, true).hinted(error.hint()))?;
        let node = match config.node_id {
            Some(id) => id,
            None => crate::sys::host::environment().hostname.unwrap_or_default(),
        };
        // It was read just now.
        let text = read_text(path, LONGEST_FILE).unwrap_or_default();
        let line = text.lines().position(|line| line.contains("\"interval\"")).map_or(1, |at| at + 1);
        let pipe = config.sources.iter().find_map(|source| match source {
            SourceSpec::Script(path) if is_pipe(path) => Some(path.display().to_string()),
            _ => None,
        });
        Ok(Self { node, interval: config.interval, place: format!("{}:{line}", path.display()), pipe })
    }
}

fn detection(file: &DiagnoseFile, agent: Option<&Agent>) -> Result<Detection, Failure> {
    let text = file.detector.as_deref().unwrap_or(DETECTOR);
    let detector: DetectorSpec = text.parse().map_err(|error: crate::detect::SpecError| {
        Failure::plain(Exit::Usage, format!("`detector` in [diagnose]: {error}"))
            .hint("see `offloadctl gateway --help`")
    })?;
    let usual = Detection::usual(detector.with_margin(MARGIN));
    Ok(match agent {
        Some(agent) => {
            let (interval, place) = (agent.interval, Some(agent.place.clone()));
            Detection { interval, place, is_assumed: false, ..usual }
        }
        None => Detection { is_assumed: file.detector.is_none(), ..usual },
    })
}
