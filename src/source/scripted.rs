//! A source that plays a file: for tests, demonstrations and the trial of a gateway.
//!
//! Separate because it needs no container runtime. Each line is one JSON object: `{"after": "200ms", "task_id": "web",
//! "status": "running", "payload": {...}}`; `"status": "vanished"` removes the task; `{"after": "1s", "repeat": true}` begins
//! again. What comes first without `after` is what the source knows at its start. `{node}` in a task id is the node's name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, EventSource, Mark, Next, Sighting, TaskState};
use crate::model::Stamp;
use crate::sys::clock;
use crate::sys::file::read_text;

/// Longest script: a demonstration, not a recording.
const LONGEST_SCRIPT: u64 = 16 << 20;

/// A script that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be read.
    #[error("the script `{}` cannot be read", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no step.
    #[error("line {line} of the script `{}`: {what}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl ScriptError {
    /// Whether whoever wrote the script has to change it, and not something around it.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Line { .. })
    }

    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.is_usage().then_some("docs/guide/agent.md describes the lines")
    }
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, deserialize_with = "span")]
    after: Duration,
    task_id: Option<String>,
    status: Option<Word>,
    payload: Option<Box<RawValue>>,
    /// The id of its trace.
    trace: Option<String>,
    #[serde(default)]
    repeat: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pending,
    Running,
    Completed,
    Failed,
    Unknown,
    Vanished,
}

#[derive(Clone, Debug)]
struct Step {
    after: Duration,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    See { task_id: String, state: TaskState, payload: Option<String>, trace: Option<String> },
    Vanish(String),
    Repeat,
}

/// A script, read once; each agent of a fleet plays it by itself.
#[derive(Clone, Debug)]
pub struct Script(Vec<Step>);

/// A script that is played.
#[derive(Debug)]
pub struct Scripted {
    steps: Vec<Step>,
    at: usize,
    /// When the step before was due.
    since: Option<Stamp>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no step.
    pub fn read(path: &Path) -> Result<Self, ScriptError> {
        let failed = |source| ScriptError::Read { path: path.to_owned(), source };
        let text = read_text(path, LONGEST_SCRIPT).map_err(failed)?;
        Self::parse(&text).map_err(|(line, what)| ScriptError::Line { path: path.to_owned(), line, what })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let steps = lines.map(|(at, line)| step(line).map_err(|what| (at + 1, what)));
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        let is_endless = |step: &Step| matches!(step.what, What::Repeat);
        if steps.iter().any(is_endless) && steps.iter().all(|step| step.after.is_zero()) {
            return Err((1, "a script that repeats has to wait somewhere: give a line `after`".to_owned()));
        }
        Ok(Self(steps))
    }

    /// Plays it for a node.
    #[must_use]
    pub fn play(&self, node_id: &str) -> Scripted {
        let named = |id: &str| id.replace("{node}", node_id);
        let mut steps = self.0.clone();
        for step in &mut steps {
            match &mut step.what {
                What::See { task_id, .. } | What::Vanish(task_id) => *task_id = named(task_id),
                What::Repeat => {}
            }
        }
        Scripted { steps, at: 0, since: None }
    }
}

impl Scripted {
    /// What it knows at its start: the lines that come first and wait for nothing.
    fn begin(&mut self) -> Event {
        let mut known = Vec::new();
        while let Some(Step { after: Duration::ZERO, what }) = self.steps.get(self.at)
            && let Some(seen) = what.sighting()
        {
            known.push(seen);
            self.at += 1;
        }
        Event::Known(known)
    }

    async fn step(&mut self) -> Option<Event> {
        let Some(since) = self.since else {
            self.since = Some(clock::now());
            return Some(self.begin());
        };
        loop {
            let step = self.steps.get(self.at)?;
            // From the planned end of the step before, so that a script keeps its pace.
            let due = self.since.unwrap_or(since) + step.after;
            tokio::time::sleep(due.since(clock::now())).await;
            self.since = Some(due);
            self.at += 1;
            match step.what.event() {
                Some(event) => return Some(event),
                None => self.at = 0,
            }
        }
    }
}

impl EventSource for Scripted {
    fn next(&mut self) -> Next<'_> {
        Box::pin(self.step())
    }
}

fn step(line: &str) -> Result<Step, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let what = match (line.task_id, line.status, line.repeat) {
        (None, None, true) => What::Repeat,
        (Some(task_id), Some(Word::Vanished), false) => What::Vanish(task_id),
        (Some(task_id), Some(word), false) => {
            let payload = line.payload.map(|payload| payload.get().to_owned());
            What::See { task_id, state: state_of(word), payload, trace: line.trace }
        }
        _ => return Err("it has neither `task_id` and `status` nor `repeat` alone".to_owned()),
    };
    Ok(Step { after: line.after, what })
}

const fn state_of(word: Word) -> TaskState {
    match word {
        Word::Pending => TaskState::Pending,
        Word::Running => TaskState::Running,
        Word::Completed => TaskState::Ended { is_success: true },
        Word::Failed => TaskState::Ended { is_success: false },
        Word::Unknown | Word::Vanished => TaskState::Unknown,
    }
}

impl What {
    fn sighting(&self) -> Option<Sighting> {
        let Self::See { task_id, state, payload, trace } = self else { return None };
        let mark = trace.clone().map(|id| Mark { id, read: clock::now() });
        let (task_id, payload) = (task_id.clone(), payload.clone());
        Some(Sighting { task_id, state: *state, at: clock::wall_now(), payload, mark })
    }

    /// What it tells; `None` of a step that only begins anew.
    fn event(&self) -> Option<Event> {
        match self {
            Self::Vanish(task_id) => Some(Event::Vanished(task_id.clone())),
            Self::See { .. } => self.sighting().map(|seen| Event::Changed(vec![seen])),
            Self::Repeat => None,
        }
    }
}

/// What one line tells at once; what waits or begins anew is no such line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn told(line: &str) -> Result<Event, String> {
    let step = step(line)?;
    let event = step.what.event().filter(|_| step.after.is_zero());
    event.ok_or_else(|| "a line of a pipe neither waits nor repeats: it happens when it is written".to_owned())
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"{"task_id":"{node}-web","status":"running"}
{"task_id":"job","status":"pending","payload":{"n": 1}}

{"after":"1ms","task_id":"job","status":"completed"}
{"after":"1ms","task_id":"{node}-web","status":"vanished"}
{"after":"1ms","repeat":true}
"#;

    #[tokio::test]
    async fn a_script_says_what_it_knows_then_every_step_and_begins_again() {
        let mut source = Script::parse(SCRIPT).unwrap().play("edge-7");
        let Some(Event::Known(known)) = source.next().await else { panic!("no start") };
        let names: Vec<&str> = known.iter().map(|seen| seen.task_id.as_str()).collect();
        assert_eq!(names, ["edge-7-web", "job"]);
        assert_eq!(known[1].payload.as_deref(), Some(r#"{"n": 1}"#));
        let Some(Event::Changed(changed)) = source.next().await else { panic!("no change") };
        assert_eq!(changed[0].state, TaskState::Ended { is_success: true });
        assert_eq!(source.next().await, Some(Event::Vanished("edge-7-web".to_owned())));
        let Some(Event::Changed(again)) = source.next().await else { panic!("no second round") };
        assert_eq!(again[0].task_id, "edge-7-web");
    }

    #[test]
    fn a_line_that_is_no_step_is_named() {
        let refused = |text: &str| Script::parse(text).unwrap_err();
        assert_eq!(refused("\n{\"task_id\":\"a\"}").0, 2);
        assert!(refused(r#"{"task_id":"a","status":"done"}"#).1.contains("running"));
        assert!(refused(r#"{"task":"a"}"#).1.contains("task_id"));
        assert!(refused(r#"{"after":"5","task_id":"a","status":"running"}"#).1.contains("unit"));
        assert!(refused(r#"{"repeat":true}"#).1.contains("after"));
    }
}
