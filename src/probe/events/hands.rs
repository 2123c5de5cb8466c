//! Who does what is done: an engine, or the kernel alone with plain processes in control groups of our own.
//!
//! Separate from what is done and when, which is the same for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Outcome, with_causes};
use crate::source::docker::{EngineError, Hand, Labelled};
use crate::sys::clock;
use crate::sys::own_group::{GroupError, OwnGroup, OwnGroups};

/// Something that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// By an engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// By the kernel.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// There is no such container any more.
    #[error("there is no control group `{0}` of ours any more")]
    Gone(String),
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
            Self::Group(_) | Self::Gone(_) => Outcome::Failed("group_failed"),
        }
    }
}

/// Whose hands.
#[derive(Clone)]
pub enum Hands {
    /// Those of a Docker Engine.
    Docker(Hand),
    /// Our own.
    Groups(Groups),
}

/// Groups of ours by their names, which are the ids of what stands for containers.
#[derive(Clone)]
pub struct Groups(Arc<Mutex<Held>>);

struct Held {
    /// Dropped before the folder that they are in.
    groups: HashMap<String, OwnGroup>,
    folder: OwnGroups,
    run: u64,
    count: u64,
}

impl Groups {
    /// Makes a folder for them; with what was removed that killed runs had left.
    ///
    /// # Errors
    /// Where this process can make none.
    pub fn open() -> Result<(Self, Vec<String>), GroupError> {
        let (folder, removed) = OwnGroups::make()?;
        let held = Held { groups: HashMap::new(), folder, run: clock::entropy(), count: 0 };
        Ok((Self(Arc::new(Mutex::new(held))), removed))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Held) -> Result<T, HandError>) -> Result<T, HandError> {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn group(&mut self, id: &str) -> Result<&mut OwnGroup, HandError> {
        self.groups.get_mut(id).ok_or_else(|| HandError::Gone(id.to_owned()))
    }
}

/// What takes a millisecond with groups is done at once: those who watch have threads of their own.
impl Hands {
    /// Brings an image, where there are any.
    pub async fn import(&self, name: &str, archive: Vec<u8>, labels: &[(&str, &str)]) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.import(name, archive, labels).await?),
            Self::Groups(_) => Ok(()),
        }
    }

    /// Makes a container; its id.
    pub async fn create(&self, image: &str, command: &[&str], labels: &[(&str, &str)]) -> Result<String, HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.create(image, command, labels).await?),
            Self::Groups(groups) => groups.with(|held| {
                held.count += 1;
                let id = format!("{:016x}-{}", held.run, held.count);
                let group = held.folder.create(&id)?;
                held.groups.insert(id.clone(), group);
                Ok(id)
            }),
        }
    }

    /// Starts it.
    pub async fn start(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.start(id).await?),
            Self::Groups(groups) => groups.with(|held| Ok(held.group(id)?.start()?)),
        }
    }

    /// Kills it.
    pub async fn kill(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.kill(id).await?),
            Self::Groups(groups) => groups.with(|held| Ok(held.group(id)?.end()?)),
        }
    }

    /// Removes it.
    pub async fn remove(&self, id: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.remove(id).await?),
            Self::Groups(groups) => groups.with(|held| match held.groups.remove(id) {
                Some(group) => Ok(group.remove()?),
                None => Err(HandError::Gone(id.to_owned())),
            }),
        }
    }

    /// Whether a container that was killed is shown to have been started and to have ended.
    pub async fn has_lived(&self, id: &str) -> bool {
        match self {
            Self::Docker(hand) => {
                hand.standing(id).await.is_ok_and(|found| found.started.is_some() && found.finished.is_some())
            }
            // Its process was waited for.
            Self::Groups(_) => true,
        }
    }

    /// The containers of a label that are there. Of groups there are none but those that are held, and these end here.
    pub async fn containers(&self, label: &str) -> Result<Vec<Labelled>, HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.containers(label).await?),
            Self::Groups(groups) => groups.with(|held| {
                held.groups.clear();
                Ok(Vec::new())
            }),
        }
    }

    /// Removes an image, where there are any.
    pub async fn remove_image(&self, name: &str) -> Result<(), HandError> {
        match self {
            Self::Docker(hand) => Ok(hand.remove_image(name).await?),
            Self::Groups(_) => Ok(()),
        }
    }
}
