//! The stream of changes that a scheduler subscribes to, as Server-Sent Events.
//!
//! A subscriber holds nothing but its position: each time its connection has room, the changes after it are read from the
//! history that all share. One that is slow falls behind and delays nobody; one whose connection takes
//! nothing for 30 s is cut off by the kernel, and resumes after what it got. Who comes back too late, or from another row of
//! revisions, is told of the gap.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde_json::json;

use super::counters::Present;
use super::position::{self, Position};
use super::service::Service;
use crate::sync::record::{Change, TaskRecord};
use crate::sync::trace::Trace;
use crate::sys::clock;

/// Changes of one piece of the stream.
const MOST_AT_ONCE: usize = 256;

/// A comment is sent after so long without a change, so that both ends see that the connection lives.
const QUIET: Duration = Duration::from_secs(15);

type Next = Pin<Box<dyn Future<Output = (Option<Bytes>, Progress)> + Send>>;

/// A stream of changes, as the body of an answer.
pub struct Changes {
    service: Arc<Service>,
    next: Option<Next>,
    _present: Present,
}

/// How far a subscriber is.
#[derive(Clone)]
struct Progress {
    /// The last revision that it was told of.
    after: u64,
    /// In which row.
    lineage: Arc<str>,
    /// That revision is one of another row, and says nothing here.
    is_foreign: bool,
    has_ended: bool,
}

impl Changes {
    /// All changes after a position, and those to come.
    pub fn after(service: &Arc<Service>, from: &Position) -> Self {
        let lineage = service.lineage();
        let is_foreign = from.is_foreign(&lineage);
        let progress = Progress { after: from.revision, lineage, is_foreign, has_ended: false };
        let next: Next = Box::pin(tell(Arc::clone(service), progress));
        Self { service: Arc::clone(service), next: Some(next), _present: service.counters.watcher() }
    }
}

impl Body for Changes {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready((piece, progress)) = next.as_mut().poll(context) else { return Poll::Pending };
        self.next = match progress.has_ended {
            true => None,
            false => Some(Box::pin(tell(Arc::clone(&self.service), progress))),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The next piece of the stream, when there is one.
async fn tell(service: Arc<Service>, progress: Progress) -> (Option<Bytes>, Progress) {
    let mut durable = service.durable();
    let after = progress.after;
    let is_made = service.has_made(after).await;
    let (newest, lineage) = (*durable.borrow_and_update(), service.lineage());
    // Nobody is told of more than is durable, so one beyond it is a position in another row, or one that was made up.
    if progress.is_foreign || *lineage != *progress.lineage || !is_made {
        let piece = gap(&lineage, after, newest.revision + 1);
        return (Some(piece), Progress { after: newest.revision, lineage, is_foreign: false, ..progress });
    }
    let is_news = durable.wait_for(|durable| durable.revision > after || durable.generation != newest.generation);
    let known = match tokio::time::timeout(QUIET, is_news).await {
        Ok(Ok(known)) => *known,
        Ok(Err(_)) => return (None, Progress { has_ended: true, ..progress }),
        Err(_) => return (Some(Bytes::from_static(b": quiet\n\n")), progress),
    };
    let (changes, _) = service.read(|machine, _| machine.changes(after, known.revision, MOST_AT_ONCE));
    match changes {
        // Nothing for a subscriber came to be up to there.
        Ok(changes) if changes.is_empty() => {
            (Some(Bytes::from_static(b": nothing new\n\n")), Progress { after: known.revision.max(after), ..progress })
        }
        Ok(changes) => {
            let last = changes.last().map_or(after, Change::revision);
            let text: String = changes.iter().map(|change| event(&service, &lineage, change)).collect();
            (Some(text.into()), Progress { after: last, ..progress })
        }
        Err(first) => (Some(gap(&lineage, after, first)), Progress { after: first - 1, ..progress }),
    }
}

/// A change of a task as it is told: with its stamps, where it is traced.
#[derive(Serialize)]
struct TaskChange<'a> {
    #[serde(flatten)]
    task: &'a TaskRecord,
    trace: Trace,
}

fn event(service: &Service, lineage: &str, change: &Change) -> String {
    let (name, data) = match change {
        Change::Task(task) => match service.traces.told(task.revision, clock::now()) {
            Some(trace) => ("task", serde_json::to_string(&TaskChange { task, trace })),
            None => ("task", serde_json::to_string(task)),
        },
        Change::Node(node) => ("node", serde_json::to_string(node)),
        Change::TaskForgotten { task_id, revision } => {
            ("task_forgotten", Ok(json!({ "task_id": task_id, "revision": revision }).to_string()))
        }
        Change::NodeForgotten { node_id, revision } => {
            ("node_forgotten", Ok(json!({ "node_id": node_id, "revision": revision }).to_string()))
        }
    };
    // Invariant: plain records of text and numbers always have a JSON text.
    let id = position::text(lineage, change.revision());
    format!("id: {id}\nevent: {name}\ndata: {}\n\n", data.unwrap_or_default())
}

/// Word of changes that are no longer kept, or were made in another row. It has the position before the first change that
/// follows, so that it is not told twice.
fn gap(lineage: &str, after: u64, first: u64) -> Bytes {
    let id = position::text(lineage, first - 1);
    let hint = "read /v1/view and the lists, then go on from their `position`";
    let data = json!({ "after": after, "first": first, "position": id, "hint": hint });
    format!("id: {id}\nevent: gap\ndata: {data}\n\n").into()
}
