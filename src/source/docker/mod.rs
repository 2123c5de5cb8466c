//! The containers of a Docker Engine: all of them first, then every event, and all of them again after a gap.
//!
//! Separate because what engines call things stays in this folder. The list is asked for before the events, which are then
//! asked for from that moment on: nothing falls between the two. What the engine says now outweighs what was told before; where
//! an event alone does not say where a container stands, the engine is asked. What containers use is read from their control
//! groups, because a question to the engine would cost more than everything else here.

mod engine;
#[cfg(feature = "toolkit")]
mod hand;
#[cfg(feature = "toolkit")]
pub mod owned;
#[cfg(feature = "toolkit")]
mod poll;
mod read;
#[cfg(test)]
mod tests;
#[cfg(feature = "toolkit")]
mod watcher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::timeout;

use super::{Event, EventSource, Mark, Next, Sighting, TaskState};
use crate::model::{Stamp, WallTime};
use crate::sys::cgroup::{Consumption, consumption_of_container};
use crate::sys::clock;
pub use engine::EngineError;
use engine::{Engine, Events};
#[cfg(feature = "toolkit")]
pub use hand::{Hand, Labelled, Standing};
#[cfg(feature = "toolkit")]
pub use poll::PollWatcher;
use read::{Action, Entry, Happening, Phase, ended};
#[cfg(feature = "toolkit")]
pub use watcher::EventWatcher;

/// Waits after a failure, the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Longest time for asking when the containers of a list were started or ended: beyond it the first list is more urgent.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Questions about single containers at a time.
const LOOKS_AT_ONCE: usize = 8;

/// Longest time for asking where one container stands: beyond it its event is believed.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// How often everything is listed although events are told.
const LIST_EVERY: Duration = Duration::from_secs(60);

/// An event that is read so late stood in a queue, which may have been full: everything is listed a moment later. Longer than
/// events are asked for from before a list.
const LATE_NS: i128 = 3_000_000_000;
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// How far before a list events are asked for.
const LOOK_BACK_NS: i128 = 2_000_000_000;

/// Oddities that are told; an engine that has more has been told of.
const MOST_ODD: usize = 100;

/// Memory is told in these steps, and processor time in hundredths: what is smaller is no news.
const MEMORY_STEP: u64 = 1 << 20;

/// The shortest time between two looks at what containers use.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Asks the engine behind a socket whether it is there.
///
/// # Errors
/// When it is not, or not for us.
pub async fn try_engine(socket: &Path) -> Result<(), EngineError> {
    read::list(&Engine::open(socket).await?.list().await?)?;
    Ok(())
}

/// A source that watches a Docker Engine.
pub struct Docker {
    socket: PathBuf,
    engine: Option<Engine>,
    events: Option<Events>,
    /// What was told of each container.
    containers: BTreeMap<String, Container>,
    /// When the last list was there: events from before it may be older than what it says.
    listed_at: Option<WallTime>,
    /// An event that is being looked at, and when it was read.
    pending: Option<(Happening, Stamp)>,
    /// What is to be said next.
    waiting: VecDeque<Event>,
    /// The oddities that were told.
    odd: BTreeSet<String>,
    /// Failures in a row.
    failures: u32,
    /// How often what containers use is looked at; `None` if nobody wants to know.
    look_every: Option<Duration>,
    next_look: Stamp,
    /// How often everything is listed where no events are asked for.
    poll: Option<Duration>,
    /// When everything is listed next: of events that are read too slowly the engine drops some without a word.
    next_list: Stamp,
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
            engine: None,
            events: None,
            containers: BTreeMap::new(),
            listed_at: None,
            pending: None,
            waiting: VecDeque::new(),
            odd: BTreeSet::new(),
            failures: 0,
            look_every: look_every.map(|every| every.max(SHORTEST_LOOK)),
            next_look: clock::now(),
            poll: None,
            next_list: clock::now(),
        }
    }

    /// The same without its events: everything is listed so often, and what happens between two lists is seen with the next.
    #[must_use]
    pub fn polled(self, every: Option<Duration>) -> Self {
        Self { poll: every, ..self }
    }

    async fn step(&mut self) -> Event {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            if let Some((happening, read)) = self.pending.clone() {
                let mark = happening.trace.clone().map(|id| Mark { id, read });
                let told = self.take(happening).await;
                self.pending = None;
                self.waiting.extend(told.map(|event| marked(event, mark)));
                continue;
            }
            let Some(events) = &mut self.events else { return self.attach().await };
            let look = self.look_every.map(|_| self.next_look.since(clock::now()));
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Ok(event) => {
                        self.pending = read::happening(&event).map(|happening| (happening, clock::now()));
                        if read::moment_of(&event).is_some_and(is_late) {
                            self.next_list = self.next_list.min(clock::now() + SETTLED_WITHIN);
                        }
                    }
                    Err(error) => return self.detach(&error),
                },
                () = tokio::time::sleep(self.next_list.since(clock::now())) => return self.list_again().await,
                () = tokio::time::sleep(look.unwrap_or(LONGEST_WAIT)) => {
                    let seen = self.look();
                    self.waiting.extend(seen);
                }
            }
        }
    }

    /// Lists everything and subscribes to what happens from then on.
    async fn attach(&mut self) -> Event {
        if self.failures > 0 {
            let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
            tokio::time::sleep(wait).await;
        } else if let Some(every) = self.poll {
            tokio::time::sleep(self.next_list.since(clock::now())).await;
            self.next_list = (self.next_list + every).max(clock::now());
        }
        match self.read_all().await {
            Ok(all) => {
                self.failures = 0;
                self.next_look = clock::now();
                if self.poll.is_none() {
                    self.next_list = clock::now() + LIST_EVERY;
                }
                self.know(all, clock::wall_now())
            }
            Err(error) => self.detach(&error),
        }
    }

    /// Lists everything beside the events that go on.
    async fn list_again(&mut self) -> Event {
        let list = match &self.engine {
            Some(engine) => timeout(LOOK_WITHIN, engine.list()).await.unwrap_or(Err(EngineError::Late)),
            None => return self.attach().await,
        };
        self.next_list = clock::now() + LIST_EVERY;
        match list.and_then(|list| Ok(read::list(&list)?)) {
            Ok(list) => {
                self.listed_at = Some(clock::wall_now());
                list.odd.into_iter().for_each(|what| self.tell_odd(what));
                self.know(list.entries, clock::wall_now())
            }
            Err(error) => self.detach(&error),
        }
    }

    async fn read_all(&mut self) -> Result<Vec<Entry>, EngineError> {
        let engine = Engine::open(&self.socket).await?;
        // Engines write down what they list a moment after they tell of it: an event of just before may not be in the list.
        let from = WallTime::from_unix_nanos(clock::wall_now().unix_nanos() - LOOK_BACK_NS);
        let list = read::list(&engine.list().await?)?;
        let mut all = list.entries;
        // What takes longer is left without the times of the engine.
        let _ = timeout(LOOK_WITHIN, complete(&engine, &self.containers, &mut all)).await;
        let events = if self.poll.is_none() { Some(engine.events(from).await?) } else { None };
        list.odd.into_iter().for_each(|what| self.tell_odd(what));
        (self.engine, self.events, self.listed_at) = (Some(engine), events, Some(clock::wall_now()));
        Ok(all)
    }

    fn detach(&mut self, why: &EngineError) -> Event {
        (self.engine, self.events) = (None, None);
        self.failures += 1;
        let why = why.told();
        Event::Trouble(format!("Docker at `{}` cannot be watched: {why}; trying again", self.socket.display()))
    }

    /// These are all containers. Of those that are over it is told what was not told before.
    fn know(&mut self, all: Vec<Entry>, now: WallTime) -> Event {
        let mut before = std::mem::take(&mut self.containers);
        let mut known = Vec::new();
        for entry in all {
            let (id, told) = (entry.id.clone(), before.remove(&entry.id));
            let mark = entry.trace.clone().map(|id| Mark { id, read: clock::now() });
            let is_old_end = told.as_ref().is_some_and(|told| told.is_over() && told.is_told(&entry));
            let container = Container::of(entry, told, now);
            if !is_old_end {
                known.push(Sighting { mark, ..container.sighting(&id) });
            }
            self.containers.insert(id, container);
        }
        Event::Known(known)
    }

    /// Something happened to a container; `None` if that is no news.
    async fn take(&mut self, happening: Happening) -> Option<Event> {
        let known = self.containers.get(&happening.id);
        let is_running = known.is_some_and(|known| known.state == TaskState::Running);
        // The list was made after the time from which on events are told.
        let is_old = self.listed_at.zip(happening.at).is_some_and(|(listed, at)| at <= listed);
        match happening.action {
            Action::Create if known.is_some() => None,
            Action::Create if is_old => self.ask(happening, None).await,
            Action::Create => self.change(happening, TaskState::Pending),
            Action::Run if is_old => self.ask(happening, Some(TaskState::Running)).await,
            Action::Run => self.change(happening, TaskState::Running),
            Action::Die => {
                let end = ended(happening.exit_code);
                self.ask(happening, Some(end)).await
            }
            Action::Stop if is_running => self.ask(happening, None).await,
            Action::Remove => self.containers.remove(&happening.id).map(|_| Event::Vanished(happening.id)),
            Action::Stop => None,
            Action::Rename => self.rename(happening),
        }
    }

    /// Asks the engine where a container stands now: whether one that has ended is about to be started again, no event says.
    /// Where the engine does not answer, or does not know it any more, it is what the event says.
    async fn ask(&mut self, happening: Happening, by_event: Option<TaskState>) -> Option<Event> {
        let found = match &self.engine {
            Some(engine) if is_plain(&happening.id) => {
                timeout(ASK_WITHIN, found(engine, &happening.id)).await.ok().flatten()
            }
            _ => None,
        };
        let state = match found.map_or((Phase::Unknown, None), |found| found) {
            (Phase::Running, _) => Some(TaskState::Running),
            (Phase::Pending, _) => Some(TaskState::Pending),
            (Phase::Over, exit_code) => Some(ended(happening.exit_code.or(exit_code))),
            (Phase::Unknown, _) => by_event,
        };
        self.change(happening, state?)
    }

    /// A container is in this state; `None` if it was already.
    fn change(&mut self, happening: Happening, state: TaskState) -> Option<Event> {
        let Happening { id, at, name, image, exit_code, .. } = happening;
        let known = self.containers.get(&id);
        if known.is_some_and(|known| known.state == state) {
            return None;
        }
        let known = known.map(|known| known.facts.clone()).unwrap_or_default();
        let exit_code = exit_code.filter(|_| matches!(state, TaskState::Ended { .. }));
        let facts = Facts { name: name.or(known.name), image: image.or(known.image), exit_code, ..Facts::default() };
        let since = at.unwrap_or_else(clock::wall_now);
        let container = Container { state, since, facts, last: None };
        let sighting = container.sighting(&id);
        self.containers.insert(id, container);
        Some(Event::Changed(vec![sighting]))
    }

    /// A container has another name.
    fn rename(&mut self, happening: Happening) -> Option<Event> {
        let known = self.containers.get_mut(&happening.id)?;
        if happening.name.is_none() || known.facts.name == happening.name {
            return None;
        }
        known.facts.name = happening.name;
        Some(Event::Changed(vec![known.sighting(&happening.id)]))
    }

    /// Something is not understood: told once.
    fn tell_odd(&mut self, what: String) {
        if self.odd.len() < MOST_ODD && self.odd.insert(what.clone()) {
            self.waiting.push_back(Event::Odd(format!("Docker at `{}`: {what}", self.socket.display())));
        }
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
    /// A container as a list shows it now, of which this was told before. A state that did not change has not begun just now.
    fn of(entry: Entry, told: Option<Self>, now: WallTime) -> Self {
        let state = entry.state();
        let told = told.filter(|told| told.state == state);
        let known = told.as_ref().map(|told| told.facts.clone()).unwrap_or_default();
        let facts = Facts {
            name: entry.name.or(known.name),
            image: entry.image.or(known.image),
            exit_code: entry.exit_code.or(known.exit_code),
            ..known
        };
        let since = told.as_ref().map(|told| told.since).or(entry.since).unwrap_or(now);
        Self { state, since, facts, last: told.and_then(|told| told.last) }
    }

    /// Whether everything that a list says of it was told before.
    fn is_told(&self, entry: &Entry) -> bool {
        let is_same = |told: &Option<String>, now: &Option<String>| now.is_none() || told == now;
        self.state == entry.state()
            && is_same(&self.facts.name, &entry.name)
            && is_same(&self.facts.image, &entry.image)
    }

    const fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Ended { .. })
    }

    fn sighting(&self, id: &str) -> Sighting {
        let payload = serde_json::to_string(&self.facts).ok();
        Sighting { task_id: id.to_owned(), state: self.state, at: self.since, payload, mark: None }
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

/// The same event, whose way is followed.
fn marked(event: Event, mark: Option<Mark>) -> Event {
    match event {
        Event::Changed(sightings) => {
            Event::Changed(sightings.into_iter().map(|seen| Sighting { mark: mark.clone(), ..seen }).collect())
        }
        other => other,
    }
}

/// Asks when containers were started or ended, of those that are not told already.
async fn complete(engine: &Engine, told: &BTreeMap<String, Container>, all: &mut [Entry]) {
    let is_told = |entry: &Entry| told.get(&entry.id).is_some_and(|told| told.is_told(entry));
    let asked = all.iter_mut().filter(|entry| !is_told(entry) && is_plain(&entry.id));
    let looks: Vec<_> = asked.map(|entry| look_at(engine, entry)).collect();
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect::<()>().await;
}

async fn look_at(engine: &Engine, entry: &mut Entry) {
    if let Ok(answer) = engine.inspect(&entry.id).await {
        entry.complete(read::details(&answer));
    }
}

fn is_late(at: WallTime) -> bool {
    clock::wall_now().unix_nanos() - at.unix_nanos() > LATE_NS
}

/// Where a container stands and what it ended with: by a look at it, else by the list, which may be a moment older.
async fn found(engine: &Engine, id: &str) -> Option<(Phase, Option<i64>)> {
    let details = engine.inspect(id).await.map(|answer| read::details(&answer)).unwrap_or_default();
    if let Some(phase) = details.phase {
        return Some((phase, details.exit_code));
    }
    let all = read::list(&engine.list_one(id).await.ok()?).ok()?.entries;
    all.into_iter().find(|entry| entry.id == id).map(|entry| (entry.phase, entry.exit_code))
}

/// Whether an id can stand in a path as it is, as every engine's can.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
