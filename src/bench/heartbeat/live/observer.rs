//! What a scheduler sees: the stream of changes, stamped as it arrives, and the delay of reports of our own.
//!
//! Separate because it has a thread and an event loop of its own: stamps must not wait for a fault that is being brought about
//! or for a table of sockets that is being read.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::model::Stamp;
use crate::sync::client::event::{Event, EventError, Reader};
use crate::sync::client::{Client, ClientError, Stream};
use crate::sync::message::{Receipt, StatusReport};
use crate::sync::record::Status;
use crate::sys::clock;
use crate::sys::thread::Background;
use crate::wire::{Trust, Url};

/// News that may wait to be heard; beyond it the stream is read later, which the gateway bears.
const MOST_WAITING: usize = 4096;

/// Pause between two reports of our own.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

/// The task that they are about.
const TASK: &str = "live-probe";

/// The node that reports it.
pub const NODE: &str = "live-probe";

/// Whom to watch, and with which tokens.
#[derive(Clone)]
pub struct Watched {
    /// The gateway.
    pub url: Url,
    /// Whom to trust.
    pub trust: Trust,
    /// Reads everything.
    pub reader: String,
    /// Speaks for [`NODE`]; without one nothing is reported.
    pub reporter: Option<String>,
}

/// Something that was seen.
#[derive(Debug)]
pub enum News {
    /// The stream is open: everything from here on will be seen.
    Open,
    /// A change arrived.
    Event(Stamp, Event),
    /// A report of ours is stored.
    Stored {
        /// At which revision.
        revision: u64,
        /// When it was sent.
        sent: Stamp,
        /// When the answer was here.
        answered: Stamp,
    },
    /// A report of ours was not taken.
    NotStored(ClientError),
    /// The stream has ended.
    Ended(ObserverError),
}

/// Why there is no stream any more.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// It could not be opened, or broke.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is none of ours.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The gateway has ended it.
    #[error("the gateway ended the stream of changes")]
    Ended,
}

/// Observes until it is dropped.
#[derive(Debug)]
pub struct Observer {
    news: mpsc::Receiver<News>,
    _thread: Background,
}

impl Observer {
    /// Begins to observe; the first news are whether that succeeded.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(watched: Watched) -> io::Result<Self> {
        let (teller, news) = mpsc::channel(MOST_WAITING);
        let thread = Background::spawn("observer", move || async move {
            tokio::join!(watch(&watched, &teller), report(&watched, &teller));
        })?;
        Ok(Self { news, _thread: thread })
    }

    /// The next news; `None` after the end. May be dropped while it waits and called again.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

async fn watch(watched: &Watched, teller: &mpsc::Sender<News>) {
    let ended = follow(watched, teller).await.err().unwrap_or(ObserverError::Ended);
    // Nobody who listens is no error: the run is over.
    let _ = teller.send(News::Ended(ended)).await;
}

async fn follow(watched: &Watched, teller: &mpsc::Sender<News>) -> Result<(), ObserverError> {
    let mut stream = open(watched).await?;
    let mut reader = Reader::default();
    if teller.send(News::Open).await.is_err() {
        return Ok(());
    }
    while let Some(bytes) = stream.next().await? {
        let at = clock::now();
        for event in reader.take(&bytes)? {
            if teller.send(News::Event(at, event)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn open(watched: &Watched) -> Result<Stream, ClientError> {
    Client::new(&watched.url, &watched.trust, &watched.reader)?.stream("/v1/watch").await
}

/// Reports a task that changes again and again, until the first refusal.
async fn report(watched: &Watched, teller: &mpsc::Sender<News>) {
    let Some(token) = &watched.reporter else { return };
    let refused = match Client::new(&watched.url, &watched.trust, token) {
        Ok(client) => loop {
            let news = match report_once(&client).await {
                Ok(news) => news,
                Err(error) => break error,
            };
            if teller.send(news).await.is_err() {
                return;
            }
            tokio::time::sleep(BETWEEN_REPORTS).await;
        },
        Err(error) => error,
    };
    let _ = teller.send(News::NotStored(refused)).await;
}

async fn report_once(client: &Client) -> Result<News, ClientError> {
    let timestamp = clock::wall_now();
    let epoch = u64::try_from(timestamp.unix_nanos() / 1000).unwrap_or(0);
    let (task_id, node_id, status) = (TASK.to_owned(), NODE.to_owned(), Status::Running);
    // A later epoch is always newer, also than what an earlier run left on the same gateway.
    let (epoch, version) = (Some(epoch), Some(1));
    let report = StatusReport { task_id, status, node_id, timestamp, version, epoch, payload: None, trace: None };
    // Invariant: our own records always have a JSON text.
    let body = serde_json::to_vec(&report).unwrap_or_default();
    let sent = clock::now();
    let answer = client.post("/v1/status", body).await?;
    let answered = clock::now();
    let Receipt { revision, .. } = serde_json::from_slice(&answer)?;
    Ok(News::Stored { revision, sent, answered })
}
