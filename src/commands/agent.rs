//! `offloadctl agent`: the agent of a node as a service, or a fleet of agents to try a gateway with.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::event_loop::event_loop;
use crate::console;
use crate::error::{Exit, Failure};
use crate::source::EventSource;
use crate::source::docker::{Docker, try_engine};
use crate::source::joined::Joined;
use crate::source::piped::{Piped, is_pipe};
use crate::source::scripted::Script;
#[cfg(feature = "runtimes")]
use crate::source::watched::{Watched, Whom};
use crate::sync::agent::config::{AgentConfig, ConfigError, Mode, Server, SourceSpec, check_node_id};
use crate::sync::agent::link::Endpoint;
use crate::sync::agent::machine::{BackoffBounds, End, MOST_BYTES, Rhythm, Settings};
use crate::sync::agent::shell::{Live, Surroundings, Tone, Voice, run as run_agent};
use crate::sys::clock;
use crate::sys::host::{environment, raise_file_limit};
use crate::sys::notify::Manager;
use crate::sys::shutdown::Shutdown;
use crate::wire::{Trust, TrustPem};

const EXAMPLES: &str = "Examples:
  The agent of this host, which watches its Docker containers (the name of the host is the node's):
    echo '{ \"server\": \"wss://hub.example.com/state\", \"interval\": \"5s\", \"metrics\": [\"cpu\", \"memory\", \"disk\"],
            \"token_file\": \"token\" }' > agent.conf
    offloadctl agent --config agent.conf
  Check whether a configuration is valid, what it would do, and whether its sources are there:
    offloadctl agent --config agent.conf --check
  200 agents in one process, NODE-1 to NODE-200, to try a gateway; the token file has lines `NODE_ID TOKEN`:
    offloadctl agent --config agent.conf --fleet 200

SIGTERM and Ctrl-C say goodbye: the node has left, it is not lost. SIGHUP reads the configuration again.
Keys of agent.conf: docs/guide/agent.md";

/// How long the first change waits for company: less than a person or a scheduler notices, more than a runtime needs for
/// the events of one act.
const COALESCING: Duration = Duration::from_millis(5);

/// An answer that takes longer is taken for a dead connection. Three seconds are usual for a heartbeat; the durable store of
/// a gateway may stall for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest wait after a first failed attempt to connect.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The longest wait of all is an interval, but never above this: a gateway that was away begins its timers anew, and an agent that comes back
/// later than three intervals would be taken for lost.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Tasks of one node: as many as a gateway takes in a whole state.
const MOST_TASKS: usize = 10_000;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    /// JSON with `server`, `interval`, `metrics` and optional keys
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Run this many agents in this process, named NODE-1 to NODE-N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    fleet: Option<u32>,
    /// Check the configuration, say what it would do, try its sources, and exit
    #[arg(long)]
    check: bool,
    /// SIGUSR1 blocks the event loop for good, as a defect would; `bench heartbeat --live` asks for it
    #[arg(long, hide = true)]
    stallable: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the configuration cannot be meant, a file cannot be read, or another agent speaks for the node.
pub fn run(args: &AgentArgs) -> Result<Exit, Failure> {
    raise_file_limit();
    let plan = Plan::load(args)?;
    if args.check {
        console::say(plan.described());
        return event_loop()?.block_on(plan.try_sources());
    }
    let runtime = event_loop()?;
    let ended = runtime.block_on(serve(args, plan));
    runtime.shutdown_background();
    ended
}

/// A look at the watchdog of nobody.
const SLOWEST_WATCHDOG: Duration = Duration::from_secs(3_600);

/// Agents that run, each with its name.
type Agents = JoinSet<(String, End)>;

/// A node's name, and the way to change what its agent does.
type Sender = (String, watch::Sender<Live>);

/// What is to be done, every file read.
struct Plan {
    config: AgentConfig,
    nodes: Vec<Node>,
    sources: Vec<Source>,
}

struct Node {
    id: String,
    live: Live,
}

enum Source {
    Script(Script),
    Pipe(PathBuf),
    Docker {
        socket: PathBuf,
        look_every: Option<Duration>,
        poll: Option<Duration>,
    },
    #[cfg(feature = "runtimes")]
    Watched(Whom),
}

impl Plan {
    fn load(args: &AgentArgs) -> Result<Self, Failure> {
        let config = AgentConfig::read(&args.config).map_err(|error| wrong(&error))?;
        // What containers use is looked at where the use of the node is.
        let look_every = (config.metrics.cpu || config.metrics.memory).then_some(config.interval);
        let sources = config.sources.iter().map(|spec| Source::open(spec, look_every)).collect::<Result<_, _>>()?;
        let nodes = nodes(args, &config)?;
        Ok(Self { config, nodes, sources })
    }

    /// Whether every source is there; the gateway is not asked, because it would take us for the agent.
    async fn try_sources(&self) -> Result<Exit, Failure> {
        for source in &self.sources {
            source.attempt().await?;
        }
        Ok(Exit::Fine)
    }

    fn described(&self) -> String {
        let config = &self.config;
        let first = self.nodes.first().map_or("", |node| node.id.as_str());
        let names = match self.nodes.len() {
            1 => format!("node `{first}`"),
            count => format!("{count} nodes from `{first}` on"),
        };
        let way = |mode| match mode {
            Mode::Socket => "a WebSocket",
            Mode::Requests => "requests",
            Mode::Stream => "gRPC",
        };
        let servers: Vec<String> =
            config.servers.iter().map(|server| format!("{} over {}", server.url, way(server.mode))).collect();
        let servers = servers.join(" or ");
        let rhythm = match config.adaptive {
            Some(bounds) => format!("every {:?} to {:?} by need", bounds.shortest, bounds.longest),
            None => format!("every {:?}", config.interval),
        };
        let sources: Vec<String> = config
            .sources
            .iter()
            .map(|source| match source {
                SourceSpec::Docker(socket, None) => format!("Docker at `{}`", socket.display()),
                SourceSpec::Docker(socket, Some(every)) => {
                    format!("Docker at `{}`, listed every {every:?}", socket.display())
                }
                SourceSpec::Containerd(socket, _) => format!("containerd at `{}`", socket.display()),
                SourceSpec::Cri(socket) => format!("CRI at `{}`", socket.display()),
                SourceSpec::Ebpf => "the kernel by eBPF".to_owned(),
                SourceSpec::Script(path) => format!("the script `{}`", path.display()),
            })
            .collect();
        let sources = if sources.is_empty() { "nothing".to_owned() } else { sources.join(" and ") };
        let token = if config.token_file.is_some() { "with a token" } else { "without a token" };
        format!("{names} to {servers}, {token}; heartbeat {rhythm}; watching {sources}")
    }
}

async fn serve(args: &AgentArgs, plan: Plan) -> Result<Exit, Failure> {
    let cannot = |error: std::io::Error| Failure::plain(Exit::Unable, format!("cannot catch signals: {error}"));
    let shutdown = Arc::new(Shutdown::listen_apart_from_hangups().map_err(cannot)?);
    let mut hangup = signal(SignalKind::hangup()).map_err(cannot)?;
    let mut stall = signal(SignalKind::user_defined1()).map_err(cannot)?;
    let manager = Manager::of_environment();
    let (mut agents, senders) = plan.start(args, &shutdown);
    manager.tell("READY=1");
    let watchdog = manager.watchdog_interval().unwrap_or(SLOWEST_WATCHDOG);
    let (mut failure, mut is_stopping) = (None, false);
    loop {
        tokio::select! {
            ended = agents.join_next() => match ended {
                Some(ended) => failure = verdict(args, ended).err().or(failure),
                None => break,
            },
            _ = hangup.recv() => reload(args, &senders),
            _ = stall.recv(), if args.stallable => block_for_good(),
            () = tokio::time::sleep(watchdog) => manager.tell("WATCHDOG=1"),
            () = shutdown.requested(), if !is_stopping => {
                is_stopping = true;
                manager.tell("STOPPING=1");
            }
        }
    }
    failure.map_or(Ok(Exit::Fine), Err)
}

/// The phase of an agent that begins so late: starting hundreds takes a while, and the heartbeats of a fleet are spread evenly
/// all the same.
fn from_now(phase: Duration, late: Duration, interval: Duration) -> Duration {
    let interval = interval.as_nanos().max(1);
    let left = (phase.as_nanos() + interval - late.as_nanos() % interval) % interval;
    Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
}

/// The process lives and its connections stay open, and nothing is sent any more.
fn block_for_good() -> ! {
    loop {
        std::thread::park();
    }
}

impl Plan {
    /// Starts every agent; what may change of each is sent to it.
    fn start(self, args: &AgentArgs, shutdown: &Arc<Shutdown>) -> (Agents, Vec<Sender>) {
        let said = Arc::new(Mutex::new(BTreeSet::new()));
        let (mut agents, mut senders) = (JoinSet::new(), Vec::new());
        let count = self.nodes.len() as u32;
        let rhythm = rhythm(&self.config);
        let interval = match rhythm {
            Rhythm::Fixed(interval) => interval,
            Rhythm::Adaptive(bounds) => bounds.shortest,
        };
        let begun = clock::now();
        for (at, node) in self.nodes.into_iter().enumerate() {
            let servers = node.live.endpoints.len();
            let (sender, live) = watch::channel(node.live);
            // One agent among others elsewhere: by chance. A fleet: evenly.
            let phase = match count {
                1 => interval.mul_f64(clock::entropy() as f64 / u64::MAX as f64),
                _ => interval * at as u32 / count,
            };
            let settings = Settings {
                node_id: node.id.clone(),
                rhythm,
                phase,
                coalescing: COALESCING,
                answer_within: ANSWER_WITHIN,
                backoff: backoff(rhythm),
                most_tasks: MOST_TASKS,
                most_frame_bytes: MOST_BYTES,
                sources: 0,
                servers,
            };
            let sources = start_all(&self.sources, &node.id);
            let settings = Settings { sources: sources.len(), ..settings };
            let voice = voice(&node.id, args, &said);
            let shutdown = Arc::clone(shutdown);
            let around = Surroundings { sources, live, shutdown, voice, is_traced: self.config.is_traced };
            senders.push((node.id.clone(), sender));
            agents.spawn(async move {
                let phase = from_now(settings.phase, clock::now().since(begun), interval);
                (node.id, run_agent(Settings { phase, ..settings }, clock::entropy(), around).await)
            });
        }
        (agents, senders)
    }
}

impl Source {
    fn open(spec: &SourceSpec, look_every: Option<Duration>) -> Result<Self, Failure> {
        match spec {
            SourceSpec::Script(path) if is_pipe(path) => Ok(Self::Pipe(path.clone())),
            SourceSpec::Script(path) => Script::read(path)
                .map(Self::Script)
                .map_err(|error| Failure::of(&error, error.is_usage()).hinted(error.hint())),
            SourceSpec::Docker(socket, poll) => Ok(Self::Docker { socket: socket.clone(), look_every, poll: *poll }),
            #[cfg(feature = "runtimes")]
            SourceSpec::Containerd(socket, namespaces) => {
                Ok(Self::Watched(Whom::Containerd { socket: socket.clone(), namespaces: namespaces.clone() }))
            }
            #[cfg(feature = "runtimes")]
            SourceSpec::Cri(socket) => Ok(Self::Watched(Whom::Cri(socket.clone()))),
            #[cfg(feature = "runtimes")]
            SourceSpec::Ebpf => Ok(Self::Watched(Whom::Ebpf)),
            #[cfg(not(feature = "runtimes"))]
            SourceSpec::Containerd(..) | SourceSpec::Cri(_) | SourceSpec::Ebpf => {
                let what = "this agent was built for Docker and scripts alone: `sources` names containerd, cri or ebpf";
                Err(Failure::plain(Exit::Unable, what)
                    .hint("build it with `--no-default-features --features agent-full`"))
            }
        }
    }

    /// Whether it is there.
    async fn attempt(&self) -> Result<(), Failure> {
        match self {
            Self::Script(_) | Self::Pipe(_) => Ok(()),
            Self::Docker { socket, .. } => try_engine(socket).await.map_err(|error| {
                let what = format!("Docker at `{}` cannot be watched: {}", socket.display(), error.told());
                Failure::plain(Exit::Unable, what).hinted(error.hint())
            }),
            #[cfg(feature = "runtimes")]
            Self::Watched(whom) => whom.attempt().await.map_err(|(why, hint)| {
                Failure::plain(Exit::Unable, format!("{} cannot be watched: {why}", whom.told())).hinted(hint)
            }),
        }
    }

    /// Whether it is of this host's containers, which others may see too.
    const fn is_of_containers(&self) -> bool {
        !matches!(self, Self::Script(_) | Self::Pipe(_))
    }

    fn start(&self, node_id: &str) -> Box<dyn EventSource> {
        match self {
            Self::Script(script) => Box::new(script.play(node_id)),
            Self::Pipe(path) => Box::new(Piped::new(path)),
            Self::Docker { socket, look_every, poll } => Box::new(Docker::new(socket, *look_every).polled(*poll)),
            #[cfg(feature = "runtimes")]
            Self::Watched(whom) => Box::new(Watched::new(whom.clone())),
        }
    }
}

/// All sources of a node: those of its containers as one, for they see the same.
fn start_all(sources: &[Source], node_id: &str) -> Vec<Box<dyn EventSource>> {
    let (of_containers, others): (Vec<&Source>, Vec<&Source>) =
        sources.iter().partition(|source| source.is_of_containers());
    let start = |source: &&Source| source.start(node_id);
    let mut all: Vec<Box<dyn EventSource>> = of_containers.iter().map(start).collect();
    if all.len() > 1 {
        all = vec![Box::new(Joined::new(all))];
    }
    all.into_iter().chain(others.iter().map(start)).collect()
}

/// Each agent's name and the endpoint that it has now.
fn nodes(args: &AgentArgs, config: &AgentConfig) -> Result<Vec<Node>, Failure> {
    let own = match &config.node_id {
        Some(id) => id.clone(),
        None => environment().hostname.ok_or_else(|| {
            Failure::plain(Exit::Unable, "this host has no name").hint("give `node_id` in the configuration")
        })?,
    };
    let pem = TrustPem::read(&config.tls).map_err(Failure::unable)?;
    let trust = Trust::from_pem(&pem).map_err(Failure::unable)?;
    // A WebSocket begins with HTTP/1.1, and requests in turn gain nothing by HTTP/2.
    let (one, two) = (trust.dialer(&["http/1.1"]), trust.dialer(&["h2"]));
    if config.servers.iter().any(|server| server.mode == Mode::Stream) && cfg!(not(feature = "runtimes")) {
        let text = "this agent was built without gRPC, which `grpcs://` asks for";
        let hint = "build it with `--no-default-features --features agent-full`, or write `wss://`";
        return Err(Failure::plain(Exit::Unable, text).hint(hint));
    }
    let names = match args.fleet {
        None => vec![own],
        Some(count) => (1..=count).map(|n| format!("{own}-{n}")).collect(),
    };
    let node = |id: String| {
        check_node_id(&id).map_err(|error| wrong(&error))?;
        let token = config.token(&id).map_err(|error| wrong(&error))?;
        let digest = digest_of(config, &pem, token.as_deref());
        let authorization = token.map(|token| bearer(&token)).transpose()?;
        let endpoint = |server: &Server| {
            let Server { url, mode } = server.clone();
            let dialer = if mode == Mode::Stream { two.clone() } else { one.clone() };
            Arc::new(Endpoint { url, mode, dialer, authorization: authorization.clone(), digest })
        };
        let endpoints = config.servers.iter().map(endpoint).collect();
        let live = Live { endpoints, rhythm: rhythm(config), metrics: config.metrics };
        Ok(Node { id, live })
    };
    names.into_iter().map(node).collect()
}

/// What a connection depends on, so that a reload without a change of it leaves the connection alone.
fn digest_of(config: &AgentConfig, pem: &TrustPem, token: Option<&str>) -> [u8; 32] {
    let server = format!("{:?}", config.servers);
    let parts = [
        Some(server.as_bytes()),
        token.map(str::as_bytes),
        pem.ca.as_deref(),
        pem.client_cert.as_deref(),
        pem.client_key.as_deref(),
    ];
    let part = |part: Option<&[u8]>| Sha256::digest(part.unwrap_or_default());
    parts.into_iter().fold(Sha256::new(), |hash, bytes| hash.chain_update(part(bytes))).finalize().into()
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::plain(Exit::Unable, "the token cannot be sent in a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

fn rhythm(config: &AgentConfig) -> Rhythm {
    config.adaptive.map_or(Rhythm::Fixed(config.interval), Rhythm::Adaptive)
}

/// Reads the configuration again; what cannot be read leaves everything as it is. Names and sources stay.
fn reload(args: &AgentArgs, senders: &[Sender]) {
    let nodes = AgentConfig::read(&args.config).map_err(|error| wrong(&error)).and_then(|config| nodes(args, &config));
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(failure) => return console::say(format!("not reloaded: {failure}")),
    };
    for (id, sender) in senders {
        match nodes.iter().find(|node| node.id == *id) {
            Some(node) => drop(sender.send(node.live.clone())),
            None => console::say(format!("not reloaded: the name of node `{id}` changes at a restart only")),
        }
    }
    if !args.quiet {
        console::say("reloaded");
    }
}

/// What the end of an agent means for the process.
fn verdict(args: &AgentArgs, ended: Result<(String, End), tokio::task::JoinError>) -> Result<(), Failure> {
    let (id, end) = ended.map_err(Failure::unable)?;
    match end {
        End::Left if args.fleet.is_none() && !args.quiet => console::say(format!("{id}: left")),
        End::LeftUnheard if args.fleet.is_none() => {
            console::say(format!("{id}: stopped; the gateway could not be told"));
        }
        End::Left | End::LeftUnheard => {}
        End::Superseded(error) => {
            let what = format!("another agent speaks for node `{id}`: {}", error.message);
            let failure = Failure::plain(Exit::Unable, what)
                .hint("let one agent speak for a node: give each its own `node_id`, and stop one of the two");
            console::say(&failure);
            return Err(failure);
        }
    }
    Ok(())
}

/// What agents say; a fleet says each thing once, not for each agent.
fn voice(id: &str, args: &AgentArgs, said: &Arc<Mutex<BTreeSet<String>>>) -> Voice {
    let (id, is_quiet, is_fleet, said) = (id.to_owned(), args.quiet, args.fleet.is_some(), Arc::clone(said));
    Arc::new(move |tone: Tone, text: String| {
        let is_news = || said.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone());
        if (!is_quiet || tone == Tone::Fault) && (!is_fleet || is_news()) {
            console::say(format!("{id}: {text}"));
        }
    })
}

fn wrong(error: &ConfigError) -> Failure {
    Failure::of(error, error.is_usage()).hinted(error.hint())
}

fn backoff(rhythm: Rhythm) -> BackoffBounds {
    let interval = match rhythm {
        Rhythm::Fixed(interval) => interval,
        Rhythm::Adaptive(bounds) => bounds.shortest,
    };
    BackoffBounds { first: FIRST_BACKOFF, longest: interval.clamp(FIRST_BACKOFF, LONGEST_BACKOFF) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_of_a_fleet_are_of_one_grid_however_late_an_agent_begins() {
        let ms = Duration::from_millis;
        for (phase, late, left) in
            [(0, 0, 0), (0, 30, 470), (100, 30, 70), (100, 100, 0), (100, 130, 470), (499, 1_600, 399)]
        {
            assert_eq!(from_now(ms(phase), ms(late), ms(500)), ms(left), "{phase} {late}");
        }
    }
}
