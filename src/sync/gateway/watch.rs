//! The stream of changes that a scheduler subscribes to, as Server-Sent Events.
//!
//! A subscriber holds nothing but its position: each time its connection has room, the changes after it are read from the
//! history that all share. One that is slow falls behind and delays nobody; one whose connection takes
//! nothing for 30 s is cut off by the kernel, and resumes after what it got. Who comes back too late is told of the gap.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::json;

use super::counters::Present;
use super::service::Service;
use crate::sync::record::Change;

/// Changes of one piece of the stream.
const MOST_AT_ONCE: usize = 256;

/// A comment is sent after so long without a change, so that both ends see that the connection lives.
const QUIET: Duration = Duration::from_secs(15);

type Next = Pin<Box<dyn Future<Output = (Option<Bytes>, Position)> + Send>>;

/// A stream of changes, as the body of an answer.
pub struct Changes {
    service: Arc<Service>,
    next: Option<Next>,
    _present: Present,
}

/// How far a subscriber is.
#[derive(Clone, Copy)]
struct Position {
    /// The last revision that it was told of.
    after: u64,
    has_ended: bool,
}

impl Changes {
    /// All changes after a revision, and those to come.
    pub fn after(service: &Arc<Service>, after: u64) -> Self {
        let position = Position { after, has_ended: false };
        let next: Next = Box::pin(tell(Arc::clone(service), position));
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
        let Poll::Ready((piece, position)) = next.as_mut().poll(context) else { return Poll::Pending };
        self.next = match position.has_ended {
            true => None,
            false => Some(Box::pin(tell(Arc::clone(&self.service), position))),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// The next piece of the stream, when there is one.
async fn tell(service: Arc<Service>, position: Position) -> (Option<Bytes>, Position) {
    let mut durable = service.durable();
    let after = position.after;
    let newest = *durable.borrow_and_update();
    if newest.revision < after {
        // Nobody is told of more than is durable, so this is a position in another store, or one that was made up.
        return (Some(gap(after, newest.revision + 1)), Position { after: newest.revision, ..position });
    }
    let is_news = durable.wait_for(|durable| durable.revision != after);
    let known = match tokio::time::timeout(QUIET, is_news).await {
        Ok(Ok(known)) => *known,
        Ok(Err(_)) => return (None, Position { has_ended: true, ..position }),
        Err(_) => return (Some(Bytes::from_static(b": quiet\n\n")), position),
    };
    let (changes, _) = service.read(|machine, _| machine.changes(after, known.revision, MOST_AT_ONCE));
    match changes {
        Ok(changes) => {
            let last = changes.last().map_or(after, Change::revision);
            let text: String = changes.iter().map(event).collect();
            (Some(text.into()), Position { after: last, ..position })
        }
        Err(first) => (Some(gap(after, first)), Position { after: first - 1, ..position }),
    }
}

fn event(change: &Change) -> String {
    let (name, data) = match change {
        Change::Task(task) => ("task", serde_json::to_string(task)),
        Change::Node(node) => ("node", serde_json::to_string(node)),
        Change::TaskForgotten { task_id, revision } => {
            ("task_forgotten", Ok(json!({ "task_id": task_id, "revision": revision }).to_string()))
        }
        Change::NodeForgotten { node_id, revision } => {
            ("node_forgotten", Ok(json!({ "node_id": node_id, "revision": revision }).to_string()))
        }
    };
    // Invariant: plain records of text and numbers always have a JSON text.
    format!("id: {}\nevent: {name}\ndata: {}\n\n", change.revision(), data.unwrap_or_default())
}

/// Word of changes that are no longer kept.
fn gap(after: u64, first: u64) -> Bytes {
    let data = json!({ "after": after, "first": first, "hint": "read /v1/view, then go on from its revision" });
    format!("event: gap\ndata: {data}\n\n").into()
}
