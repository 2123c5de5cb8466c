//! `offloadctl echo`: the far end as a service.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;

use super::event_loop::event_loop;
use super::value;
use crate::console;
use crate::echo::{EchoLimits, EchoServer, EchoStatistics, bind_pair};
use crate::error::{Exit, Failure};
use crate::sys::host::raise_file_limit;
use crate::sys::shutdown::Shutdown;

const EXAMPLES: &str = "Examples:
  offloadctl echo --listen 0.0.0.0:7777
  offloadctl echo --listen [::]:7777 --max-connections 200

It answers each PING with a PONG of the same size, over TCP and UDP on one port, and nothing
else: a peer that sends other bytes is disconnected. It keeps the kernel's time stamps of each peer's
last exchange, and reports them in the next PONG.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EchoArgs {
    /// Address and port, for TCP and UDP; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
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
        say(format!("echo listening on {address} (TCP and UDP)"));
        shutdown.requested().await;
        say(summary(server.statistics()));
        Ok(Exit::Fine)
    })
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
