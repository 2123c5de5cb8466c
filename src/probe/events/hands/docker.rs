//! Containers of ours at a Docker Engine.
//!
//! Separate because of what they run, and of the image that is imported for them.

use std::path::Path;

use super::super::EventsError;
use super::super::spec::Own;
use super::{HandError, command_of};
use crate::model::Warning;
use crate::source::docker::owned::OwnContainers;
use crate::source::image::Archive;

/// Containers of one run.
#[derive(Clone)]
pub struct Containers {
    /// Those of this process.
    pub own: OwnContainers,
    command: Vec<String>,
}

impl Containers {
    /// Removes what killed runs left; with the warnings about it.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn open(socket: &Path, own: &Own, run: &str) -> Result<(Self, Vec<Warning>), EventsError> {
        let opened = OwnContainers::open(socket, own.image.as_deref(), "offloadctl-events", run).await;
        let (containers, warnings) = opened.map_err(|error| EventsError::engine(socket, error))?;
        Ok((Self { own: containers, command: command_of(own) }, warnings))
    }

    /// Brings the image.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self) -> Result<(), EventsError> {
        if self.own.makes_image() {
            let archive = Archive::of_this_host()?.whole();
            self.own.import(archive).await.map_err(|error| EventsError::Import(error.into()))?;
        }
        Ok(())
    }

    /// Makes one; its id.
    pub async fn create(&self) -> Result<String, HandError> {
        let command: Vec<&str> = self.command.iter().map(String::as_str).collect();
        Ok(self.own.create(&command, &[]).await?)
    }

    /// Whether one is shown to have been started and to have ended.
    pub async fn has_lived(&self, id: &str) -> bool {
        self.own.engine.standing(id).await.is_ok_and(|found| found.started.is_some() && found.finished.is_some())
    }
}
