//! CRI, the interface by which a kubelet speaks to its runtime: its events as sights, and its lists as a relist asks for them.
//!
//! Separate from containerd, which serves it by the same socket: CRI-O serves it too, and what a kubelet knows it knows by this.
//! Sandboxes are containers here as they are to the runtime and to the kernel.

#[cfg(feature = "toolkit")]
mod hand;
#[cfg_attr(not(feature = "toolkit"), expect(dead_code, reason = "the hand alone needs the rest"))]
mod interface;
#[cfg(feature = "toolkit")]
mod registry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::sync::oneshot;

#[cfg(feature = "toolkit")]
pub use hand::{Hand, Leftover, Pod, Wanted};
#[cfg(feature = "toolkit")]
pub use registry::{Registry, RegistryError};

use self::interface::{
    CONTAINER_STATUS, CREATED, CREATED_EVENT, ContainerEvent, ContainerStatusResponse, DELETED_EVENT, EVENTS, EXITED,
    Id, LIST_CONTAINERS, LIST_SANDBOXES, ListContainersRequest, ListContainersResponse, ListSandboxesRequest,
    ListSandboxesResponse, READY, RUNNING, STARTED_EVENT, STOPPED_EVENT, VERSION, VersionResponse,
};
use super::line::{ANSWER_WITHIN, Line, LineError};
use super::watch::{Act, OwnTime, Sight, Stage, Teller, Told, poll};
use crate::model::{Stamp, WallTime, with_causes};
use crate::sys::clock;

/// Wait before a stream that broke is asked for again.
const WAIT: Duration = Duration::from_millis(200);

/// How often a kubelet asks for the lists (`genericPlegRelistPeriod`, a constant).
pub const RELIST: Duration = Duration::from_secs(1);

/// The acts that CRI tells of: of a process that was killed for want of memory it says so only where it is asked.
pub const TELLS: [Act; 4] = [Act::Create, Act::Start, Act::Exit, Act::Destroy];

/// A runtime behind a socket, on one connection while that lasts. Copies share it.
#[derive(Clone)]
pub struct Runtime {
    socket: PathBuf,
    line: Arc<Mutex<Option<Line>>>,
}

/// What a runtime says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As `containerd`.
    pub name: String,
    /// As `1.6.20`.
    pub version: String,
}

impl Runtime {
    /// Behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path) -> Result<(Self, Version), LineError> {
        let runtime = Self { socket: socket.to_owned(), line: Arc::default() };
        let said: VersionResponse = runtime.ask(VERSION, (), ANSWER_WITHIN).await?;
        // A connection is driven where it was opened: whoever asks next does so perhaps on a thread of its own.
        *runtime.line.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok((runtime, Version { name: said.runtime_name, version: said.runtime_version }))
    }

    /// Whether it tells events, rather than lists alone.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn has_events(&self) -> Result<bool, LineError> {
        let (sender, accepted) = oneshot::channel();
        let asked = self.line().await?.stream::<_, ContainerEvent>(EVENTS, (), async {
            // It is waited for below.
            let _ = sender.send(());
        });
        tokio::select! {
            Ok(()) = accepted => Ok(true),
            answer = asked => match answer {
                Err(error) if error.is_unknown_method() => Ok(false),
                other => other.map(|_| true),
            },
        }
    }

    async fn ask<Q, A>(&self, method: &'static str, question: Q, within: Duration) -> Result<A, LineError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.line().await?.ask(method, question, within).await
    }

    /// The connection; another where it is closed.
    async fn line(&self) -> Result<Line, LineError> {
        let known = self.line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(line) = known.filter(|line| !line.is_closed()) {
            return Ok(line);
        }
        let line = Line::open(&self.socket).await?;
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        Ok(line)
    }

    /// How far each sandbox and each container has come: the two lists that a relist asks for.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn stages(&self) -> Result<BTreeMap<String, Stage>, LineError> {
        let sandboxes: ListSandboxesResponse =
            self.ask(LIST_SANDBOXES, ListSandboxesRequest::default(), ANSWER_WITHIN).await?;
        let containers: ListContainersResponse =
            self.ask(LIST_CONTAINERS, ListContainersRequest {}, ANSWER_WITHIN).await?;
        let of_sandbox = |state| if state == READY { Stage::Running } else { Stage::Over };
        let sandboxes = sandboxes.items.into_iter().map(|one| (one.id, of_sandbox(one.state)));
        let containers = containers.containers.into_iter().map(|one| (one.id, stage_of(one.state)));
        Ok(sandboxes.chain(containers).collect())
    }
}

impl Runtime {
    /// What a container ended with; `None` where it has not, or nobody knows it.
    pub async fn exit_code(&self, container: &str) -> Option<i64> {
        let question = Id { id: container.to_owned() };
        let asked = self.ask::<_, ContainerStatusResponse>(CONTAINER_STATUS, question, ANSWER_WITHIN);
        let status = asked.await.ok()?.status?;
        (status.finished_at > 0).then(|| status.exit_code.into())
    }
}

const fn stage_of(state: i32) -> Stage {
    match state {
        CREATED => Stage::Made,
        RUNNING => Stage::Running,
        EXITED => Stage::Over,
        _ => Stage::Unknown,
    }
}

/// A watcher of the events of a runtime, or of its lists where it has no events.
pub struct CriWatcher {
    runtime: Runtime,
    version: Version,
}

/// A watcher that asks for the lists in equal spans, as a relist does.
pub struct CriPollWatcher {
    runtime: Runtime,
    every: Duration,
}

impl CriWatcher {
    /// Of the runtime behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path) -> Result<Self, LineError> {
        let (runtime, version) = Runtime::open(socket).await?;
        Ok(Self { runtime, version })
    }

    /// Tells every act until nobody listens. What happens in a gap is not told. A runtime without events is asked for its lists
    /// as a kubelet asks for them, and that is said.
    pub async fn watch(self, teller: Teller) {
        let mut time = OwnTime::default();
        loop {
            let Err(why) = self.pass_on(&teller, &mut time).await else { return };
            let is_without = why.is_unknown_method();
            let told = match is_without {
                true => Told::Odd(format!(
                    "{} {} has no GetContainerEvents (it answers UNIMPLEMENTED): its lists are asked for each {} s, as a kubelet does",
                    self.version.name,
                    self.version.version,
                    RELIST.as_secs()
                )),
                false => Told::Trouble(format!("the events of CRI broke off: {}", with_causes(&why))),
            };
            if teller.send(told).await.is_err() {
                return;
            }
            if is_without {
                return poll(RELIST, &TELLS, teller, || self.runtime.stages()).await;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Tells what happens from now on; ends well when nobody listens.
    async fn pass_on(&self, teller: &Teller, time: &mut OwnTime) -> Result<(), LineError> {
        let line = self.runtime.line().await?;
        // That nobody listens is met with the first event.
        let accepted = async { drop(teller.send(Told::Watching).await) };
        let mut events = line.stream::<_, ContainerEvent>(EVENTS, (), accepted).await?;
        loop {
            let event = events.next().await?;
            let seen = clock::now();
            if teller.send(told(event, seen, time)).await.is_err() {
                return Ok(());
            }
        }
    }
}

impl CriPollWatcher {
    /// Of the runtime behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, every: Duration) -> Result<Self, LineError> {
        let (runtime, _) = Runtime::open(socket).await?;
        Ok(Self { runtime, every })
    }

    /// Tells what changed from list to list until nobody listens. What the first list has was there before.
    pub async fn watch(self, teller: Teller) {
        poll(self.every, &TELLS, teller, || self.runtime.stages()).await;
    }
}

/// What is told of an event, which arrived at this time.
fn told(event: ContainerEvent, seen: Stamp, time: &mut OwnTime) -> Told {
    let act = match event.kind {
        CREATED_EVENT => Act::Create,
        STARTED_EVENT => Act::Start,
        STOPPED_EVENT => Act::Exit,
        DELETED_EVENT => Act::Destroy,
        kind => return Told::Odd(format!("CRI tells of an event of kind {kind}, which we do not know")),
    };
    if event.container.is_empty() {
        return Told::Odd(format!("CRI tells of `{act}` without the id of a container"));
    }
    let at = (event.created_at > 0).then(|| WallTime::from_unix_nanos(event.created_at.into()));
    let stamped = at.and_then(|at| time.stamp(at));
    Told::Saw(Sight { container: event.container, act, seen, stamped, kernel: false, implied: false, exit_code: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(container: &str, kind: i32) -> ContainerEvent {
        ContainerEvent { container: container.to_owned(), kind, created_at: 0 }
    }

    #[test]
    fn the_kinds_of_events_are_acts_and_others_are_odd() {
        let mut time = OwnTime::default();
        let mut act = |kind| match told(event("a", kind), Stamp::from_nanos(5), &mut time) {
            Told::Saw(sight) => Ok((sight.act, sight.seen.as_nanos(), sight.stamped)),
            other => Err(other),
        };
        let expected = TELLS.map(|act| Ok((act, 5, None)));
        assert_eq!([0, 1, 2, 3].map(&mut act), expected);
        assert!(matches!(act(4), Err(Told::Odd(what)) if what.contains("kind 4")));
        assert!(matches!(told(event("", 1), Stamp::from_nanos(5), &mut time), Told::Odd(_)));
    }

    #[test]
    fn states_are_stages() {
        assert_eq!([0, 1, 2, 3].map(stage_of), [Stage::Made, Stage::Running, Stage::Over, Stage::Unknown]);
    }
}
