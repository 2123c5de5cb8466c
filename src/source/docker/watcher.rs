//! The events of a Docker Engine as sights: each word as it comes, with the engine's own time beside the moment of its arrival.
//!
//! Separate from the source that an agent watches, which asks the engine where an event alone does not say enough.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::watch::{Act, OwnTime, Sight, Teller, Told};
use super::engine::{Engine, EngineError};
use super::read::{moment_of, shown, text};
use crate::model::{Stamp, WallTime};
use crate::sys::clock;

/// Wait before a stream that broke is asked for again.
const WAIT: Duration = Duration::from_millis(200);

/// Actions that are none of the acts on a container that are watched, in Docker's words and in Podman's. What stands behind a
/// colon, as in `exec_create: sh -c x`, is no part of the word.
const OTHERS: [&str; 38] = [
    "archive-path",
    "attach",
    "checkpoint",
    "cleanup",
    "commit",
    "connect",
    "copy",
    "detach",
    "disconnect",
    "exec",
    "exec_create",
    "exec_detach",
    "exec_die",
    "exec_died",
    "exec_start",
    "export",
    "extract-to-dir",
    "health_status",
    "import",
    "init",
    "kill",
    "mount",
    "pause",
    "prune",
    "pull",
    "push",
    "rename",
    "resize",
    "restart",
    "restore",
    "save",
    "stop",
    "sync",
    "tag",
    "top",
    "unmount",
    "unpause",
    "update",
];

/// A watcher of the events of an engine.
pub struct EventWatcher {
    engine: Engine,
}

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// One of the acts that are watched.
    Act { container: String, act: Act, at: Option<WallTime> },
    /// Something else that is known.
    Other,
    /// Something that is not known.
    Odd(String),
}

impl EventWatcher {
    /// Of the engine behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path) -> Result<Self, EngineError> {
        Ok(Self { engine: Engine::open(socket).await? })
    }

    /// Tells every act until nobody listens. After a gap it asks for what happened meanwhile, of which engines keep the last 256.
    pub async fn watch(self, teller: Teller) {
        let (mut since, mut time) = (clock::wall_now(), OwnTime::default());
        loop {
            let Err(why) = self.pass_on(&teller, &mut since, &mut time).await else { return };
            let trouble = Told::Trouble(format!("the events of Docker broke off: {}", why.told()));
            if teller.send(trouble).await.is_err() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Tells what happens from a moment on, which is then that of the last event; ends well when nobody listens.
    async fn pass_on(&self, teller: &Teller, since: &mut WallTime, time: &mut OwnTime) -> Result<(), EngineError> {
        let mut events = self.engine.events(*since).await?;
        let mut words = vec![Told::Watching];
        loop {
            for word in words.drain(..) {
                if teller.send(word).await.is_err() {
                    return Ok(());
                }
            }
            let event = events.next().await?;
            let seen = clock::now();
            // What happens in the same nanosecond is told twice after a gap, and counted as that.
            *since = moment_of(&event).unwrap_or(*since);
            words.extend(told(&event, seen, time));
        }
    }
}

/// What is told of an event, which arrived at this time.
fn told(event: &Value, seen: Stamp, time: &mut OwnTime) -> Option<Told> {
    match word(event) {
        Word::Act { container, act, at } => {
            let stamped = at.and_then(|at| time.stamp(at));
            Some(Told::Saw(Sight { container, act, seen, stamped, kernel: false, implied: false, exit_code: None }))
        }
        Word::Other => None,
        Word::Odd(what) => Some(Told::Odd(what)),
    }
}

fn word(event: &Value) -> Word {
    if text(event, "Type").is_some_and(|kind| kind != "container") {
        return Word::Other;
    }
    let action = text(event, "Action").or_else(|| text(event, "status")).unwrap_or_default();
    let act = match action.split(':').next().unwrap_or_default().trim() {
        "create" => Act::Create,
        "start" => Act::Start,
        "die" | "died" => Act::Exit,
        "oom" => Act::Oom,
        "destroy" | "remove" => Act::Destroy,
        known if OTHERS.contains(&known) => return Word::Other,
        _ => return Word::Odd(format!("Docker tells of `{}`, an action that we do not know", shown(&action))),
    };
    let id = event.get("Actor").and_then(|actor| text(actor, "ID")).or_else(|| text(event, "id"));
    match id {
        Some(container) => Word::Act { container, act, at: moment_of(event) },
        None => Word::Odd(format!("Docker tells of `{act}` without the id of a container")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn act(action: &str) -> Word {
        word(&json!({"Type": "container", "Action": action, "Actor": {"ID": "a"}, "timeNano": 7}))
    }

    #[test]
    fn the_acts_are_told_from_all_other_actions() {
        let known = |act| Word::Act { container: "a".to_owned(), act, at: Some(WallTime::from_unix_nanos(7)) };
        for (word, expected) in [
            ("create", Act::Create),
            ("start", Act::Start),
            ("die", Act::Exit),
            ("died", Act::Exit),
            ("oom", Act::Oom),
            ("destroy", Act::Destroy),
            ("remove", Act::Destroy),
        ] {
            assert_eq!(act(word), known(expected), "{word}");
        }
        for word in [
            "exec_create: sh -c x",
            "exec_start: sh -c die",
            "exec_die",
            "health_status: healthy",
            "health_status",
            "kill",
            "rename",
        ] {
            assert_eq!(act(word), Word::Other, "{word}");
        }
        assert_eq!(word(&json!({"Type": "image", "Action": "create"})), Word::Other);
    }

    #[test]
    fn an_action_that_nobody_knows_is_told_as_odd() {
        assert!(matches!(act("teleport: to the moon"), Word::Odd(what) if what.contains("`teleport: to the moon`")));
        assert!(matches!(word(&json!([])), Word::Odd(_)));
        let nameless = word(&json!({"Type": "container", "Action": "start"}));
        assert!(matches!(nameless, Word::Odd(what) if what.contains("without the id")));
    }

    /// The stream of a real engine.
    #[test]
    fn a_recorded_stream_is_told_act_by_act() {
        let recorded = include_str!("../../../fixtures/docker/events.jsonl");
        let mut acts = Vec::new();
        for line in recorded.lines() {
            match word(&serde_json::from_str(line).unwrap()) {
                Word::Act { act, at, .. } => {
                    assert!(at.is_some(), "{line}");
                    acts.push(act);
                }
                Word::Other => {}
                Word::Odd(what) => panic!("{what}: {line}"),
            }
        }
        assert!(acts.contains(&Act::Create) && acts.contains(&Act::Exit) && acts.contains(&Act::Destroy), "{acts:?}");
    }
}
