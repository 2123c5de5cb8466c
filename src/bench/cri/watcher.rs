//! Those who watch: one for each span between two relists, and one for events.
//!
//! Separate from what they are asked about. A runtime without events of CRI is watched by containerd's own, where it is containerd.

use std::time::Duration;

use super::CriError;
use super::spec::{CriSpec, EVENTS, relist_word};
use crate::model::Stamp;
use crate::source::containerd::ContainerdWatcher;
use crate::source::cri::{CriPollWatcher, CriWatcher, Runtime};
use crate::source::line::LineError;
use crate::source::watch::{Account, Runner, Watching};
use crate::sys::clock;

/// The namespace of containerd in which it does what CRI asks of it.
const NAMESPACE: &str = "k8s.io";

/// Watchers at their work.
pub struct Watchers {
    runners: Vec<(Watcher, Runner)>,
    /// What had to be said at the beginning.
    notes: Vec<String>,
    began: Stamp,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Its word, which is its label.
    pub word: String,
    /// How often it asks for the lists, where it does.
    pub every: Option<Duration>,
}

/// What all of them told.
pub struct Told {
    /// Each with what it told.
    pub accounts: Vec<(Watcher, Account)>,
    /// What had to be said.
    pub notes: Vec<String>,
    /// For how long they watched.
    pub elapsed: Duration,
}

impl Watchers {
    /// Opens all of them, and waits until they watch.
    ///
    /// # Errors
    /// When one of them cannot.
    pub async fn begin(spec: &CriSpec) -> Result<Self, CriError> {
        let unable = |error| CriError::runtime(&spec.cri_socket, error);
        let (mut runners, mut notes) = (Vec::new(), Vec::new());
        let start = |watcher: Watcher, watching: Watching, words| {
            let runner = Runner::start(watching, words, Some(&spec.cri_socket)).map_err(CriError::Thread)?;
            Ok::<_, CriError>((watcher, runner))
        };
        for every in &spec.relists {
            let (teller, words) = Runner::channel();
            let opened = CriPollWatcher::open(&spec.cri_socket, *every).await.map_err(unable)?;
            let watcher = Watcher { word: relist_word(*every), every: Some(*every) };
            runners.push(start(watcher, Box::pin(opened.watch(teller)), words)?);
        }
        if spec.events {
            let (teller, words) = Runner::channel();
            let watcher = Watcher { word: EVENTS.to_owned(), every: None };
            match events(spec, teller, &mut notes).await.map_err(unable)? {
                Some(watching) => runners.push(start(watcher, watching, words)?),
                None => notes.push("this runtime tells no events, of CRI or others that we know".to_owned()),
            }
        }
        let watchers = Self { runners, notes, began: clock::now() };
        for (watcher, runner) in &watchers.runners {
            let not_ready = |why| CriError::NotReady { word: watcher.word.clone(), why };
            runner.ready().await.map_err(not_ready)?;
        }
        Ok(watchers)
    }

    /// Ends all of them.
    pub async fn end(self) -> Told {
        let elapsed = clock::now().since(self.began);
        let mut accounts = Vec::new();
        for (watcher, runner) in self.runners {
            accounts.push((watcher, runner.end().await));
        }
        Told { accounts, notes: self.notes, elapsed }
    }
}

/// The best events that there are.
async fn events(
    spec: &CriSpec,
    teller: crate::source::watch::Teller,
    notes: &mut Vec<String>,
) -> Result<Option<Watching>, LineError> {
    let (runtime, version) = Runtime::open(&spec.cri_socket).await?;
    if runtime.has_events().await? {
        return Ok(Some(Box::pin(CriWatcher::open(&spec.cri_socket).await?.watch(teller))));
    }
    let without = format!("{} {} has no GetContainerEvents (it answers UNIMPLEMENTED)", version.name, version.version);
    Ok(match ContainerdWatcher::open(&spec.cri_socket, &[NAMESPACE.to_owned()]).await {
        Ok(watcher) => {
            notes
                .push(format!("{without}: the events beside the relists are containerd's own, which no kubelet takes"));
            Some(Box::pin(watcher.watch(teller)))
        }
        Err(error) if error.is_unknown_method() => {
            notes.push(without);
            None
        }
        Err(error) => return Err(error),
    })
}
