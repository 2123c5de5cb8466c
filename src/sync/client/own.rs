//! A gateway of our own in a child process, and the tokens by which its agents and readers are known.
//!
//! Separate because every measurement that is not pointed at somebody's gateway starts one. It ends when it is dropped; its folder
//! is its owner's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::clock;
use crate::sys::server::{Server, ServerError};
use crate::wire::{Url, UrlError};

/// What errors call it.
const NAME: &str = "the gateway";

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that does not start.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A file or the process is not there.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Its own address is none, which is a bug.
    #[error(transparent)]
    Url(#[from] UrlError),
}

/// A gateway of our own.
pub struct OwnGateway {
    server: Server,
    /// Where it is.
    pub url: Url,
    /// The same as an address.
    pub address: SocketAddr,
    /// Lines `NODE_ID TOKEN` of all who may report.
    pub token_file: PathBuf,
    /// Whom its clients trust.
    pub ca_file: PathBuf,
    /// The tokens of that file.
    pub tokens: Tokens,
}

/// The tokens of a file, by the name that each is for.
#[derive(Clone, Default)]
pub struct Tokens(HashMap<String, String>);

impl OwnGateway {
    /// Starts one with its files in `folder`, which these nodes may report to, with further arguments.
    ///
    /// # Errors
    /// When it does not listen.
    pub async fn start<'a>(
        folder: &Path,
        nodes: impl IntoIterator<Item = &'a str>,
        more: &[&str],
    ) -> Result<Self, OwnError> {
        let failed = |source| ServerError::Start { name: NAME.to_owned(), source };
        let token_file = folder.join("tokens");
        let tokens = Tokens::write(&token_file, nodes).map_err(failed)?;
        let data = folder.join("data");
        let own: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&"gateway", &"--listen", &"127.0.0.1:0", &"--data-dir", &data, &"--token-file", &token_file];
        let arguments: Vec<_> = own.into_iter().map(AsRef::as_ref).chain(more.iter().map(AsRef::as_ref)).collect();
        let mut server = Server::start_own(NAME, &arguments, folder.join("gateway.log"))?;
        let address = server.said(PATIENCE, address_of).await?;
        let url: Url = format!("https://{address}").parse()?;
        Ok(Self { server, url, address, token_file, ca_file: data.join("certificate.pem"), tokens })
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        self.server.kill()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.server.check()
    }
}

impl Tokens {
    /// Makes a token for each node, and one that reads everything; nobody else may read the file.
    fn write<'a>(path: &Path, nodes: impl IntoIterator<Item = &'a str>) -> io::Result<Self> {
        let mut text = String::new();
        for name in ["*"].into_iter().chain(nodes) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {:016x}{:016x}", clock::entropy(), clock::entropy());
        }
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?.write_all(text.as_bytes())?;
        Ok(Self::parse(&text))
    }

    /// Those of a text of lines `NODE_ID TOKEN`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let of = |line: &str| {
            let (name, token) = line.trim().split_once(char::is_whitespace)?;
            (!name.starts_with('#')).then(|| (name.to_owned(), token.trim().to_owned()))
        };
        Self(text.lines().filter_map(of).collect())
    }

    /// The token of a node.
    #[must_use]
    pub fn of(&self, node: &str) -> Option<&str> {
        self.0.get(node).map(String::as_str)
    }

    /// The token that reads everything.
    #[must_use]
    pub fn reader(&self) -> Option<&str> {
        self.of("*")
    }
}

/// The address in `gateway listening on https://127.0.0.1:7443, certificate SHA-256 ...`.
fn address_of(line: &str) -> Option<SocketAddr> {
    line.split_once("https://")?.1.split_once(',')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_names_it() {
        let said = "gateway listening on https://127.0.0.1:7443, certificate SHA-256 AB";
        assert_eq!(address_of(said), "127.0.0.1:7443".parse().ok());
        assert_eq!(address_of("error: no"), None);
    }

    #[test]
    fn tokens_of_ours_are_private_and_each_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let written = Tokens::write(&path, ["a", "b"]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = Tokens::parse(&fs::read_to_string(&path).unwrap());
        let all: std::collections::HashSet<_> = ["a", "b", "*"].map(|name| read.of(name).unwrap()).into();
        assert_eq!((all.len(), read.reader()), (3, written.reader()));
    }

    #[test]
    fn a_line_that_is_commented_out_is_none() {
        let tokens = Tokens::parse("a 1\n#b 2\n  c  3 \n");
        assert_eq!((tokens.of("a"), tokens.of("b"), tokens.of("c")), (Some("1"), None, Some("3")));
    }
}
