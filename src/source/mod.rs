//! Sources of container events: where an agent learns what happens on its node.
//!
//! Separate from whoever tells a gateway of it. A source first says everything that it knows, then every change; after a gap
//! it says everything again. What a container runtime calls things stays inside the file that wraps it: containerd, CRI and
//! kernel tracepoints join by implementing [`EventSource`].

#[cfg(feature = "runtimes")]
pub mod containerd;
#[cfg(feature = "runtimes")]
pub mod cri;
pub mod docker;
#[cfg(feature = "runtimes")]
pub mod ebpf;
#[cfg(feature = "toolkit")]
pub mod image;
pub mod joined;
#[cfg(feature = "runtimes")]
pub mod line;
pub mod piped;
pub mod scripted;
#[cfg(feature = "runtimes")]
pub mod watch;
#[cfg(feature = "runtimes")]
pub mod watched;

use std::future::Future;
use std::pin::Pin;

use crate::model::{Stamp, WallTime};

/// The label of a container whose way to a subscriber is followed; its value is the id of the trace.
pub const TRACE_LABEL: &str = "offloadctl.trace";

/// How a control group of ours is called whose process is followed, before the id of the trace: a group has no labels.
pub const TRACE_GROUP: &str = "trace-";

/// Where a task stands, as a runtime sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Created and not started.
    Pending,
    /// Started and not ended.
    Running,
    /// Ended, well or badly.
    Ended {
        /// Whether it ended well.
        is_success: bool,
    },
    /// The runtime cannot say.
    Unknown,
}

/// A task as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its name, unique on all nodes.
    pub task_id: String,
    /// Where it stands.
    pub state: TaskState,
    /// Since when, by the clock of this host.
    pub at: WallTime,
    /// What else there is to say of it, as JSON.
    pub payload: Option<String>,
    /// Where its way to a subscriber is followed.
    pub mark: Option<Mark>,
}

/// A change whose way is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The id of the trace, as the container's label says it; empty where this source sees no labels.
    pub id: String,
    /// When this process had read the event, or the list, that shows the change.
    pub read: Stamp,
}

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These are all tasks; any other has vanished.
    Known(Vec<Sighting>),
    /// These have changed.
    Changed(Vec<Sighting>),
    /// This task was removed.
    Vanished(String),
    /// The source cannot see at present, and goes on trying.
    Trouble(String),
    /// The source sees something that it does not understand, and goes on with the rest.
    Odd(String),
}

/// The next event; `None` when there will be none any more.
pub type Next<'a> = Pin<Box<dyn Future<Output = Option<Event>> + Send + 'a>>;

/// A source of container events.
pub trait EventSource: Send {
    /// The next event. May be dropped while it waits and asked again.
    fn next(&mut self) -> Next<'_>;
}
