//! The part of containerd's interface that is used: the subscription to its events and the question for its version, with their
//! true names and numbers. Unknown fields are skipped, as protobuf has it.
//!
//! Written down here and not generated, as etcd's is.

use prost::Message;

/// The method that tells the version.
pub const VERSION: &str = "/containerd.services.version.v1.Version/Version";

/// The method that tells events.
pub const SUBSCRIBE: &str = "/containerd.services.events.v1.Events/Subscribe";

/// The method that lists tasks, those of the namespace that the head of the request names.
pub const TASKS: &str = "/containerd.services.tasks.v1.Tasks/List";

/// The methods that end a task, and forget it.
pub const KILL: &str = "/containerd.services.tasks.v1.Tasks/Kill";
pub const DELETE: &str = "/containerd.services.tasks.v1.Tasks/Delete";

/// Sends a signal to a task.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillRequest {
    /// The container.
    #[prost(string, tag = "1")]
    pub container: String,
    /// The signal.
    #[prost(uint32, tag = "3")]
    pub signal: u32,
}

/// Forgets a task that has ended.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteTaskRequest {
    /// The container.
    #[prost(string, tag = "1")]
    pub container: String,
}

/// Asks for all tasks.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ListTasksRequest {}

/// All tasks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListTasksResponse {
    /// The container's own process of each.
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Process>,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Process {
    /// The container; not every version says it.
    #[prost(string, tag = "1")]
    pub container: String,
    /// Its name: the container's own has that of the container.
    #[prost(string, tag = "2")]
    pub id: String,
    /// 1 for made, 2 for running, 3 for stopped, 4 for paused, 5 for about to be.
    #[prost(int32, tag = "4")]
    pub status: i32,
}

/// What the version is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionResponse {
    /// As `1.6.20`.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// Which events are wanted.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SubscribeRequest {
    /// Any of these; none for all.
    #[prost(string, repeated, tag = "1")]
    pub filters: Vec<String>,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Envelope {
    /// When it was told first.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// Of which namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// What happened, as `/tasks/start`.
    #[prost(string, tag = "3")]
    pub topic: String,
    /// To what.
    #[prost(message, optional, tag = "4")]
    pub event: Option<Any>,
}

/// A time of day.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Beyond them.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A message of a kind that its topic says.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// What all events of containers and tasks begin with; and of a task's exit the process, which is the container's own where both
/// are one.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Subject {
    /// The container.
    #[prost(string, tag = "1")]
    pub container: String,
}

/// The end of a process.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskExit {
    /// The container.
    #[prost(string, tag = "1")]
    pub container: String,
    /// The process: the container's own has its name.
    #[prost(string, tag = "2")]
    pub process: String,
    /// What it ended with.
    #[prost(uint32, tag = "4")]
    pub exit_status: u32,
}
