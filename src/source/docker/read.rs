//! What a Docker Engine says, read entry by entry: one that is not understood never hides the others.
//!
//! Separate because it is pure, and because nothing here is strict: engines of other makers, and later ones of the same, know
//! states, events and fields that we do not. Podman's words are known beside Docker's.

use serde_json::Value;
use serde_json::value::RawValue;

use super::super::{TRACE_LABEL, TaskState};
use crate::model::WallTime;

/// How far a container has come, as far as an engine's word says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made and not started.
    Pending,
    /// Started and not ended, or about to be started again.
    Running,
    /// Ended.
    Over,
    /// The engine cannot say, or says what we do not know.
    Unknown,
}

/// A container as a list or a look at it shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Its name, without the slash.
    pub name: Option<String>,
    /// Its image, as it was asked for.
    pub image: Option<String>,
    /// How far it has come.
    pub phase: Phase,
    /// What it ended with.
    pub exit_code: Option<i64>,
    /// Since when it is in that phase, where the engine says so.
    pub since: Option<WallTime>,
    /// The id of its trace, by its label.
    pub trace: Option<String>,
}

/// A list, and what of it was not understood.
#[derive(Debug, Default)]
pub struct List {
    /// Every entry that has an id.
    pub entries: Vec<Entry>,
    /// Each kind of oddity, in a sentence for people.
    pub odd: Vec<String>,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was made.
    Create,
    /// It was started, paused or continued.
    Run,
    /// Its process has ended; it may be about to be started again.
    Die,
    /// It was stopped, which needs no end of a process while it waits to be started again.
    Stop,
    /// It was removed.
    Remove,
    /// It has another name.
    Rename,
}

/// An event of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Of which.
    pub id: String,
    /// What.
    pub action: Action,
    /// When, by the engine.
    pub at: Option<WallTime>,
    /// Its name.
    pub name: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// What it ended with.
    pub exit_code: Option<i64>,
    /// The id of its trace, by its label.
    pub trace: Option<String>,
}

/// What the answer to a question about one container says: how far it has come, and when it was made, started and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// `None` if it does not say, or in a word that we do not know.
    pub phase: Option<Phase>,
    /// What it ended with.
    pub exit_code: Option<i64>,
    created: Option<WallTime>,
    started: Option<WallTime>,
    finished: Option<WallTime>,
}

impl Entry {
    /// Where it stands. An end that nobody tells the exit code of is neither a good nor a bad one.
    pub const fn state(&self) -> TaskState {
        match self.phase {
            Phase::Pending => TaskState::Pending,
            Phase::Running => TaskState::Running,
            Phase::Over => ended(self.exit_code),
            Phase::Unknown => TaskState::Unknown,
        }
    }

    /// Takes what a look at the container itself said beyond the list, which may be a moment older.
    pub fn complete(&mut self, details: Details) {
        self.phase = details.phase.unwrap_or(self.phase);
        let own = match self.phase {
            Phase::Pending | Phase::Unknown => details.created,
            Phase::Running => details.started,
            Phase::Over => details.finished,
        };
        self.since = own.or(self.since);
        self.exit_code = details.exit_code.or(self.exit_code).filter(|_| self.phase == Phase::Over);
    }
}

/// An end with this exit code.
pub const fn ended(exit_code: Option<i64>) -> TaskState {
    match exit_code {
        Some(code) => TaskState::Ended { is_success: code == 0 },
        None => TaskState::Unknown,
    }
}

/// Reads a list of containers.
///
/// # Errors
/// When it is no list at all.
pub fn list(bytes: &[u8]) -> Result<List, serde_json::Error> {
    let mut list = List::default();
    // One name in another encoding is no reason to read nothing.
    let whole = String::from_utf8_lossy(bytes);
    for raw in serde_json::from_str::<Vec<&RawValue>>(&whole)? {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let Some(id) = text(&value, "Id") else {
            list.odd.push("an entry of the list of containers has no id: it is left out".to_owned());
            continue;
        };
        let word = text(&value, "State").unwrap_or_default();
        let phase = phase_of(&word).unwrap_or_else(|| {
            list.odd.push(format!("`{}` is no state of a container that we know: it is unknown", shown(&word)));
            Phase::Unknown
        });
        let status = text(&value, "Status").unwrap_or_default();
        let exit_code = (phase == Phase::Over).then(|| exit_code_of(&status)).flatten();
        let created = value.get("Created").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
        let created = created.map(|seconds| WallTime::from_unix_nanos(i128::from(seconds) * 1_000_000_000));
        let since = created.filter(|_| phase == Phase::Pending);
        let (name, image) = (name_of(&value), text(&value, "Image"));
        let trace = value.get("Labels").and_then(|labels| text(labels, TRACE_LABEL));
        list.entries.push(Entry { id, name, image, phase, exit_code, since, trace });
    }
    Ok(list)
}

/// Reads an event; `None` if it is none of a container, or none that concerns us.
pub fn happening(value: &Value) -> Option<Happening> {
    // Podman tells of its images, volumes and pods in the same stream, and an older one whatever the filter.
    if text(value, "Type").is_some_and(|kind| kind != "container") {
        return None;
    }
    let action = text(value, "Action").or_else(|| text(value, "status"))?;
    let action = match action.as_str() {
        "create" => Action::Create,
        "start" | "unpause" | "pause" => Action::Run,
        "die" | "died" => Action::Die,
        "stop" => Action::Stop,
        "destroy" | "remove" => Action::Remove,
        "rename" => Action::Rename,
        _ => return None,
    };
    let actor = value.get("Actor")?;
    let attributes = actor.get("Attributes").unwrap_or(&Value::Null);
    let exit_code = ["exitCode", "containerExitCode"].iter().find_map(|key| whole(attributes.get(key)?));
    Some(Happening {
        id: text(actor, "ID").or_else(|| text(value, "id"))?,
        action,
        at: moment_of(value),
        name: text(attributes, "name").map(|name| name.trim_start_matches('/').to_owned()),
        image: text(attributes, "image"),
        exit_code,
        trace: text(attributes, TRACE_LABEL),
    })
}

/// Reads the answer to a question about one container.
pub fn details(bytes: &[u8]) -> Details {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let state = value.get("State").unwrap_or(&Value::Null);
    let phase = text(state, "Status").and_then(|word| phase_of(&word));
    Details {
        phase,
        exit_code: state.get("ExitCode").and_then(whole).filter(|_| phase.is_none_or(|phase| phase == Phase::Over)),
        created: wall(&value, "Created"),
        started: wall(state, "StartedAt"),
        finished: wall(state, "FinishedAt"),
    }
}

fn phase_of(word: &str) -> Option<Phase> {
    Some(match word {
        "created" | "initialized" => Phase::Pending,
        "running" | "paused" | "restarting" | "stopping" => Phase::Running,
        "exited" | "dead" => Phase::Over,
        "removing" | "unknown" | "" => Phase::Unknown,
        _ => return None,
    })
}

/// Of its names the one that is its own: those that links gave it have a slash within.
fn name_of(value: &Value) -> Option<String> {
    let names: Vec<&str> = value.get("Names")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let bare = |name: &str| name.trim_start_matches('/').to_owned();
    let own = names.iter().find(|name| !name.trim_start_matches('/').contains('/'));
    own.or_else(|| names.first()).map(|name| bare(name))
}

/// Of the engine's sentence `Exited (137) 3 minutes ago`, the only place in a list that says it.
fn exit_code_of(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

pub(super) fn moment_of(value: &Value) -> Option<WallTime> {
    let nanos = value.get("timeNano").and_then(Value::as_i64).filter(|nanos| *nanos > 0);
    let seconds = || value.get("time").and_then(Value::as_i64).filter(|seconds| *seconds > 0);
    let nanos = nanos.map(i128::from).or_else(|| seconds().map(|seconds| i128::from(seconds) * 1_000_000_000));
    nanos.map(WallTime::from_unix_nanos)
}

/// A time of day; what never happened is written as the year 1.
pub(super) fn wall(value: &Value, key: &str) -> Option<WallTime> {
    let at: WallTime = serde_json::from_value(value.get(key)?.clone()).ok()?;
    (at.unix_nanos() > 0).then_some(at)
}

pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A word of an engine, for a message.
pub(super) fn shown(word: &str) -> String {
    const LONGEST: usize = 40;
    word.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(text: &str) -> Vec<Entry> {
        list(text.as_bytes()).unwrap().entries
    }

    #[test]
    fn an_entry_that_is_not_understood_hides_no_other() {
        let text = r#"[{"Id":"a","Names":["/web"],"State":"running"},
            {"Id":"b","State":"stopped"},{"Id":"c","State":7,"Names":"x","Created":"yesterday"},{"State":"running"},5,
            {"Id":"d","State":"exited","Status":"Exited (3) 2 hours ago"}]"#;
        let list = list(text.as_bytes()).unwrap();
        let told: Vec<(&str, TaskState)> =
            list.entries.iter().map(|entry| (entry.id.as_str(), entry.state())).collect();
        let bad = TaskState::Ended { is_success: false };
        let expected = [("a", TaskState::Running), ("b", TaskState::Unknown), ("c", TaskState::Unknown), ("d", bad)];
        assert_eq!(told, expected);
        assert_eq!(list.odd.len(), 3);
        assert_eq!(list.odd[0], "`stopped` is no state of a container that we know: it is unknown");
        assert!(super::list(b"{}").is_err());
        let entries = super::list(b"[{\"Id\":\"a\",\"Image\":\"\xff\"},{\"Id\":\"b\"}]").unwrap().entries;
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_container_has_its_own_name_and_not_those_that_links_gave_it() {
        let named = |names: &str| entries(&format!(r#"[{{"Id":"a","Names":{names}}}]"#))[0].name.clone();
        assert_eq!(named(r#"["/db/web","/web"]"#), Some("web".to_owned()));
        assert_eq!(named(r#"["/db/web"]"#), Some("db/web".to_owned()));
        assert_eq!((named("[]"), named("null")), (None, None));
    }

    #[test]
    fn the_times_of_an_engine_are_those_of_the_phase() {
        let details = details(
            br#"{"Created":"2026-01-01T00:00:01Z","State":{"ExitCode":4,"StartedAt":"2026-01-01T00:00:02.5+00:00",
                "FinishedAt":"2026-01-01T00:00:03Z"}}"#,
        );
        let since = |phase: Phase| {
            let (id, name, image) = ("a".to_owned(), None, None);
            let mut entry = Entry { id, name, image, phase, exit_code: None, since: None, trace: None };
            entry.complete(details);
            (entry.since.unwrap().unix_nanos() / 500_000_000 % 10, entry.exit_code)
        };
        assert_eq!(since(Phase::Pending), (2, None));
        assert_eq!(since(Phase::Running), (5, None));
        assert_eq!(since(Phase::Over), (6, Some(4)));
        let never = br#"{"State":{"FinishedAt":"0001-01-01T00:00:00Z","StartedAt":5}}"#;
        assert_eq!(super::details(never), Details::default());
        assert_eq!(super::details(b"no JSON"), Details::default());
    }

    #[test]
    fn the_words_of_podman_are_known() {
        let event = |text: &str| happening(&serde_json::from_str(text).unwrap());
        let died = event(
            r#"{"Type":"container","Action":"died","Actor":{"ID":"b","Attributes":{"containerExitCode":"3"}},"time":5}"#,
        );
        let died = died.unwrap();
        assert_eq!((died.action, died.exit_code), (Action::Die, Some(3)));
        assert_eq!(died.at, Some(WallTime::from_unix_nanos(5_000_000_000)));
        let removed = event(r#"{"Type":"container","Action":"remove","Actor":{"ID":"a"}}"#).unwrap();
        assert_eq!(removed.action, Action::Remove);
        assert_eq!(event(r#"{"Type":"volume","Action":"remove","Actor":{"ID":"a"}}"#), None);
        assert_eq!(event(r#"{"Type":"container","Action":"mount","Actor":{"ID":"a"}}"#), None);
        assert_eq!(event("[]"), None);
    }

    proptest! {
        /// Whatever takes the place of a value, the entry beside it is read, and nothing panics.
        #[test]
        fn no_value_of_an_entry_hides_the_next(key in 0..5_usize, value in "[ -~]{0,12}|[0-9]{1,30}|null|\\[\\]|\\{\\}") {
            let key = ["Id", "Names", "State", "Status", "Created"][key];
            let value = match serde_json::from_str::<Value>(&value) {
                Ok(value) => value,
                Err(_) => Value::from(value),
            };
            let text = format!(r#"[{{"Id":"a","{key}":{value}}},{{"Id":"b","State":"running"}}]"#);
            let read = list(text.as_bytes()).unwrap().entries;
            prop_assert_eq!(read.last().map(|entry| (entry.id.as_str(), entry.phase)), Some(("b", Phase::Running)));
            let event: Value = serde_json::from_str(&format!(r#"{{"Type":{value},"Action":"die","Actor":{value},"timeNano":{value}}}"#)).unwrap();
            let _ = happening(&event);
            let _ = details(format!(r#"{{"State":{value},"Created":{value}}}"#).as_bytes());
        }
    }

    #[test]
    fn what_an_engine_writes_is_read() {
        assert_eq!(exit_code_of("Exited (137) 3 minutes ago"), Some(137));
        assert_eq!(exit_code_of("Up 3 minutes"), None);
        assert_eq!(ended(None), TaskState::Unknown);
    }
}
