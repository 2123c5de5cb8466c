//! Why a live run could not go on, and what to do next.
//!
//! Separate from the measurement because the next steps name options and files, which it does not know.

use std::io;
use std::path::PathBuf;

use super::observer::ObserverError;
use crate::bench::etcd::EtcdError;
use crate::sync::client::ClientError;
use crate::sync::client::own::OwnError;
use crate::sys::server::ServerError;
use crate::wire::{FetchError, TlsError, UrlError};

/// A live run that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A child of ours is not there.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// An etcd of ours is not there.
    #[error(transparent)]
    Etcd(EtcdError),
    /// Agents do not come.
    #[error("{alive} of {nodes} agents of the fleet `{fleet}` are alive; its log:\n{log}")]
    NotAlive {
        /// Which fleet.
        fleet: String,
        /// So many came.
        alive: usize,
        /// Of so many.
        nodes: u64,
        /// What it says.
        log: String,
    },
    /// A signal that cannot be sent.
    #[error("the fault of the fleet `{fleet}` cannot be brought about")]
    Fault {
        /// Which fleet.
        fleet: String,
        /// Why.
        source: io::Error,
    },
    /// The target's name leads nowhere.
    #[error("`{0}` has no address")]
    Lookup(String),
    /// The token file cannot be read.
    #[error("cannot read the token file `{}`", path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token is not there.
    #[error("the token file `{}` has no line `{missing} TOKEN`", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// Whose.
        missing: String,
    },
    /// Nobody can be trusted.
    #[error(transparent)]
    Trust(TlsError),
    /// Our own address is none, which is a bug.
    #[error(transparent)]
    Url(UrlError),
    /// There is no thread to observe with.
    #[error("changes cannot be watched")]
    Thread(#[source] io::Error),
    /// The stream of changes is not there, or no longer.
    #[error("changes of `{url}` cannot be watched")]
    Watch {
        /// Whose.
        url: String,
        /// Why.
        source: ObserverError,
    },
    /// The subscriber missed changes.
    #[error("the gateway left out changes: the subscriber was too slow")]
    Gap,
}

impl From<OwnError> for LiveError {
    fn from(error: OwnError) -> Self {
        match error {
            OwnError::Server(error) => Self::Server(error),
            OwnError::Url(error) => Self::Url(error),
        }
    }
}

impl LiveError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Watch { source: ObserverError::Client(ClientError::Refused { status: 401 | 403, .. }), .. } => {
                "the token of the line `* TOKEN` in --token-file must be one of the gateway's"
            }
            Self::Watch { source: ObserverError::Client(ClientError::Ask(FetchError::Connect(_))), .. }
            | Self::Lookup(_) => {
                "is it the address that the gateway says it listens on? `curl -k URL/healthz` asks the same"
            }
            Self::Watch { source: ObserverError::Client(ClientError::Ask(FetchError::Tls(_))), .. } => {
                "give the gateway's certificate, or who signed it, with --ca-file"
            }
            Self::Token { .. } => {
                "every agent needs a line: `for n in $(seq 400); do echo live-1-$n $(openssl rand -hex 16); done >> FILE`, and SIGHUP to the gateway"
            }
            Self::TokenFile { .. } => "give the file that the gateway was given, or its lines of our agents",
            Self::NotAlive { .. } => "lower --nodes: a busy host cannot start so many; the log says what they met",
            Self::Server(ServerError::Folder { .. } | ServerError::Start { .. }) => {
                "the folder of temporary files must be writable: TMPDIR"
            }
            Self::Etcd(_) => "is etcd installed? `apt-get install etcd-server`, or give its path with --etcd",
            Self::Gap => "lower --nodes: this host is too busy",
            _ => "see docs/guide/bench-heartbeat.md",
        }
    }
}
