//! The containers that stand by while others come and go, in Pods of ours, and the cost of listing them.
//!
//! Separate from the lives that are measured: what stands by only makes lists longer.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::CriError;
use super::spec::CriSpec;
use crate::model::{Warning, with_causes};
use crate::source::cri::{Hand, Pod, Registry, Runtime, Wanted};
use crate::source::image::PROGRAM;
use crate::source::line::LineError;
use crate::sys::clock;
use crate::sys::daemon::Daemon;

/// Containers that share a Pod.
const PER_POD: u32 = 10;

/// Calls under way at a time.
const AT_ONCE: usize = 4;

/// Lists are asked for so often and for so long, so that the processor time of one is known though it is told in hundredths of a
/// second; at the most so often.
const LISTS: usize = 50;
const LISTS_FOR: Duration = Duration::from_secs(2);
const MOST_LISTS: usize = 2_000;

/// How long what stands by sleeps where nobody ends it: longer than any measurement.
const SLEEP: &str = "1000000";

/// Containers that stand by, and the Pod of those that come and go.
pub struct Bed {
    /// Who does it.
    pub hand: Hand,
    /// The Pod of those that come and go, once it is made.
    pub pod: Option<Pod>,
    /// The image of all.
    pub image: String,
    runtime: Runtime,
    daemon: Option<Daemon>,
    /// The Pods of what stands by, and how many there are.
    pods: Vec<Pod>,
    standing: u32,
    is_own_image: bool,
    _registry: Option<Registry>,
}

/// What lists take.
pub struct Lists {
    /// Each pair of them.
    pub spans: Vec<Duration>,
    /// Processor time of the runtime for one pair, where it can be known.
    pub cpu: Option<Duration>,
}

impl Bed {
    /// Removes what killed runs left. Nothing is made yet: from here on [`Bed::clear`] removes whatever is.
    ///
    /// # Errors
    /// When the runtime cannot be reached, or there is nothing to make an image of.
    pub async fn open(spec: &CriSpec) -> Result<(Self, Vec<Warning>), CriError> {
        let unable = |error| CriError::runtime(&spec.cri_socket, error);
        let run = format!("{:016x}", clock::entropy());
        let (hand, _, no_network) = Hand::open(&spec.cri_socket, &run).await.map_err(unable)?;
        let (runtime, _) = Runtime::open(&spec.cri_socket).await.map_err(unable)?;
        let mut warnings = hand.sweep().await.told();
        warnings.extend(no_network.map(|why| {
            Warning::new("no_pod_network", format!("this runtime has no network for Pods ({why}): ours use the node's"))
        }));
        let (registry, image) = match &spec.image {
            Some(image) => (None, image.clone()),
            None => {
                let registry = Registry::start(&hand.repository(), 1)?;
                let image = registry.image(0);
                (Some(registry), image)
            }
        };
        let daemon = Daemon::behind(&spec.cri_socket);
        let is_own_image = spec.image.is_none();
        let (pods, standing) = (Vec::new(), 0);
        let bed = Self { hand, pod: None, image, runtime, daemon, pods, standing, is_own_image, _registry: registry };
        Ok((bed, warnings))
    }

    /// Pulls the image, and makes the Pod of those that come and go.
    ///
    /// # Errors
    /// When the runtime does not do it.
    pub async fn prepare(&mut self) -> Result<(), CriError> {
        let made = async {
            self.hand.pull(&self.image).await?;
            self.hand.run_sandbox("acts").await
        };
        let pod = made.await.map_err(|error| CriError::Nothing(with_causes(&error)))?;
        self.pod = Some(pod);
        Ok(())
    }

    /// What a container runs, for so long.
    pub fn command<'a>(&self, program: &'a str, seconds: &'a str) -> Vec<&'a str> {
        let own = self.is_own_image.then_some(program);
        own.into_iter().chain(["sleep", seconds]).collect()
    }

    /// The program of our own image.
    pub fn program() -> String {
        format!("/{PROGRAM}")
    }

    /// Lets so many stand by in all.
    ///
    /// # Errors
    /// When the runtime does not make them.
    pub async fn grow(&mut self, count: u32) -> Result<(), CriError> {
        while self.pods.len() < count.div_ceil(PER_POD) as usize {
            let pod = self.hand.run_sandbox(&format!("standing-{}", self.pods.len())).await;
            self.pods.push(pod.map_err(|error| CriError::Nothing(with_causes(&error)))?);
        }
        let missing: Vec<u32> = (self.standing..count).collect();
        for some in missing.chunks(AT_ONCE) {
            let made = try_join_all(some.iter().map(|number| self.stand(*number)));
            made.await.map_err(|error| CriError::Nothing(with_causes(&error)))?;
        }
        self.standing = self.standing.max(count);
        Ok(())
    }

    async fn stand(&self, number: u32) -> Result<(), LineError> {
        let (program, name) = (Self::program(), format!("standing-{number}"));
        let command = self.command(&program, SLEEP);
        let pod = &self.pods[(number / PER_POD) as usize];
        let id = self.hand.create(pod, Wanted { name: &name, image: &self.image, command: &command }).await?;
        self.hand.start(&id).await
    }

    /// Asks for the lists again and again.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn lists(&self) -> Result<Lists, CriError> {
        let used = || self.daemon.and_then(|daemon| daemon.cpu());
        // The first opens the connection.
        let unable = |error| CriError::Nothing(with_causes(&error));
        self.runtime.stages().await.map_err(unable)?;
        let (before, end) = (used(), clock::now() + LISTS_FOR);
        let mut spans = Vec::new();
        while spans.len() < LISTS || (clock::now() < end && spans.len() < MOST_LISTS) {
            let began = clock::now();
            self.runtime.stages().await.map_err(unable)?;
            spans.push(clock::now().since(began));
        }
        let cpu = before.zip(used()).map(|(before, after)| after.saturating_sub(before) / spans.len().max(1) as u32);
        Ok(Lists { spans, cpu })
    }

    /// Removes everything of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), LineError> {
        self.hand.clear().await
    }
}
