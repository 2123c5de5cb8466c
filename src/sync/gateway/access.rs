//! Who is calling, and what they may do: tokens from a file, names from client certificates.
//!
//! Separate because it is the only place that sees tokens. Only their SHA-256 is kept, which is also what they are looked up
//! by: how long a look-up takes says nothing about a token.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::refusal::{Code, Refusal};
use crate::sync::message::is_visible;
use crate::sys::file::read_text;

/// Shortest token: below 16 characters it can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Longest token file that is read.
const LONGEST_FILE: u64 = 64 << 20;

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no `NODE_ID TOKEN`.
    #[error("line {line} of the token file {}: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The agent of this node, and of no other.
    Node(String),
    /// Somebody who may read everything and write nothing, by the name of their share.
    Reader(String),
}

/// All tokens.
#[derive(Debug, Default)]
pub struct Access {
    tokens: HashMap<[u8; 32], Caller>,
}

impl Caller {
    /// Who has a token that reads. What is remembered of it has white space, which no name of a node has.
    fn reader(digest: &[u8; 32]) -> Self {
        Self::Reader(digest[..8].iter().fold("* ".to_owned(), |text, byte| format!("{text}{byte:02x}")))
    }

    /// The name that a share of the gateway's time goes by: each node and each token has one.
    #[must_use]
    pub fn share(&self) -> &str {
        match self {
            Self::Node(name) | Self::Reader(name) => name,
        }
    }

    /// Whether it may write in the name of a node.
    ///
    /// # Errors
    /// When it is another node, or a reader.
    pub fn speaks_for(&self, node_id: &str) -> Result<(), Refusal> {
        match self {
            Self::Node(own) if own == node_id => Ok(()),
            Self::Node(own) => {
                Err(Refusal::new(Code::Forbidden, format!("node `{own}` does not speak for node `{node_id}`")))
            }
            Self::Reader(_) => Err(Refusal::new(Code::Forbidden, "a reader's token writes nothing")),
        }
    }

    /// Whether it may read what concerns one node, or with `None` everything.
    ///
    /// # Errors
    /// When it is a node and this is not its own.
    pub fn reads(&self, node_id: Option<&str>) -> Result<(), Refusal> {
        match self {
            Self::Reader(_) => Ok(()),
            Self::Node(own) if node_id == Some(own) => Ok(()),
            Self::Node(own) => {
                let message =
                    format!("node `{own}` reads nothing but its own; the token of a `*` line reads everything");
                Err(Refusal::new(Code::Forbidden, message))
            }
        }
    }
}

impl Access {
    /// Reads lines `NODE_ID TOKEN`; `* TOKEN` is a reader. Empty lines and lines that begin with `#` say nothing.
    ///
    /// # Errors
    /// When the file cannot be read or a line is wrong.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let failed = |source| AccessError::Read { path: path.to_owned(), source };
        let text = read_text(path, LONGEST_FILE).map_err(failed)?;
        Self::parse(&text).map_err(|(line, what)| AccessError::Line { path: path.to_owned(), line, what })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens = HashMap::new();
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
                return Err((number, "it is not `NODE_ID TOKEN`"));
            };
            if !is_visible(name) {
                return Err((
                    number,
                    "the name of the node has an invisible character in it, such as a byte order mark",
                ));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err((number, "the token is not plain ASCII, so that no header can hold it"));
            }
            if token.len() < SHORTEST_TOKEN {
                return Err((number, "the token is shorter than 16 characters"));
            }
            let digest = digest(token);
            let caller = if name == "*" { Caller::reader(&digest) } else { Caller::Node(name.to_owned()) };
            if tokens.insert(digest, caller).is_some() {
                return Err((number, "the same token stands in another line"));
            }
        }
        Ok(Self { tokens })
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Who has this `Authorization` header; without one, who has this certificate.
    ///
    /// # Errors
    /// When neither is known.
    pub fn caller(&self, authorization: Option<&str>, certified: Option<&Caller>) -> Result<Caller, Refusal> {
        let Some(authorization) = authorization else {
            let unknown = || Refusal::new(Code::Unauthorized, "neither a token nor a client certificate was sent");
            return certified.cloned().ok_or_else(unknown);
        };
        let token = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let caller = token.and_then(|(_, token)| self.tokens.get(&digest(token.trim())));
        caller.cloned().ok_or_else(|| Refusal::new(Code::Unauthorized, "the token is not known"))
    }
}

/// The node that a client certificate is for: its first DNS name, else its common name.
#[must_use]
pub fn certified(der: &[u8]) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let of_names = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
    });
    let common = || certificate.subject().iter_common_name().find_map(|name| Some(name.as_str().ok()?.to_owned()));
    of_names.or_else(common).map(Caller::Node)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# agents\nedge-1 0123456789abcdef\n\n  *   fedcba9876543210  \n";

    #[test]
    fn a_token_is_for_one_node_and_a_star_reads_everything() {
        let access = Access::parse(FILE).unwrap();
        let node = access.caller(Some("Bearer 0123456789abcdef"), None).unwrap();
        assert!(node.speaks_for("edge-1").is_ok() && node.reads(Some("edge-1")).is_ok());
        assert!(node.speaks_for("edge-2").is_err() && node.reads(Some("edge-2")).is_err() && node.reads(None).is_err());
        let reader = access.caller(Some("bearer fedcba9876543210"), None).unwrap();
        assert!(reader.reads(None).is_ok() && reader.speaks_for("edge-1").is_err());
    }

    #[test]
    fn a_wrong_token_is_not_saved_by_a_certificate() {
        let access = Access::parse(FILE).unwrap();
        let certified = Caller::Node("edge-2".to_owned());
        assert_eq!(access.caller(None, Some(&certified)), Ok(certified.clone()));
        for header in ["Bearer 0123456789abcdee", "Basic 0123456789abcdef", "0123456789abcdef", ""] {
            assert_eq!(access.caller(Some(header), Some(&certified)).unwrap_err().code, Code::Unauthorized);
        }
        assert_eq!(access.caller(None, None).unwrap_err().code, Code::Unauthorized);
    }

    #[test]
    fn a_wrong_line_is_named_and_no_token_is_told() {
        let line = |text| Access::parse(text).unwrap_err();
        assert_eq!(line("a 0123456789abcdef\nb"), (2, "it is not `NODE_ID TOKEN`"));
        assert_eq!(line("a 0123456789abcdef more"), (1, "it is not `NODE_ID TOKEN`"));
        assert_eq!(line("a 0123456789abcdef\n\u{feff}b 1123456789abcdef").0, 2);
        assert_eq!(
            line("a \u{feff}0123456789abcdef"),
            (1, "the token is not plain ASCII, so that no header can hold it")
        );
        assert_eq!(line("a short"), (1, "the token is shorter than 16 characters"));
        assert_eq!(line("a 0123456789abcdef\nb 0123456789abcdef").0, 2);
    }
}
