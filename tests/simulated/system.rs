//! The whole state-synchronisation system in one small world: the very machines of agents and gateway, a store that can lose
//! what it did not confirm, links that delay, lose, repeat and reorder, and everybody's death.
//!
//! Pure: one seed, one outcome. What must never happen is checked while it runs and when all has healed, each against what
//! the world itself knows and not against what the machines say of themselves. A seed that finds a violation is a test case.

mod check;
mod far_end;
mod healed;
mod moved;
mod queue;
mod senses;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use offloadctl::detect::DetectorSpec;
use offloadctl::model::span::nanos;
use offloadctl::model::{Stamp, WallTime};
use offloadctl::sim::{LinkSpec, LinkState, Loss};
use offloadctl::sync::agent::machine::{
    Action, BackoffBounds, End, Input, Machine as Agent, Rhythm, Seen, Settings as AgentSettings,
};
use offloadctl::sync::gateway::machine::Moment;
use offloadctl::sync::message::{FromAgent, FromGateway};
use offloadctl::sync::record::Status;

pub use check::Violation;

use check::Witness;
use far_end::FarEnd;
use queue::{Plan, Queue};
use senses::Senses;

/// The time of day at which every world begins, in nanoseconds since the Unix epoch: 2026-01-01.
const BEGINNING_NS: i128 = 1_767_225_600_000_000_000;

/// Intervals within which everything has to heal once the trouble is over.
const HEALED_WITHIN: u32 = 60;

/// How long an attempt to connect to nobody takes.
const DIALED_WITHIN: Duration = Duration::from_secs(1);

/// A world as it is meant.
#[derive(Clone, Debug)]
pub struct SystemSpec {
    /// Seed of everything random.
    pub seed: u64,
    /// How many agents there are.
    pub agents: usize,
    /// Span between two heartbeats.
    pub interval: Duration,
    /// The gateway's detector, of three missed heartbeats.
    pub detector: DetectorSpec,
    /// The margin in it.
    pub margin: Duration,
    /// What happens on every way between an agent and the gateway.
    pub link: LinkSpec,
    /// How many sources tell an agent of its tasks; one tells everything at once.
    pub sources: usize,
    /// What else goes wrong.
    pub troubles: Troubles,
    /// How long the trouble lasts.
    pub span: Duration,
    /// Bytes of a frame of an agent: with few, whole states come in parts, and much happens between two of them.
    pub frame_bytes: usize,
    /// How long the gateway keeps tasks that are over, and nodes that are unreachable.
    pub kept: Kept,
}

/// How long the gateway keeps what is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Tasks that are over.
    pub over: Duration,
    /// Nodes that are unreachable.
    pub absent: Duration,
}

impl SystemSpec {
    /// Whether nothing keeps the heartbeats of a living agent from the gateway.
    fn is_clean(&self) -> bool {
        !self.troubles.silence && self.link.loss == Loss::Never && self.link.in_order
    }
}

/// What goes wrong beside the links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Agents die, and some of them come back with another epoch; their clocks step.
    pub agents: bool,
    /// Agents stand still, and their links are cut.
    pub silence: bool,
    /// The gateway dies and comes back, and its store fails.
    pub gateway: bool,
    /// Tasks of lost nodes go on elsewhere.
    pub moves: bool,
}

/// What a world without a violation saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes that became durable.
    pub revisions: u64,
    /// Reports that were acknowledged as stored.
    pub acknowledged: u64,
    /// From each death to the durable word of it.
    pub detections: Vec<Duration>,
    /// Deaths of the gateway and failures of its store.
    pub setbacks: u64,
    /// Tasks that went on elsewhere.
    pub moves: u64,
    /// Tasks and nodes that were forgotten after their time.
    pub forgotten: u64,
    /// Parts of whole states that were not whole.
    pub parts: u64,
    /// Words of sources that confirmed what another had said.
    pub confirmed: u64,
}

/// Runs a world to its end.
///
/// # Errors
/// With the first thing that must never happen.
pub fn run(spec: &SystemSpec) -> Result<Outcome, Violation> {
    let mut system = System::new(spec.clone());
    let end = nanos(spec.span);
    system.run_until(end)?;
    system.heal();
    system.run_until(end + nanos(spec.interval) * u64::from(HEALED_WITHIN))?;
    system.check_healed()?;
    Ok(Outcome {
        revisions: system.far_end.revision(),
        acknowledged: system.witness.acknowledged(),
        detections: system.witness.detections().to_vec(),
        setbacks: system.far_end.setbacks(),
        moves: system.moves,
        forgotten: system.witness.forgotten(),
        parts: system.parts,
        confirmed: system.nodes.iter().map(|node| node.senses.confirmed).sum(),
    })
}

/// The world.
struct System {
    spec: SystemSpec,
    random: ChaCha8Rng,
    now: u64,
    queue: Queue,
    nodes: Vec<Node>,
    far_end: FarEnd,
    witness: Witness,
    connections: u64,
    moves: u64,
    parts: u64,
    has_trouble: bool,
}

/// A node with its agent, and what is true of it.
struct Node {
    id: String,
    /// `None` while it is dead.
    agent: Option<Agent>,
    connection: Option<u64>,
    up: LinkState,
    down: LinkState,
    /// The planned tick.
    planned: Option<u64>,
    frozen_until: u64,
    cut_until: u64,
    /// How far its clock is ahead.
    ahead_ns: i128,
    /// Its tasks as they truly are.
    truth: BTreeMap<String, Status>,
    /// Tasks that went on elsewhere, and where.
    moved: Vec<(String, usize)>,
    /// What watches it, where that is more than one source.
    senses: Senses,
    task_count: u64,
}

impl System {
    fn new(spec: SystemSpec) -> Self {
        let mut system = Self {
            random: ChaCha8Rng::seed_from_u64(spec.seed),
            now: 0,
            queue: Queue::default(),
            nodes: Vec::new(),
            far_end: FarEnd::new(spec.detector.clone(), spec.kept, moment(0, 0)),
            witness: Witness::new(&spec),
            connections: 0,
            moves: 0,
            parts: 0,
            has_trouble: true,
            spec,
        };
        for at in 0..system.spec.agents {
            system.nodes.push(Node {
                id: format!("node-{at}"),
                agent: None,
                connection: None,
                up: LinkState::default(),
                down: LinkState::default(),
                planned: None,
                frozen_until: 0,
                cut_until: 0,
                ahead_ns: 0,
                truth: BTreeMap::new(),
                moved: Vec::new(),
                senses: Senses::default(),
                task_count: 0,
            });
            system.start_agent(at);
            system.queue.push(system.random.random_range(0..nanos(system.spec.interval)), Plan::Work(at));
        }
        system.plan_trouble();
        system.queue.push(0, Plan::Pull);
        system
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some((at, plan)) = self.queue.pop(end) {
            self.now = at;
            self.happen(plan)?;
            self.far_end_follows()?;
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, plan: Plan) -> Result<(), Violation> {
        // Whoever stands still hears and does everything afterwards.
        if let Some(thaw) = plan.agent().map(|at| self.nodes[at].frozen_until).filter(|thaw| self.now < *thaw) {
            self.queue.push(thaw, plan);
            return Ok(());
        }
        match plan {
            Plan::ToGateway(connection, frame) => self.arrive_at_gateway(connection, frame),
            Plan::ToAgent(at, connection, frame) => self.arrive_at_agent(at, connection, frame)?,
            Plan::Dialed(at, connection) => self.dialed(at, connection),
            Plan::HungUp(connection) => self.far_end.hung_up(moment(self.now, 0), connection),
            Plan::Dropped(at, connection) => {
                if self.nodes[at].connection == Some(connection) {
                    self.nodes[at].connection = None;
                    self.tell_agent(at, Input::Disconnected);
                }
            }
            Plan::Tick(at) => {
                // One that was planned for later was overtaken by an earlier one.
                if self.nodes[at].planned.take_if(|planned| *planned <= self.now).is_some() {
                    self.tell_agent(at, Input::Tick);
                }
            }
            Plan::Poll => self.far_end.poll(moment(self.now, 0)),
            Plan::Committed(generation) => self.far_end.committed(generation),
            Plan::Work(at) => self.work(at),
            Plan::Sense(at, source, generation) => self.sense(at, source, generation)?,
            Plan::List(at, source, generation) => self.list(at, source, generation),
            Plan::Trouble => {
                self.check_counts()?;
                self.trouble();
            }
            Plan::Restart => self.far_end.restart(moment(self.now, 0)),
            Plan::Start(at) if !self.has_moved(at) => self.queue.push(self.now + 1_000_000_000, Plan::Start(at)),
            Plan::Start(at) => self.start_agent(at),
            Plan::Pull => {
                self.far_end.pull(&self.witness)?;
                self.queue.push(self.now + 40_000_000, Plan::Pull);
            }
        }
        Ok(())
    }

    /// Whatever the gateway's side wants to be done: commits, answers, its next poll.
    fn far_end_follows(&mut self) -> Result<(), Violation> {
        for change in self.far_end.take_durable() {
            self.witness.durable(self.now, &change)?;
        }
        if let Some(generation) = self.far_end.begin_commit() {
            // A few milliseconds as a rule, and now and then as long as a disk that is busy.
            let slow = self.random.random::<f64>() < 0.01;
            let wait = if slow { 200_000_000 } else { self.random.random_range(100_000..8_000_000) };
            self.queue.push(self.now + wait, Plan::Committed(generation));
        }
        for (connection, frame) in self.far_end.take_answers() {
            self.send_to_agent(connection, frame);
        }
        for connection in self.far_end.take_closed() {
            let at = self.far_end.agent_of(connection);
            self.queue.push(self.now + 1_000_000, Plan::Dropped(at, connection));
        }
        if let Some(next) = self.far_end.next_poll() {
            self.queue.push(next.max(self.now), Plan::Poll);
        }
        Ok(())
    }

    fn start_agent(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.moved.clear();
        let settings = AgentSettings {
            node_id: node.id.clone(),
            rhythm: Rhythm::Fixed(self.spec.interval),
            phase: self.spec.interval.mul_f64(at as f64 / self.spec.agents as f64),
            coalescing: Duration::from_millis(5),
            answer_within: self.spec.interval * 2,
            backoff: BackoffBounds { first: Duration::from_millis(200), longest: self.spec.interval },
            most_tasks: 1_000,
            most_frame_bytes: self.spec.frame_bytes,
            sources: 1,
            servers: 1,
        };
        let seed = self.random.random();
        node.agent = Some(Agent::new(settings, moment(self.now, node.ahead_ns), seed));
        let wall = moment(self.now, node.ahead_ns).wall;
        let known = node.truth.iter().map(|(id, status)| seen(id, *status, wall)).collect();
        self.witness.started(self.now, at);
        if self.spec.sources > 1 {
            return self.look_around(at);
        }
        self.tell_agent(at, Input::Known(0, known));
    }

    /// Lets an agent decide, unless it is dead; one that stands still decides afterwards.
    fn tell_agent(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        let now = moment(self.now, node.ahead_ns);
        let Some(agent) = node.agent.as_mut() else { return };
        let actions = agent.handle(now, input);
        actions.into_iter().for_each(|action| self.act(at, action));
        self.plan_tick(at);
    }

    fn plan_tick(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(next) = node.agent.as_ref().and_then(Agent::next_deadline) else { return };
        let next = next.as_nanos().max(self.now);
        if node.planned.is_none_or(|planned| next < planned) {
            node.planned = Some(next);
            self.queue.push(next, Plan::Tick(at));
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Connect => {
                self.connections += 1;
                let wait = self.random.random_range(1_000_000..20_000_000);
                self.queue.push(self.now + wait, Plan::Dialed(at, self.connections));
            }
            Action::Send(frame) => self.send_to_gateway(at, frame),
            Action::Close => self.hang_up(at),
            Action::Warn(_) => {}
            Action::End(End::Superseded(_) | End::Left | End::LeftUnheard) => {
                self.hang_up(at);
                self.nodes[at].agent = None;
            }
        }
    }

    /// An agent closes its connection; across a cut the gateway only notices much later.
    fn hang_up(&mut self, at: usize) {
        let wait = if self.is_cut(at) { nanos(self.spec.interval) * 10 } else { 1_000_000 };
        if let Some(connection) = self.nodes[at].connection.take() {
            self.queue.push(self.now + wait, Plan::HungUp(connection));
        }
    }

    fn dialed(&mut self, at: usize, connection: u64) {
        if self.nodes[at].agent.is_none() {
            return;
        }
        if self.is_cut(at) || !self.far_end.connect(moment(self.now, 0), connection, at, &self.nodes[at].id) {
            self.nodes[at].connection = Some(connection);
            return self.queue.push(self.now + nanos(DIALED_WITHIN), Plan::Dropped(at, connection));
        }
        self.nodes[at].connection = Some(connection);
        self.tell_agent(at, Input::Connected);
    }

    fn send_to_gateway(&mut self, at: usize, frame: FromAgent) {
        let (is_cut, node) = (self.is_cut(at), &mut self.nodes[at]);
        let Some(connection) = node.connection.filter(|_| !is_cut) else { return };
        self.witness.sent(connection, &frame);
        self.parts += u64::from(matches!(&frame, FromAgent::State(state) if state.until.is_some()));
        let (once, again) = node.up.send(&self.spec.link, self.now, &mut self.random);
        for arrival in [once, again].into_iter().flatten() {
            self.queue.push(arrival, Plan::ToGateway(connection, frame.clone()));
        }
    }

    fn send_to_agent(&mut self, connection: u64, frame: FromGateway) {
        let at = self.far_end.agent_of(connection);
        if self.is_cut(at) {
            return;
        }
        let (once, again) = self.nodes[at].down.send(&self.spec.link, self.now, &mut self.random);
        for arrival in [once, again].into_iter().flatten() {
            self.queue.push(arrival, Plan::ToAgent(at, connection, frame.clone()));
        }
    }

    fn arrive_at_gateway(&mut self, connection: u64, frame: FromAgent) {
        self.far_end.take(moment(self.now, 0), connection, frame);
    }

    fn arrive_at_agent(&mut self, at: usize, connection: u64, frame: FromGateway) -> Result<(), Violation> {
        if self.nodes[at].connection != Some(connection) {
            return Ok(());
        }
        self.witness.answered(connection, &frame, self.far_end.log())?;
        self.tell_agent(at, Input::Frame(frame));
        Ok(())
    }

    /// Something happens to a task of a node: a new one, another status, or its disappearance.
    fn work(&mut self, at: usize) {
        let pause = self.random.random_range(10_000_000..nanos(self.spec.interval));
        self.queue.push(self.now + pause, Plan::Work(at));
        let node = &mut self.nodes[at];
        if node.agent.is_none() || !self.has_trouble || self.now < node.frozen_until {
            return;
        }
        let open: Vec<String> = node.truth.keys().cloned().collect();
        let choice: f64 = self.random.random();
        if self.spec.troubles.moves && choice > 0.8 && self.move_task_to(at) {
            return;
        }
        let node = &mut self.nodes[at];
        if open.len() < 2 || (choice < 0.3 && open.len() < 6) {
            node.task_count += 1;
            let id = format!("{}-task-{}", node.id, node.task_count);
            node.truth.insert(id.clone(), Status::Pending);
            return self.observe(at, &id, Some(Status::Pending));
        }
        let id = open[self.random.random_range(0..open.len())].clone();
        if choice > 0.95 {
            node.truth.remove(&id);
            return self.observe(at, &id, None);
        }
        let next = if node.truth[&id] == Status::Pending { Status::Running } else { Status::Completed };
        match next {
            Status::Completed => drop(node.truth.remove(&id)),
            _ => drop(node.truth.insert(id.clone(), next)),
        }
        self.observe(at, &id, Some(next));
    }

    fn is_cut(&self, at: usize) -> bool {
        self.now < self.nodes[at].cut_until
    }
}

fn seen(id: &str, status: Status, timestamp: WallTime) -> Seen {
    Seen { task_id: id.to_owned(), status, timestamp, payload: None }
}

/// A moment as a clock shows it that is so far ahead.
fn moment(now: u64, ahead_ns: i128) -> Moment {
    Moment { at: Stamp::from_nanos(now), wall: WallTime::from_unix_nanos(BEGINNING_NS + i128::from(now) + ahead_ns) }
}
