//! The containers of a Docker Engine: all of them first, then every event, and all of them again after a gap.
//!
//! Separate because every type of the client library stays in here. The list is asked for before the events, which are then
//! asked for from that moment on: nothing falls between the two, and no event is older than the list. What containers use is
//! read from their control groups, because a question to the engine would cost more than everything else here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage};
use bollard::query_parameters::{EventsOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;

use super::{Event, EventSource, Next, Sighting, TaskState};
use crate::model::{Stamp, WallTime};
use crate::sys::cgroup::{Consumption, consumption_of_container};
use crate::sys::clock;

/// Seconds that an answer of the engine may take.
const ANSWER_WITHIN_S: u64 = 30;

/// Waits after a failure, the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Memory is told in these steps, and processor time in hundredths: what is smaller is no news.
const MEMORY_STEP: u64 = 1 << 20;

/// The shortest time between two looks at what containers use.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

type Events = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// A source that watches a Docker Engine.
pub struct Docker {
    socket: PathBuf,
    events: Option<Events>,
    containers: BTreeMap<String, Container>,
    /// Containers whose end was told: a list after a gap does not tell it again.
    over: BTreeSet<String>,
    /// Failures in a row.
    failures: u32,
    /// How often what containers use is looked at; `None` if nobody wants to know.
    look_every: Option<Duration>,
    next_look: Stamp,
}

#[derive(Clone, Debug)]
struct Container {
    state: TaskState,
    since: WallTime,
    facts: Facts,
    last: Option<(Stamp, Consumption)>,
}

/// What is told of a container beside its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    /// Processors that it keeps busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
}

impl Docker {
    /// The engine behind a socket. Nothing is asked yet.
    #[must_use]
    pub fn new(socket: &Path, look_every: Option<Duration>) -> Self {
        Self {
            socket: socket.to_owned(),
            events: None,
            containers: BTreeMap::new(),
            over: BTreeSet::new(),
            failures: 0,
            look_every: look_every.map(|every| every.max(SHORTEST_LOOK)),
            next_look: clock::now(),
        }
    }

    async fn step(&mut self) -> Event {
        loop {
            let Some(events) = &mut self.events else { return self.attach().await };
            let look = self.look_every.map(|_| self.next_look.since(clock::now()));
            let message = tokio::select! {
                biased;
                message = events.next() => message,
                () = tokio::time::sleep(look.unwrap_or(LONGEST_WAIT)) => {
                    match self.look() {
                        Some(event) => return event,
                        None => continue,
                    }
                }
            };
            let happened = match message {
                Some(Ok(message)) => self.take(message),
                Some(Err(error)) => Some(self.detach(&error.to_string())),
                None => Some(self.detach("it ended the events")),
            };
            if let Some(event) = happened {
                return event;
            }
        }
    }

    /// Lists everything and subscribes to what happens from then on.
    async fn attach(&mut self) -> Event {
        if self.failures > 0 {
            let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
            tokio::time::sleep(wait).await;
        }
        let from = clock::wall_now();
        match list(&self.socket).await {
            Ok((client, all)) => {
                self.failures = 0;
                let options = EventsOptions {
                    since: Some(seconds(from)),
                    filters: Some(HashMap::from([("type".to_owned(), vec!["container".to_owned()])])),
                    ..EventsOptions::default()
                };
                self.events = Some(Box::pin(client.events(Some(options))));
                self.next_look = clock::now();
                self.know(all, from)
            }
            Err(error) => self.detach(&error.to_string()),
        }
    }

    fn detach(&mut self, why: &str) -> Event {
        self.events = None;
        self.failures += 1;
        Event::Trouble(format!("Docker at `{}` cannot be watched: {why}; trying again", self.socket.display()))
    }

    /// These are all containers.
    fn know(&mut self, all: Vec<ContainerSummary>, now: WallTime) -> Event {
        let before = std::mem::take(&mut self.containers);
        for summary in all {
            let Some((id, found)) = container_of(summary, now) else { continue };
            let same = before.get(&id).filter(|known| known.state == found.state);
            // A state that did not change has not begun just now.
            self.containers.insert(id, same.cloned().unwrap_or(found));
        }
        self.over.retain(|id| self.containers.contains_key(id));
        let fresh = self.containers.iter().filter(|(id, _)| !self.over.contains(*id));
        let known = fresh.map(|(id, container)| container.sighting(id)).collect();
        let over = self.containers.iter().filter(|(_, container)| container.is_over());
        self.over.extend(over.map(|(id, _)| id.clone()));
        Event::Known(known)
    }

    /// Something happened to a container; `None` if that is no news.
    fn take(&mut self, message: EventMessage) -> Option<Event> {
        let actor = message.actor?;
        let (id, attributes) = (actor.id?, actor.attributes.unwrap_or_default());
        let at = message.time_nano.map_or_else(clock::wall_now, |nanos| WallTime::from_unix_nanos(nanos.into()));
        let exit_code = || attributes.get("exitCode").and_then(|code| code.parse::<i64>().ok());
        let (state, exit_code) = match message.action.as_deref()? {
            // The list was made a moment after the time from which on events are told.
            "create" if self.containers.contains_key(&id) => return None,
            "create" => (TaskState::Pending, None),
            "start" | "unpause" | "pause" => (TaskState::Running, None),
            "die" => (TaskState::Ended { is_success: exit_code() == Some(0) }, exit_code()),
            "destroy" => {
                self.over.remove(&id);
                return self.containers.remove(&id).map(|_| Event::Vanished(id));
            }
            _ => return None,
        };
        let facts = Facts {
            name: attributes.get("name").cloned(),
            image: attributes.get("image").cloned(),
            exit_code,
            ..Facts::default()
        };
        if self.containers.get(&id).is_some_and(|known| known.state == state) {
            return None;
        }
        let container = Container { state, since: at, facts, last: None };
        let sighting = container.sighting(&id);
        if container.is_over() {
            self.over.insert(id.clone());
        } else {
            self.over.remove(&id);
        }
        self.containers.insert(id, container);
        Some(Event::Changed(vec![sighting]))
    }

    /// Looks at what running containers use; `None` if that is no news.
    fn look(&mut self) -> Option<Event> {
        let now = clock::now();
        self.next_look = now + self.look_every?;
        let running = self.containers.iter_mut().filter(|(_, container)| container.state == TaskState::Running);
        let mut changed = Vec::new();
        for (id, container) in running {
            let Some(used) = consumption_of_container(id) else { continue };
            if container.consume(now, used) {
                changed.push(container.sighting(id));
            }
        }
        (!changed.is_empty()).then_some(Event::Changed(changed))
    }
}

impl EventSource for Docker {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async { Some(self.step().await) })
    }
}

impl Container {
    const fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Ended { .. })
    }

    fn sighting(&self, id: &str) -> Sighting {
        let payload = serde_json::to_string(&self.facts).ok();
        Sighting { task_id: id.to_owned(), state: self.state, at: self.since, payload }
    }

    /// Takes a look at what it uses; true if that is news.
    fn consume(&mut self, now: Stamp, used: Consumption) -> bool {
        let before = self.facts.clone();
        self.facts.memory_bytes = Some(used.memory_bytes / MEMORY_STEP * MEMORY_STEP);
        if let Some((then, last)) = self.last.replace((now, used)) {
            let cores = used.cpu.saturating_sub(last.cpu).as_secs_f64() / now.since(then).as_secs_f64().max(1e-3);
            self.facts.cpu_cores = Some((cores * 100.0).round() / 100.0);
        }
        self.facts != before
    }
}

async fn list(socket: &Path) -> Result<(Client, Vec<ContainerSummary>), Error> {
    let client = Client::connect_with_unix(&socket.to_string_lossy(), ANSWER_WITHIN_S, API_DEFAULT_VERSION)?;
    // An older engine refuses questions of a newer version.
    let client = client.negotiate_version().await?;
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let all = client.list_containers(Some(all)).await?;
    Ok((client, all))
}

fn container_of(summary: ContainerSummary, now: WallTime) -> Option<(String, Container)> {
    let exit_code = summary.status.as_deref().and_then(exit_code_of);
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED => TaskState::Pending,
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => TaskState::Running,
        ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD => {
            TaskState::Ended { is_success: exit_code == Some(0) }
        }
        ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::EMPTY => TaskState::Unknown,
    };
    let name = summary.names.and_then(|names| Some(names.first()?.trim_start_matches('/').to_owned()));
    let exit_code = matches!(state, TaskState::Ended { .. }).then_some(exit_code).flatten();
    let facts = Facts { name, image: summary.image, exit_code, ..Facts::default() };
    Some((summary.id?, Container { state, since: now, facts, last: None }))
}

/// Of the engine's sentence `Exited (137) 3 minutes ago`, the only place in a list that says it.
fn exit_code_of(status: &str) -> Option<i64> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

/// A moment as the engine reads it: seconds with nine decimals.
fn seconds(at: WallTime) -> String {
    let nanos = at.unix_nanos();
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from a real engine: see `fixtures/README.md`.
    const LIST: &str = include_str!("../../fixtures/docker/list.json");
    const EVENTS: &str = include_str!("../../fixtures/docker/events.jsonl");

    fn docker() -> Docker {
        Docker::new(Path::new("/nowhere"), None)
    }

    fn list() -> Vec<ContainerSummary> {
        serde_json::from_str(LIST).unwrap()
    }

    fn events() -> Vec<EventMessage> {
        EVENTS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn name_of(seen: &Sighting) -> String {
        let facts: serde_json::Value = serde_json::from_str(seen.payload.as_deref().unwrap()).unwrap();
        facts["name"].as_str().unwrap().to_owned()
    }

    /// What was told of each container, by its name.
    fn told(event: Event) -> BTreeMap<String, TaskState> {
        match event {
            Event::Known(all) | Event::Changed(all) => all.iter().map(|seen| (name_of(seen), seen.state)).collect(),
            event => panic!("{event:?}"),
        }
    }

    const GOOD: TaskState = TaskState::Ended { is_success: true };
    const BAD: TaskState = TaskState::Ended { is_success: false };

    #[test]
    fn a_list_says_where_every_container_stands() {
        let known = told(docker().know(list(), clock::wall_now()));
        let expected = [("bad", BAD), ("good", GOOD), ("made", TaskState::Pending), ("web", TaskState::Running)];
        assert_eq!(known, expected.map(|(name, state)| (name.to_owned(), state)).into());
    }

    #[test]
    fn the_recorded_stream_tells_every_change_once() {
        let mut docker = docker();
        let told: Vec<String> = events()
            .into_iter()
            .filter_map(|message| docker.take(message))
            .map(|event| match event {
                Event::Changed(seen) => format!("{} {:?}", name_of(&seen[0]), seen[0].state),
                Event::Vanished(id) => format!("{} vanished", &id[..4]),
                event => panic!("{event:?}"),
            })
            .collect();
        let expected = [
            "made Pending",
            "web Pending",
            "web Running",
            "good Pending",
            "good Running",
            "good Ended { is_success: true }",
            "bad Pending",
            "bad Running",
            "bad Ended { is_success: false }",
            "web Ended { is_success: false }",
            "d4a4 vanished",
            "134b vanished",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn after_a_gap_an_end_is_not_told_again_and_a_state_keeps_its_beginning() {
        let mut docker = docker();
        let first = WallTime::from_unix_nanos(1_000_000_000);
        docker.know(list(), first);
        let Event::Known(again) = docker.know(list(), clock::wall_now()) else { panic!("no list") };
        assert_eq!(again.iter().map(name_of).collect::<BTreeSet<_>>(), ["made", "web"].map(str::to_owned).into());
        assert!(again.iter().all(|seen| seen.at == first));
    }

    #[test]
    fn an_event_that_the_list_already_told_is_no_news() {
        let mut docker = docker();
        docker.know(list(), clock::wall_now());
        let before_the_list = events().into_iter().take_while(|message| message.action.as_deref() != Some("attach"));
        assert_eq!(before_the_list.filter_map(|message| docker.take(message)).count(), 0);
    }

    #[test]
    fn small_differences_in_use_are_no_news() {
        let mut container =
            Container { state: TaskState::Running, since: clock::wall_now(), facts: Facts::default(), last: None };
        let mut look = |s: u64, cpu_ms: u64, memory_bytes: u64| {
            let used = Consumption { cpu: Duration::from_millis(cpu_ms), memory_bytes };
            container.consume(Stamp::from_nanos(s * 1_000_000_000), used)
        };
        assert!(look(0, 0, 3 << 20));
        assert!(look(5, 1_250, 3 << 20));
        assert!(!look(10, 2_501, (3 << 20) + 4096));
        assert!(look(15, 2_501, 3 << 20));
        assert!(look(20, 2_501, 5 << 20));
    }

    #[test]
    fn what_an_engine_writes_is_read() {
        assert_eq!(exit_code_of("Exited (137) 3 minutes ago"), Some(137));
        assert_eq!(exit_code_of("Up 3 minutes"), None);
        assert_eq!(seconds(WallTime::from_unix_nanos(1_700_000_000_000_000_001)), "1700000000.000000001");
    }
}
