//! What is ours at an engine: containers of a run, the marks by which they are known, and the removal of what killed runs left.
//!
//! Separate from the hand, which does what it is told. Each thing of ours bears the mark of its process, so that the next run finds
//! what a killed one left; what bears no mark is never touched.

use std::path::Path;

use super::{EngineError, Hand, Labelled};
use crate::model::{Warning, with_causes};
use crate::sys::owner::{Fate, Owner};

/// The label that says whose it is.
const OWNER: &str = "offloadctl.owner";
/// The label that says of which run it is.
const RUN: &str = "offloadctl.run";

/// Containers of one run, of an image of ours or of one that the engine has.
#[derive(Clone, Debug)]
pub struct OwnContainers {
    /// Who does it.
    pub engine: Hand,
    image: String,
    is_own_image: bool,
    owner: String,
    run: String,
}

impl OwnContainers {
    /// Removes what killed runs left; with the warnings about it. Without an image, `name` begins the name of our own.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn open(
        socket: &Path,
        image: Option<&str>,
        name: &str,
        run: &str,
    ) -> Result<(Self, Vec<Warning>), EngineError> {
        let engine = Hand::open(socket).await?;
        let warnings = sweep(&engine).await;
        let containers = Self {
            engine,
            image: image.map_or_else(|| format!("{name}:{run}"), str::to_owned),
            is_own_image: image.is_none(),
            owner: Owner::ours().to_string(),
            run: run.to_owned(),
        };
        Ok((containers, warnings))
    }

    /// Whether the image is to be one of ours.
    #[must_use]
    pub const fn makes_image(&self) -> bool {
        self.is_own_image
    }

    /// Brings our own image. Whatever comes of it, [`OwnContainers::clear`] removes it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn import(&self, archive: Vec<u8>) -> Result<(), EngineError> {
        self.engine.import(&self.image, archive, &self.marks()).await
    }

    /// Makes one with these labels beside our marks; its id.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn create(&self, command: &[&str], labels: &[(&str, &str)]) -> Result<String, EngineError> {
        let labels: Vec<(&str, &str)> = self.marks().iter().chain(labels).copied().collect();
        self.engine.create(&self.image, command, &labels).await
    }

    /// Removes everything of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), EngineError> {
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

    fn marks(&self) -> [(&str, &str); 2] {
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
