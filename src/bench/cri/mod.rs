//! How late a kubelet knows that a container started or ended, by how often it asks its runtime, and what asking costs.
//!
//! ## Question
//! A container started or died: after how long does whoever asks the runtime for its lists each so often know, is that what the
//! closed formula says, what does the asking cost the runtime as containers become more, and what would its events change?
//!
//! ## Timed
//! From the moment at which the runtime says that a container was started, or ended, to the moment at which the answer that shows
//! it was read (`cri.detection`). Each watcher has a thread, an event loop and a connection of its own. `cri.list` is the two
//! questions of a relist, one after the other. Making Pods and pulling their image are outside.
//!
//! ## Needs
//! A runtime that serves CRI v1 and the right to its socket, which is root's; for an image without a registry a static busybox.
//!
//! ## Blind spots
//! A kubelet does more after its lists than we do: it asks for the status of each Pod that changed, one after another. The runtime's
//! own stamp of a start is taken when it has told its events of it, so an event may come before the start by that stamp: it
//! counts as known at once. Containers that stand by sleep; ten share a Pod, so lists have fewer Pods than a node would.

mod act;
mod assemble;
mod bed;
mod evaluate;
mod layout;
mod metrics;
mod spec;
mod watcher;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

pub use metrics::MEASUREMENT;
pub use spec::CriSpec;

use self::act::Acts;
use self::bed::Bed;
use self::watcher::Watchers;
use crate::load::{DriverError, Lane, LaneRecord, Session};
use crate::model::{Labels, Measured, with_causes};
use crate::source::cri::RegistryError;
use crate::source::image::ImageError;
use crate::source::line::LineError;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// No runtime serves CRI there, or not to us.
    #[error("the runtime at `{}` cannot be asked by CRI", socket.display())]
    Runtime {
        /// Where it was looked for.
        socket: PathBuf,
        /// Why.
        #[source]
        source: LineError,
    },
    /// There is nothing to pull an image from.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A watcher does not begin.
    #[error("the watcher `{word}` does not begin: {why}")]
    NotReady {
        /// Which.
        word: String,
        /// Why.
        why: String,
    },
    /// No thread for a watcher.
    #[error("no thread for a watcher")]
    Thread(#[source] io::Error),
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Not one container came to life.
    #[error("no container could be started: {0}")]
    Nothing(String),
}

impl CriError {
    fn runtime(socket: &Path, source: LineError) -> Self {
        Self::Runtime { socket: socket.to_owned(), source }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Runtime { source: LineError::Connect(error), .. } => match error.kind() {
                io::ErrorKind::PermissionDenied => "its socket is root's: run this as root",
                _ => "start it, or name its socket with --cri or CONTAINER_RUNTIME_ENDPOINT",
            },
            Self::Runtime { source, .. } if source.is_unknown_method() => {
                "it serves no CRI v1: containerd does where its plugin `cri` is not disabled (`disabled_plugins` in its config.toml), and CRI-O does"
            }
            Self::Runtime { source: LineError::NoSocket(_), .. } => {
                "name its socket with --cri or CONTAINER_RUNTIME_ENDPOINT"
            }
            Self::Registry(RegistryError::Image(ImageError::Missing | ImageError::Dynamic(_))) => {
                "install busybox-static, or take an image that the runtime can pull with --image NAME"
            }
            _ => "see `offloadctl bench cri --help`",
        }
        .into()
    }
}

/// Measures at each number of containers, until the end of the spec or until the user stops it.
///
/// # Errors
/// When the runtime cannot be asked, or no container can be made.
pub async fn measure(spec: &CriSpec, session: &mut Session<'_>) -> Result<Measured, CriError> {
    let Some(opened) = session.prepare(Bed::open(spec)).await else { return Ok(Measured::stopped()) };
    let (mut bed, leftovers) = opened?;
    let made = levels(spec, &mut bed, session).await;
    let cleared = bed.clear().await;
    let mut measured = made?;
    measured.warnings.splice(0..0, leftovers);
    if let Err(error) = cleared {
        measured.bad.push(format!(
            "what was made could not all be removed ({}); the next run at this runtime removes it",
            with_causes(&error)
        ));
    }
    measured.findings.extend(evaluate::findings(&measured));
    Ok(measured)
}

async fn levels(spec: &CriSpec, bed: &mut Bed, session: &mut Session<'_>) -> Result<Measured, CriError> {
    let mut all = Measured::default();
    let Some(prepared) = session.prepare(bed.prepare()).await else { return Ok(Measured::stopped()) };
    prepared?;
    for count in &spec.containers {
        session.stage(&format!("{count} containers"));
        let Some(grown) = session.prepare(bed.grow(*count)).await else { break };
        grown?;
        let level = level(spec, bed, *count, session).await?;
        all = all.and(level);
        if session.is_over() {
            break;
        }
    }
    all.interrupted |= session.is_over();
    Ok(all)
}

/// Everything at one number of containers.
async fn level(spec: &CriSpec, bed: &Bed, count: u32, session: &mut Session<'_>) -> Result<Measured, CriError> {
    let Some(lists) = session.prepare(bed.lists()).await else { return Ok(Measured::stopped()) };
    let lists = lists?;
    let Some(watchers) = session.prepare(Watchers::begin(spec)).await else { return Ok(Measured::stopped()) };
    let watchers = watchers?;
    let acts = bed.pod.as_ref().map(|pod| Acts::new(spec, bed, pod));
    let Some(acts) = acts else { return Ok(Measured::stopped()) };
    let labels = Labels::new().with("containers", &count.to_string());
    let lane = Lane { operation: acts, name: "cri.launch", labels, floor: false, reference: None };
    let lanes = [lane];
    let load = session.drive(&lanes, &spec.load).await?;
    let acts = &lanes[0].operation;
    let shutdown = session.shutdown();
    tokio::select! {
        () = acts.outlive() => {}
        () = shutdown.requested() => acts.stop(),
    }
    let told = watchers.end().await;
    let (lives, faults) = acts.book();
    if lives.is_empty() && !session.is_over() {
        return Err(CriError::Nothing(faults.join("; ")));
    }
    session.keep(&load.lanes);
    let mut measured = assemble::level(count, &lists, &lives, &told);
    measured.series.splice(0..0, load.lanes.into_iter().flat_map(LaneRecord::into_series));
    measured.warnings.extend(assemble::warnings(&told, &faults));
    Ok(measured)
}
