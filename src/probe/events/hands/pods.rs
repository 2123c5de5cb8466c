//! Pods of ours at a runtime, each with a sandbox, one container, and an image of its own that is pulled for it.
//!
//! Separate because a Pod is made in steps, which are timed, and leaves more behind than its container.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::EventsError;
use super::super::spec::Own;
use super::{HandError, Made, Step, command_of};
use crate::model::Warning;
use crate::source::cri::{Hand, Pod, Registry, Wanted};
use crate::source::line::LineError;
use crate::sys::clock;

/// Pods of one run.
#[derive(Clone)]
pub struct Pods {
    /// Who does it.
    pub runtime: Hand,
    shared: Arc<Shared>,
}

struct Shared {
    images: Images,
    command: Vec<String>,
    made: AtomicU32,
    /// What belongs to each container.
    pods: Mutex<HashMap<String, (Pod, Option<String>)>>,
}

/// What Pods are made of.
enum Images {
    /// One that the user named, and that stays.
    Named(String),
    /// Another one for each, from a registry of our own.
    Own(Registry),
}

impl Pods {
    /// Removes what killed runs left, and lays out the images; with the warnings about what was left, and about a network that
    /// is not the usual one.
    ///
    /// # Errors
    /// When the runtime cannot be reached, or there is nothing to make images of.
    pub async fn open(socket: &Path, own: &Own, run: &str) -> Result<(Self, Vec<Warning>), EventsError> {
        let unable = |source| EventsError::Cri { socket: socket.to_owned(), source };
        let (runtime, _, no_network) = Hand::open(socket, run).await.map_err(unable)?;
        let mut warnings = runtime.sweep().await.told();
        warnings.extend(no_network.map(|why| {
            let text = format!(
                "this runtime has no network for Pods ({why}): ours use the node's, and the step `sandbox` is without CNI"
            );
            Warning::new("no_pod_network", text)
        }));
        let images = match &own.image {
            Some(image) => Images::Named(image.clone()),
            None => Images::Own(Registry::start(&runtime.repository(), own.count)?),
        };
        let (made, pods) = (AtomicU32::new(0), Mutex::default());
        let shared = Arc::new(Shared { images, command: command_of(own), made, pods });
        Ok((Self { runtime, shared }, warnings))
    }

    /// Makes one, step by step. What was made of one that fails is removed.
    pub async fn create(&self) -> Result<Made, HandError> {
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed);
        let (image, is_own) = match &self.shared.images {
            Images::Named(image) => (image.clone(), false),
            Images::Own(registry) => (registry.image(number), true),
        };
        let began = clock::now();
        self.runtime.pull(&image).await?;
        let pulled = clock::now();
        let pod = self.runtime.run_sandbox(&number.to_string()).await?;
        let called = clock::now();
        let command: Vec<&str> = self.shared.command.iter().map(String::as_str).collect();
        let created = self.runtime.create(&pod, Wanted { name: "only", image: &image, command: &command }).await;
        let own_image = is_own.then_some(image);
        let id = match created {
            Ok(id) => id,
            Err(error) => {
                // What cannot be removed now is when everything is.
                drop(self.remove(&pod, own_image.as_deref()).await);
                return Err(error.into());
            }
        };
        self.shared.pods.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (pod, own_image));
        let spans: [(Step, Duration); 2] = [(Step::Pull, pulled.since(began)), (Step::Sandbox, called.since(pulled))];
        Ok(Made { id, called, steps: spans.into() })
    }

    /// Removes what a container that is gone leaves: its sandbox and its image.
    pub async fn tidy(&self, id: &str) -> Result<(), HandError> {
        let known = self.shared.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match known {
            Some((pod, image)) => Ok(self.remove(&pod, image.as_deref()).await?),
            None => Ok(()),
        }
    }

    async fn remove(&self, pod: &Pod, image: Option<&str>) -> Result<(), LineError> {
        self.runtime.remove_pod(pod).await?;
        match image {
            Some(image) => self.runtime.remove_image(image).await,
            None => Ok(()),
        }
    }
}
