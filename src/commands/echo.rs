//! `offloadctl echo`: the far end as a service.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;

use super::bench::protocol::built;
use super::event_loop::event_loop;
use super::value;
use crate::bench::protocol::Members;
use crate::console;
use crate::echo::protocol::{Offer, Protocol, ProtocolLimits, ProtocolServer};
use crate::echo::{EchoLimits, EchoServer, EchoStatistics, bind_pair};
use crate::error::{Exit, Failure};
use crate::sync::gateway::tls::{Identity, OWN_CERTIFICATE, TlsFiles};
use crate::sys::host::raise_file_limit;
use crate::sys::shutdown::Shutdown;

const EXAMPLES: &str = "Examples:
  offloadctl echo --listen 0.0.0.0:7777
  offloadctl echo --listen [::]:7777 --max-connections 200
  offloadctl echo --protocols grpc,websocket --protocol-listen 0.0.0.0:7778 --tls-cert far.pem --tls-key far.key

It answers each PING with a PONG of the same size, over TCP and UDP on one port, and nothing
else: a peer that sends other bytes is disconnected. It keeps the kernel's time stamps of each peer's
last exchange, and reports them in the next PONG.

With --protocols, heartbeats and reports of nodes are answered too, over TLS, by a receipt; none is kept.
Every protocol carries the messages of node.proto. /protocols says what is offered, /usage what it cost.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EchoArgs {
    /// Address and port, for TCP and UDP; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
    /// Answer heartbeats and reports too, over these: grpc, grpc-stream, websocket, http1, http2, raft (three members on
    /// this host)
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Protocols")]
    protocols: Vec<Protocol>,
    /// Address and port for them, over TLS; the members of raft take the three ports after it
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:7778",
        requires = "protocols",
        help_heading = "Protocols"
    )]
    protocol_listen: SocketAddr,
    /// Certificate chain, in PEM; without one it makes its own for loopback
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "protocols"], help_heading = "Protocols")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Protocols")]
    tls_key: Option<PathBuf>,
    /// TCP connections at a time; further ones are closed at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = value::parse_whole::<u32>)]
    max_connections: u32,
    /// Close a connection that has been silent for this long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = value::parse_positive)]
    idle_timeout: Duration,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// When the address cannot be bound.
pub fn run(args: &EchoArgs) -> Result<Exit, Failure> {
    raise_file_limit();
    let cannot = |what: &str, error: std::io::Error| Failure::listen(what, args.listen, &error);
    let runtime = event_loop()?;
    let (tcp, udp) = bind_pair(args.listen).map_err(|error| cannot("cannot listen on", error))?;
    let address = tcp.local_addr().map_err(|error| cannot("cannot listen on", error))?;
    let limits =
        EchoLimits { connections: args.max_connections as usize, idle: args.idle_timeout, ..EchoLimits::default() };
    let say = |text: String| {
        if !args.quiet {
            console::say(text);
        }
    };
    runtime.block_on(async {
        let shutdown = Shutdown::listen().map_err(|error| cannot("cannot catch signals for", error))?;
        let server = EchoServer::start(tcp, udp, limits).map_err(|error| cannot("cannot serve", error))?;
        let protocols = args.serve_protocols().await?;
        if let Some(started) = &protocols {
            say(started.sentence(args));
        }
        say(format!("echo listening on {address} (TCP and UDP)"));
        shutdown.requested().await;
        say(summary(server.statistics()));
        if let Some(started) = &protocols {
            say(format!("protocols stopped: {} answered", started.server.answered()));
        }
        Ok(Exit::Fine)
    })
}

/// The protocols beside the PINGs.
struct Started {
    server: ProtocolServer,
    /// Of Raft, and where their logs are.
    _members: (Members, TempDir),
    /// Where the certificate is that was made; it goes when this does.
    made: Option<TempDir>,
}

impl Started {
    fn sentence(&self, args: &EchoArgs) -> String {
        let names: Vec<_> = args.offered().iter().map(|protocol| protocol.word()).collect();
        let trust = self.made.as_ref().map_or_else(String::new, |folder| {
            format!("; trust it with --ca-file {}", folder.path().join(OWN_CERTIFICATE).display())
        });
        format!("protocols listening on https://{} ({}){trust}", self.server.address(), names.join(", "))
    }
}

impl EchoArgs {
    /// Each protocol once, in the order in which they were first named.
    fn offered(&self) -> Vec<Protocol> {
        value::unique(self.protocols.iter().copied())
    }

    /// The members of a cluster, where there is one, and where their logs are for as long as they run.
    async fn members(&self, identity: &Identity) -> Result<(Members, TempDir), Failure> {
        let cannot = |error: std::io::Error| {
            Failure::unable(&error).hint("members of raft take the three ports after --protocol-listen")
        };
        let folder = tempfile::tempdir().map_err(cannot)?;
        let port = Some(self.protocol_listen.port()).filter(|port| *port != 0);
        let place = (self.protocol_listen.ip(), port);
        let members = Members::start(&self.protocols, place, Arc::clone(&identity.config), folder.path()).await;
        Ok((members.map_err(cannot)?, folder))
    }

    async fn serve_protocols(&self) -> Result<Option<Started>, Failure> {
        if self.protocols.is_empty() {
            return Ok(None);
        }
        built(&self.protocols)?;
        let cannot = |what: &str, error: std::io::Error| Failure::listen(what, self.protocol_listen, &error);
        let own = self.tls_cert.clone().zip(self.tls_key.clone());
        let made = match own {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(|error| cannot("cannot keep a certificate for", error))?),
        };
        let kept_in = made.as_ref().map(|folder| folder.path().to_owned());
        let identity = Identity::load(&TlsFiles { own, kept_in, client_ca: None })
            .map_err(|error| Failure::unable(&error).hinted(error.hint()))?;
        let listener = TcpListener::bind(self.protocol_listen).map_err(|error| cannot("cannot listen on", error))?;
        let limits = ProtocolLimits {
            connections: self.max_connections as usize,
            idle: self.idle_timeout,
            ..ProtocolLimits::default()
        };
        let members = self.members(&identity).await?;
        let offer = Offer { protocols: self.offered(), raft_ports: members.0.ports() };
        let server = ProtocolServer::start(listener, identity.config, offer, limits)
            .map_err(|error| cannot("cannot serve", error))?;
        Ok(Some(Started { server, _members: members, made }))
    }
}

fn summary(statistics: &EchoStatistics) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "echo stopped: {} answered, {} connections, {} turned away, {} foreign",
        load(&statistics.answered),
        load(&statistics.accepted),
        load(&statistics.turned_away),
        load(&statistics.foreign)
    )
}
