//! The same acts on containers as every source tells of them, raced on one clock.
//!
//! ## Question
//! A container was started, or ended: which source knew it first, by how much, and which sources lose some of it?
//!
//! ## Timed
//! From the call that makes, starts, kills or removes a container of our own (`events.since_act`) to the moment when this
//! process has read what a source says of it. Every source has a thread and an event loop of its own, apart from the one that
//! acts. Making the image, opening the sources and removing what is left are outside.
//!
//! ## Needs
//! A Docker Engine and the right to its socket; for an image without a registry a static busybox on this host. `containerd` and `cri`
//! need their socket, which is root's; `ebpf` Linux 5.8 with BTF, and CAP_BPF with CAP_PERFMON; `--act cgroup` no engine, and a tree of control
//! groups that it may write to.
//!
//! ## Blind spots
//! The engine's own work between the call and the act is inside of `events.since_act`: without a source of kernel stamps nobody
//! knows when the process really began. Sources that ask one engine share it: a list each 10 ms makes it slower for all. A
//! container of ours lies ended for one second before it is removed; one that is removed at once is missed by more lists. With
//! `--watch`, what no source told did not happen.

mod act;
mod assemble;
mod correlate;
mod hands;
mod layout;
mod metrics;
mod race;
mod spec;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use hands::HandError;
pub use metrics::MEASUREMENT;
pub use spec::{
    By, Deed, EventsSpec, Own, SourceSpec, SpecError, USUAL_CONTAINERD, USUAL_CRI, USUAL_NAMESPACES, USUAL_SOCKET, Way,
    socket_of,
};

use self::act::{Actor, Book};
use self::assemble::assemble;
use self::race::Race;
use crate::load::{DriverError, Lane, LaneRecord, Session};
use crate::model::span::nanos;
use crate::model::{Labels, Measured, Series, Warning, with_causes};
use crate::source::cri::RegistryError;
use crate::source::docker::EngineError;
use crate::source::ebpf::EbpfError;
use crate::source::image::ImageError;
use crate::source::line::LineError;
use crate::source::watch::Act;
use crate::sys::clock;
use crate::sys::own_group::GroupError;

/// How long is waited for the last words of the sources, beyond a whole span between two lists.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The engine is not there, or not for us.
    #[error("Docker at `{}` cannot be asked", socket.display())]
    Engine {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// Containerd is not there, or not for us.
    #[error("containerd at `{}` cannot be asked", socket.display())]
    Containerd {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why.
        #[source]
        source: LineError,
    },
    /// No runtime serves CRI there, or not to us.
    #[error("the runtime at `{}` cannot be asked by CRI", socket.display())]
    Cri {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why.
        #[source]
        source: LineError,
    },
    /// There is nothing to pull images from.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is nothing to make an image of.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine does not take it.
    #[error("the image of the containers could not be made")]
    Import(#[source] HandError),
    /// The kernel tells us nothing.
    #[error("the kernel cannot be asked by eBPF")]
    Ebpf(#[from] EbpfError),
    /// There are no control groups for us.
    #[error("there are no control groups to act in")]
    Groups(#[from] GroupError),
    /// Not one container came to life.
    #[error("no container could be started: {0}")]
    Nothing(String),
    /// A source does not begin.
    #[error("the source `{word}` does not begin to watch: {why}")]
    NotReady {
        /// Which.
        word: String,
        /// Why.
        why: String,
    },
    /// No thread for a source.
    #[error("no thread for a source")]
    Thread(#[source] io::Error),
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl EventsError {
    fn engine(socket: &Path, source: EngineError) -> Self {
        Self::Engine { socket: socket.to_owned(), source }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Engine { source: EngineError::Connect(error), .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "become a member of the group of its socket, often `docker`, or root"
                }
                _ => "start the engine, or name its socket with --docker-host or DOCKER_HOST",
            },
            Self::Engine { source: EngineError::NoSocket(_), .. } => {
                "name its socket with --docker-host or DOCKER_HOST"
            }
            Self::Ebpf(error) => return error.hint().unwrap_or_default().into(),
            Self::Groups(error) => return error.hint().unwrap_or_default().into(),
            Self::Containerd { source: LineError::Connect(error), .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => "its socket is root's: run this as root",
                _ => "start it, or name its socket with --containerd or CONTAINERD_ADDRESS",
            },
            Self::Containerd { source: LineError::NoSocket(_), .. } => {
                "name its socket with --containerd or CONTAINERD_ADDRESS"
            }
            Self::Cri { source: LineError::Connect(error), .. } if error.kind() != io::ErrorKind::PermissionDenied => {
                "start it, or name its socket with --cri or CONTAINER_RUNTIME_ENDPOINT"
            }
            Self::Cri { source: LineError::Connect(_), .. } => "its socket is root's: run this as root",
            Self::Cri { source: LineError::NoSocket(_), .. } => {
                "name its socket with --cri or CONTAINER_RUNTIME_ENDPOINT"
            }
            Self::Cri { source, .. } if source.is_unknown_method() => {
                "it serves no CRI v1: containerd does where its plugin `cri` is not disabled (`disabled_plugins` in its config.toml), and CRI-O does"
            }
            Self::Image(_) | Self::Registry(RegistryError::Image(_)) => "install busybox-static, or take an image that the engine has with --image NAME",
            Self::Nothing(_) => "is there an image of that name, and has it the program `sleep`?",
            _ => "see `offloadctl probe events --help`",
        }
        .into()
    }
}

/// Measures until the end of the spec, or until the user stops it.
///
/// # Errors
/// When a source cannot watch, or no container can be made.
pub async fn measure(spec: &EventsSpec, session: &mut Session<'_>) -> Result<Measured, EventsError> {
    match &spec.deed {
        Deed::Own(own) => act(spec, own, session).await,
        Deed::Watch { duration } => watch(spec, *duration, session).await,
    }
}

/// Watches what happens anyway.
async fn watch(spec: &EventsSpec, duration: Duration, session: &mut Session<'_>) -> Result<Measured, EventsError> {
    let Some(race) = session.prepare(Race::begin(spec)).await else { return Ok(Measured::default()) };
    let race = race?;
    let steps = session.steps(duration.as_secs().max(1));
    let waiting = async {
        let mut rest = duration;
        while !rest.is_zero() && !steps.is_over() {
            let step = rest.min(Duration::from_secs(1));
            tokio::time::sleep(step).await;
            rest -= step;
            steps.advance(1);
        }
    };
    let shutdown = session.shutdown();
    let cut_short = async {
        tokio::select! {
            () = waiting => {}
            () = shutdown.requested() => {}
        }
    };
    session.watch(&steps, cut_short, Measured::default).await;
    let mut measured = assemble(None, &race.end().await);
    measured.interrupted = session.is_over();
    Ok(measured)
}

/// Makes containers, and removes everything of ours whatever happens.
async fn act(spec: &EventsSpec, own: &Own, session: &mut Session<'_>) -> Result<Measured, EventsError> {
    let Some(opened) = session.prepare(Actor::open(spec, own)).await else {
        return Ok(Measured::default());
    };
    let (actor, leftovers) = opened?;
    let lane = Lane { operation: actor, name: "events.launch", labels: Labels::new(), floor: false, reference: None };
    let lanes = [lane];
    let made = make(spec, own, &lanes, session).await;
    let cleared = lanes[0].operation.clear().await;
    let mut measured = made?;
    measured.warnings.splice(0..0, leftovers);
    if let Err(error) = cleared {
        measured.bad.push(format!(
            "what was made could not all be removed ({}); the next run at this engine removes it",
            with_causes(&error)
        ));
    }
    Ok(measured)
}

async fn make(
    spec: &EventsSpec,
    own: &Own,
    lanes: &[Lane<Actor>; 1],
    session: &mut Session<'_>,
) -> Result<Measured, EventsError> {
    let actor = &lanes[0].operation;
    let begin = async {
        actor.prepare().await?;
        Race::begin(spec).await
    };
    let Some(race) = session.prepare(begin).await else { return Ok(Measured::default()) };
    let race = race?;
    let load = session.drive(lanes, &own.load).await?;
    let shutdown = session.shutdown();
    tokio::select! {
        () = actor.outlive() => {
            tokio::select! {
                () = tokio::time::sleep(spec.longest_poll() + LAST_WORDS) => {}
                () = shutdown.requested() => {}
            }
        }
        () = shutdown.requested() => {}
    }
    let (ended, accounts) = (clock::now(), race.end().await);
    let mut book = actor.book();
    if session.is_over() {
        // The sources had no time to tell of the last ones.
        let until = ended.as_nanos().saturating_sub(nanos(spec.longest_poll() + LAST_WORDS));
        book.truths.retain(|truth| truth.called.as_nanos() < until);
    }
    if !book.faults.is_empty() && !book.truths.iter().any(|truth| truth.act == Act::Start) {
        return Err(EventsError::Nothing(book.faults.join("; ")));
    }
    let mut measured = assemble(Some(&book), &accounts);
    let launches: Vec<Series> = load.lanes.into_iter().flat_map(LaneRecord::into_series).collect();
    measured.series.splice(0..0, launches);
    measured.interrupted = session.is_over();
    measured.warnings.extend(faults(&book));
    Ok(measured)
}

/// What could not be done.
fn faults(book: &Book) -> impl Iterator<Item = Warning> {
    book.faults.iter().map(|text| Warning::new("act_failed", text))
}
