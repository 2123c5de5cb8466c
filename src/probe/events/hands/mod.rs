//! Who does what is done: an engine, a runtime by CRI, or the kernel alone with plain processes in control groups of our own.
//!
//! Separate from what is done and when, which is the same for all. Each thing of ours bears the mark of this process, so that the
//! next run finds what a killed one left; what bears no mark is never touched.

mod docker;
mod pods;

use std::time::Duration;

use self::docker::Containers;
use self::pods::Pods;
use super::EventsError;
use super::spec::{By, EventsSpec, Own};
use crate::model::{Outcome, Stamp, Warning, with_causes, words};
use crate::source::docker::EngineError;
use crate::source::image::PROGRAM;
use crate::source::line::LineError;
use crate::sys::clock;
use crate::sys::held_groups::HeldGroups;
use crate::sys::own_group::GroupError;

/// How much longer than meant a container lives by itself where nobody kills it.
const SPARE: Duration = Duration::from_secs(60);

/// Something that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// By an engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// By the kernel.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// By a runtime.
    #[error(transparent)]
    Runtime(#[from] LineError),
}

impl HandError {
    /// With its causes, in one line.
    pub fn told(&self) -> String {
        with_causes(self)
    }

    /// What it makes of an attempt.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Engine(EngineError::Refused { .. }) => Outcome::Error("engine_refused"),
            Self::Engine(EngineError::Connect(_) | EngineError::NoSocket(_)) => Outcome::Refused,
            Self::Engine(_) => Outcome::Failed("engine_broke_off"),
            Self::Runtime(LineError::Refused(_)) => Outcome::Error("runtime_refused"),
            Self::Runtime(error) if error.is_absent() => Outcome::Refused,
            Self::Runtime(_) => Outcome::Failed("runtime_broke_off"),
            Self::Group(_) => Outcome::Failed("group_failed"),
        }
    }
}

/// A step of the making of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Its image is pulled.
    Pull,
    /// Its sandbox is made, with its network.
    Sandbox,
    /// Its container is made.
    Create,
    /// Its container is started.
    Start,
}

words!(Step { Pull = "pull", Sandbox = "sandbox", Create = "create", Start = "start" });

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Pull, Self::Sandbox, Self::Create, Self::Start];
}

/// A container that was made and not started.
pub struct Made {
    /// Its id.
    pub id: String,
    /// When it was called for, and nothing but it.
    pub called: Stamp,
    /// What had to be done before, and how long that took.
    pub steps: Vec<(Step, Duration)>,
}

/// Whose hands.
#[derive(Clone)]
pub enum Hands {
    /// Those of a Docker Engine.
    Docker(Containers),
    /// Our own.
    Groups(HeldGroups),
    /// Those of a runtime.
    Pods(Pods),
}

/// What takes a millisecond with groups is done at once: those who watch have threads of their own.
impl Hands {
    /// Removes what killed runs left, and makes ready to act; with the warnings about that.
    ///
    /// # Errors
    /// When whoever is to act cannot be reached.
    pub async fn open(spec: &EventsSpec, own: &Own) -> Result<(Self, Vec<Warning>), EventsError> {
        let run = format!("{:016x}", clock::entropy());
        Ok(match own.by {
            By::Docker => {
                let (hand, warnings) = Containers::open(&spec.docker_socket, own, &run).await?;
                (Self::Docker(hand), warnings)
            }
            By::Cri => {
                let (hand, warnings) = Pods::open(&spec.cri_socket, own, &run).await?;
                (Self::Pods(hand), warnings)
            }
            By::Cgroup => {
                let (groups, removed) = HeldGroups::open()?;
                let warnings = removed.into_iter().map(|text| Warning::new("leftover", text)).collect();
                (Self::Groups(groups), warnings)
            }
        })
    }

    /// Brings the image, if it is to be one of ours. Whatever comes of it, [`Hands::clear`] removes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self) -> Result<(), EventsError> {
        match self {
            Self::Docker(hand) => hand.prepare().await,
            Self::Groups(_) | Self::Pods(_) => Ok(()),
        }
    }

    /// Makes a container, with all that it needs.
    pub async fn create(&self) -> Result<Made, HandError> {
        match self {
            Self::Docker(hand) => {
                let called = clock::now();
                Ok(Made { id: hand.create().await?, called, steps: Vec::new() })
            }
            Self::Groups(groups) => {
                let called = clock::now();
                Ok(Made { id: groups.create(format!("{:016x}", clock::entropy()))?, called, steps: Vec::new() })
            }
            Self::Pods(pods) => pods.create().await,
        }
    }

    /// Starts it.
    pub async fn start(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.own.engine.start(id).await?),
            Self::Groups(groups) => Ok(groups.start(id)?),
            Self::Pods(pods) => Ok(pods.runtime.start(id).await?),
        }
    }

    /// Kills it.
    pub async fn kill(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.own.engine.kill(id).await?),
            Self::Groups(groups) => Ok(groups.kill(id)?),
            Self::Pods(pods) => Ok(pods.runtime.kill(id).await?),
        }
    }

    /// Removes it.
    pub async fn remove(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.own.engine.remove(id).await?),
            Self::Groups(groups) => Ok(groups.remove(id)?),
            Self::Pods(pods) => Ok(pods.runtime.remove(id).await?),
        }
    }

    /// Removes what was made for it, now that it is gone.
    pub async fn tidy(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(_) | Self::Groups(_) => Ok(()),
            Self::Pods(pods) => pods.tidy(id).await,
        }
    }

    /// Whether a container that was killed is shown to have been started and to have ended.
    pub async fn has_lived(&self, id: &str) -> bool {
        match self {
            Self::Docker(hand) => hand.has_lived(id).await,
            // Its process was waited for.
            Self::Groups(_) => true,
            Self::Pods(pods) => pods.runtime.life(id).await.iter().all(Option::is_some),
        }
    }

    /// Whether the making of a container has steps that are told.
    pub const fn has_steps(&self) -> bool {
        matches!(self, Self::Pods(_))
    }

    /// Removes everything of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.own.clear().await?),
            Self::Groups(groups) => {
                groups.clear();
                Ok(())
            }
            Self::Pods(pods) => Ok(pods.runtime.clear().await?),
        }
    }
}

/// What a container of ours runs: for as long as it is to live and longer, so that one that nobody kills ends even so.
fn command_of(own: &Own) -> Vec<String> {
    let seconds = (own.alive + SPARE).as_secs().to_string();
    let program = own.image.is_none().then(|| format!("/{PROGRAM}"));
    program.into_iter().chain(["sleep".to_owned(), seconds]).collect()
}
