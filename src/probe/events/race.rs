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
use crate::source::containerd::{ContainerdPollWatcher, ContainerdWatcher};
use crate::source::cri::{CriPollWatcher, CriWatcher};
use crate::source::docker::{EventWatcher, PollWatcher};
use crate::source::ebpf;
use crate::source::watch::{Act, Sight, Teller, Told, Watching};
use crate::sys::clock;
use crate::sys::daemon::Daemon;
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
    /// Whom it asks, and what that one had used before.
    daemon: Option<(Daemon, Duration)>,
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
    /// The acts that it is expected to tell of.
    pub tells: Vec<Act>,
    /// In the order of their arrival.
    pub sights: Vec<Sight>,
    /// Sights that were lost on the way to it, or that there was no room for.
    pub lost: u64,
    /// What else it had to say.
    pub sentences: Vec<String>,
    /// Processors that its thread kept busy.
    pub cores: f64,
    /// Processors that the daemon kept busy which it asks.
    pub daemon_cores: Option<f64>,
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
            let daemon = spec.socket(source).and_then(Daemon::behind);
            let daemon = daemon.and_then(|daemon| Some((daemon, daemon.cpu()?)));
            runners.push(Runner { source: source.clone(), unlike: spec.unlike(source), log, cpu, daemon, thread });
        }
        let race = Self { runners, collectors, began: clock::now() };
        race.until_ready().await?;
        Ok(race)
    }

    /// Ends all of them; what they told.
    pub async fn end(self) -> Vec<Account> {
        let Self { runners, mut collectors, began } = self;
        let elapsed = clock::now().since(began).as_secs_f64().max(1e-9);
        let mut ended = Vec::new();
        for Runner { source, unlike, log, cpu, daemon, thread } in runners {
            let used = daemon.and_then(|(daemon, before)| Some(daemon.cpu()?.saturating_sub(before)));
            drop(thread);
            let share = |used: Duration| used.as_secs_f64() / elapsed;
            let cores = share(Duration::from_nanos(cpu.load(Ordering::Relaxed)));
            ended.push((source, unlike, log, (cores, used.map(share))));
        }
        // The threads are over, so nobody tells any more.
        while collectors.join_next().await.is_some() {}
        let mut accounts = Vec::new();
        for (source, unlike, log, cores) in ended {
            let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
            accounts.push(account(source, unlike, log, cores));
        }
        accounts
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

fn account(source: SourceSpec, unlike: &[Act], log: Log, (cores, daemon_cores): (f64, Option<f64>)) -> Account {
    let Log { mut sights, lost, sentences, .. } = log;
    // What it knows under a name of its own is another act.
    sights.retain(|sight| !unlike.contains(&sight.act));
    let tells = source.way.tells().iter().copied().filter(|act| !unlike.contains(act)).collect();
    Account { word: source.word, tells, sights, lost, sentences, cores, daemon_cores }
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
    let of_containerd = |source| EventsError::Containerd { socket: spec.containerd_socket.clone(), source };
    let of_cri = |source| EventsError::Cri { socket: spec.cri_socket.clone(), source };
    Ok(match way {
        Way::Docker => Box::pin(EventWatcher::open(&spec.docker_socket).await.map_err(of_docker)?.watch(teller)),
        Way::Ebpf => ebpf::open()?.watch(teller),
        Way::Poll(every) => {
            Box::pin(PollWatcher::open(&spec.docker_socket, every).await.map_err(of_docker)?.watch(teller))
        }
        Way::Containerd => {
            let opened = ContainerdWatcher::open(&spec.containerd_socket, &spec.namespaces).await;
            Box::pin(opened.map_err(of_containerd)?.watch(teller))
        }
        Way::Cri => Box::pin(CriWatcher::open(&spec.cri_socket).await.map_err(of_cri)?.watch(teller)),
        Way::PollCri(every) => {
            Box::pin(CriPollWatcher::open(&spec.cri_socket, every).await.map_err(of_cri)?.watch(teller))
        }
        Way::PollContainerd(every) => {
            let opened = ContainerdPollWatcher::open(&spec.containerd_socket, &spec.namespaces, every).await;
            Box::pin(opened.map_err(of_containerd)?.watch(teller))
        }
    })
}
