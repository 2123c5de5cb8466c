//! The stream of changes as text, taken apart (Server-Sent Events).
//!
//! Pure and separate: pieces of a stream end anywhere, also within a character.

use serde::Deserialize;

use crate::model::WallTime;
use crate::sync::record::{NodeState, Status};
use crate::sync::trace::Trace;

/// Longest line: a task with its payload.
const LONGEST_LINE: usize = 1 << 20;

/// What a gateway tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node has become something.
    Node {
        /// Which.
        node_id: String,
        /// What it became.
        state: NodeState,
    },
    /// A task has become something.
    Task(Box<TaskChange>),
    /// Changes are missing.
    Gap,
}

/// What is read of a change of a task.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TaskChange {
    /// Which.
    pub task_id: String,
    /// What it became; `None` of a word that a later gateway knows.
    #[serde(default, deserialize_with = "known")]
    pub status: Option<Status>,
    /// When, by the clock of the node.
    #[serde(default, deserialize_with = "known")]
    pub timestamp: Option<WallTime>,
    /// The revision at which it was written.
    pub revision: u64,
    /// Its stamps, where it is traced.
    #[serde(default, deserialize_with = "known")]
    pub trace: Option<Trace>,
}

/// A value if it is one that we know.
fn known<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(from)?).ok())
}

/// A stream that is no stream of changes.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// A line without end.
    #[error("a line of the stream of changes is longer than {LONGEST_LINE} bytes")]
    Line,
    /// No record of ours.
    #[error("an event of the stream of changes cannot be read")]
    Record(#[from] serde_json::Error),
}

/// What was read of a stream so far.
#[derive(Debug, Default)]
pub struct Reader {
    rest: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
}

impl Reader {
    /// Takes more bytes, and gives the events that they complete.
    ///
    /// # Errors
    /// When it is no stream of changes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventError> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.rest);
                events.extend(self.line(&line)?);
            } else if self.rest.len() == LONGEST_LINE {
                return Err(EventError::Line);
            } else {
                self.rest.push(*byte);
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Event>, EventError> {
        if let Some(name) = line.strip_prefix(b"event: ") {
            self.name = name.to_vec();
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            self.data = data.to_vec();
        } else if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return event(&name, &data);
        }
        Ok(None)
    }
}

/// What of a node's change is read here.
#[derive(Deserialize)]
struct Node {
    node_id: String,
    state: serde_json::Value,
}

fn event(name: &[u8], data: &[u8]) -> Result<Option<Event>, EventError> {
    Ok(match name {
        b"node" => {
            let Node { node_id, state } = serde_json::from_slice(data)?;
            // A state that a later gateway knows concerns nobody here.
            serde_json::from_value(state).ok().map(|state| Event::Node { node_id, state })
        }
        b"task" => Some(Event::Task(serde_json::from_slice(data)?)),
        b"gap" => Some(Event::Gap),
        // What is forgotten concerns nobody here, and a later gateway may tell of more.
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, revision: u64) -> Event {
        let status = (revision == 9).then_some(Status::Running);
        let timestamp = status.and_then(|_| serde_json::from_str("\"2026-03-14T09:15:00Z\"").ok());
        let task = TaskChange { task_id: id.to_owned(), status, timestamp, revision, trace: None };
        Event::Task(Box::new(task))
    }

    const STREAM: &str = "id: 8\nevent: node\ndata: {\"node_id\":\"knödel\",\"state\":\"unreachable\",\"epoch\":3,\"changed_at\":\"2026-03-14T09:15:00Z\",\"revision\":8}\n\n: quiet\n\nid: 9\nevent: task\ndata: {\"task_id\":\"t\",\"node_id\":\"n\",\"status\":\"running\",\"epoch\":3,\"version\":4,\"timestamp\":\"2026-03-14T09:15:00Z\",\"revision\":9}\n\nevent: node_forgotten\ndata: {}\n\nevent: gap\ndata: {\"after\":1,\"first\":5}\n\n";

    #[test]
    fn events_are_found_wherever_the_pieces_end() {
        let node = Event::Node { node_id: "knödel".to_owned(), state: NodeState::Unreachable };
        let whole = Reader::default().take(STREAM.as_bytes()).unwrap();
        assert_eq!(whole, [node, task("t", 9), Event::Gap]);
        for length in 1..STREAM.len() {
            let mut reader = Reader::default();
            let pieces = STREAM.as_bytes().chunks(length).map(|piece| reader.take(piece).unwrap());
            assert_eq!(pieces.flatten().collect::<Vec<_>>(), whole, "pieces of {length}");
        }
    }

    #[test]
    fn what_is_no_change_is_an_error_and_no_line_is_endless() {
        assert!(Reader::default().take(b"event: node\ndata: {}\n\n").is_err());
        let later = b"event: node\ndata: {\"node_id\":\"n\",\"state\":\"asleep\"}\n\nevent: task\ndata: {\"task_id\":\"t\",\"revision\":4,\"status\":\"paused\",\"trace\":7}\n\n";
        assert_eq!(Reader::default().take(later).unwrap(), [task("t", 4)]);
        assert!(Reader::default().take(&vec![b'x'; LONGEST_LINE + 1]).is_err());
    }
}
