//! A watcher at its work on a thread of its own: what it told, and what it cost.
//!
//! Separate from what happens meanwhile, because whoever acts must not share an event loop with those who watch, and from what is
//! made of it, which differs from measurement to measurement.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Sight, Told, Watching};
use crate::model::span::nanos;
use crate::sys::clock;
use crate::sys::daemon::Daemon;
use crate::sys::thread::{Background, go_first};

/// Words of a watcher that wait for being written down.
const ROOM: usize = 4_096;

/// Most sights kept of a source, of some 150 bytes each; beyond them they are counted.
const MOST_SIGHTS: usize = 1_000_000;

/// Most sentences kept of a source.
const MOST_SENTENCES: usize = 20;

/// Longest wait until a watcher watches, and the pause between two looks at whether it does.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(2);

/// A watcher that runs.
pub struct Runner {
    log: Arc<Mutex<Log>>,
    cpu: Arc<AtomicU64>,
    /// Whom it asks, and what that one had used before.
    daemon: Option<(Daemon, Duration)>,
    collector: JoinSet<()>,
    thread: Background,
}

/// What it told, and what that cost.
#[derive(Debug, Default)]
pub struct Account {
    /// In the order of their arrival.
    pub sights: Vec<Sight>,
    /// Sights that were lost on the way to it, or that there was no room for.
    pub lost: u64,
    /// What else it had to say.
    pub sentences: Vec<String>,
    /// Processor time of its thread.
    pub cpu: Duration,
    /// Processor time of the daemon that it asks, meanwhile.
    pub daemon_cpu: Option<Duration>,
}

#[derive(Default)]
struct Log {
    sights: Vec<Sight>,
    is_watching: bool,
    lost: u64,
    sentences: Vec<String>,
}

impl Runner {
    /// Lets a watcher begin that was opened with this end of a channel, and asks the daemon behind this socket. One that asks no
    /// daemon is woken by the kernel itself: it goes before ordinary threads where it may, for else its lag is how long those
    /// run on, and it has some microseconds to do.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(watching: Watching, words: mpsc::Receiver<Told>, asks: Option<&Path>) -> io::Result<Self> {
        let (log, cpu) = (Arc::new(Mutex::new(Log::default())), Arc::new(AtomicU64::new(0)));
        let (meter, is_of_kernel) = (Meter(Arc::clone(&cpu)), asks.is_none());
        let thread = Background::spawn("watcher", move || async move {
            let _meter = meter;
            if is_of_kernel {
                go_first();
            }
            watching.await;
        })?;
        let (kept, mut words, mut collector) = (Arc::clone(&log), words, JoinSet::new());
        collector.spawn(async move {
            while let Some(told) = words.recv().await {
                kept.lock().unwrap_or_else(PoisonError::into_inner).keep(told);
            }
        });
        let daemon = asks.and_then(Daemon::behind);
        let daemon = daemon.and_then(|daemon| Some((daemon, daemon.cpu()?)));
        Ok(Self { log, cpu, daemon, collector, thread })
    }

    /// A channel for the words of a watcher.
    #[must_use]
    pub fn channel() -> (mpsc::Sender<Told>, mpsc::Receiver<Told>) {
        mpsc::channel(ROOM)
    }

    /// Waits until it watches.
    ///
    /// # Errors
    /// With why not, where it does not.
    pub async fn ready(&self) -> Result<(), String> {
        let deadline = clock::now() + READY_WITHIN;
        while !self.log.lock().unwrap_or_else(PoisonError::into_inner).is_watching {
            if clock::now() > deadline {
                let last = self.log.lock().unwrap_or_else(PoisonError::into_inner).sentences.pop();
                return Err(last.unwrap_or_else(|| "it does not say why".to_owned()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn end(self) -> Account {
        let Self { log, cpu, daemon, mut collector, thread } = self;
        let daemon_cpu = daemon.and_then(|(daemon, before)| Some(daemon.cpu()?.saturating_sub(before)));
        drop(thread);
        // The thread is over, so nobody tells any more.
        while collector.join_next().await.is_some() {}
        let Log { sights, lost, sentences, .. } =
            std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        Account { sights, lost, sentences, cpu: Duration::from_nanos(cpu.load(Ordering::Relaxed)), daemon_cpu }
    }
}

/// Keeps what its thread has used when it ends there.
struct Meter(Arc<AtomicU64>);

impl Drop for Meter {
    fn drop(&mut self) {
        self.0.store(nanos(clock::thread_cpu()), Ordering::Relaxed);
    }
}

impl Log {
    fn keep(&mut self, told: Told) {
        match told {
            Told::Watching => self.is_watching = true,
            Told::Saw(sight) if self.sights.len() < MOST_SIGHTS => self.sights.push(sight),
            Told::Saw(_) => self.lost += 1,
            Told::Lost(count) => self.lost += count,
            Told::Trouble(text) | Told::Odd(text) => {
                if self.sentences.len() < MOST_SENTENCES && !self.sentences.contains(&text) {
                    self.sentences.push(text);
                }
            }
        }
    }
}
