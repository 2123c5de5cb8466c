//! The hand that does something by CRI: pulls images, and makes, starts, ends and removes Pods of one container with a mark of ours.
//!
//! Separate from the sources, which only look. A Pod is made in steps, as a kubelet makes it, and each is a call of its own.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::interface::{
    CONTAINER_STATUS, CREATE, ContainerConfig, ContainerMetadata, ContainerSecurity, ContainerStatusResponse,
    CreateRequest, Id, Image, ImageRequest, ImageSpec, LIST_CONTAINERS, LIST_IMAGES, LIST_SANDBOXES, LinuxContainer,
    LinuxSandbox, ListContainersRequest, ListContainersResponse, ListImagesRequest, ListImagesResponse,
    ListSandboxesRequest, ListSandboxesResponse, Namespaces, OF_CONTAINER, OF_NODE, OF_POD, PULL_IMAGE, REMOVE,
    REMOVE_IMAGE, REMOVE_SANDBOX, RUN_SANDBOX, RunSandboxRequest, START, STATUS, STOP, STOP_SANDBOX, SandboxConfig,
    SandboxFilter, SandboxMetadata, SandboxSecurity, StatusResponse, StopRequest,
};
use super::{ANSWER_WITHIN, LineError, Runtime, Version};
use crate::model::{WallTime, Warning, with_causes};
use crate::source::containerd;
use crate::sys::clock;
use crate::sys::owner::{Fate, Owner};

/// Longest time that a runtime may take to do something: a kubelet's own (`--runtime-request-timeout`).
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// A removal that is refused is tried again for so long.
const REMOVE_WITHIN: Duration = Duration::from_secs(15);
const REMOVE_AGAIN: Duration = Duration::from_millis(200);

/// The labels of everything of ours: whose it is, and of which run.
const OWNER: &str = "offloadctl.owner";
const RUN: &str = "offloadctl.run";

/// The namespace that Pods of ours say they are of.
const NAMESPACE: &str = "offloadctl";

/// The namespace of containerd in which it does what CRI asks of it.
const NAMESPACE_OF_CRI: &str = "k8s.io";

/// In the name of an image of ours: what stands before its owner.
const IMAGE: &str = "/offloadctl/";

/// The condition of a runtime that can give a Pod a network of its own.
const NETWORK: &str = "NetworkReady";

/// Does things at one runtime, with the mark of one run.
#[derive(Clone)]
pub struct Hand {
    runtime: Runtime,
    run: String,
    network: i32,
}

/// A Pod of ours with one container, as far as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    sandbox: String,
    config: SandboxConfig,
}

/// What a container is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// How it is called in its Pod.
    pub name: &'a str,
    /// Of which image.
    pub image: &'a str,
    /// What runs of it.
    pub command: &'a [&'a str],
}

/// What a killed run left, and what became of it.
#[derive(Debug, Default)]
pub struct Leftover {
    /// How many sandboxes and images were removed.
    pub removed: u64,
    /// How many are of another host or container, and stay.
    pub unknown: u64,
    /// Why one could not be removed.
    pub stuck: Option<LineError>,
}

impl Hand {
    /// At the runtime behind this socket, for a run of this name; with what the runtime is, and why Pods get the network of the
    /// node where it has no other for them.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, run: &str) -> Result<(Self, Version, Option<String>), LineError> {
        let (runtime, version) = Runtime::open(socket).await?;
        let answer: StatusResponse = runtime.ask(STATUS, (), ANSWER_WITHIN).await?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let bad = conditions.into_iter().find(|one| one.kind == NETWORK && !one.holds);
        let network = if bad.is_some() { OF_NODE } else { OF_POD };
        Ok((Self { runtime, run: run.to_owned(), network }, version, bad.map(|one| one.message)))
    }

    /// The path of an image of ours in a registry: it says whose it is, for a runtime keeps no labels of images.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}{}/{}", IMAGE.trim_start_matches('/'), spelled(Owner::ours()), self.run)
    }

    /// Has the runtime pull an image, or look whether it has its newest.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn pull(&self, image: &str) -> Result<(), LineError> {
        self.runtime.ask::<_, Id>(PULL_IMAGE, named(image), DONE_WITHIN).await.map(drop)
    }

    /// Makes the sandbox of a Pod, which gives it its network.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn run_sandbox(&self, name: &str) -> Result<Pod, LineError> {
        let (name, namespace) = (format!("{}-{name}", self.run), NAMESPACE.to_owned());
        let hostname = if self.network == OF_POD { name.clone() } else { String::new() };
        let metadata = Some(SandboxMetadata { uid: name.clone(), name, namespace });
        let security = Some(SandboxSecurity { namespaces: Some(self.namespaces()) });
        let linux = Some(LinuxSandbox { security });
        let config = SandboxConfig { metadata, hostname, labels: self.labels(), linux };
        let request = RunSandboxRequest { config: Some(config.clone()) };
        let Id { id: sandbox } = self.runtime.ask(RUN_SANDBOX, request, DONE_WITHIN).await?;
        Ok(Pod { sandbox, config })
    }

    /// Makes a container in a Pod; its id.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn create(&self, pod: &Pod, what: Wanted<'_>) -> Result<String, LineError> {
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: what.name.to_owned() }),
            image: Some(ImageSpec { image: what.image.to_owned() }),
            command: what.command.iter().map(|word| (*word).to_owned()).collect(),
            labels: self.labels(),
            linux: Some(LinuxContainer { security: Some(ContainerSecurity { namespaces: Some(self.namespaces()) }) }),
        };
        let sandbox_config = Some(pod.config.clone());
        let request = CreateRequest { sandbox: pod.sandbox.clone(), config: Some(config), sandbox_config };
        let Id { id } = self.runtime.ask(CREATE, request, DONE_WITHIN).await?;
        Ok(id)
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn start(&self, container: &str) -> Result<(), LineError> {
        self.runtime.ask(START, id(container), DONE_WITHIN).await
    }

    /// Kills a container at once.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn kill(&self, container: &str) -> Result<(), LineError> {
        let request = StopRequest { id: container.to_owned(), timeout: 0 };
        self.runtime.ask(STOP, request, DONE_WITHIN).await
    }

    /// Removes a container.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn remove(&self, container: &str) -> Result<(), LineError> {
        self.runtime.ask(REMOVE, id(container), DONE_WITHIN).await
    }

    /// Removes a Pod with all that is in it.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn remove_pod(&self, pod: &Pod) -> Result<(), LineError> {
        self.remove_sandbox(&pod.sandbox).await
    }

    /// Removes an image; that there is none is as good.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub async fn remove_image(&self, image: &str) -> Result<(), LineError> {
        self.runtime.ask(REMOVE_IMAGE, named(image), DONE_WITHIN).await
    }

    /// When a container was started, and when it ended, by the runtime's own time, as far as it was and has.
    pub async fn life(&self, container: &str) -> [Option<WallTime>; 2] {
        let asked = self.runtime.ask::<_, ContainerStatusResponse>(CONTAINER_STATUS, id(container), ANSWER_WITHIN);
        let status = asked.await.ok().and_then(|answer| answer.status).unwrap_or_default();
        let at = |nanos: i64| (nanos > 0).then(|| WallTime::from_unix_nanos(nanos.into()));
        [at(status.started_at), at(status.finished_at)]
    }

    /// Removes all sandboxes and images of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), LineError> {
        let ours = self.sandboxes([(RUN.to_owned(), self.run.clone())].into()).await?;
        for (sandbox, _) in ours {
            self.remove_sandbox(&sandbox).await?;
        }
        let repository = format!("/{}:", self.repository());
        for image in self.images().await?.iter().filter(|image| image.contains(&repository)) {
            self.remove_image(image).await?;
        }
        Ok(())
    }

    /// Removes what runs left whose process is gone. What has no mark of ours is not looked at.
    pub async fn sweep(&self) -> Leftover {
        let mut found = Leftover::default();
        // What cannot be listed is no obstacle here: whatever follows says more.
        for (sandbox, labels) in self.sandboxes(HashMap::new()).await.unwrap_or_default() {
            let Some(mark) = labels.get(OWNER) else { continue };
            if found.is_to_go(mark.parse().ok()) {
                found.note(self.remove_sandbox(&sandbox).await);
            }
        }
        for image in self.images().await.unwrap_or_default() {
            let Some((_, rest)) = image.split_once(IMAGE) else { continue };
            if found.is_to_go(rest.split('/').next().and_then(read)) {
                found.note(self.remove_image(&image).await);
            }
        }
        found
    }

    async fn remove_sandbox(&self, sandbox: &str) -> Result<(), LineError> {
        let end = clock::now() + REMOVE_WITHIN;
        loop {
            match self.try_to_remove(sandbox).await {
                // A call that was cut off is still being undone ("container is in starting state"), or was never.
                Err(LineError::Refused(_)) if clock::now() < end => {
                    self.end_tasks(sandbox).await;
                    tokio::time::sleep(REMOVE_AGAIN).await;
                }
                other => return other,
            }
        }
    }

    /// Ends what runs in a sandbox of ours past the runtime's knowledge: a containerd whose StartContainer was cut off holds the
    /// container for ended while its task runs ("cannot delete running task"). Another runtime knows no such call.
    async fn end_tasks(&self, sandbox: &str) {
        let request = ListContainersRequest {};
        let listed = self.runtime.ask::<_, ListContainersResponse>(LIST_CONTAINERS, request, ANSWER_WITHIN).await;
        let all = listed.unwrap_or_default().containers;
        for container in all.iter().filter(|one| one.sandbox == sandbox && one.labels.contains_key(OWNER)) {
            // What comes of it shows the next try.
            let _ = containerd::end_task(&self.runtime.socket, NAMESPACE_OF_CRI, &container.id).await;
        }
    }

    async fn try_to_remove(&self, sandbox: &str) -> Result<(), LineError> {
        self.runtime.ask::<_, ()>(STOP_SANDBOX, id(sandbox), DONE_WITHIN).await?;
        self.runtime.ask(REMOVE_SANDBOX, id(sandbox), DONE_WITHIN).await
    }

    async fn sandboxes(
        &self,
        labels: HashMap<String, String>,
    ) -> Result<Vec<(String, HashMap<String, String>)>, LineError> {
        let filter = (!labels.is_empty()).then(|| SandboxFilter { labels: labels.clone() });
        let request = ListSandboxesRequest { filter };
        let answer: ListSandboxesResponse = self.runtime.ask(LIST_SANDBOXES, request, ANSWER_WITHIN).await?;
        // A runtime that knows no filter gives them all.
        let is_wanted =
            |known: &HashMap<String, String>| labels.iter().all(|(key, value)| known.get(key) == Some(value));
        let all = answer.items.into_iter().filter(|one| is_wanted(&one.labels));
        Ok(all.map(|one| (one.id, one.labels)).collect())
    }

    async fn images(&self) -> Result<Vec<String>, LineError> {
        let answer: ListImagesResponse = self.runtime.ask(LIST_IMAGES, ListImagesRequest {}, ANSWER_WITHIN).await?;
        Ok(answer.images.into_iter().flat_map(|Image { tags, .. }| tags).collect())
    }

    fn labels(&self) -> HashMap<String, String> {
        let pairs = [(OWNER, Owner::ours().to_string()), (RUN, self.run.clone())];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    const fn namespaces(&self) -> Namespaces {
        Namespaces { network: self.network, processes: OF_CONTAINER }
    }
}

impl Leftover {
    /// Whether the process of this mark is gone, and what it left may go too.
    fn is_to_go(&mut self, owner: Option<Owner>) -> bool {
        let fate = owner.map_or(Fate::Unknown, |owner| owner.fate());
        self.unknown += u64::from(fate == Fate::Unknown);
        fate == Fate::Gone
    }

    /// What there is to say about it.
    #[must_use]
    pub fn told(self) -> Vec<Warning> {
        const BY_HAND: &str =
            "`crictl pods --label offloadctl.owner` and `crictl images | grep /offloadctl/` show them";
        let (removed, unknown) = (self.removed, self.unknown);
        let text = [
            (removed > 0).then(|| format!("{removed} Pods and images were removed that a run left when it was killed")),
            self.stuck
                .map(|why| format!("what a killed run left cannot be removed ({}); {BY_HAND}", with_causes(&why))),
            (unknown > 0).then(|| {
                format!("{unknown} Pods and images are of runs of another host or container, and are left; {BY_HAND}")
            }),
        ];
        text.into_iter().flatten().map(|text| Warning::new("leftover", text)).collect()
    }

    fn note(&mut self, removed: Result<(), LineError>) {
        match removed {
            Ok(()) => self.removed += 1,
            Err(error) => self.stuck = Some(error),
        }
    }
}

fn id(id: &str) -> Id {
    Id { id: id.to_owned() }
}

fn named(image: &str) -> ImageRequest {
    ImageRequest { image: Some(ImageSpec { image: image.to_owned() }) }
}

/// An owner as a part of the name of an image, which allows small letters, digits, and single dots and dashes between them.
fn spelled(owner: Owner) -> String {
    let text = owner.to_string().replace('=', ".").replace(' ', "-");
    // What is not known is empty.
    if text.ends_with('.') { text + "x" } else { text }
}

fn read(text: &str) -> Option<Owner> {
    text.replace('-', " ").replace('.', "=").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_image_says_whose_it_is() {
        let spelled = spelled(Owner::ours());
        assert_eq!(read(&spelled), Some(Owner::ours()));
        assert!(spelled.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')), "{spelled}");
        assert_eq!(read("somebody-else"), None);
        let nowhere: Owner = "process=1 started=2 space=3 kernel=".parse().unwrap();
        assert_eq!(read(&super::spelled(nowhere)), Some(nowhere));
    }

    #[test]
    fn what_is_of_nobody_known_is_left() {
        let mut found = Leftover::default();
        assert!(!found.is_to_go(None) && !found.is_to_go(Some(Owner::ours())));
        assert_eq!((found.unknown, found.removed), (1, 0));
    }
}
