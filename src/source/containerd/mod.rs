//! The events of containerd as sights: what the tasks of some namespaces go through, told over its Unix socket by gRPC.
//!
//! Separate because what containerd calls things stays in this folder. Docker makes the container of containerd when it starts
//! its own, and deletes it when that has ended: in its namespace those two are neither the making nor the removal of anything
//! that its users know.

mod interface;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;

use self::interface::{
    DELETE, DeleteTaskRequest, Envelope, KILL, KillRequest, ListTasksRequest, ListTasksResponse, Process, SUBSCRIBE,
    Subject, SubscribeRequest, TASKS, TaskExit, VERSION, VersionResponse,
};
use super::line::{ANSWER_WITHIN, Line, LineError};
use super::watch::{Act, OwnTime, Sight, Stage, Teller, Told, poll};
use crate::model::{Stamp, WallTime, with_causes};
use crate::sys::clock;

/// Wait before a subscription that broke is asked for again.
const WAIT: Duration = Duration::from_millis(200);

/// The namespace of Docker.
const DOCKER: &str = "moby";

/// A watcher of the events of some namespaces.
pub struct ContainerdWatcher {
    socket: PathBuf,
    filters: Vec<String>,
}

/// A watcher that lists the tasks of some namespaces in equal spans, as a relist does.
pub struct ContainerdPollWatcher {
    socket: PathBuf,
    namespaces: Vec<String>,
    every: Duration,
}

impl ContainerdWatcher {
    /// Of these namespaces of the containerd behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, namespaces: &[String]) -> Result<Self, LineError> {
        let line = Line::open(socket).await?;
        line.ask::<_, VersionResponse>(VERSION, (), ANSWER_WITHIN).await?;
        let filters = namespaces.iter().map(|name| format!("namespace=={name:?}")).collect();
        Ok(Self { socket: socket.to_owned(), filters })
    }

    /// Tells every act until nobody listens. What happens in a gap is not told: containerd keeps no events.
    pub async fn watch(self, teller: Teller) {
        let mut time = OwnTime::default();
        loop {
            let Err(why) = self.pass_on(&teller, &mut time).await else { return };
            let trouble = Told::Trouble(format!("the events of containerd broke off: {}", with_causes(&why)));
            if teller.send(trouble).await.is_err() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Tells what happens from now on; ends well when nobody listens.
    async fn pass_on(&self, teller: &Teller, time: &mut OwnTime) -> Result<(), LineError> {
        let line = Line::open(&self.socket).await?;
        let request = SubscribeRequest { filters: self.filters.clone() };
        // That nobody listens is met with the first event.
        let accepted = async { drop(teller.send(Told::Watching).await) };
        let mut events = line.stream::<_, Envelope>(SUBSCRIBE, request, accepted).await?;
        loop {
            let event = events.next().await?;
            let seen = clock::now();
            let Some(told) = told(&event, seen, time) else { continue };
            if teller.send(told).await.is_err() {
                return Ok(());
            }
        }
    }
}

impl ContainerdPollWatcher {
    /// Of these namespaces of the containerd behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, namespaces: &[String], every: Duration) -> Result<Self, LineError> {
        list(socket, namespaces).await?;
        Ok(Self { socket: socket.to_owned(), namespaces: namespaces.to_vec(), every })
    }

    /// Tells what changed from list to list until nobody listens. What the first list has was there before. A task comes and goes
    /// with its process: that is neither the making nor the removal of a container.
    pub async fn watch(self, teller: Teller) {
        poll(self.every, &[Act::Start, Act::Exit], teller, || list(&self.socket, &self.namespaces)).await;
    }
}

/// Ends the task of a container and forgets it, whatever it does.
///
/// # Errors
/// When there is none, or it does not end at once: then it is worth another try.
pub async fn end_task(socket: &Path, namespace: &str, container: &str) -> Result<(), LineError> {
    const SIGKILL: u32 = 9;
    let line = Line::open(socket).await?;
    let container = container.to_owned();
    let kill = KillRequest { container: container.clone(), signal: SIGKILL };
    // One that has ended already is to be forgotten all the same.
    let killed = line.ask_in::<_, ()>(namespace, KILL, kill).await;
    line.ask_in::<_, ()>(namespace, DELETE, DeleteTaskRequest { container }).await.or(killed)
}

/// How far each task of these namespaces has come, by a connection of its own.
///
/// # Errors
/// When it does not answer.
pub async fn list(socket: &Path, namespaces: &[String]) -> Result<BTreeMap<String, Stage>, LineError> {
    let line = Line::open(socket).await?;
    let mut stages = BTreeMap::new();
    for namespace in namespaces {
        let answer: ListTasksResponse = line.ask_in(namespace, TASKS, ListTasksRequest {}).await?;
        stages.extend(answer.tasks.into_iter().map(stage_of));
    }
    Ok(stages)
}

fn stage_of(task: Process) -> (String, Stage) {
    let stage = match task.status {
        1 => Stage::Made,
        2 | 4 | 5 => Stage::Running,
        3 => Stage::Over,
        _ => Stage::Unknown,
    };
    (if task.container.is_empty() { task.id } else { task.container }, stage)
}

/// What is told of an event, which arrived at this time; `None` of what is none of the acts that are watched.
fn told(event: &Envelope, seen: Stamp, time: &mut OwnTime) -> Option<Told> {
    let (container, act, exit_code) = match act_of(event)? {
        Ok(found) => found,
        Err(what) => return Some(Told::Odd(what)),
    };
    let at = event.timestamp.map(|at| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos));
    let stamped = at.and_then(|at| time.stamp(WallTime::from_unix_nanos(at)));
    Some(Told::Saw(Sight { container, act, seen, stamped, kernel: false, implied: false, exit_code }))
}

/// A container, an act, and what its process ended with.
type Happened = (String, Act, Option<i64>);

/// Which container and which act an event is of, with what its process ended with; or what is odd about it.
fn act_of(event: &Envelope) -> Option<Result<Happened, String>> {
    let act = match event.topic.as_str() {
        "/containers/create" | "/containers/delete" if event.namespace == DOCKER => return None,
        "/containers/create" => Act::Create,
        "/containers/delete" => Act::Destroy,
        "/tasks/start" => Act::Start,
        "/tasks/exit" => Act::Exit,
        "/tasks/oom" => Act::Oom,
        _ => return None,
    };
    let bytes = event.event.as_ref().map_or(&[][..], |any| &any.value);
    let odd = || format!("containerd tells of `{}` in a way that we do not understand", event.topic);
    let mut exit_code = None;
    if act == Act::Exit {
        let Ok(exit) = TaskExit::decode(bytes) else { return Some(Err(odd())) };
        // Another process in the container, started beside its own.
        if exit.process != exit.container {
            return None;
        }
        exit_code = Some(exit.exit_status.into());
    }
    Some(match Subject::decode(bytes) {
        Ok(subject) if !subject.container.is_empty() => Ok((subject.container, act, exit_code)),
        _ => Err(odd()),
    })
}

#[cfg(test)]
mod tests {
    use super::interface::Any;
    use super::*;

    fn event(namespace: &str, topic: &str, value: Vec<u8>) -> Envelope {
        Envelope {
            timestamp: None,
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            event: Some(Any { value }),
        }
    }

    fn subject(container: &str) -> Vec<u8> {
        Subject { container: container.to_owned() }.encode_to_vec()
    }

    fn exit(container: &str, process: &str) -> Vec<u8> {
        TaskExit { container: container.to_owned(), process: process.to_owned(), exit_status: 3 }.encode_to_vec()
    }

    #[test]
    fn the_acts_are_those_of_the_container_and_not_of_another_process_in_it() {
        let act = |namespace: &str, topic: &str, value: Vec<u8>| {
            act_of(&event(namespace, topic, value)).map(|found| found.map(|(_, act, _)| act))
        };
        assert_eq!(act("moby", "/tasks/start", subject("a")), Some(Ok(Act::Start)));
        assert_eq!(act("moby", "/tasks/exit", exit("a", "a")), Some(Ok(Act::Exit)));
        assert_eq!(act("moby", "/tasks/exit", exit("a", "exec-1")), None);
        assert_eq!(act("moby", "/tasks/oom", subject("a")), Some(Ok(Act::Oom)));
        assert_eq!(act("k8s.io", "/containers/create", subject("a")), Some(Ok(Act::Create)));
        assert_eq!(act("k8s.io", "/containers/delete", subject("a")), Some(Ok(Act::Destroy)));
        assert_eq!(act("moby", "/snapshot/prepare", subject("a")), None);
    }

    #[test]
    fn docker_makes_a_container_of_containerd_only_when_it_starts_its_own() {
        for topic in ["/containers/create", "/containers/delete"] {
            assert_eq!(act_of(&event("moby", topic, subject("a"))), None);
        }
    }

    #[test]
    fn a_task_is_listed_by_its_container_as_far_as_it_has_come() {
        let task = |container: &str, status| Process { container: container.to_owned(), id: "a".to_owned(), status };
        let stages = [1, 2, 3, 4, 5, 9].map(|status| stage_of(task("", status)));
        let running = Stage::Running;
        let expected = [Stage::Made, running, Stage::Over, running, running, Stage::Unknown];
        assert_eq!(stages, expected.map(|stage| ("a".to_owned(), stage)));
        assert_eq!(stage_of(task("b", 2)).0, "b");
    }

    #[test]
    fn what_is_not_understood_is_odd_and_hides_nothing() {
        for value in [vec![0xff, 0xff], Vec::new()] {
            let found = act_of(&event("moby", "/tasks/start", value));
            assert!(matches!(&found, Some(Err(what)) if what.contains("`/tasks/start`")), "{found:?}");
        }
    }
}
