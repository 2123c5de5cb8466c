//! Containers of ours at a Docker Engine.
//!
//! Separate because of their labels, and of the image that is imported for them.

use std::path::Path;

use super::super::EventsError;
use super::super::spec::Own;
use super::{HandError, command_of};
use crate::model::{Warning, with_causes};
use crate::source::docker::{Hand, Labelled};
use crate::source::image::Archive;
use crate::sys::owner::{Fate, Owner};

/// The labels of everything of ours: whose it is, and of which run.
const OWNER: &str = "offloadctl.owner";
const RUN: &str = "offloadctl.run";

/// Containers of one run.
#[derive(Clone)]
pub struct Containers {
    /// Who does it.
    pub engine: Hand,
    image: String,
    is_own_image: bool,
    command: Vec<String>,
    owner: String,
    run: String,
}

impl Containers {
    /// Removes what killed runs left; with the warnings about it.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn open(socket: &Path, own: &Own, run: &str) -> Result<(Self, Vec<Warning>), EventsError> {
        let engine = Hand::open(socket).await.map_err(|error| EventsError::engine(socket, error))?;
        let warnings = sweep(&engine).await;
        let containers = Self {
            engine,
            image: own.image.clone().unwrap_or_else(|| format!("offloadctl-events:{run}")),
            is_own_image: own.image.is_none(),
            command: command_of(own),
            owner: Owner::ours().to_string(),
            run: run.to_owned(),
        };
        Ok((containers, warnings))
    }

    /// Brings the image.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self) -> Result<(), EventsError> {
        if self.is_own_image {
            let archive = Archive::of_this_host()?.whole();
            let imported = self.engine.import(&self.image, archive, &self.labels()).await;
            imported.map_err(|error| EventsError::Import(error.into()))?;
        }
        Ok(())
    }

    /// Makes one; its id.
    pub async fn create(&self) -> Result<String, HandError> {
        let command: Vec<&str> = self.command.iter().map(String::as_str).collect();
        Ok(self.engine.create(&self.image, &command, &self.labels()).await?)
    }

    /// Whether one is shown to have been started and to have ended.
    pub async fn has_lived(&self, id: &str) -> bool {
        self.engine.standing(id).await.is_ok_and(|found| found.started.is_some() && found.finished.is_some())
    }

    /// Removes everything of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), HandError> {
        let is_ours = |one: &Labelled| one.label(RUN) == Some(self.run.as_str());
        let all = self.engine.containers(&format!("{RUN}={}", self.run)).await?;
        for container in all.into_iter().filter(is_ours) {
            self.engine.remove(&container.id).await?;
        }
        if self.is_own_image {
            self.engine.remove_image(&self.image).await?;
        }
        Ok(())
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [(OWNER, &self.owner), (RUN, &self.run)]
    }
}

/// Removes what runs left whose process is gone; what there is to say about it.
async fn sweep(hand: &Hand) -> Vec<Warning> {
    // What cannot be listed is no obstacle here: whatever follows says more.
    let containers = hand.containers(OWNER).await.unwrap_or_default();
    let images = hand.images(OWNER).await.unwrap_or_default();
    let (mut gone, mut unknown, mut stuck) = (0_u64, 0_u64, None);
    for (one, is_image) in containers.iter().map(|one| (one, false)).chain(images.iter().map(|one| (one, true))) {
        let owner: Option<Owner> = one.label(OWNER).and_then(|mark| mark.parse().ok());
        match owner.map(|owner| owner.fate()) {
            Some(Fate::Runs) => {}
            Some(Fate::Gone) => {
                let removed = if is_image { hand.remove_image(&one.id).await } else { hand.remove(&one.id).await };
                match removed {
                    Ok(()) => gone += 1,
                    Err(error) => stuck = Some(with_causes(&error)),
                }
            }
            Some(Fate::Unknown) | None => unknown += 1,
        }
    }
    let warning = |text: String| Warning::new("leftover", text);
    let by_hand = format!("`docker ps -a --filter label={OWNER}` and `docker images --filter label={OWNER}` show them");
    let gone = (gone > 0)
        .then(|| warning(format!("{gone} containers and images were removed that a run left when it was killed")));
    let stuck = stuck.map(|why| warning(format!("what a killed run left cannot be removed ({why}); {by_hand}")));
    let unknown = (unknown > 0).then(|| {
        warning(format!(
            "{unknown} containers and images are of runs of another host or container, and are left; {by_hand}"
        ))
    });
    [gone, stuck, unknown].into_iter().flatten().collect()
}
