//! A change that is followed: each programmed delay is found in its own hop, and what lies between two parts in none.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use offloadctl::load::{Arrival, Length, LoadSpec, Session, Spacing};
use offloadctl::model::{Labels, Measured};
use offloadctl::source::piped::Piped;
use offloadctl::source::{Event, EventSource, Next};
use offloadctl::sync::agent::config::{Metrics, Mode};
use offloadctl::sync::agent::link::Endpoint;
use offloadctl::sync::agent::machine::{BackoffBounds, MOST_BYTES, Rhythm, Settings as AgentSettings};
use offloadctl::sync::agent::shell::{Live, Surroundings, run};
use offloadctl::sync::gateway::access::Access;
use offloadctl::sync::gateway::listen::listen;
use offloadctl::sync::gateway::machine::Settings;
use offloadctl::sync::gateway::service::Service;
use offloadctl::sync::gateway::tls::{Identity, TlsFiles};
use offloadctl::sync::record::Change;
use offloadctl::sync::store::memory::MemoryStore;
use offloadctl::sync::store::{HISTORY, MetadataStore, Snapshot, StoreError};
use offloadctl::sys::shutdown::Shutdown;
use offloadctl::sys::thread::Background;
use offloadctl::trace::{GatewaySpec, NODE, Setting, Source, Store, TraceSpec, measure};
use offloadctl::wire::{TlsSpec, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::lateness::{Lateness, beside};

/// Every programmed delay, far above what a part takes by itself.
const DELAY: Duration = Duration::from_millis(60);

/// How much a part may take beyond it on an idle machine, in a debug build.
const SLACK: Duration = Duration::from_millis(20);

/// What a part may take to which nothing was added; the agent's own wait for company is inside.
const WITHOUT: Duration = Duration::from_millis(25);

/// Changes that are followed.
const COUNT: u64 = 20;

/// Where a delay is programmed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// The agent holds a change for so long.
    Agent,
    /// The source has read it, and the agent gets it later.
    BetweenSourceAndAgent,
    /// What the agent sends is carried so late.
    Wire,
    /// A commit takes so long.
    Store,
    /// Nowhere.
    Nowhere,
    /// Nowhere, and no part takes any stamps.
    Unstamped,
}

/// A store that sleeps before it commits.
struct Sleeping(MemoryStore, Duration);

impl MetadataStore for Sleeping {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.0.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        std::thread::sleep(self.1);
        self.0.commit(changes)
    }
}

/// A source whose events are handed on late.
struct Late(Piped, Duration);

impl EventSource for Late {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            let event = self.0.next().await;
            if matches!(event, Some(Event::Changed(_))) {
                tokio::time::sleep(self.1).await;
            }
            event
        })
    }
}

/// Carries what a client sends late, and what it gets at once.
async fn delay(listener: TcpListener, to: std::net::SocketAddr, by: Duration) {
    let mut links = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let far = TcpStream::connect(to).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let ((mut from, mut to_near), (mut back, mut onward)) = (near.into_split(), far.into_split());
        links.spawn(async move {
            let mut bytes = vec![0; 16 << 10];
            while let Ok(count @ 1..) = from.read(&mut bytes).await {
                tokio::time::sleep(by).await;
                if onward.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        });
        links.spawn(async move {
            let _ = tokio::io::copy(&mut back, &mut to_near).await;
        });
    }
}

/// A gateway and an agent in this process, with one programmed delay.
pub struct System {
    _gateway: Background,
    _agent: Background,
    spec: TraceSpec,
    folder: tempfile::TempDir,
}

impl System {
    pub fn start(slow: Slow) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (tokens, pipe, certificate) = (at("tokens"), at("pipe"), at("certificate.pem"));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&tokens).unwrap();
        std::fs::write(&tokens, format!("* reader-0123456789abcdef\n{NODE} agent-0123456789abcdef\n")).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let of = |part: Slow| if slow == part { DELAY } else { Duration::ZERO };
        let (gateway, direct, delayed) = gateway(folder.path().to_owned(), tokens.clone(), slow);
        let port = if slow == Slow::Wire { delayed } else { direct };
        let url = |port: u16| format!("https://localhost:{port}");
        let source = Late(Piped::new(&pipe), of(Slow::BetweenSourceAndAgent));
        let agent =
            agent(format!("{}/state", url(port)), &certificate, source, of(Slow::Agent), slow != Slow::Unstamped);
        let gateway_spec =
            GatewaySpec { url: url(direct).parse().unwrap(), token_file: tokens, ca_file: Some(certificate) };
        let load = LoadSpec {
            arrival: Arrival::Open { rate: "5/s".parse().unwrap(), spacing: Spacing::Constant, slack: Duration::ZERO },
            length: Length::Count(COUNT),
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(10),
            max_in_flight: 64,
            seed: 0,
        };
        let spec = TraceSpec {
            settings: vec![Setting::new(Source::Script, Store::Memory)],
            gateway: Some(gateway_spec),
            node: Some(NODE.to_owned()),
            pipe: Some(pipe),
            docker_socket: None,
            image: None,
            load,
        };
        Self { _gateway: gateway, _agent: agent, spec, folder }
    }

    /// `[diagnose]` of an offload.toml that names it; what else the agent's configuration says.
    pub fn described(&self, interval: &str) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let url = &self.spec.gateway.as_ref().unwrap().url;
        let conf = format!(
            r#"{{"server":"wss://localhost:1","interval":"{interval}","node_id":"{NODE}","sources":{{"script":"pipe"}},"trace":true}}"#
        );
        std::fs::write(self.folder.path().join("agent.conf"), conf).unwrap();
        let (tokens, certificate, conf) = (at("tokens"), at("certificate.pem"), at("agent.conf"));
        format!(
            "[diagnose]\ngateway = \"{url}\"\ntoken_file = \"{tokens}\"\nca_file = \"{certificate}\"\nagent_conf = \"{conf}\"\n"
        )
    }

    fn follow(&self) -> Measured {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shutdown = Shutdown::listen().unwrap();
            let mut observer = ();
            let mut session = Session::new(&mut observer, &shutdown);
            measure(&self.spec, &mut session).await.unwrap()
        })
    }
}

/// A gateway whose store may sleep: its port, and that of a link to it that may be slow.
fn gateway(folder: PathBuf, tokens: PathBuf, slow: Slow) -> (Background, u16, u16) {
    let day = Duration::from_hours(24);
    let settings = Settings {
        detector: "missed:3".parse().unwrap(),
        retain_completed: day,
        retain_left: day,
        retain_unreachable: day,
        most_tasks: 10_000,
        most_nodes: 10,
        history: HISTORY as usize,
    };
    let sleep = if slow == Slow::Store { DELAY } else { Duration::ZERO };
    let open = move || Ok(Box::new(Sleeping(MemoryStore::new(HISTORY), sleep)) as Box<dyn MetadataStore>);
    let voice = Arc::new(drop::<String>);
    let service = Service::start(settings, Box::new(open), Access::read(&tokens).unwrap(), 10_000, voice).unwrap();
    if slow != Slow::Unstamped {
        service.traces.switch_on();
    }
    let identity = Identity::load(&TlsFiles { own: None, kept_in: Some(folder), client_ca: None }).unwrap();
    let bind = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    let ((direct, address), (link, entry)) = (bind(), bind());
    let config = Arc::new(RwLock::new(Arc::clone(&identity.config)));
    let thread = Background::spawn("gateway", move || async move {
        let (direct, link) = (TcpListener::from_std(direct).unwrap(), TcpListener::from_std(link).unwrap());
        tokio::join!(
            listen(direct, config, Arc::clone(&service), 100),
            service.keep_time(),
            delay(link, address, DELAY)
        );
    });
    (thread.unwrap(), address.port(), entry.port())
}

fn agent(
    url: String,
    certificate: &std::path::Path,
    source: Late,
    coalescing: Duration,
    is_traced: bool,
) -> Background {
    let trust = Trust::load(&TlsSpec { ca_file: Some(certificate.to_owned()), ..TlsSpec::default() }).unwrap();
    let rhythm = Rhythm::Fixed(Duration::from_secs(1));
    let second = Duration::from_secs(1);
    let endpoint = Endpoint {
        url: url.parse().unwrap(),
        mode: Mode::Socket,
        dialer: trust.dialer(&["http/1.1"]),
        authorization: Some("Bearer agent-0123456789abcdef".parse().unwrap()),
        digest: [0; 32],
    };
    let settings = AgentSettings {
        node_id: NODE.to_owned(),
        rhythm,
        phase: second,
        coalescing,
        answer_within: 10 * second,
        backoff: BackoffBounds { first: second / 10, longest: second },
        most_tasks: 1_000,
        most_frame_bytes: MOST_BYTES,
        sources: 1,
        servers: 1,
    };
    let live = Live { endpoints: vec![Arc::new(endpoint)], rhythm, metrics: Metrics::default() };
    Background::spawn("agent", move || async move {
        let (_sender, live) = watch::channel(live);
        let shutdown = Arc::new(Shutdown::listen_apart_from_hangups().unwrap());
        let voice = Arc::new(|_, _| {});
        run(settings, 1, Surroundings { sources: vec![Box::new(source)], live, shutdown, voice, is_traced }).await;
    })
    .unwrap()
}

/// The mean of a part of the way.
fn mean(measured: &Measured, hop: &str) -> Option<Duration> {
    let labels = Labels::new().with("hop", hop);
    let mut all = measured.scalars.iter();
    let found = all.find(|scalar| scalar.name == "trace.mean" && scalar.labels == labels)?;
    found.value.map(|ns| Duration::from_nanos(ns as u64))
}

const HOPS: [&str; 8] = ["event", "agent", "wire", "gateway", "store", "publish", "subscriber", "unexplained"];

/// The delay is in this part, never less than programmed, and in no other one.
#[track_caller]
fn found_in(slow: Slow, part: &str) {
    let system = System::start(slow);
    let (measured, lateness): (Measured, Lateness) = beside(|| system.follow());
    let total = mean(&measured, "total").unwrap();
    let mut sum = Duration::ZERO;
    for hop in HOPS {
        let took = mean(&measured, hop).unwrap_or_else(|| panic!("there is no {hop}"));
        sum += took;
        let (least, most) = if hop == part {
            (DELAY, DELAY + lateness.above(SLACK))
        } else {
            (Duration::ZERO, lateness.above(WITHOUT))
        };
        assert!((least..=most).contains(&took), "{hop}: {took:?} is not within {least:?} and {most:?}");
    }
    assert!(total.abs_diff(sum) < Duration::from_micros(10), "the parts are {sum:?} and the whole is {total:?}");
}

#[test]
fn an_agent_that_holds_a_change_is_found_in_the_agents_hop() {
    found_in(Slow::Agent, "agent");
}

#[test]
fn a_slow_link_is_found_on_the_wire() {
    found_in(Slow::Wire, "wire");
}

#[test]
fn a_store_that_sleeps_is_found_in_the_store() {
    found_in(Slow::Store, "store");
}

#[test]
fn a_sleep_between_two_parts_is_found_in_none_and_said_to_be_unexplained() {
    found_in(Slow::BetweenSourceAndAgent, "unexplained");
}

#[test]
fn without_stamps_the_whole_way_is_unexplained_and_a_warning_says_so() {
    let measured = System::start(Slow::Unstamped).follow();
    let (total, unexplained) = (mean(&measured, "total").unwrap(), mean(&measured, "unexplained").unwrap());
    assert_eq!((total, mean(&measured, "agent")), (unexplained, None));
    let ids: Vec<&str> = measured.warnings.iter().map(|warning| warning.id.as_str()).collect();
    assert!(ids.contains(&"unstamped") && ids.contains(&"unexplained"), "{ids:?}");
}
