//! The gateway that is measured: one of our own in a temporary folder, or somebody else's.
//!
//! Separate from the measurement, which knows only an address and tokens. Everything of ours is gone when it is dropped.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::LiveError;
use super::observer::{NODE, Watched};
use super::spec::{LiveSpec, Target};
use crate::sys::clock;
use crate::sys::file::read_text;
use crate::sys::resolve::lookup;
use crate::sys::server::{Server, ServerError, folder};
use crate::wire::{TlsSpec, Trust, Url};

/// What errors call it.
const NAME: &str = "the gateway";

/// How long our gateway may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest token file of a target, as of a gateway.
const LONGEST_FILE: u64 = 64 << 20;

/// Connections beside those of agents: ours, and some that are closing.
const FURTHER_CONNECTIONS: u64 = 64;

/// A gateway, and what a run needs to speak with it; one of ours ends before its folder is removed.
pub struct Gateway {
    server: Option<Server>,
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
}

/// Every token that a run needs.
struct Tokens {
    reader: String,
    reporter: Option<String>,
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
        let watched = watched(url, ca_file.clone(), tokens)?;
        let token_file = absolute(&target.token_file);
        Ok(Self { server: None, folder, url: url.clone(), address, token_file, ca_file, watched })
    }

    async fn of_our_own(folder: TempDir, spec: &LiveSpec, nodes: &[String]) -> Result<Self, LiveError> {
        let token_file = folder.path().join("tokens");
        let start_error = |source| ServerError::Start { name: NAME.to_owned(), source };
        let tokens = write_tokens(&token_file, nodes).map_err(start_error)?;
        let data = folder.path().join("data");
        let connections = nodes.len() as u64 * 2 + FURTHER_CONNECTIONS;
        let arguments: [&dyn AsRef<std::ffi::OsStr>; 13] = [
            &"gateway",
            &"--listen",
            &"127.0.0.1:0",
            &"--data-dir",
            &data,
            &"--token-file",
            &token_file,
            &"--detector",
            &spec.detector.to_string(),
            &"--max-connections",
            &connections.to_string(),
            &"--node-rate",
            &"1000",
        ];
        let log = folder.path().join("gateway.log");
        let mut server = Server::start_own(NAME, &arguments.map(AsRef::as_ref), log)?;
        let address = server.said(PATIENCE, address_of).await?;
        let ca_file = Some(data.join("certificate.pem"));
        let url: Url = format!("https://{address}").parse().map_err(LiveError::Url)?;
        let watched = watched(&url, ca_file.clone(), tokens)?;
        Ok(Self { server: Some(server), folder, url, address, token_file, ca_file, watched })
    }

    /// Whether the gateway goes with us.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.server.is_some()
    }

    /// Whether our gateway, if it is ours, still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.server.as_mut().map_or(Ok(()), Server::check)
    }
}

/// The address in `gateway listening on https://127.0.0.1:7443, certificate SHA-256 ...`.
fn address_of(line: &str) -> Option<SocketAddr> {
    line.split_once("https://")?.1.split_once(',')?.0.parse().ok()
}

fn watched(url: &Url, ca_file: Option<PathBuf>, tokens: Tokens) -> Result<Watched, LiveError> {
    let trust = Trust::load(&TlsSpec { ca_file, ..TlsSpec::default() }).map_err(LiveError::Trust)?;
    Ok(Watched { url: url.clone(), trust, reader: tokens.reader, reporter: tokens.reporter })
}

/// A token for each node, for our own reports, and for reading; nobody else may read the file.
fn write_tokens(path: &Path, nodes: &[String]) -> io::Result<Tokens> {
    let token = || format!("{:016x}{:016x}", clock::entropy(), clock::entropy());
    let (reader, reporter) = (token(), token());
    let mut text = format!("* {reader}\n{NODE} {reporter}\n");
    for node in nodes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{node} {}", token());
    }
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())?;
    Ok(Tokens { reader, reporter: Some(reporter) })
}

fn read_tokens(path: &Path, nodes: &[String]) -> Result<Tokens, LiveError> {
    let failed = |source| LiveError::TokenFile { path: path.to_owned(), source };
    tokens_of(&read_text(path, LONGEST_FILE).map_err(failed)?, nodes)
        .map_err(|missing| LiveError::Token { path: path.to_owned(), missing })
}

/// The tokens of a text, or the name that it has none of.
fn tokens_of(text: &str, nodes: &[String]) -> Result<Tokens, String> {
    let of = |line: &str| {
        let (name, token) = line.trim().split_once(char::is_whitespace)?;
        (!name.starts_with('#')).then(|| (name.to_owned(), token.trim().to_owned()))
    };
    let known: std::collections::HashMap<String, String> = text.lines().filter_map(of).collect();
    if let Some(missing) = nodes.iter().find(|node| !known.contains_key(*node)) {
        return Err(missing.clone());
    }
    let reader = known.get("*").cloned().ok_or_else(|| "*".to_owned())?;
    Ok(Tokens { reader, reporter: known.get(NODE).cloned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_names_it() {
        let said = "gateway listening on https://127.0.0.1:7443, certificate SHA-256 AB";
        assert_eq!(address_of(said), "127.0.0.1:7443".parse().ok());
        assert_eq!(address_of("error: no"), None);
    }

    #[test]
    fn a_token_that_is_missing_is_named_by_its_node() {
        let nodes = ["live-1-1", "live-1-2"].map(str::to_owned);
        let missing = |text| tokens_of(text, &nodes).map(drop).unwrap_err();
        assert_eq!(missing("live-1-1 a\n#live-1-2 b\n* c"), "live-1-2");
        assert_eq!(missing("live-1-1 a\nlive-1-2 b\n"), "*");
        let tokens = tokens_of("live-1-1 a\n live-1-2  b\n* c\n", &nodes).map_err(drop).unwrap();
        assert_eq!((tokens.reader.as_str(), tokens.reporter), ("c", None));
    }

    #[test]
    fn tokens_of_ours_are_private_and_each_another() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, nodes) = (folder.path().join("tokens"), ["a", "b"].map(str::to_owned));
        let written = write_tokens(&path, &nodes).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let distinct: std::collections::HashSet<&str> =
            text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(tokens_of(&text, &nodes).map_err(drop).unwrap().reader, written.reader);
    }
}
