//! What goes wrong with a store on etcd: where, whose fault it is, and what to do next.
//!
//! Separate because whoever opens, loads, saves or restores it speaks it.

use crate::wire::TlsError;
use crate::wire::etcd::{DialError, Fault, NO_SPACE, PERMISSION_DENIED};

/// A store on etcd that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EtcdStoreError {
    /// The certificates to trust or to show cannot be read.
    #[error(transparent)]
    Trust(#[from] TlsError),
    /// No member can be reached.
    #[error("cannot reach etcd at {endpoint}")]
    Unreachable {
        /// Which member.
        endpoint: String,
        /// Why.
        source: DialError,
    },
    /// Its members do not belong together.
    #[error("{first} and {second} belong to two different clusters of etcd")]
    Apart {
        /// One member.
        first: String,
        /// One of another cluster.
        second: String,
    },
    /// The cluster said no, or nothing.
    #[error("cannot {action} the store below `{prefix}` on etcd")]
    Asked {
        /// What was tried.
        action: &'static str,
        /// Where.
        prefix: String,
        /// What it said.
        source: Fault,
    },
    /// Written by a later version.
    #[error("the store below `{prefix}` on etcd has schema {found}, this version reads {known}")]
    Schema {
        /// Where.
        prefix: String,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There is no store.
    #[error("there is no store below `{prefix}` on etcd")]
    Absent {
        /// Where it was looked for.
        prefix: String,
    },
    /// There is something already.
    #[error("there are already keys below `{prefix}` on etcd")]
    Present {
        /// Where.
        prefix: String,
    },
    /// A value that no version of ours has written.
    #[error("the key `{key}` on etcd does not hold what a gateway writes there")]
    Unreadable {
        /// Which key.
        key: String,
        /// How it shows.
        source: serde_json::Error,
    },
}

impl EtcdStoreError {
    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Trust(_) => "look at the files of --etcd-ca-file, --etcd-client-cert and --etcd-client-key",
            Self::Unreachable { .. } => "look at --endpoints, and whether etcd runs there",
            Self::Apart { .. } => "give the --endpoints of one cluster",
            Self::Asked { source, .. } if source.kind == PERMISSION_DENIED => {
                "let the user read and write all keys that begin with the prefix, or give another --etcd-prefix"
            }
            Self::Asked { source, .. } if source.kind == NO_SPACE => {
                "make room in etcd: compact, defragment and disarm its alarm"
            }
            Self::Asked { source, .. } if source.kind == "auth" => {
                "give --etcd-user and --etcd-password-file, or a certificate of a user"
            }
            Self::Asked { .. } => "look at the cluster: has it a leader, and is it asked too much?",
            Self::Schema { .. } => "use the version that wrote it or a later one, or give another --etcd-prefix",
            Self::Absent { .. } => "give the --etcd-prefix of a gateway that has run",
            Self::Present { .. } => "give an --etcd-prefix without keys; nothing was written",
            Self::Unreadable { .. } => "give another --etcd-prefix, or remove that key",
        })
    }
}
