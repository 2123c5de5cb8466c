//! Why a cluster could not be measured, and what to do next.
//!
//! Separate from the measurement because the next steps name options and tools, which it does not know.

use std::io;
use std::path::PathBuf;

use super::guard::Refusal;
use crate::load::DriverError;
use crate::sys::server::ServerError;
use crate::wire::etcd::{DialError, Fault, NO_SPACE, TOO_LARGE, TOO_MANY_OPERATIONS};
use crate::wire::{TlsError, UrlError};

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The certificates to trust or to show cannot be read.
    #[error(transparent)]
    Trust(#[from] TlsError),
    /// No connection to a member.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Which member.
        endpoint: String,
        /// Why.
        source: DialError,
    },
    /// The cluster said no to something that had to come first.
    #[error("cannot {what}")]
    Asked {
        /// What was asked.
        what: &'static str,
        /// What it said.
        source: Fault,
    },
    /// The cluster must not be loaded.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// By a chance of one in two thousand million, somebody's keys.
    #[error("there are keys below `{prefix}`, which this run drew for its own")]
    PrefixTaken {
        /// Which prefix.
        prefix: String,
    },
    /// Our keys are still there.
    #[error("the keys below `{prefix}` could not be removed; remove them with `{etcdctl} del --prefix {prefix}`")]
    Left {
        /// Which prefix.
        prefix: String,
        /// How etcdctl reaches the cluster.
        etcdctl: String,
        /// What had gone wrong before, if anything had.
        source: Option<Box<Self>>,
    },
    /// The alarm is raised, and could not be taken back.
    #[error(
        "the cluster takes no writes since its quota was used up, and room could not be made; by hand: `{etcdctl} compact REVISION`, `{etcdctl} defrag`, `{etcdctl} alarm disarm`"
    )]
    Full {
        /// How etcdctl reaches the cluster.
        etcdctl: String,
        /// What it said.
        source: Fault,
    },
    /// A cluster of our own does not serve.
    #[error(transparent)]
    Spawn(#[from] ServerError),
    /// An address of ours is wrong, which is a bug.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A folder whose disk cannot be timed.
    #[error("cannot time writes in `{}`", folder.display())]
    Disk {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl EtcdError {
    pub(super) fn asking(what: &'static str) -> impl Fn(Fault) -> Self {
        move |source| Self::Asked { what, source }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { endpoint, source } => unreachable_hint(endpoint, source),
            Self::Asked { source, .. } => hint_of(source.kind),
            Self::Refused(refusal) => refusal.hint(),
            Self::Spawn(ServerError::Program(_)) => {
                "install etcd (Debian: `apt-get install etcd-server`), or say where it is with --etcd PATH"
            }
            Self::Spawn(_) => "`etcd --help` lists its flags; try the same flag by hand",
            Self::Disk { .. } => "give a folder that this user may write",
            _ => "see `offloadctl bench etcd --help`",
        }
    }
}

fn unreachable_hint(endpoint: &str, source: &DialError) -> &'static str {
    let is_tls = endpoint.starts_with("https:");
    match source {
        DialError::Tls(failure) => {
            failure.hint.unwrap_or("compare the certificate with --ca-file and the name in --endpoints")
        }
        DialError::Ended(_) if is_tls => "it may want a client certificate: --client-cert, --client-key",
        DialError::Http(_) | DialError::Ended(_) if !is_tls => {
            "if it speaks TLS, write https:// in --endpoints; it must be a member's client URL, not its peer URL"
        }
        _ => "is it the client URL of a member? `etcdctl endpoint status` asks the same",
    }
}

/// The next step after a call that failed so.
fn hint_of(kind: &str) -> &'static str {
    match kind {
        "auth" => "give a user of the cluster with --user and --password-file",
        "permission_denied" => {
            "the user needs a role that may write: `etcdctl role grant-permission ROLE readwrite ofl- --prefix`"
        }
        "no_leader" | "timeout" | "unavailable" => {
            "the cluster may have lost its majority: `etcdctl endpoint health --cluster`"
        }
        NO_SPACE => "its quota is used up: compact, defragment, `etcdctl alarm disarm`",
        TOO_LARGE => "lower --value-size or --batch, or raise the cluster's --max-request-bytes",
        TOO_MANY_OPERATIONS => "lower --batch, or raise the cluster's --max-txn-ops",
        "not_implemented" => "is this an etcd of version 3.4 or later?",
        _ => "`etcdctl endpoint status --write-out table` shows the cluster's own view",
    }
}
