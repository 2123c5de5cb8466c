//! The gateway's side of the world: its machine, connections, a store that confirms later, and answers that wait for it.
//!
//! Separate because it is what the gateway's shell is in real life, without any decision of its own.

use super::Kept;
use super::check::{Violation, Witness};
use offloadctl::detect::DetectorSpec;
use offloadctl::sync::gateway::machine::{Machine, Moment, Settings};
use offloadctl::sync::message::{Answer, Answers, ErrorText, FromAgent, FromGateway, Pulse};
use offloadctl::sync::record::{Change, NodeRecord, TaskRecord};
use offloadctl::sync::store::Snapshot;
use std::collections::BTreeMap;

/// Changes that a subscriber may be behind: few, so that gaps happen.
const HISTORY: usize = 200;

/// Changes of one read of the subscriber.
const PULLED: usize = 64;

/// The gateway with everything around it.
pub struct FarEnd {
    detector: DetectorSpec,
    kept: Kept,
    /// `None` while it is down.
    machine: Option<Machine>,
    /// All connections that ever were, by their number.
    connections: BTreeMap<u64, Connection>,
    /// What the disk has.
    disk: Disk,
    unwritten: Vec<Change>,
    writing: Vec<Change>,
    /// How often the machine was set back.
    generation: u64,
    /// Answers, each with the revision that it waits for.
    waiting: Vec<(u64, u64, FromGateway)>,
    answers: Vec<(u64, FromGateway)>,
    closed: Vec<u64>,
    fresh: Vec<Change>,
    /// How far the subscriber is.
    read: u64,
    /// The planned poll.
    planned: Option<u64>,
}

struct Connection {
    agent: usize,
    node_id: String,
    epoch: Option<u64>,
    is_open: bool,
}

/// What is durable.
#[derive(Default)]
struct Disk {
    tasks: BTreeMap<String, TaskRecord>,
    nodes: BTreeMap<String, NodeRecord>,
    log: Vec<Change>,
}

impl FarEnd {
    /// A gateway that has just begun, with an empty store.
    pub fn new(detector: DetectorSpec, kept: Kept, now: Moment) -> Self {
        let mut far_end = Self {
            detector,
            kept,
            machine: None,
            connections: BTreeMap::new(),
            disk: Disk::default(),
            unwritten: Vec::new(),
            writing: Vec::new(),
            generation: 0,
            waiting: Vec::new(),
            answers: Vec::new(),
            closed: Vec::new(),
            fresh: Vec::new(),
            read: 0,
            planned: None,
        };
        far_end.restart(now);
        far_end
    }

    /// The newest durable revision.
    pub fn revision(&self) -> u64 {
        self.disk.log.len() as u64
    }

    /// Everything that is durable, in its order.
    pub fn log(&self) -> &[Change] {
        &self.disk.log
    }

    /// How often it was set back.
    pub const fn setbacks(&self) -> u64 {
        self.generation
    }

    /// Whose connection it is.
    pub fn agent_of(&self, connection: u64) -> usize {
        self.connections.get(&connection).map_or(0, |connection| connection.agent)
    }

    /// The machine, if it is up.
    pub const fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    /// An agent connects; false if nobody is there.
    pub fn connect(&mut self, _now: Moment, number: u64, agent: usize, node_id: &str) -> bool {
        let Some(machine) = self.machine.as_mut() else { return false };
        let is_open = machine.connect(node_id).is_ok();
        self.connections.insert(number, Connection { agent, node_id: node_id.to_owned(), epoch: None, is_open });
        is_open
    }

    /// A connection is gone.
    pub fn hung_up(&mut self, now: Moment, number: u64) {
        let Some(connection) = self.connections.get_mut(&number).filter(|connection| connection.is_open) else {
            return;
        };
        connection.is_open = false;
        if let Some(machine) = self.machine.as_mut() {
            machine.disconnect(now, &connection.node_id);
        }
        self.collect();
    }

    /// A frame arrives.
    pub fn take(&mut self, now: Moment, number: u64, frame: FromAgent) {
        let Some(connection) = self.connections.get_mut(&number).filter(|connection| connection.is_open) else {
            return;
        };
        let Some(machine) = self.machine.as_mut() else { return };
        let epoch = frame.epoch();
        let answered = match frame {
            FromAgent::Heartbeat(heartbeat) => machine.heartbeat(now, &heartbeat).map(|resync| {
                connection.epoch = Some(heartbeat.epoch);
                let (t2, t3) = (now.unix_nanos(), now.unix_nanos());
                (0, Some(FromGateway::Pulse(Pulse { seq: heartbeat.seq, t1: heartbeat.t1, t2, t3, resync })))
            }),
            FromAgent::Reports(batch) => {
                let told = batch.reports.into_iter().map(|report| machine.report(now, report));
                let answers = told
                    .map(|told| told.map_or_else(|refusal| Answer::Refused(refusal.body()), Answer::Receipt))
                    .collect();
                Ok((machine.revision(), Some(FromGateway::Answers(Answers { id: batch.id, answers }))))
            }
            FromAgent::State(state) => {
                let (id, epoch) = (state.id, state.epoch);
                machine.state(now, state).map(|told| {
                    connection.epoch = Some(epoch);
                    let answer = |told: Result<_, offloadctl::sync::gateway::machine::Refusal>| {
                        told.map_or_else(|refusal| Answer::Refused(refusal.body()), Answer::Receipt)
                    };
                    let answers = told.into_iter().map(answer).collect();
                    (machine.revision(), Some(FromGateway::Answers(Answers { id, answers })))
                })
            }
            FromAgent::Leave(leave) => machine.leave(now, &leave).map(|()| (0, None)),
        };
        match answered {
            Ok((revision, Some(frame))) => self.waiting.push((revision, number, frame)),
            Ok((_, None)) => self.close(now, number),
            Err(refusal) => {
                let error = refusal.text();
                let is_superseded = error.code == "old_epoch" && epoch.is_some() && epoch == connection.epoch;
                let code = if is_superseded { "superseded".to_owned() } else { error.code.clone() };
                self.answers.push((number, FromGateway::Error(ErrorText { code, ..error })));
                if is_superseded {
                    self.close(now, number);
                }
            }
        }
        self.collect();
    }

    fn close(&mut self, now: Moment, number: u64) {
        self.closed.push(number);
        self.hung_up(now, number);
    }

    /// Does what is due.
    pub fn poll(&mut self, now: Moment) {
        self.planned = None;
        if let Some(machine) = self.machine.as_mut() {
            machine.poll(now);
        }
        self.collect();
    }

    /// When to poll, if that is news.
    pub fn next_poll(&mut self) -> Option<u64> {
        let next = self.machine.as_ref()?.next_deadline()?.as_nanos();
        if self.planned.is_some_and(|planned| planned <= next) {
            return None;
        }
        self.planned = Some(next);
        self.planned
    }

    /// Begins to write what waits; with the number of the generation that it belongs to.
    pub fn begin_commit(&mut self) -> Option<u64> {
        if !self.writing.is_empty() || self.unwritten.is_empty() {
            return None;
        }
        self.writing = std::mem::take(&mut self.unwritten);
        Some(self.generation)
    }

    /// A batch is durable.
    pub fn committed(&mut self, generation: u64) {
        if generation == self.generation {
            self.write();
        }
    }

    /// The process dies; a batch that was being written is on the disk or not.
    pub fn kill(&mut self, has_written: bool) {
        self.set_back(has_written);
        self.machine = None;
        let open = self.connections.iter_mut().filter(|(_, connection)| connection.is_open);
        self.closed.extend(open.map(|(number, connection)| {
            connection.is_open = false;
            *number
        }));
    }

    /// The store fails and is opened again: the machine is set back to what is durable.
    pub fn fail_store(&mut self, now: Moment, has_written: bool) {
        let lost: Vec<u64> = self.waiting.iter().map(|(_, connection, _)| *connection).collect();
        self.set_back(has_written);
        let snapshot = self.disk.snapshot();
        if let Some(machine) = self.machine.as_mut() {
            machine.restore(snapshot, now);
            let text = |message: &str| (message.to_owned(), "store_unavailable".to_owned());
            let (message, code) = text("the store failed before this was durable");
            let error = ErrorText { code, message, hint: None, key: None, known_epoch: None };
            self.answers.extend(lost.into_iter().map(|connection| (connection, FromGateway::Error(error.clone()))));
        }
    }

    /// The process begins, with what the disk has.
    pub fn restart(&mut self, now: Moment) {
        if self.machine.is_none() {
            let settings = Settings {
                detector: self.detector.clone(),
                retain_completed: self.kept.over,
                retain_left: self.kept.absent,
                retain_unreachable: self.kept.absent,
                most_tasks: 100_000,
                most_nodes: 1_000,
                history: HISTORY,
            };
            self.machine = Some(Machine::new(settings, self.disk.snapshot(), now));
        }
    }

    /// Changes that became durable since the last call.
    pub fn take_durable(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.fresh)
    }

    /// Answers that may be sent.
    pub fn take_answers(&mut self) -> Vec<(u64, FromGateway)> {
        let durable = self.revision();
        let ready = self.waiting.extract_if(.., |(revision, ..)| *revision <= durable);
        self.answers.extend(ready.map(|(_, connection, frame)| (connection, frame)));
        std::mem::take(&mut self.answers)
    }

    /// Connections that ended on this side.
    pub fn take_closed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.closed)
    }

    /// The subscriber reads what is durable.
    pub fn pull(&mut self, witness: &Witness) -> Result<(), Violation> {
        let Some(machine) = self.machine.as_ref() else { return Ok(()) };
        match machine.changes(self.read, self.revision(), PULLED) {
            Ok(changes) => {
                for change in changes {
                    witness.subscribed(self.read, &change, &self.disk.log)?;
                    self.read = change.revision();
                }
            }
            Err(first) => {
                witness.gap(self.read, first, HISTORY)?;
                self.read = first - 1;
            }
        }
        Ok(())
    }

    fn collect(&mut self) {
        if let Some(machine) = self.machine.as_mut() {
            self.unwritten.extend(machine.take_unwritten());
        }
    }

    fn write(&mut self) {
        for change in std::mem::take(&mut self.writing) {
            self.disk.take(&change);
            self.fresh.push(change);
        }
    }

    fn set_back(&mut self, has_written: bool) {
        if has_written {
            self.write();
        }
        self.generation += 1;
        self.planned = None;
        self.writing.clear();
        self.unwritten.clear();
        self.waiting.clear();
    }
}

impl Disk {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Task(task) => drop(self.tasks.insert(task.task_id.clone(), task.clone())),
            Change::Node(node) => drop(self.nodes.insert(node.node_id.clone(), node.clone())),
            Change::TaskForgotten { task_id, .. } => drop(self.tasks.remove(task_id)),
            Change::NodeForgotten { node_id, .. } => drop(self.nodes.remove(node_id)),
        }
        self.log.push(change.clone());
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            lineage: "simulated".to_owned(),
            revision: self.log.len() as u64,
            tasks: self.tasks.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            history: self.log[self.log.len().saturating_sub(HISTORY)..].to_vec(),
        }
    }
}
