//! The sources at their work, each by its own way of being opened, with what it told and what it cost.
//!
//! Separate from what happens meanwhile, because whoever acts must not share an event loop with those who watch.

use super::EventsError;
use super::spec::{EventsSpec, SourceSpec, Way};
use crate::model::Stamp;
use crate::source::containerd::{ContainerdPollWatcher, ContainerdWatcher};
use crate::source::cri::{CriPollWatcher, CriWatcher};
use crate::source::docker::{EventWatcher, PollWatcher};
use crate::source::ebpf;
use crate::source::watch::{Account as Told, Act, Runner, Sight, Teller, Watching};
use crate::sys::clock;

/// Sources that race.
pub struct Race {
    runners: Vec<(SourceSpec, &'static [Act], Runner)>,
    began: Stamp,
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
        let mut runners = Vec::new();
        for source in &spec.sources {
            let (sender, words) = Runner::channel();
            let watching = open(source.way, spec, sender).await?;
            let runner = Runner::start(watching, words, spec.socket(source)).map_err(EventsError::Thread)?;
            runners.push((source.clone(), spec.unlike(source), runner));
        }
        let race = Self { runners, began: clock::now() };
        for (source, _, runner) in &race.runners {
            let not_ready = |why| EventsError::NotReady { word: source.word.clone(), why };
            runner.ready().await.map_err(not_ready)?;
        }
        Ok(race)
    }

    /// Ends all of them; what they told.
    pub async fn end(self) -> Vec<Account> {
        let elapsed = clock::now().since(self.began).as_secs_f64().max(1e-9);
        let mut accounts = Vec::new();
        for (source, unlike, runner) in self.runners {
            let mut told = runner.end().await;
            // What it knows under a name of its own is another act.
            told.sights.retain(|sight| !unlike.contains(&sight.act));
            let tells = source.way.tells().iter().copied().filter(|act| !unlike.contains(act)).collect();
            let cores = told.cpu.as_secs_f64() / elapsed;
            let daemon_cores = told.daemon_cpu.map(|used| used.as_secs_f64() / elapsed);
            let Told { sights, lost, sentences, .. } = told;
            accounts.push(Account { word: source.word, tells, sights, lost, sentences, cores, daemon_cores });
        }
        accounts
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
