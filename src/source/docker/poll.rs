//! What somebody sees of a Docker Engine who asks it for its list again and again, as a relist does.
//!
//! Separate from the events: here each act is found by comparing two lists, and what lies between them is not seen at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::super::watch::{Act, Sight, Teller, Told};
use super::engine::{Engine, EngineError};
use super::read::{Entry, Phase, list};
use crate::model::Stamp;
use crate::sys::clock;

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
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut lists, mut sees) = (Lists::default(), false);
        loop {
            ticks.tick().await;
            let listed = match self.engine.list().await {
                Ok(answer) => list(&answer).map_err(EngineError::from),
                Err(error) => Err(error),
            };
            let seen = clock::now();
            let mut told = Vec::new();
            match listed {
                Ok(listed) => {
                    told.extend(lists.take(&listed.entries, seen).into_iter().map(Told::Saw));
                    told.extend((!sees).then_some(Told::Watching));
                    sees = true;
                }
                Err(error) if sees => {
                    told.push(Told::Trouble(format!("Docker cannot be listed: {}", error.told())));
                    sees = false;
                }
                Err(_) => {}
            }
            for word in told {
                if teller.send(word).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What the lists have shown.
#[derive(Debug, Default)]
struct Lists {
    /// How far each container had come; `None` before the first list.
    known: Option<BTreeMap<String, Phase>>,
}

impl Lists {
    /// Takes the next list; the acts that lie between it and the one before, all seen now.
    fn take(&mut self, entries: &[Entry], seen: Stamp) -> Vec<Sight> {
        let now: BTreeMap<String, Phase> = entries.iter().map(|entry| (entry.id.clone(), entry.phase)).collect();
        let Some(before) = self.known.replace(now.clone()) else { return Vec::new() };
        let mut sights = Vec::new();
        let mut saw = |container: &str, acts: &[(Act, bool)]| {
            sights.extend(acts.iter().map(|(act, implied)| Sight {
                container: container.to_owned(),
                act: *act,
                seen,
                stamped: None,
                kernel: false,
                implied: *implied,
            }));
        };
        for (id, phase) in &now {
            saw(id, between(before.get(id).copied(), Some(*phase)));
        }
        for (id, phase) in before.iter().filter(|(id, _)| !now.contains_key(*id)) {
            saw(id, between(Some(*phase), None));
        }
        sights
    }
}

/// What happened to a container from one list to the next, with what follows from it and was not seen itself.
const fn between(before: Option<Phase>, now: Option<Phase>) -> &'static [(Act, bool)] {
    const SEEN: bool = false;
    const IMPLIED: bool = true;
    match (before, now) {
        (None, Some(Phase::Running)) => &[(Act::Create, SEEN), (Act::Start, SEEN)],
        (None, Some(Phase::Over)) => &[(Act::Create, SEEN), (Act::Start, IMPLIED), (Act::Exit, SEEN)],
        (None, Some(Phase::Pending | Phase::Unknown)) => &[(Act::Create, SEEN)],
        (Some(Phase::Pending | Phase::Unknown | Phase::Over), Some(Phase::Running)) => &[(Act::Start, SEEN)],
        (Some(Phase::Pending), Some(Phase::Over)) => &[(Act::Start, IMPLIED), (Act::Exit, SEEN)],
        (Some(Phase::Running | Phase::Unknown), Some(Phase::Over)) => &[(Act::Exit, SEEN)],
        (Some(Phase::Running), None) => &[(Act::Exit, IMPLIED), (Act::Destroy, SEEN)],
        (Some(Phase::Pending | Phase::Unknown | Phase::Over), None) => &[(Act::Destroy, SEEN)],
        // A step back, or no step.
        (Some(_), Some(_)) | (None, None) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, phase: Phase) -> Entry {
        Entry { id: id.to_owned(), name: None, image: None, phase, exit_code: None, since: None }
    }

    fn acts(lists: &mut Lists, entries: &[(&str, Phase)]) -> Vec<(String, Act, bool)> {
        let entries: Vec<Entry> = entries.iter().map(|(id, phase)| entry(id, *phase)).collect();
        let sights = lists.take(&entries, Stamp::from_nanos(1));
        sights.into_iter().map(|sight| (sight.container, sight.act, sight.implied)).collect()
    }

    fn told(id: &str, act: Act, implied: bool) -> (String, Act, bool) {
        (id.to_owned(), act, implied)
    }

    #[test]
    fn what_was_there_before_is_no_news() {
        let mut lists = Lists::default();
        assert_eq!(acts(&mut lists, &[("old", Phase::Running)]), []);
        assert_eq!(acts(&mut lists, &[("old", Phase::Running)]), []);
        assert_eq!(acts(&mut lists, &[("old", Phase::Over)]), [told("old", Act::Exit, false)]);
    }

    #[test]
    fn a_start_first_seen_as_exited_follows_from_the_exit() {
        let mut lists = Lists::default();
        acts(&mut lists, &[]);
        let expected = [told("a", Act::Create, false), told("a", Act::Start, true), told("a", Act::Exit, false)];
        assert_eq!(acts(&mut lists, &[("a", Phase::Over)]), expected);
    }

    #[test]
    fn a_container_removed_before_it_was_looked_at_again_has_exited_too() {
        let mut lists = Lists::default();
        acts(&mut lists, &[]);
        let made = [told("a", Act::Create, false), told("a", Act::Start, false), told("b", Act::Create, false)];
        assert_eq!(acts(&mut lists, &[("a", Phase::Running), ("b", Phase::Pending)]), made);
        // Whether b was ever started, nobody can tell.
        let gone = [told("a", Act::Exit, true), told("a", Act::Destroy, false), told("b", Act::Destroy, false)];
        assert_eq!(acts(&mut lists, &[]), gone);
    }
}
