//! Reports and states read entry by entry where they do not mean something as a whole: one report in words that we do not know,
//! of a later agent or another client, never hides the others.
//!
//! Separate because the usual way does without: only what was refused at once is read a second time.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::http::parse;
use super::refusal::{Code, Refusal};
use crate::sync::message::{Answer, Batch, FromAgent, FullState, MOST_REPORTS, StatusReport, TaskState};

/// Most entries that are read one by one; beyond it the answers alone would be too much.
const MOST_ENTRIES: usize = 10 * MOST_REPORTS;

/// The places of entries that mean nothing, in order, and why.
pub type Odd = Vec<(usize, Refusal)>;

/// A frame, and the entries that were left out of it.
#[derive(Debug)]
pub struct Read<T> {
    /// What was understood.
    pub frame: T,
    /// The others.
    pub odd: Odd,
}

/// A batch whose reports are not read yet.
#[derive(Deserialize)]
struct RawBatch<'a> {
    #[serde(default)]
    id: u64,
    #[serde(borrow)]
    reports: Vec<&'a RawValue>,
}

/// A state whose tasks are not read yet.
#[derive(Deserialize)]
struct RawState<'a> {
    #[serde(default)]
    id: u64,
    node_id: String,
    epoch: u64,
    version: u64,
    checksum: String,
    after: Option<String>,
    until: Option<String>,
    #[serde(borrow)]
    tasks: Vec<&'a RawValue>,
}

/// A frame of which only these two have entries.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawFrame<'a> {
    #[serde(borrow)]
    Reports(RawBatch<'a>),
    #[serde(borrow)]
    State(RawState<'a>),
}

/// Reads a batch.
///
/// # Errors
/// When it is none, whatever its entries are.
pub fn batch(bytes: &[u8]) -> Result<Read<Batch>, Refusal> {
    whole_or(bytes, |bytes| serde_json::from_slice(bytes).ok().and_then(RawBatch::read))
}

/// Reads a whole state.
///
/// # Errors
/// As [`batch`].
pub fn state(bytes: &[u8]) -> Result<Read<FullState>, Refusal> {
    whole_or(bytes, |bytes| serde_json::from_slice(bytes).ok().and_then(RawState::read))
}

/// Reads a frame of an agent.
///
/// # Errors
/// As [`batch`].
pub fn frame(bytes: &[u8]) -> Result<Read<FromAgent>, Refusal> {
    whole_or(bytes, |bytes| match serde_json::from_slice(bytes).ok()? {
        RawFrame::Reports(batch) => {
            let Read { frame, odd } = batch.read()?;
            Some(Read { frame: FromAgent::Reports(frame), odd })
        }
        RawFrame::State(state) => {
            let Read { frame, odd } = state.read()?;
            Some(Read { frame: FromAgent::State(frame), odd })
        }
    })
}

/// The answers to what was read, with those to what was left out in their places.
pub fn weave(mut answers: Vec<Answer>, odd: Vec<(usize, Answer)>) -> Vec<Answer> {
    for (at, answer) in odd {
        answers.insert(at.min(answers.len()), answer);
    }
    answers
}

fn whole_or<T: DeserializeOwned>(
    bytes: &[u8],
    by_entries: impl FnOnce(&[u8]) -> Option<Read<T>>,
) -> Result<Read<T>, Refusal> {
    match parse(bytes) {
        Ok(frame) => Ok(Read { frame, odd: Vec::new() }),
        Err(refusal) if refusal.code == Code::InvalidReport => by_entries(bytes).ok_or(refusal),
        Err(refusal) => Err(refusal),
    }
}

impl RawBatch<'_> {
    fn read(self) -> Option<Read<Batch>> {
        let (reports, odd) = entries::<StatusReport>(&self.reports)?;
        Some(Read { frame: Batch { id: self.id, reports }, odd })
    }
}

impl RawState<'_> {
    fn read(self) -> Option<Read<FullState>> {
        let (tasks, odd) = entries::<TaskState>(&self.tasks)?;
        let Self { id, node_id, epoch, version, checksum, after, until, .. } = self;
        Some(Read { frame: FullState { id, node_id, epoch, version, checksum, after, until, tasks }, odd })
    }
}

/// The entries that mean something, and the places of the others; `None` if there are too many.
fn entries<T: DeserializeOwned>(raw: &[&RawValue]) -> Option<(Vec<T>, Odd)> {
    if raw.len() > MOST_ENTRIES {
        return None;
    }
    let (mut read, mut odd) = (Vec::new(), Vec::new());
    for (at, raw) in raw.iter().enumerate() {
        match parse(raw.get().as_bytes()) {
            Ok(entry) => read.push(entry),
            Err(refusal) => odd.push((at, Refusal { code: Code::InvalidReport, ..refusal })),
        }
    }
    Some((read, odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"task_id":"t","node_id":"n","status":"running","version":1,"timestamp":"2026-01-02T03:04:05Z"}"#;

    #[test]
    fn an_entry_that_means_nothing_is_left_out_in_its_place() {
        let odd = GOOD.replace("running", "paused");
        let Read { frame, odd } = batch(format!(r#"{{"id":7,"reports":[{odd},{GOOD},5,{GOOD}]}}"#).as_bytes()).unwrap();
        assert_eq!((frame.id, frame.reports.len()), (7, 2));
        assert_eq!(odd.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
        assert!(odd[0].1.message.contains("paused"), "{odd:?}");
        let odd = odd.into_iter().map(|(at, refusal)| (at, Answer::Refused(refusal.body()))).collect();
        let good = |revision| {
            let outcome = crate::sync::message::Outcome::Stored;
            Answer::Receipt(crate::sync::message::Receipt { outcome, revision, version: 1, known_epoch: None })
        };
        let woven = weave(vec![good(1), good(2)], odd);
        assert!(matches!(&woven[..], [Answer::Refused(_), Answer::Receipt(a), Answer::Refused(_), Answer::Receipt(b)]
            if (a.revision, b.revision) == (1, 2)));
    }

    #[test]
    fn a_state_and_a_frame_are_read_likewise_and_what_is_neither_stays_refused() {
        let odd = GOOD.replace("running", "paused");
        let text = format!(r#"{{"node_id":"n","epoch":1,"version":2,"checksum":"","tasks":[{GOOD},{odd}]}}"#);
        let read = state(text.as_bytes()).unwrap();
        assert_eq!((read.frame.tasks.len(), read.odd[0].0), (1, 1));
        let read = frame(format!(r#"{{"state":{text}}}"#).as_bytes()).unwrap();
        assert!(matches!(read.frame, FromAgent::State(state) if state.tasks.len() == 1) && read.odd.len() == 1);
        for wrong in [r#"{"reports":7}"#, r#"{"state":{"tasks":[]}}"#, r#"{"dance":{}}"#] {
            assert_eq!(frame(wrong.as_bytes()).unwrap_err().code, Code::InvalidReport, "{wrong}");
        }
        assert_eq!(frame(b"{").unwrap_err().code, Code::InvalidJson);
        let many = format!(r#"{{"reports":[{}5]}}"#, "5,".repeat(MOST_ENTRIES));
        assert_eq!(batch(many.as_bytes()).unwrap_err().code, Code::InvalidReport);
    }
}
