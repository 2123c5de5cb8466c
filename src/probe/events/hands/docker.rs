//! Containers of ours at a Docker Engine.
//!
//! Separate because of their labels, and of the image that is imported for them.

use std::path::Path;

use super::super::EventsError;
use super::super::spec::Own;
use super::{HandError, command_of};
use crate::model::Warning;
use crate::source::docker::owned::{Marks, RUN, sweep};
use crate::source::docker::{Hand, Labelled};
use crate::source::image::Archive;

/// Containers of one run.
#[derive(Clone)]
pub struct Containers {
    /// Who does it.
    pub engine: Hand,
    image: String,
    is_own_image: bool,
    command: Vec<String>,
    marks: Marks,
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
            marks: Marks::of(run),
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
            let imported = self.engine.import(&self.image, archive, &self.marks.pairs()).await;
            imported.map_err(|error| EventsError::Import(error.into()))?;
        }
        Ok(())
    }

    /// Makes one; its id.
    pub async fn create(&self) -> Result<String, HandError> {
        let command: Vec<&str> = self.command.iter().map(String::as_str).collect();
        Ok(self.engine.create(&self.image, &command, &self.marks.pairs()).await?)
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
        let is_ours = |one: &Labelled| one.label(RUN) == Some(self.marks.run.as_str());
        let all = self.engine.containers(&format!("{RUN}={}", self.marks.run)).await?;
        for container in all.into_iter().filter(is_ours) {
            self.engine.remove(&container.id).await?;
        }
        if self.is_own_image {
            self.engine.remove_image(&self.image).await?;
        }
        Ok(())
    }
}
