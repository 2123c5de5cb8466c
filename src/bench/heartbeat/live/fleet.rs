//! The agents of one cell: a child process of this very program, and the ways to hurt it.
//!
//! Separate from the measurement, which says when. A fleet that is dropped is gone at once, whatever state it is in; one
//! before somebody else's gateway says goodbye first, so that nothing of ours stays known there as lost.

use std::fs;
use std::io;
use std::time::Duration;

use serde_json::json;

use super::gateway::Gateway;
use super::spec::{Fault, LiveCell};
use crate::model::Stamp;
use crate::sys::clock;
use crate::sys::server::{Server, ServerError};
use crate::sys::socket_table::{Traffic, traffic_of};
use crate::topo::Relay;

/// A fleet that runs.
pub struct Fleet {
    server: Server,
    relay: Option<Relay>,
    /// The port that its agents connect to.
    port: u16,
    says_goodbye: bool,
}

/// The name of a node: `live-2-17` is the 17th agent of the second cell.
#[must_use]
pub fn node_id(cell: usize, node: u64) -> String {
    format!("{}-{node}", prefix(cell))
}

fn prefix(cell: usize) -> String {
    format!("live-{}", cell + 1)
}

impl Fleet {
    /// Starts the agents of the cell of this number.
    ///
    /// # Errors
    /// When a file or the process cannot be made.
    pub fn start(gateway: &Gateway, at: usize, cell: &LiveCell, nodes: u64) -> Result<Self, ServerError> {
        let name = prefix(at);
        let what = format!("the fleet `{name}`");
        let failed = |source| ServerError::Start { name: what.clone(), source };
        let relay = cell.fault.is_of_link().then(|| Relay::start(gateway.address)).transpose().map_err(failed)?;
        let port = relay.as_ref().map_or(gateway.url.port, |relay| relay.address.port());
        let host =
            if gateway.url.host.contains(':') { format!("[{}]", gateway.url.host) } else { gateway.url.host.clone() };
        let config = json!({
            "server": format!("wss://{host}:{port}"),
            "interval": humantime::format_duration(cell.interval).to_string(),
            "node_id": name,
            "token_file": gateway.token_file,
            "ca_file": gateway.ca_file,
            "sources": {},
        });
        let path = gateway.folder.path().join(format!("{name}.conf"));
        fs::write(&path, config.to_string()).map_err(failed)?;
        let log = gateway.folder.path().join(format!("{name}.log"));
        let arguments = [
            "agent".into(),
            "--config".into(),
            path.into_os_string(),
            "--fleet".into(),
            nodes.to_string().into(),
            "--stallable".into(),
        ];
        let server = Server::start_own(&what, &arguments, log)?;
        // Our own gateway goes with its agents.
        let says_goodbye = !gateway.is_ours();
        Ok(Self { server, relay, port, says_goodbye })
    }

    /// Brings a fault about, and says when.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn hurt(&mut self, fault: Fault, silence: Duration) -> io::Result<Stamp> {
        let at = clock::now();
        match (fault, &self.relay) {
            (Fault::Kill | Fault::Gateway, _) => self.server.kill()?,
            (Fault::Freeze, _) => self.server.freeze()?,
            (Fault::Stuck, _) => self.server.nudge()?,
            (Fault::Partition, Some(relay)) => relay.partition(),
            (Fault::SlowLink, Some(relay)) => relay.delay(silence),
            (Fault::Partition | Fault::SlowLink, None) => return Err(io::ErrorKind::NotConnected.into()),
        }
        Ok(at)
    }

    /// What passed over the connections of its agents.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn traffic(&self) -> io::Result<Traffic> {
        traffic_of(self.server.id(), self.port)
    }

    /// What it says of itself, for a person who wonders where its agents are.
    #[must_use]
    pub fn trouble(&self) -> String {
        self.server.last_words()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.server.check()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Each of these fails where there is nobody left, which is what they are for.
        if self.says_goodbye && self.relay.is_none() {
            let _ = self.server.thaw();
        } else {
            let _ = self.server.kill();
        }
    }
}
