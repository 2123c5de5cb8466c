//! What the user meant: how often the lists are asked for, beside how many containers, and of how many lives.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::load::LoadSpec;
use crate::model::span::{all_as_nanos, as_nanos};

/// Everything that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CriSpec {
    /// The socket by which the runtime serves CRI.
    pub cri_socket: PathBuf,
    /// The spans between two relists.
    #[serde(rename = "relists_ns", serialize_with = "all_as_nanos")]
    pub relists: Vec<Duration>,
    /// Whether events race beside them.
    pub events: bool,
    /// How many containers stand by, fewest first.
    pub containers: Vec<u32>,
    /// How many come to life in each measurement, and how fast.
    pub load: LoadSpec,
    /// How long each lives.
    #[serde(rename = "alive_ns", serialize_with = "as_nanos")]
    pub alive: Duration,
    /// Of which image; `None` is one that is made for it.
    pub image: Option<String>,
}

impl CriSpec {
    /// The longest span between two relists.
    #[must_use]
    pub fn longest_relist(&self) -> Duration {
        self.relists.iter().copied().max().unwrap_or_default()
    }
}

/// The word for a watcher that asks for the lists each so often.
#[must_use]
pub fn relist_word(every: Duration) -> String {
    format!("relist={}", humantime::format_duration(every)).replace(' ', "")
}

/// The word for events.
pub const EVENTS: &str = "events";
