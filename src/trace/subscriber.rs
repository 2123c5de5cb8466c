//! The subscriber at the end of the way: stamps each change as it arrives, and wakes whoever follows it.
//!
//! Separate because it has a thread and an event loop of its own: its stamps must not wait for those who act.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::{Stamp, with_causes};
use crate::source::watch::OwnTime;
use crate::sync::client::event::{Event, Reader, TaskChange};
use crate::sync::client::{Client, ClientError};
use crate::sync::record::Status;
use crate::sys::clock;
use crate::sys::thread::Background;
use crate::wire::{Trust, Url};

/// How long the stream may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(15);

/// A change that has arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Stamp,
    /// Its own time on the monotonic clock, where the wall clock was not stepped since.
    pub runtime: Option<Stamp>,
    /// What it says.
    pub change: TaskChange,
}

/// A subscriber that runs; it ends when it is dropped.
pub struct Subscriber {
    waiting: Arc<Waiting>,
    _thread: Background,
}

/// Those who wait for a task to run.
#[derive(Default)]
struct Waiting(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tasks: HashMap<String, oneshot::Sender<Seen>>,
    /// Why there is no stream any more.
    ended: Option<String>,
}

/// A wait for a task; it is given up when this is dropped.
pub struct Wait<'a> {
    waiting: &'a Waiting,
    task_id: String,
    seen: oneshot::Receiver<Seen>,
}

impl Subscriber {
    /// Subscribes to all changes of a gateway from now on.
    ///
    /// # Errors
    /// When there is no thread, or no stream.
    pub async fn start(url: Url, trust: Trust, token: String) -> Result<Self, SubscriberError> {
        let waiting = Arc::new(Waiting::default());
        let (opened, is_open) = oneshot::channel();
        let kept = Arc::clone(&waiting);
        let thread = Background::spawn("subscriber", move || async move {
            let why = follow(&url, &trust, &token, &kept, opened).await;
            let mut inner = kept.inner();
            inner.ended = Some(why);
            inner.tasks.clear();
        })?;
        match tokio::time::timeout(OPEN_WITHIN, is_open).await {
            Ok(Ok(opened)) => opened?,
            Ok(Err(_)) | Err(_) => return Err(SubscriberError::Client(ClientError::Late)),
        }
        Ok(Self { waiting, _thread: thread })
    }

    /// Waits from now on for this task to run.
    pub fn wait(&self, task_id: &str) -> Wait<'_> {
        let (sender, seen) = oneshot::channel();
        let mut inner = self.waiting.inner();
        if inner.ended.is_none() {
            inner.tasks.insert(task_id.to_owned(), sender);
        }
        drop(inner);
        Wait { waiting: &self.waiting, task_id: task_id.to_owned(), seen }
    }

    /// Why there is no stream any more.
    pub fn ended(&self) -> Option<String> {
        self.waiting.inner().ended.clone()
    }
}

/// A stream of changes that does not begin.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// No thread.
    #[error("there is no thread for the subscriber")]
    Thread(#[from] io::Error),
    /// No stream.
    #[error("changes cannot be subscribed to")]
    Client(#[from] ClientError),
}

impl Wait<'_> {
    /// The change to running, when it has arrived; `None` once the stream has ended.
    pub async fn seen(mut self) -> Option<Seen> {
        (&mut self.seen).await.ok()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.inner().tasks.remove(&self.task_id);
    }
}

impl Waiting {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the stream until it ends, and says why.
async fn follow(
    url: &Url,
    trust: &Trust,
    token: &str,
    waiting: &Waiting,
    opened: oneshot::Sender<Result<(), ClientError>>,
) -> String {
    let stream = async { Client::new(url, trust, token)?.stream("/v1/watch").await };
    let mut stream = match stream.await {
        Ok(stream) => {
            // Who does not wait for it any more has given the run up.
            let _ = opened.send(Ok(()));
            stream
        }
        Err(error) => {
            let why = with_causes(&error);
            let _ = opened.send(Err(error));
            return why;
        }
    };
    let (mut reader, mut own_time) = (Reader::default(), OwnTime::default());
    loop {
        let bytes = match stream.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return "the gateway ended the stream of changes".to_owned(),
            Err(error) => return with_causes(&error),
        };
        let at = clock::now();
        match reader.take(&bytes) {
            Ok(events) => events.into_iter().for_each(|event| tell(waiting, event, at, &mut own_time)),
            Err(error) => return with_causes(&error),
        }
    }
}

fn tell(waiting: &Waiting, event: Event, at: Stamp, own_time: &mut OwnTime) {
    let Event::Task(change) = event else { return };
    if change.status != Some(Status::Running) {
        return;
    }
    let Some(sender) = waiting.inner().tasks.remove(&change.task_id) else { return };
    let runtime = change.timestamp.and_then(|at| own_time.stamp(at));
    // Who has given it up counts it as lost.
    let _ = sender.send(Seen { at, runtime, change: *change });
}
