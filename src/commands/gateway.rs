//! `offloadctl gateway`: the gateway as a service, and copies of what it keeps.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::event_loop::event_loop;
use super::gateway_store::{CopyArgs, EtcdArgs, MigrateArgs, copy, migrate, unstored};
use super::value::{parse_positive, parse_whole};
use crate::console;
use crate::detect::DetectorSpec;
use crate::error::{Exit, Failure};
use crate::sync::gateway::access::Access;
use crate::sync::gateway::keeper::{self, Keeper};
use crate::sync::gateway::listen::{SharedConfig, listen};
use crate::sync::gateway::machine::Settings;
use crate::sync::gateway::service::{OpenStore, Service, Voice};
use crate::sync::gateway::tls::{Identity, TlsError, TlsFiles};
use crate::sync::store::embedded::EmbeddedStore;
use crate::sync::store::memory::MemoryStore;
use crate::sync::store::{HISTORY, MetadataStore, StoreError};
use crate::sys::host::raise_file_limit;
use crate::sys::shutdown::Shutdown;

const EXAMPLES: &str = "Examples:
  A gateway with a certificate of its own, whose agents have the tokens of a file:
    printf 'edge-1 %s\\n* %s\\n' $(openssl rand -hex 16) $(openssl rand -hex 16) > tokens
    offloadctl gateway --data-dir ./state --token-file tokens
  One with your certificate, whose agents show theirs:
    offloadctl gateway --listen 0.0.0.0:7443 --data-dir /var/lib/offloadctl --tls-cert gw.pem --tls-key gw.key --client-ca ca.pem
  Ask it (the token is that of the `*` line; the certificate it made is in the data folder):
    curl --cacert ./state/certificate.pem -H \"Authorization: Bearer $TOKEN\" https://localhost:7443/v1/nodes
    curl -N --cacert ./state/certificate.pem -H \"Authorization: Bearer $TOKEN\" https://localhost:7443/v1/watch?from=0

  Carry what it keeps elsewhere, and make a gateway of it there:
    offloadctl gateway backup --data-dir ./state state.backup
    offloadctl gateway restore --data-dir ./other state.backup

  Several gateways on one etcd; agents and schedulers may speak to any of them:
    offloadctl gateway --store etcd --endpoints http://10.0.0.1:2379,http://10.0.0.2:2379 --listen 0.0.0.0:7443 --token-file tokens
    offloadctl gateway migrate --data-dir ./state --endpoints http://10.0.0.1:2379

Every request is described at /openapi.json. SIGHUP reads tokens and certificates again.";

/// Silence that a detector forgives if none is given: room for a slow network.
const DEFAULT_MARGIN: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// One file in the data folder
    Embedded,
    /// A cluster of etcd, which several gateways may have in common
    Etcd,
    /// Nothing outlives the process
    Memory,
}

/// What can be done with a store that no gateway uses.
#[derive(Debug, Subcommand)]
enum Action {
    /// Write everything that a store keeps to a file
    Backup(CopyArgs),
    /// Make a store of such a file
    Restore(CopyArgs),
    /// Copy a store in a folder to etcd
    Migrate(MigrateArgs),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct GatewayArgs {
    #[command(subcommand)]
    action: Option<Action>,
    /// Address and port; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Folder of the store, made if it is not there
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where tasks and nodes are kept
    #[arg(long, value_enum, default_value = "embedded")]
    store: StoreKind,
    /// Lines `NODE_ID TOKEN`, each for one agent; `* TOKEN` may read everything
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificate chain of the gateway, in PEM; without one it makes its own
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "TLS")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_key: Option<PathBuf>,
    /// Who signs the certificates of agents; the name in one is the node id
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    client_ca: Option<PathBuf>,
    /// When a silent node is unreachable; a margin of 200ms unless it has its own
    #[arg(long, value_name = "DETECTOR", default_value = "missed:3")]
    detector: DetectorSpec,
    /// How long a task that is over is kept
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_positive, help_heading = "Limits")]
    retain_completed: Duration,
    /// How long a node that has left is kept
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_positive, help_heading = "Limits")]
    retain_left: Duration,
    /// How long a node that is unreachable is kept
    #[arg(long, value_name = "TIME", default_value = "720h", value_parser = parse_positive, help_heading = "Limits")]
    retain_unreachable: Duration,
    /// Connections at a time; further ones are closed at once
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = parse_whole::<u32>, help_heading = "Limits")]
    max_connections: u32,
    /// Tasks that are kept at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = parse_whole::<u32>, help_heading = "Limits")]
    max_tasks: u32,
    /// Nodes that are kept at most
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = parse_whole::<u32>, help_heading = "Limits")]
    max_nodes: u32,
    /// Messages of one node, heartbeats of one node, and requests with one token a second; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = parse_whole::<u32>, help_heading = "Limits")]
    node_rate: u32,
    /// Take stamps of changes that agents trace, and tell subscribers of them; see `offloadctl trace`
    #[arg(long)]
    trace: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// How long a silent gateway keeps its nodes, in whole seconds; etcd may make it longer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_positive, help_heading = "etcd")]
    lease: Duration,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the address cannot be bound, a file cannot be read, or the store cannot be opened.
pub fn run(args: &GatewayArgs) -> Result<Exit, Failure> {
    match &args.action {
        Some(Action::Backup(args)) => return copy(args, true),
        Some(Action::Restore(args)) => return copy(args, false),
        Some(Action::Migrate(args)) => return migrate(args),
        None => {}
    }
    raise_file_limit();
    let (access, identity) = (args.access()?, Identity::load(&args.tls_files()).map_err(untrusted)?);
    let runtime = event_loop()?;
    if args.store == StoreKind::Etcd {
        let served = runtime.block_on(args.serve_shared(access, identity));
        runtime.shutdown_background();
        return served.map(|()| Exit::Fine);
    }
    let open = args.open_store()?;
    let service = Service::start(args.settings(), open, access, args.node_rate, voice())
        .map_err(|error| Failure::unable(&error).hinted(error.hint()))?;
    if args.trace {
        service.traces.switch_on();
    }
    let served = runtime.block_on(args.serve(Arc::clone(&service), identity, std::future::pending()));
    // What was decided is written before the process ends.
    runtime.shutdown_background();
    service.close();
    served.map(|()| Exit::Fine)
}

/// A store is made at the start only: later, a file that is gone is a fault and not a beginning.
fn opened(folder: &Path, is_first: bool) -> Result<EmbeddedStore, StoreError> {
    if is_first { EmbeddedStore::open_or_create(folder, HISTORY) } else { EmbeddedStore::open(folder, HISTORY) }
}

/// Says each thing once, until something else is said: a disk that stays full is no news every two seconds.
fn voice() -> Voice {
    let last = Mutex::new(String::new());
    Arc::new(move |text: String| {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            console::say(format!("gateway: {text}"));
            *last = text;
        }
    })
}

fn untrusted(error: TlsError) -> Failure {
    Failure::unable(&error).hinted(error.hint())
}

impl GatewayArgs {
    /// The same with a store that other gateways may have as well.
    async fn serve_shared(&self, access: Access, identity: Identity) -> Result<(), Failure> {
        let store = Arc::new(self.etcd.connect().await?);
        let loaded = keeper::begin(&store).await.map_err(|error| unstored(&error))?;
        let (me, revision) = (keeper::name(), loaded.revision);
        let service = Service::share(self.settings(), (&me, loaded), access, (self.node_rate, voice()));
        if self.trace {
            service.traces.switch_on();
        }
        let lease_s = self.lease.as_secs().max(1);
        let keeper = Keeper::new(Arc::clone(&service), store, (me, lease_s), revision);
        let served = self.serve(service, identity, keeper.run()).await;
        keeper.leave().await;
        served
    }

    async fn serve(
        &self,
        service: Arc<Service>,
        identity: Identity,
        keeping: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let cannot = |what: &str, error: std::io::Error| Failure::listen(what, self.listen, &error);
        let shutdown =
            Shutdown::listen_apart_from_hangups().map_err(|error| cannot("cannot catch signals for", error))?;
        let listener = TcpListener::bind(self.listen).await.map_err(|error| cannot("cannot listen on", error))?;
        // Before anybody is told where it listens: a hangup would end the process otherwise.
        let hangup = signal(SignalKind::hangup()).map_err(|error| cannot("cannot catch signals for", error))?;
        let address = listener.local_addr().map_err(|error| cannot("cannot listen on", error))?;
        self.say(format!("gateway listening on https://{address}, certificate SHA-256 {}", identity.fingerprint));
        let config: SharedConfig = Arc::new(RwLock::new(Arc::clone(&identity.config)));
        tokio::select! {
            () = listen(listener, Arc::clone(&config), Arc::clone(&service), self.max_connections as usize) => {}
            () = service.keep_time() => {}
            () = keeping => {}
            () = self.reload_on_hangup(hangup, &service, &config, identity) => {}
            () = shutdown.requested() => {}
        }
        self.say(format!("gateway stopped at revision {}", service.durable().borrow().revision));
        Ok(())
    }

    /// Reads tokens and certificates again at each SIGHUP; what cannot be read leaves everything as it is.
    async fn reload_on_hangup(
        &self,
        mut hangup: Signal,
        service: &Service,
        config: &SharedConfig,
        mut before: Identity,
    ) {
        while hangup.recv().await.is_some() {
            let identity = || before.reload(&self.tls_files()).map_err(untrusted);
            match self.access().and_then(|access| Ok((access, identity()?))) {
                Ok((access, identity)) => {
                    self.say(format!(
                        "gateway reloaded: {} tokens, certificate SHA-256 {}",
                        access.len(),
                        identity.fingerprint
                    ));
                    service.set_access(access);
                    *config.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&identity.config);
                    before = identity;
                }
                Err(failure) => console::say(format!("not reloaded: {failure}")),
            }
        }
    }

    fn access(&self) -> Result<Access, Failure> {
        match &self.token_file {
            Some(path) => Access::read(path).map_err(Failure::unable),
            None if self.client_ca.is_some() => Ok(Access::default()),
            None => Err(Failure::plain(
                Exit::Usage,
                "nobody could speak to this gateway: it has neither tokens nor a client CA",
            )
            .hint("give --token-file with lines `NODE_ID TOKEN`, or --client-ca")),
        }
    }

    fn tls_files(&self) -> TlsFiles {
        let own = self.tls_cert.clone().zip(self.tls_key.clone());
        TlsFiles { own, kept_in: self.data_dir.clone(), client_ca: self.client_ca.clone() }
    }

    fn open_store(&self) -> Result<OpenStore, Failure> {
        match (self.store, &self.data_dir) {
            (StoreKind::Memory, _) => {
                Ok(Box::new(|| Ok(Box::new(MemoryStore::new(HISTORY)) as Box<dyn MetadataStore>)))
            }
            (StoreKind::Embedded, Some(folder)) => {
                let (folder, is_first) = (folder.clone(), AtomicBool::new(true));
                Ok(Box::new(move || {
                    Ok(Box::new(opened(&folder, is_first.swap(false, Ordering::Relaxed))?) as Box<dyn MetadataStore>)
                }))
            }
            // It is not opened like the others: it has a part of its own in what is served.
            (StoreKind::Etcd, _) => Err(Failure::plain(Exit::Usage, "a store on etcd is shared")),
            (StoreKind::Embedded, None) => Err(Failure::plain(Exit::Usage, "the embedded store needs a folder")
                .hint("give --data-dir DIR, or --store memory to keep nothing")),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            detector: self.detector.clone().with_margin(DEFAULT_MARGIN),
            retain_completed: self.retain_completed,
            retain_left: self.retain_left,
            retain_unreachable: self.retain_unreachable,
            most_tasks: self.max_tasks as usize,
            most_nodes: self.max_nodes as usize,
            history: HISTORY as usize,
        }
    }

    fn say(&self, text: String) {
        if !self.quiet {
            console::say(text);
        }
    }
}
