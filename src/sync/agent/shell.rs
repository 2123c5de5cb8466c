//! The shell of an agent: gives its machine time, sources and a connection, and does what it says.
//!
//! Separate from the machine so that everything decided can be simulated. It keeps one connection, knows no rule, and tells a
//! person what changed, once.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::config::Metrics;
use super::link::{Endpoint, LinkError, Wire};
use super::machine::{Action, End, Input, Machine, Rhythm, Seen, Settings, Warning};
use super::traces::Traces;
use crate::model::with_causes;
use crate::source::{Event, EventSource, Sighting, TaskState};
use crate::sync::message::{FromAgent, FromGateway, Usage};
use crate::sync::moment::Moment;
use crate::sync::payload::Payload;
use crate::sync::record::Status;
use crate::sys::clock;
use crate::sys::presence::Presence;
use crate::sys::procfs::{self, CpuMeter};
use crate::sys::shutdown::Shutdown;

/// Events that may wait; a source that is faster waits.
const MOST_WAITING: usize = 64;

/// How often the time of day is looked at while there is no connection.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(2);

/// A machine that slept for so long may find its connections gone.
const SLEPT: Duration = Duration::from_secs(1);

/// Longest payload that a gateway takes.
const LONGEST_PAYLOAD: usize = 16 * 1024;

/// How much somebody should care for what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It goes as it should.
    News,
    /// It does not.
    Fault,
}

/// Who hears what is said.
pub type Voice = Arc<dyn Fn(Tone, String) + Send + Sync>;

/// What may change while an agent runs.
#[derive(Clone, Debug)]
pub struct Live {
    /// The gateways, at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How often it hears of us.
    pub rhythm: Rhythm,
    /// What is told of the node.
    pub metrics: Metrics,
}

/// What an agent has from outside.
pub struct Surroundings {
    /// Where tasks are seen.
    pub sources: Vec<Box<dyn EventSource>>,
    /// What may change.
    pub live: watch::Receiver<Live>,
    /// The wish to stop.
    pub shutdown: Arc<Shutdown>,
    /// Who hears what is said.
    pub voice: Voice,
    /// Whether changes that bear the label of a trace get stamps on their way.
    pub is_traced: bool,
}

/// An agent that runs.
struct Shell {
    machine: Machine,
    /// What the machine has not taken yet.
    queue: VecDeque<Input>,
    link: Link,
    live: watch::Receiver<Live>,
    endpoints: Vec<Arc<Endpoint>>,
    /// Where the present connection leads, or the last one.
    server: usize,
    cpu: CpuMeter,
    voice: Voice,
    traces: Option<Traces>,
    /// What was said last of each gateway, so that an hour of failures is one line.
    said: HashMap<String, String>,
    /// What a source said last of its trouble, likewise.
    trouble: Option<String>,
    shutdown: Arc<Shutdown>,
    is_leaving: bool,
    presence: Presence,
}

enum Link {
    None,
    Dialing(Pin<Box<dyn Future<Output = Result<Wire, LinkError>> + Send>>),
    Up(Wire),
}

/// Runs an agent until it leaves or another one takes its place.
pub async fn run(settings: Settings, seed: u64, around: Surroundings) -> End {
    let Surroundings { sources, live, shutdown, voice, is_traced } = around;
    let (sender, mut events) = mpsc::channel(MOST_WAITING);
    let mut pumps = JoinSet::new();
    for (index, source) in sources.into_iter().enumerate() {
        pumps.spawn(pump(index, source, sender.clone()));
    }
    let endpoints = live.borrow().endpoints.clone();
    let mut shell = Shell {
        machine: Machine::new(settings, now(), seed),
        queue: VecDeque::from([Input::Tick]),
        link: Link::None,
        live,
        endpoints,
        server: 0,
        cpu: CpuMeter::default(),
        voice,
        traces: is_traced.then(Traces::default),
        said: HashMap::new(),
        trouble: None,
        shutdown,
        is_leaving: false,
        presence: Presence::begin(),
    };
    // The first look only begins the count.
    shell.cpu.ratio();
    loop {
        if let Some(end) = shell.work().await {
            return end;
        }
        tokio::select! {
            biased;
            () = shell.wait() => {}
            Some((source, event)) = events.recv() => shell.see(source, event),
        }
    }
}

/// Hands on what a source says until it has nothing more to say.
async fn pump(index: usize, mut source: Box<dyn EventSource>, events: mpsc::Sender<(usize, Event)>) {
    while let Some(event) = source.next().await {
        if events.send((index, event)).await.is_err() {
            return;
        }
    }
}

impl Shell {
    /// Lets the machine take what waits, and does what it says.
    async fn work(&mut self) -> Option<End> {
        if self.presence.missed(clock::now()) >= SLEPT {
            self.queue.push_back(Input::Woke);
        }
        while let Some(input) = self.queue.pop_front() {
            for action in self.machine.handle(now(), input) {
                match action {
                    Action::Connect => self.connect(),
                    Action::Send(frame) => self.send(frame).await,
                    Action::Close => self.link = Link::None,
                    Action::Warn(warning) => self.warn(&warning),
                    Action::End(end) => return Some(end),
                }
            }
        }
        None
    }

    fn connect(&mut self) {
        let attempt = self.machine.attempt();
        self.server = attempt.server;
        if let Some(endpoint) = self.endpoints.get(self.server).cloned() {
            self.link = Link::Dialing(Box::pin(Wire::connect(endpoint, attempt.seed)));
        }
    }

    /// Waits for the next thing that happens, other than an event of a source. May be dropped and called again.
    async fn wait(&mut self) {
        let deadline = self.machine.next_deadline();
        // Who waits to connect may wait for a clock to be set: a certificate is not valid yet in 1970.
        let longest = if matches!(self.link, Link::None) { LOOK_AT_CLOCK } else { Duration::MAX };
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep(at.since(clock::now()).min(longest)).await,
                None => pending().await,
            }
        };
        let input = tokio::select! {
            biased;
            () = self.shutdown.requested(), if !self.is_leaving => {
                self.is_leaving = true;
                Input::Leave
            }
            happened = self.link.next() => return self.link_changed(happened),
            Ok(()) = self.live.changed() => return self.reload(),
            () = sleep => Input::Tick,
        };
        self.queue.push_back(input);
    }

    fn link_changed(&mut self, happened: Result<Happened, LinkError>) {
        let input = match happened {
            Ok(Happened::Connected(wire)) => {
                self.link = Link::Up(wire);
                self.say(Tone::News, format!("connected to {}", self.gateway()));
                Input::Connected
            }
            Ok(Happened::Frame(frame)) => Input::Frame(frame),
            Err(error) => return self.broken(&error),
        };
        self.queue.push_back(input);
    }

    /// The connection has ended, or could not be made.
    fn broken(&mut self, error: &LinkError) {
        self.link = Link::None;
        if !self.is_leaving {
            let text = format!("not connected to {}: {}; trying again", self.gateway(), with_causes(error));
            self.say(Tone::Fault, text);
        }
        self.queue.push_back(Input::Disconnected);
    }

    async fn send(&mut self, mut frame: FromAgent) {
        if let FromAgent::Heartbeat(heartbeat) = &mut frame {
            heartbeat.usage = self.usage();
        }
        let Link::Up(wire) = &mut self.link else { return };
        if let Some(traces) = &mut self.traces {
            traces.stamp(&mut frame, clock::now());
        }
        if let Err(error) = wire.send(frame).await {
            self.broken(&error);
        }
    }

    /// Settings have changed: the interval at once, the connection only if its own have.
    fn reload(&mut self) {
        let live = self.live.borrow_and_update().clone();
        self.queue.push_back(Input::SetRhythm(live.rhythm));
        let digests = |endpoints: &[Arc<Endpoint>]| endpoints.iter().map(|one| one.digest).collect::<Vec<_>>();
        if digests(&live.endpoints) != digests(&self.endpoints) {
            self.endpoints = live.endpoints;
            self.said.clear();
            self.queue.push_back(Input::SetServers(self.endpoints.len()));
            self.queue.push_back(Input::Reconnect);
        }
    }

    /// What a source has seen, in the words of the gateway.
    fn see(&mut self, source: usize, event: Event) {
        if let (Some(traces), Event::Known(sightings) | Event::Changed(sightings)) = (&mut self.traces, &event) {
            traces.see(sightings, clock::now());
        }
        let seen = |sightings: Vec<Sighting>| sightings.into_iter().map(seen).collect();
        self.queue.push_back(match event {
            Event::Known(all) => {
                self.trouble = None;
                Input::Known(source, seen(all))
            }
            Event::Changed(some) => Input::Observed(source, seen(some)),
            Event::Vanished(task_id) => Input::Vanished(task_id),
            // A source tells each oddity once.
            Event::Odd(text) => return (self.voice)(Tone::Fault, text),
            Event::Trouble(text) => {
                if self.trouble.as_ref() != Some(&text) {
                    (self.voice)(Tone::Fault, text.clone());
                    self.trouble = Some(text);
                }
                return;
            }
        });
    }

    fn usage(&mut self) -> Option<Usage> {
        let metrics = self.live.borrow().metrics;
        if metrics == Metrics::default() {
            return None;
        }
        Some(Usage {
            cpu_ratio: metrics.cpu.then(|| self.cpu.ratio()).flatten(),
            memory_ratio: metrics.memory.then(procfs::memory_ratio).flatten(),
            disk_ratio: metrics.disk.then(procfs::disk_ratio).flatten(),
        })
    }

    fn warn(&mut self, warning: &Warning) {
        let (tone, text) = told(warning);
        // Of tasks it is said as often as it happens, of the connection once.
        if matches!(warning, Warning::TooMany(_)) { (self.voice)(tone, text) } else { self.say(tone, text) }
    }

    /// Says something of the connection, unless it was the last that was said.
    fn say(&mut self, tone: Tone, text: String) {
        let gateway = self.gateway();
        if self.said.get(&gateway) != Some(&text) {
            (self.voice)(tone, text.clone());
            self.said.insert(gateway, text);
        }
    }

    /// The name of the present gateway, or of the last one.
    fn gateway(&self) -> String {
        self.endpoints.get(self.server).map_or_else(String::new, |endpoint| endpoint.url.authority())
    }
}

fn told(warning: &Warning) -> (Tone, String) {
    let text = match warning {
        Warning::Refused(error) => format!("the gateway refuses: {}; trying again", error.message),
        Warning::WrongClock(message) => {
            format!("the gateway refuses what is told by a wrong clock, ours or its own: {message}; trying again")
        }
        Warning::TaskRefused { task_id, message } => format!("the gateway does not take `{task_id}`: {message}"),
        Warning::EpochAhead(epoch) => {
            let text = format!(
                "the gateway knows an agent of this node that is later than our clock: going on as epoch {epoch}"
            );
            return (Tone::News, text);
        }
        Warning::LastEpoch(epoch) => {
            format!("the gateway knows this node with epoch {epoch}, and none is later: give the node another name")
        }
        Warning::Silent(span) => format!("no answer for {} s; connecting again", span.as_secs()),
        Warning::TooMany(lost) => {
            format!("too many tasks: {} ends were dropped, {} new tasks are not reported", lost.dropped, lost.refused)
        }
    };
    (Tone::Fault, text)
}

/// Something that a link has to say.
enum Happened {
    Connected(Wire),
    Frame(FromGateway),
}

impl Link {
    async fn next(&mut self) -> Result<Happened, LinkError> {
        match self {
            Self::None => pending().await,
            Self::Dialing(attempt) => attempt.await.map(Happened::Connected),
            Self::Up(wire) => wire.next().await.map(Happened::Frame),
        }
    }
}

/// What a runtime's state is called between agent and gateway.
pub(super) const fn status_of(state: TaskState) -> Status {
    match state {
        TaskState::Pending => Status::Pending,
        TaskState::Running => Status::Running,
        TaskState::Ended { is_success: true } => Status::Completed,
        TaskState::Ended { is_success: false } => Status::Failed,
        TaskState::Unknown => Status::Unknown,
    }
}

fn seen(sighting: Sighting) -> Seen {
    let status = status_of(sighting.state);
    // A payload is an addition: one that cannot be sent does not keep the state back.
    let payload = sighting.payload.filter(|text| text.len() <= LONGEST_PAYLOAD);
    let payload = payload.and_then(|text| Payload::parse(&text).ok());
    Seen { task_id: sighting.task_id, status, timestamp: sighting.at, payload }
}

fn now() -> Moment {
    Moment { at: clock::now(), wall: clock::wall_now() }
}
