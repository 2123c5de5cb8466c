//! An informer of our own: one list, one watch after another, and a store that is read without asking anybody.
//!
//! It has a thread and an event loop of its own, so that events are stamped when they come and not when a request lets them.
//! What it asks goes through the client of `wire`: what is measured is how late it is and what it costs, not its requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::error::InformerError;
use super::evaluate::News;
use super::looking::Sight;
use super::machine::{Act, Ended, Fault, Machine};
use super::object::{self, Event};
use super::spec::with_parameters;
use super::store::Store;
use crate::model::Stamp;
use crate::sys::clock;
use crate::sys::thread::Background;
use crate::wire::{FetchError, HttpClient, Place, Question, Streamed, Trust, Url};

/// How long a list, or the head of a watch, may take.
const LIST_WITHIN: Duration = Duration::from_secs(30);
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long the first watch has to show that it is none.
const DOUBT: Duration = Duration::from_millis(300);

/// How much later than its own end a watch is given up.
const GRACE: Duration = Duration::from_secs(30);

/// What to watch, and where.
#[derive(Clone)]
pub struct Watched {
    /// The server, or what is in front of it.
    pub url: Url,
    /// Its address.
    pub address: std::net::SocketAddr,
    /// The name that its certificate must be for.
    pub server_name: String,
    /// The list, as the server knows it.
    pub path: String,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
    /// Longest list, and longest line of a watch, in bytes.
    pub max_body: usize,
    /// For the pauses.
    pub seed: u64,
}

/// Whom we trust and who we are now; a plugin may change both.
pub struct Door {
    /// Whom we trust, with our certificate.
    pub trust: Trust,
    /// The `authorization` of requests.
    pub authorization: Option<String>,
    /// Grows with each change.
    pub generation: u64,
}

/// What an informer has done.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Lists that came, and their bytes.
    pub list_count: u64,
    /// Bytes of the lists.
    pub list_bytes: u64,
    /// Watches that began.
    pub watch_count: u64,
    /// Bytes of the watches.
    pub watch_bytes: u64,
    /// Bytes of the objects that it holds.
    pub held_bytes: u64,
    /// Events, bookmarks left out.
    pub event_count: u64,
    /// Bookmarks.
    pub bookmark_count: u64,
    /// Times that the server had forgotten the version: 410.
    pub gone_count: u64,
    /// Requests that failed otherwise.
    pub failed_count: u64,
    /// What the last of them met.
    pub trouble: Option<String>,
}

impl Tally {
    /// Requests that it made.
    #[must_use]
    pub const fn request_count(&self) -> u64 {
        self.list_count + self.watch_count + self.failed_count
    }
}

/// An informer that runs; it ends when it is dropped.
pub struct Informer {
    /// What it holds.
    pub store: Arc<Store>,
    tally: Arc<Mutex<Tally>>,
    _thread: Background,
}

impl Informer {
    /// Lists and begins to watch.
    ///
    /// # Errors
    /// When the first list or the first watch is refused, or is none.
    pub async fn start(
        number: usize,
        watched: Watched,
        door: Arc<Mutex<Door>>,
        teller: Sender<Sight>,
    ) -> Result<Self, InformerError> {
        let (store, tally) = (Arc::new(Store::default()), Arc::new(Mutex::new(Tally::default())));
        let (ready, is_ready) = oneshot::channel();
        let work = Work {
            number,
            watched,
            door,
            teller,
            store: Arc::clone(&store),
            tally: Arc::clone(&tally),
            ready: Some(ready),
            client: None,
        };
        let thread = Background::spawn("informer", move || work.run()).map_err(InformerError::Thread)?;
        match is_ready.await {
            Ok(Ok(())) => Ok(Self { store, tally, _thread: thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(InformerError::Ended),
        }
    }

    /// What it has done so far.
    pub fn tally(&self) -> Tally {
        Tally { held_bytes: self.store.len_bytes(), ..lock(&self.tally).clone() }
    }
}

/// What runs on its thread.
struct Work {
    number: usize,
    watched: Watched,
    door: Arc<Mutex<Door>>,
    teller: Sender<Sight>,
    store: Arc<Store>,
    tally: Arc<Mutex<Tally>>,
    /// Who waits for the first list and the first watch.
    ready: Option<oneshot::Sender<Result<(), InformerError>>>,
    client: Option<(u64, HttpClient)>,
}

/// A watch as far as it went.
struct Watching {
    version: String,
    event_count: u64,
    line: Vec<u8>,
}

impl Work {
    async fn run(mut self) {
        let mut machine = Machine::new(self.watched.seed);
        let mut step = machine.begin();
        loop {
            sleep(step.after).await;
            let ended = match step.act {
                Act::List(version) => self.list(version.as_deref()).await,
                Act::Watch { version, lasts } => self.watch(version, lasts).await,
            };
            // Nobody is told of a failure that comes later: it is counted, and tried again.
            let Some(ended) = ended else { return };
            step = machine.hear(ended, clock::now());
        }
    }

    /// Lists; nothing where the first list failed, which has been told.
    async fn list(&mut self, version: Option<&str>) -> Option<Ended> {
        let parameters = version.map(|version| format!("resourceVersion={version}"));
        let path =
            parameters.map_or_else(|| self.watched.path.clone(), |one| with_parameters(&self.watched.path, &one));
        let fault = match self.list_once(&path).await {
            Ok((list, length)) => {
                let version = list.version.clone();
                self.listed(length);
                let number = list.number;
                self.store.replace(list);
                self.tell(number, None).await;
                return Some(Ended::Listed(version));
            }
            Err(error) => self.failed(error)?,
        };
        Some(Ended::NoList(fault))
    }

    fn listed(&self, length: u64) {
        let mut tally = lock(&self.tally);
        tally.list_count += 1;
        tally.list_bytes += length;
    }

    async fn list_once(&mut self, path: &str) -> Result<(object::List, u64), InformerError> {
        let headers = self.enter()?;
        let question =
            Question { path, headers: &headers, json: None, timeout: LIST_WITHIN, max_body: self.watched.max_body };
        let answer = self.client("list")?.ask(question).await;
        let answer = answer.map_err(|source| InformerError::Ask { verb: "list", source })?;
        if answer.status != 200 {
            return Err(InformerError::of_status("list", answer.status, &answer.body));
        }
        Ok((object::list(&answer.body, true)?, answer.body.len() as u64))
    }

    async fn watch(&mut self, version: String, lasts: Duration) -> Option<Ended> {
        let began = clock::now();
        let mut watching = Watching { version, event_count: 0, line: Vec::new() };
        let ended = self.watch_on(&mut watching, lasts).await;
        let Watching { version, event_count, .. } = watching;
        match ended {
            Ok(()) => Some(Ended::Watched { version, lasted: clock::now().since(began), event_count }),
            Err(error) => self.failed(error).map(|fault| Ended::NoWatch { version, fault }),
        }
    }

    /// Watches until the server ends it.
    async fn watch_on(&mut self, watching: &mut Watching, lasts: Duration) -> Result<(), InformerError> {
        let parameters = format!(
            "allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}&watch=true",
            watching.version,
            lasts.as_secs()
        );
        let path = with_parameters(&self.watched.path, &parameters);
        let headers = self.enter()?;
        let question = Question { path: &path, headers: &headers, json: None, timeout: HEAD_WITHIN, max_body: 0 };
        let asked = |source| InformerError::Ask { verb: "watch", source };
        let mut answer = self.client("watch")?.open(question).await.map_err(asked)?;
        if answer.status != 200 {
            let body = answer.rest(HEAD_WITHIN, 64 << 10).await.unwrap_or_default();
            return Err(InformerError::of_status("watch", answer.status, &body));
        }
        lock(&self.tally).watch_count += 1;
        let end = began_to_end(lasts);
        if self.ready.is_some() {
            self.doubt(watching, &mut answer).await?;
        }
        loop {
            let left = end.since(clock::now());
            let Ok(piece) = timeout(left, answer.next()).await else { return Ok(()) };
            match piece.map_err(asked)? {
                Some(piece) => self.take(watching, &piece, clock::now()).await?,
                None => return watching.end(),
            }
        }
    }

    /// The first watch has a moment to show that it is none; then whoever waits is told that everything is there.
    async fn doubt(&mut self, watching: &mut Watching, answer: &mut Streamed) -> Result<(), InformerError> {
        let until = clock::now() + DOUBT;
        while let Ok(piece) = timeout(until.since(clock::now()), answer.next()).await {
            match piece.map_err(|source| InformerError::Ask { verb: "watch", source })? {
                Some(piece) => self.take(watching, &piece, clock::now()).await?,
                None => {
                    watching.end()?;
                    break;
                }
            }
        }
        if let Some(ready) = self.ready.take() {
            // Who has given the run up does not want it.
            let _ = ready.send(Ok(()));
        }
        Ok(())
    }

    async fn take(&self, watching: &mut Watching, piece: &[u8], at: Stamp) -> Result<(), InformerError> {
        lock(&self.tally).watch_bytes += piece.len() as u64;
        let mut rest = piece;
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            watching.line.extend_from_slice(&rest[..length]);
            rest = &rest[length + 1..];
            let line = std::mem::take(&mut watching.line);
            if !line.trim_ascii().is_empty() {
                self.happened(watching, object::event(&line).map_err(InformerError::NoWatch)?, at).await?;
            }
        }
        if watching.line.len() + rest.len() > self.watched.max_body {
            return Err(InformerError::TooLong(self.watched.max_body));
        }
        watching.line.extend_from_slice(rest);
        Ok(())
    }

    async fn happened(&self, watching: &mut Watching, event: Event, at: Stamp) -> Result<(), InformerError> {
        watching.event_count += 1;
        let (version, removed) = match event {
            Event::Changed(object) => {
                self.store.put(Arc::clone(&object));
                (object.version, None)
            }
            Event::Deleted(object) => {
                self.store.remove(&object);
                (object.version, Some(Arc::clone(&object.key)))
            }
            Event::Bookmark(version) => {
                self.store.advance(object::number(&version)?);
                lock(&self.tally).bookmark_count += 1;
                watching.version = version;
                return Ok(());
            }
            Event::Error { code: 410, message } => return Err(InformerError::Gone(message)),
            Event::Error { code, message } => {
                return Err(InformerError::Refused { verb: "watch", status: code, message });
            }
        };
        lock(&self.tally).event_count += 1;
        watching.version = version.to_string();
        self.tell_at(version, removed, at).await;
        Ok(())
    }

    async fn tell(&self, version: u64, removed: Option<Arc<str>>) {
        self.tell_at(version, removed, clock::now()).await;
    }

    async fn tell_at(&self, version: u64, removed: Option<Arc<str>>, at: Stamp) {
        let news = News { at, version, removed };
        // Nobody who listens is no error: the run is over.
        let _ = self.teller.send(Sight::News { informer: self.number, news }).await;
    }

    /// What a failure means for the plan; nothing where it was the first and has been told.
    fn failed(&mut self, error: InformerError) -> Option<Fault> {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(error));
            return None;
        }
        let fault = error.fault();
        let mut tally = lock(&self.tally);
        match fault {
            Fault::Gone => tally.gone_count += 1,
            Fault::Busy | Fault::Other => {
                tally.failed_count += 1;
                tally.trouble = Some(crate::model::with_causes(&error));
            }
        }
        Some(fault)
    }

    /// Makes a client of whom we trust now, and says who we are now.
    fn enter(&mut self) -> Result<Vec<(String, String)>, InformerError> {
        let door = lock(&self.door);
        let mut headers = self.watched.headers.clone();
        headers.extend(door.authorization.iter().map(|value| ("authorization".to_owned(), value.clone())));
        if self.client.as_ref().is_none_or(|(generation, _)| *generation != door.generation) {
            let (url, address) = (&self.watched.url, Some(self.watched.address));
            let place = Place { url, address, server_name: Some(&self.watched.server_name), trust: &door.trust };
            let client = HttpClient::new(place).map_err(|source| InformerError::Ask { verb: "list", source })?;
            self.client = Some((door.generation, client));
        }
        Ok(headers)
    }

    fn client(&self, verb: &'static str) -> Result<&HttpClient, InformerError> {
        let none = || InformerError::Ask { verb, source: FetchError::Timeout { limit: Duration::ZERO } };
        self.client.as_ref().map(|(_, client)| client).ok_or_else(none)
    }
}

impl Watching {
    /// The server has ended it: what is left must be nothing.
    fn end(&mut self) -> Result<(), InformerError> {
        let rest = std::mem::take(&mut self.line);
        if rest.trim_ascii().is_empty() {
            return Ok(());
        }
        object::event(&rest).map(drop).map_err(InformerError::NoWatch)
    }
}

/// When a watch that begins now is given up.
fn began_to_end(lasts: Duration) -> Stamp {
    clock::now() + lasts + GRACE
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
