//! The sources at their work: each on a thread of its own, with what it told and what it cost.
//!
//! Separate from what happens meanwhile, because whoever acts must not share an event loop with those who watch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::EventsError;
use super::spec::{EventsSpec, SourceSpec, Way};
use crate::model::Stamp;
use crate::source::containerd::ContainerdWatcher;
use crate::source::docker::{EventWatcher, PollWatcher};
use crate::source::ebpf;
use crate::source::watch::{Act, Sight, Teller, Told, Watching};
use crate::sys::clock;
use crate::sys::thread::Background;

/// Words of a watcher that wait for being written down.
const ROOM: usize = 4_096;

/// Most sights kept of a source, of some 150 bytes each; beyond them they are counted.
const MOST_SIGHTS: usize = 1_000_000;

/// Most sentences kept of a source.
const MOST_SENTENCES: usize = 20;

/// Longest wait until every source watches.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Pause between two looks at whether they do.
const LOOK: Duration = Duration::from_millis(2);

/// Sources that race.
pub struct Race {
    runners: Vec<Runner>,
    collectors: JoinSet<()>,
    began: Stamp,
}

struct Runner {
    source: SourceSpec,
    unlike: &'static [Act],
    log: Arc<Mutex<Log>>,
    cpu: Arc<AtomicU64>,
    thread: Background,
}

#[derive(Default)]
struct Log {
    sights: Vec<Sight>,
    is_watching: bool,
    lost: u64,
    sentences: Vec<String>,
}

/// What a source told, and what it cost.
#[derive(Debug)]
pub struct Account {
    /// The source, as typed.
    pub word: String,
    /// The acts that it is not asked for, because it knows others under their names.
    pub unlike: &'static [Act],
    /// What it means.
    pub way: Way,
    /// In the order of their arrival.
    pub sights: Vec<Sight>,
    /// Sights that were lost on the way to it, or that there was no room for.
    pub lost: u64,
    /// What else it had to say.
    pub sentences: Vec<String>,
    /// Processors that its thread kept busy.
    pub cores: f64,
}

impl Race {
    /// Opens all sources, and lets them begin.
    ///
    /// # Errors
    /// When one of them cannot watch.
    pub async fn begin(spec: &EventsSpec) -> Result<Self, EventsError> {
        let (mut runners, mut collectors) = (Vec::new(), JoinSet::new());
        for source in &spec.sources {
            let (sender, mut words) = mpsc::channel(ROOM);
            let watching = open(source.way, spec, sender).await?;
            let (log, cpu) = (Arc::new(Mutex::new(Log::default())), Arc::new(AtomicU64::new(0)));
            let meter = Meter(Arc::clone(&cpu));
            let thread = Background::spawn("watcher", move || async move {
                let _meter = meter;
                watching.await;
            });
            let thread = thread.map_err(EventsError::Thread)?;
            let kept = Arc::clone(&log);
            collectors.spawn(async move {
                while let Some(told) = words.recv().await {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).keep(told);
                }
            });
            runners.push(Runner { source: source.clone(), unlike: spec.unlike(source), log, cpu, thread });
        }
        let race = Self { runners, collectors, began: clock::now() };
        race.until_ready().await?;
        Ok(race)
    }

    /// Ends all of them; what they told.
    pub async fn end(self) -> Vec<Account> {
        let Self { runners, mut collectors, began } = self;
        let elapsed = clock::now().since(began).as_secs_f64().max(1e-9);
        let mut accounts = Vec::new();
        for Runner { source, unlike, log, cpu, thread } in runners {
            drop(thread);
            accounts.push((source, unlike, log, cpu));
        }
        // The threads are over, so nobody tells any more.
        while collectors.join_next().await.is_some() {}
        let account = |(source, unlike, log, cpu): (SourceSpec, &'static [Act], Arc<Mutex<Log>>, Arc<AtomicU64>)| {
            let mut log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
            log.sights.retain(|sight| !unlike.contains(&sight.act));
            let cores = cpu.load(Ordering::Relaxed) as f64 / 1e9 / elapsed;
            Account {
                word: source.word,
                way: source.way,
                unlike,
                sights: log.sights,
                lost: log.lost,
                sentences: log.sentences,
                cores,
            }
        };
        accounts.into_iter().map(account).collect()
    }

    async fn until_ready(&self) -> Result<(), EventsError> {
        let deadline = clock::now() + READY_WITHIN;
        let is_silent = |runner: &&Runner| !runner.log.lock().unwrap_or_else(PoisonError::into_inner).is_watching;
        while let Some(silent) = self.runners.iter().find(is_silent) {
            if clock::now() > deadline {
                let mut log = silent.log.lock().unwrap_or_else(PoisonError::into_inner);
                let why = log.sentences.pop().unwrap_or_else(|| "it does not say why".to_owned());
                return Err(EventsError::NotReady { word: silent.source.word.clone(), why });
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Keeps what its thread has used when it ends there.
struct Meter(Arc<AtomicU64>);

impl Drop for Meter {
    fn drop(&mut self) {
        self.0.store(clock::thread_cpu().as_nanos() as u64, Ordering::Relaxed);
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

async fn open(way: Way, spec: &EventsSpec, teller: Teller) -> Result<Watching, EventsError> {
    let of_docker = |error| EventsError::engine(&spec.docker_socket, error);
    Ok(match way {
        Way::Docker => Box::pin(EventWatcher::open(&spec.docker_socket).await.map_err(of_docker)?.watch(teller)),
        Way::Ebpf => ebpf::open()?.watch(teller),
        Way::Poll(every) => {
            Box::pin(PollWatcher::open(&spec.docker_socket, every).await.map_err(of_docker)?.watch(teller))
        }
        Way::Containerd => {
            let socket = &spec.containerd_socket;
            let opened = ContainerdWatcher::open(socket, &spec.namespaces).await;
            let of_containerd = |source| EventsError::Containerd { socket: socket.clone(), source };
            Box::pin(opened.map_err(of_containerd)?.watch(teller))
        }
    })
}
