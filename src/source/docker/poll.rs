//! What somebody sees of a Docker Engine who asks it for its list again and again, as a relist does.
//!
//! Separate from the events, which come by themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::watch::{Act, Stage, Teller, poll};
use super::engine::{Engine, EngineError};
use super::read::{Entry, Phase, list};

/// A watcher that lists all containers in equal spans.
pub struct PollWatcher {
    engine: Engine,
    every: Duration,
}

impl PollWatcher {
    /// Of the engine behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, every: Duration) -> Result<Self, EngineError> {
        Ok(Self { engine: Engine::open(socket).await?, every })
    }

    /// Tells what changed from list to list until nobody listens. What the first list has was there before.
    pub async fn watch(self, teller: Teller) {
        let list_all = || {
            let engine = self.engine.clone();
            async move { Ok::<_, EngineError>(stages(list(&engine.list().await?)?.entries)) }
        };
        poll(self.every, &Act::ALL, teller, list_all).await;
    }
}

/// How far each container has come.
fn stages(entries: Vec<Entry>) -> BTreeMap<String, Stage> {
    let stage = |phase| match phase {
        Phase::Pending => Stage::Made,
        Phase::Running => Stage::Running,
        Phase::Over => Stage::Over,
        Phase::Unknown => Stage::Unknown,
    };
    entries.into_iter().map(|entry| (entry.id, stage(entry.phase))).collect()
}
