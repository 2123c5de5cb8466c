//! The changes of this node that are traced, from the source that told them to the frame that carries them.
//!
//! Separate from the machine, which neither knows nor needs stamps: they are put into its reports as these are sent.

use std::collections::VecDeque;

use super::shell::status_of;
use crate::model::Stamp;
use crate::source::{Mark, Sighting};
use crate::sync::message::FromAgent;
use crate::sync::record::Status;
use crate::sync::trace::{AgentTrace, MOST_OPEN, is_id, own_clock};

/// Traced changes that are not sent yet.
#[derive(Debug, Default)]
pub struct Traces {
    /// The oldest first.
    open: VecDeque<Open>,
    /// The ids of tasks whose labels a source has told, the oldest first: another one may see no labels.
    known: VecDeque<(String, String)>,
}

#[derive(Debug)]
struct Open {
    task_id: String,
    status: Status,
    mark: Mark,
    taken: Stamp,
}

impl Traces {
    /// A source has told of these, and they were taken from it now.
    pub fn see(&mut self, sightings: &[Sighting], now: Stamp) {
        for sighting in sightings {
            let Some(mark) = sighting.mark.as_ref() else { continue };
            let is_it = |(task_id, _): &&(String, String)| *task_id == sighting.task_id;
            let known = self.known.iter().find(is_it).map(|(_, id)| id.clone());
            let id = if mark.id.is_empty() { known.clone().unwrap_or_default() } else { mark.id.clone() };
            if !is_id(&id) {
                continue;
            }
            if known.is_none() {
                keep(&mut self.known, (sighting.task_id.clone(), id.clone()));
            }
            let (task_id, status, mark) = (sighting.task_id.clone(), status_of(sighting.state), Mark { id, ..*mark });
            keep(&mut self.open, Open { task_id, status, mark, taken: now });
        }
    }

    /// Puts the stamps of those that a frame tells into its reports.
    pub fn stamp(&mut self, frame: &mut FromAgent, now: Stamp) {
        let FromAgent::Reports(batch) = frame else { return };
        for report in &mut batch.reports {
            let is_it = |open: &Open| open.task_id == report.task_id && open.status == report.status;
            let Some(open) = self.open.iter().position(is_it).and_then(|at| self.open.remove(at)) else { continue };
            report.trace = Some(AgentTrace {
                id: open.mark.id,
                clock: own_clock(),
                read_ns: open.mark.read.as_nanos(),
                taken_ns: open.taken.as_nanos(),
                sent_ns: now.as_nanos(),
            });
        }
    }
}

/// Keeps one more; the oldest makes room.
fn keep<T>(all: &mut VecDeque<T>, one: T) {
    if all.len() >= MOST_OPEN {
        all.pop_front();
    }
    all.push_back(one);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;
    use crate::source::TaskState;
    use crate::sync::message::{Batch, StatusReport};

    fn sighting(task_id: &str, id: &str) -> Sighting {
        let mark = Some(Mark { id: id.to_owned(), read: Stamp::from_nanos(1) });
        let (task_id, at) = (task_id.to_owned(), WallTime::from_unix_nanos(0));
        Sighting { task_id, state: TaskState::Running, at, payload: None, mark }
    }

    fn frame(task_id: &str, status: Status) -> FromAgent {
        let (task_id, node_id, timestamp) = (task_id.to_owned(), "n".to_owned(), WallTime::from_unix_nanos(0));
        let (version, epoch, payload, trace) = (None, None, None, None);
        let report = StatusReport { task_id, status, node_id, timestamp, version, epoch, payload, trace };
        FromAgent::Reports(Batch { id: 1, reports: vec![report] })
    }

    fn trace(traces: &mut Traces, mut frame: FromAgent) -> Option<AgentTrace> {
        traces.stamp(&mut frame, Stamp::from_nanos(3));
        let FromAgent::Reports(batch) = frame else { return None };
        batch.reports[0].trace.clone()
    }

    #[test]
    fn the_report_of_a_traced_change_carries_its_stamps_once() {
        let mut traces = Traces::default();
        traces.see(&[sighting("t", "a"), sighting("u", "not an id")], Stamp::from_nanos(2));
        assert_eq!(trace(&mut traces, frame("t", Status::Completed)), None);
        let told = trace(&mut traces, frame("t", Status::Running)).unwrap();
        assert_eq!((told.id.as_str(), told.read_ns, told.taken_ns, told.sent_ns), ("a", 1, 2, 3));
        assert_eq!(trace(&mut traces, frame("t", Status::Running)), None);
        assert_eq!(trace(&mut traces, frame("u", Status::Running)), None);
    }

    #[test]
    fn a_source_without_labels_takes_the_id_that_another_has_told() {
        let mut traces = Traces::default();
        traces.see(&[sighting("t", "")], Stamp::from_nanos(2));
        assert_eq!(trace(&mut traces, frame("t", Status::Running)), None);
        let made = Sighting { state: TaskState::Pending, ..sighting("t", "a") };
        traces.see(&[made], Stamp::from_nanos(2));
        traces.see(&[sighting("t", "")], Stamp::from_nanos(2));
        assert_eq!(trace(&mut traces, frame("t", Status::Running)).unwrap().id, "a");
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut traces = Traces::default();
        for n in 0..=MOST_OPEN {
            traces.see(&[sighting(&n.to_string(), "a")], Stamp::from_nanos(2));
        }
        assert_eq!(trace(&mut traces, frame("0", Status::Running)), None);
        assert!(trace(&mut traces, frame("1", Status::Running)).is_some());
    }
}
