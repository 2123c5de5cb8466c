//! The gateway that is measured: one of our own in a temporary folder, or somebody else's.
//!
//! Separate from the measurement, which knows only an address and tokens. Everything of ours is gone when it is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tempfile::TempDir;

use super::LiveError;
use super::observer::{NODE, Watched};
use super::spec::{LiveSpec, Target};
use crate::bench::etcd::{Cluster, Setting};
use crate::sync::client::own::{OwnGateway, Tokens};
use crate::sys::file::read_text;
use crate::sys::resolve::lookup;
use crate::sys::server::{ServerError, folder};
use crate::wire::{TlsSpec, Trust, Url};

/// Longest token file of a target, as of a gateway.
const LONGEST_FILE: u64 = 64 << 20;

/// Connections beside those of agents: ours, and some that are closing.
const FURTHER_CONNECTIONS: u64 = 64;

/// A gateway, and what a run needs to speak with it; one of ours ends before its folder is removed.
pub struct Gateway {
    own: Option<OwnGateway>,
    /// Another one on the same store, to which the agents are connected.
    dying: Option<OwnGateway>,
    /// Ends when the gateways have.
    _etcd: Option<Cluster>,
    /// The folder of everything that is ours.
    pub folder: TempDir,
    /// Where the gateway is.
    pub url: Url,
    /// The same as an address, for relays.
    pub address: SocketAddr,
    /// Lines `NODE_ID TOKEN` of all agents.
    pub token_file: PathBuf,
    /// Whom agents trust instead of the authorities of this host.
    pub ca_file: Option<PathBuf>,
    /// For us.
    pub watched: Watched,
    /// The gateway that hears the agents, for us.
    pub hearing: Watched,
}

impl Gateway {
    /// Starts a gateway for these nodes, or looks whether the target knows them.
    ///
    /// # Errors
    /// When it does not listen, or a token is missing.
    pub async fn make(spec: &LiveSpec, nodes: &[String]) -> Result<Self, LiveError> {
        let folder = folder("live", None)?;
        match &spec.target {
            Some(target) => Self::of_target(folder, target, nodes).await,
            None => Self::of_our_own(folder, spec, nodes).await,
        }
    }

    async fn of_target(folder: TempDir, target: &Target, nodes: &[String]) -> Result<Self, LiveError> {
        let tokens = read_tokens(&target.token_file, nodes)?;
        let absolute = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let ca_file = target.ca_file.as_deref().map(absolute);
        let url = &target.url;
        let addresses = lookup(&url.socket_host(), url.port).await;
        let address = addresses.ok().and_then(|all| all.first().copied());
        let address = address.ok_or_else(|| LiveError::Lookup(url.host.clone()))?;
        let watched = watched(url, ca_file.clone(), &tokens)?;
        let (token_file, hearing) = (absolute(&target.token_file), watched.clone());
        Ok(Self {
            own: None,
            dying: None,
            _etcd: None,
            folder,
            url: url.clone(),
            address,
            token_file,
            ca_file,
            watched,
            hearing,
        })
    }

    async fn of_our_own(folder: TempDir, spec: &LiveSpec, nodes: &[String]) -> Result<Self, LiveError> {
        let (detector, connections) =
            (spec.detector.to_string(), (nodes.len() as u64 * 2 + FURTHER_CONNECTIONS).to_string());
        let more = ["--detector", &detector, "--max-connections", &connections, "--node-rate", "1000"];
        let names = || nodes.iter().map(String::as_str).chain([NODE]);
        let Some(etcd) = &spec.etcd else {
            let own = OwnGateway::start(folder.path(), names(), &more).await?;
            return Self::of_gateways(folder, own, (None, None));
        };
        let cluster = Cluster::start(&etcd.program, Setting::default(), 1).await.map_err(LiveError::Etcd)?;
        let endpoints = cluster.endpoints().map(|url| url.to_string()).collect::<Vec<_>>().join(",");
        let lease = humantime::format_duration(etcd.lease).to_string();
        let more = [&more[..], &["--store", "etcd", "--endpoints", &endpoints, "--lease", &lease]].concat();
        let [staying, dying] = ["staying", "dying"].map(|name| folder.path().join(name));
        for place in [&staying, &dying] {
            fs::create_dir(place).map_err(|source| ServerError::Start { name: "a gateway".to_owned(), source })?;
        }
        // The one that stays is there before the other, and does what only one of them does.
        let own = OwnGateway::start(&staying, names(), &more).await?;
        let dying = OwnGateway::start(&dying, names(), &more).await?;
        Self::of_gateways(folder, own, (Some(dying), Some(cluster)))
    }

    fn of_gateways(
        folder: TempDir,
        own: OwnGateway,
        (dying, etcd): (Option<OwnGateway>, Option<Cluster>),
    ) -> Result<Self, LiveError> {
        let heard = dying.as_ref().unwrap_or(&own);
        let ca_file = Some(heard.ca_file.clone());
        let hearing = watched(&heard.url, ca_file.clone(), &heard.tokens)?;
        let watched = watched(&own.url, Some(own.ca_file.clone()), &own.tokens)?;
        let (url, address, token_file) = (heard.url.clone(), heard.address, heard.token_file.clone());
        Ok(Self { own: Some(own), dying, _etcd: etcd, folder, url, address, token_file, ca_file, watched, hearing })
    }

    /// Whether the gateway goes with us.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.own.is_some()
    }

    /// Kills the gateway that the agents are connected to, if another one is there.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        // Not looked after any more: that it has ended is what was wanted.
        self.dying.take().map_or(Err(io::ErrorKind::NotConnected.into()), |mut dying| dying.kill())
    }

    /// Whether our gateway, if it is ours, still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.own.iter_mut().chain(&mut self.dying).try_for_each(OwnGateway::check)
    }
}

fn watched(url: &Url, ca_file: Option<PathBuf>, tokens: &Tokens) -> Result<Watched, LiveError> {
    let trust = Trust::load(&TlsSpec { ca_file, ..TlsSpec::default() }).map_err(LiveError::Trust)?;
    let (reader, reporter) = (tokens.reader().unwrap_or_default().to_owned(), tokens.of(NODE).map(str::to_owned));
    Ok(Watched { url: url.clone(), trust, reader, reporter })
}

fn read_tokens(path: &Path, nodes: &[String]) -> Result<Tokens, LiveError> {
    let failed = |source| LiveError::TokenFile { path: path.to_owned(), source };
    let tokens = Tokens::parse(&read_text(path, LONGEST_FILE).map_err(failed)?);
    match missing(&tokens, nodes) {
        Some(missing) => Err(LiveError::Token { path: path.to_owned(), missing: missing.to_owned() }),
        None => Ok(tokens),
    }
}

/// Whose token is not there.
fn missing<'a>(tokens: &Tokens, nodes: &'a [String]) -> Option<&'a str> {
    let mut all = nodes.iter().map(String::as_str).chain(["*"]);
    all.find(|name| tokens.of(name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_missing_is_named_by_its_node() {
        let nodes = ["live-1-1", "live-1-2"].map(str::to_owned);
        let of = |text| missing(&Tokens::parse(text), &nodes);
        assert_eq!(of("live-1-1 a\n#live-1-2 b\n* c"), Some("live-1-2"));
        assert_eq!(of("live-1-1 a\nlive-1-2 b\n"), Some("*"));
        assert_eq!(of("live-1-1 a\n live-1-2  b\n* c\n"), None);
    }
}
