//! What the user meant: which protocols carry what, how fast, and where the far end is.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::echo::protocol::Protocol;
use crate::load::LoadSpec;
use crate::model::span::as_nanos;

/// Everything that was meant.
#[derive(Clone, Debug, Serialize)]
pub struct ProtocolSpec {
    /// Each once, in the order of the user.
    #[serde(serialize_with = "words")]
    pub protocols: Vec<Protocol>,
    /// The URL of an echo; `None` is one of our own in this process.
    pub target: Option<String>,
    /// Whom to trust instead of this host's authorities.
    pub ca_file: Option<PathBuf>,
    /// Containers of a report, fewest first.
    pub containers: Vec<u32>,
    /// Between two questions whether a peer lives, and for each answer, where peers fall silent.
    #[serde(rename = "keepalive_ns", serialize_with = "as_nanos")]
    pub keepalive: Duration,
    /// The load of each protocol at the fixed rate.
    pub load: LoadSpec,
    /// Heartbeats on new connections.
    pub cold: LoadSpec,
    /// The closed loop that finds the highest rate.
    pub busy: LoadSpec,
}

fn words<S: Serializer>(protocols: &[Protocol], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(protocols.iter().map(|protocol| protocol.word()))
}
