//! What the gateway decides: which report is newer, which node is alive, what subscribers hear.
//!
//! A pure machine: every input has its moment, and whatever is to be written is collected as changes, each with the next
//! revision. Nothing that an input led to may be told to anybody before its revision is durable; the shell sees to that. So
//! what is decided here may run ahead of the store, and is forgotten with [`Machine::restore`] if the store refuses.

mod judge;
mod node;
mod offset;
mod read;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use super::refusal::Refusal;
pub use offset::Offset;
pub use read::{Counts, NodeView, TaskView, View};

use super::refusal::Code;
use crate::detect::{Detector, DetectorSpec};
use crate::model::Stamp;
use crate::sync::message::{FullState, Heartbeat, Leave, Outcome, Receipt, StatusReport, TaskState};
pub use crate::sync::moment::Moment;
use crate::sync::record::{Change, NodeRecord, NodeState, Status, TaskRecord};
use crate::sync::store::Snapshot;
use judge::{Judgement, judge};
use node::Node;

/// What the gateway was told to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a silent node is unreachable.
    pub detector: DetectorSpec,
    /// How long a task that is over is kept.
    pub retain_completed: Duration,
    /// How long a node that has left is kept.
    pub retain_left: Duration,
    /// Most tasks.
    pub most_tasks: usize,
    /// Most nodes.
    pub most_nodes: usize,
    /// Changes that a subscriber may be behind.
    pub history: usize,
}

/// The state of the gateway.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    tasks: BTreeMap<String, TaskRecord>,
    nodes: BTreeMap<String, Node>,
    revision: u64,
    /// The newest changes, contiguous, the last one last.
    history: VecDeque<Change>,
    /// How many of them were handed out to be written.
    handed_out: u64,
    /// The planned look at each node that is watched.
    looks: BTreeSet<(Stamp, String)>,
    /// Tasks that are over, by the revision that said so, and since when.
    over_tasks: BTreeMap<u64, (Stamp, String)>,
    /// Nodes that have left, likewise.
    left_nodes: BTreeMap<u64, (Stamp, String)>,
}

impl Machine {
    /// The machine as the store remembers it. All timers begin now: nobody is accused of silence while we were away.
    #[must_use]
    pub fn new(settings: Settings, snapshot: Snapshot, now: Moment) -> Self {
        let mut machine = Self {
            settings,
            tasks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            revision: 0,
            history: VecDeque::new(),
            handed_out: 0,
            looks: BTreeSet::new(),
            over_tasks: BTreeMap::new(),
            left_nodes: BTreeMap::new(),
        };
        machine.restore(snapshot, now);
        machine
    }

    /// Forgets everything that the store does not know.
    pub fn restore(&mut self, snapshot: Snapshot, now: Moment) {
        let connections: Vec<(String, u32)> =
            self.nodes.iter().map(|(id, node)| (id.clone(), node.connections)).collect();
        (self.revision, self.handed_out) = (snapshot.revision, snapshot.revision);
        self.history = snapshot.history.into();
        self.tasks.clear();
        self.nodes.clear();
        self.looks.clear();
        self.over_tasks.clear();
        self.left_nodes.clear();
        for record in snapshot.nodes {
            self.restore_node(record, now);
        }
        for record in snapshot.tasks {
            let node = self.nodes.entry(record.node_id.clone()).or_insert_with(|| Node::new(0));
            node.replace(None, &record);
            self.remember_end(now, &record);
            self.tasks.insert(record.task_id.clone(), record);
        }
        for (id, count) in connections {
            self.nodes.entry(id).or_insert_with(|| Node::new(0)).connections = count;
        }
    }

    fn restore_node(&mut self, record: NodeRecord, now: Moment) {
        let id = record.node_id.clone();
        let mut node = Node::new(record.epoch);
        match record.state {
            NodeState::Alive | NodeState::Suspect => {
                node.watch(&self.settings.detector, now.at, Duration::from_millis(record.interval_ms));
            }
            NodeState::Left => {
                self.left_nodes.insert(record.revision, (now.at, id.clone()));
            }
            NodeState::Unreachable => {}
        }
        node.record = Some(record);
        self.nodes.insert(id.clone(), node);
        self.plan(&id);
    }

    /// The newest revision, durable or not.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What is to be written next, in order; each change is handed out once.
    pub fn take_unwritten(&mut self) -> Vec<Change> {
        let fresh = (self.revision - self.handed_out) as usize;
        self.handed_out = self.revision;
        self.history.iter().skip(self.history.len() - fresh).cloned().collect()
    }

    /// Takes a report on one task.
    ///
    /// # Errors
    /// When it means nothing, contradicts what is known, or is about the task of another node.
    pub fn report(&mut self, now: Moment, report: StatusReport) -> Result<Receipt, Refusal> {
        validate::report(&report, now.wall)?;
        let known = self.tasks.get(&report.task_id);
        if let Some(known) = known {
            self.check_owner(known, &report.node_id)?;
        } else if self.tasks.len() >= self.settings.most_tasks {
            return Err(Refusal::new(Code::TooMany, format!("{} tasks are kept already", self.tasks.len())));
        }
        let known_place = known.map(|known| (known.revision, known.version));
        let (outcome, (revision, version)) = match (judge(known, &report), known_place) {
            (Judgement::Store { epoch, version }, _) => {
                (Outcome::Stored, (self.store_task(now, report, epoch, version), version))
            }
            (Judgement::Duplicate, Some(place)) => (Outcome::Duplicate, place),
            (Judgement::Stale, Some(place)) => (Outcome::Stale, place),
            _ => {
                let message = format!(
                    "version {} of `{}` is known with other content",
                    known_place.map_or(0, |(_, v)| v),
                    report.task_id
                );
                return Err(Refusal::new(Code::VersionConflict, message));
            }
        };
        Ok(Receipt { outcome, revision, version })
    }

    /// Takes everything that a node knows; what it no longer knows is unknown from now on.
    ///
    /// # Errors
    /// When an agent that started later speaks for the node, or it means nothing.
    pub fn state(&mut self, now: Moment, state: FullState) -> Result<Vec<Result<Receipt, Refusal>>, Refusal> {
        validate::state(&state)?;
        self.enter(&state.node_id, state.epoch)?;
        let told: BTreeSet<String> = state.tasks.iter().map(|task| task.task_id.clone()).collect();
        let (node_id, epoch, version) = (state.node_id, state.epoch, state.version);
        let answers = state.tasks.into_iter().map(|task| self.report(now, report_of(task, &node_id, epoch))).collect();
        for task_id in self.nodes.get(&node_id).map_or_else(Vec::new, |node| node.vanished(&told)) {
            let Some(known) = self.tasks.get(&task_id) else { continue };
            let version = version.max(known.version + 1);
            let (status, timestamp, payload) = (Status::Unknown, now.wall, None);
            self.write_task(now, TaskRecord { status, epoch, version, timestamp, payload, ..known.clone() });
        }
        // From here on both sides agree on what the checksum covers: what the agent has told.
        let own = told.iter().filter_map(|id| self.tasks.get(id)).filter(|record| record.node_id == node_id);
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.agree_on(own);
        }
        Ok(answers)
    }

    /// Takes a heartbeat; true if the agent should send everything, because what we know is not what it says.
    ///
    /// # Errors
    /// When an agent that started later speaks for the node, or it means nothing.
    pub fn heartbeat(&mut self, now: Moment, heartbeat: &Heartbeat) -> Result<bool, Refusal> {
        validate::heartbeat(heartbeat)?;
        self.enter(&heartbeat.node_id, heartbeat.epoch)?;
        let id = heartbeat.node_id.as_str();
        let Some(node) = self.nodes.get_mut(id) else { return Ok(false) };
        if node.hear(&self.settings.detector, now.at, heartbeat) {
            let state = node.record.as_ref().map(|record| record.state);
            let is_believed = state != Some(NodeState::Unreachable) || node.recovers(now.at);
            let is_written = node.record.as_ref().is_some_and(|record| {
                record.state == NodeState::Alive
                    && record.epoch == heartbeat.epoch
                    && record.interval_ms >= heartbeat.next_interval_ms
            });
            if is_believed && !is_written {
                self.write_node(now, id, NodeState::Alive);
            }
            self.plan(id);
        }
        let node = &self.nodes[id];
        Ok(heartbeat.digest.as_ref().is_some_and(|digest| digest.checksum != node.sum.to_string()))
    }

    /// An agent has opened a connection.
    ///
    /// # Errors
    /// When there are as many nodes as are kept.
    pub fn connect(&mut self, node_id: &str) -> Result<(), Refusal> {
        self.make_room(node_id)?;
        self.nodes.entry(node_id.to_owned()).or_insert_with(|| Node::new(0)).connections += 1;
        Ok(())
    }

    /// A connection of an agent is closed: without another one the node is suspect, and its detector goes on.
    pub fn disconnect(&mut self, now: Moment, node_id: &str) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        node.connections = node.connections.saturating_sub(1);
        let is_alive = node.record.as_ref().is_some_and(|record| record.state == NodeState::Alive);
        if node.connections == 0 && is_alive {
            self.write_node(now, node_id, NodeState::Suspect);
        }
    }

    /// A node says goodbye.
    ///
    /// # Errors
    /// When an agent that started later speaks for the node.
    pub fn leave(&mut self, now: Moment, leave: &Leave) -> Result<(), Refusal> {
        validate::leave(leave)?;
        self.enter(&leave.node_id, leave.epoch)?;
        if let Some(node) = self.nodes.get_mut(&leave.node_id) {
            (node.detector, node.last) = (None, None);
            self.looks.remove(&(node.planned.take().unwrap_or(now.at), leave.node_id.clone()));
        }
        self.write_node(now, &leave.node_id, NodeState::Left);
        Ok(())
    }

    /// Does what is due: suspicions, and the end of what is no longer kept.
    pub fn poll(&mut self, now: Moment) {
        while let Some((at, _)) = self.looks.first()
            && *at <= now.at
        {
            let Some((_, id)) = self.looks.pop_first() else { break };
            self.look(now, &id);
        }
        self.forget(now);
    }

    /// When to poll next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Stamp> {
        let look = self.looks.first().map(|(at, _)| *at);
        let task = self.over_tasks.first_key_value().map(|(_, (since, _))| *since + self.settings.retain_completed);
        let node = self.left_nodes.first_key_value().map(|(_, (since, _))| *since + self.settings.retain_left);
        [look, task, node].into_iter().flatten().min()
    }

    /// A look at one node: is its deadline past?
    fn look(&mut self, now: Moment, id: &str) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.planned = None;
        if node.detector.as_ref().is_some_and(|detector| !detector.suspicion(now.at)) {
            return self.plan(id);
        }
        let is_news = node.record.as_ref().is_some_and(|record| record.state != NodeState::Unreachable);
        if is_news {
            node.lose(now.at);
            self.write_node(now, id, NodeState::Unreachable);
        }
    }

    /// Plans the next look at a node. One that is planned earlier stays: it will find that the deadline has moved on, which
    /// costs less than moving it with every heartbeat.
    fn plan(&mut self, id: &str) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Some(deadline) = node.detector.as_ref().map(Detector::deadline) else { return };
        if node.planned.is_some_and(|planned| planned <= deadline) {
            return;
        }
        if let Some(later) = node.planned.replace(deadline) {
            self.looks.remove(&(later, id.to_owned()));
        }
        self.looks.insert((deadline, id.to_owned()));
    }

    /// The node as of this epoch; a later epoch begins it anew.
    fn enter(&mut self, node_id: &str, epoch: u64) -> Result<(), Refusal> {
        if !self.nodes.contains_key(node_id) {
            self.make_room(node_id)?;
            self.nodes.insert(node_id.to_owned(), Node::new(epoch));
        }
        let Some(node) = self.nodes.get_mut(node_id) else { return Ok(()) };
        if epoch < node.epoch {
            let message =
                format!("an agent of `{node_id}` with epoch {} is known, which is later than {epoch}", node.epoch);
            return Err(Refusal { known_epoch: Some(node.epoch), ..Refusal::new(Code::OldEpoch, message) });
        }
        if epoch > node.epoch {
            node.restart(epoch);
        }
        Ok(())
    }

    fn make_room(&self, node_id: &str) -> Result<(), Refusal> {
        validate::id("node_id", node_id)?;
        if self.nodes.len() >= self.settings.most_nodes && !self.nodes.contains_key(node_id) {
            return Err(Refusal::new(Code::TooMany, format!("{} nodes are kept already", self.nodes.len())));
        }
        Ok(())
    }

    /// A task passes to another node when it is over or when its own node is not heard; not before.
    fn check_owner(&self, known: &TaskRecord, node_id: &str) -> Result<(), Refusal> {
        if known.node_id == node_id || known.status.is_final() {
            return Ok(());
        }
        let state = self.nodes.get(&known.node_id).and_then(|node| Some(node.record.as_ref()?.state));
        if matches!(state, Some(NodeState::Alive | NodeState::Suspect)) {
            let message = format!("`{}` is a task of node `{}`, which is heard", known.task_id, known.node_id);
            return Err(Refusal::new(Code::OwnedElsewhere, message));
        }
        Ok(())
    }

    fn store_task(&mut self, now: Moment, report: StatusReport, epoch: u64, version: u64) -> u64 {
        self.write_task(
            now,
            TaskRecord {
                task_id: report.task_id,
                node_id: report.node_id,
                status: report.status,
                epoch,
                version,
                timestamp: report.timestamp,
                payload: report.payload,
                revision: 0,
            },
        )
    }

    fn write_task(&mut self, now: Moment, record: TaskRecord) -> u64 {
        let record = TaskRecord { revision: self.revision + 1, ..record };
        let old = self.tasks.insert(record.task_id.clone(), record.clone());
        if let Some(old) = &old {
            if old.node_id != record.node_id
                && let Some(node) = self.nodes.get_mut(&old.node_id)
            {
                node.drop_task(old);
            }
            self.over_tasks.remove(&old.revision);
        }
        let own = old.filter(|old| old.node_id == record.node_id);
        let node = self.nodes.entry(record.node_id.clone()).or_insert_with(|| Node::new(0));
        node.replace(own.as_ref(), &record);
        self.remember_end(now, &record);
        self.write(Change::Task(record))
    }

    fn remember_end(&mut self, now: Moment, record: &TaskRecord) {
        if record.status.is_final() {
            self.over_tasks.insert(record.revision, (now.at, record.task_id.clone()));
        }
    }

    fn write_node(&mut self, now: Moment, id: &str, state: NodeState) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let promised = node.last.map_or(0, |last| last.promised.as_millis() as u64);
        // Rounded up, so that an interval that grows by and by is not written each time.
        let before = node.record.as_ref().map_or(0, |record| record.interval_ms);
        let interval_ms = if promised > before { promised.next_power_of_two() } else { before };
        let record = NodeRecord {
            node_id: id.to_owned(),
            state,
            epoch: node.epoch,
            interval_ms,
            changed_at: now.wall,
            revision: self.revision + 1,
        };
        if let Some(old) = node.record.replace(record.clone()) {
            self.left_nodes.remove(&old.revision);
        }
        if state == NodeState::Left {
            self.left_nodes.insert(record.revision, (now.at, id.to_owned()));
        }
        self.write(Change::Node(record));
    }

    fn write(&mut self, change: Change) -> u64 {
        self.revision += 1;
        self.history.push_back(change);
        let unwritten = (self.revision - self.handed_out) as usize;
        if self.history.len() > self.settings.history.max(unwritten) {
            self.history.pop_front();
        }
        self.revision
    }

    /// Forgets tasks that were over and nodes that had left for long enough. By our own clock and since our start: that of
    /// a node may be wrong, and what is kept too long does no harm.
    fn forget(&mut self, now: Moment) {
        while let Some(id) = due(&mut self.over_tasks, now.at, self.settings.retain_completed) {
            self.tasks.remove(&id);
            self.write(Change::TaskForgotten { task_id: id, revision: self.revision + 1 });
        }
        while let Some(id) = due(&mut self.left_nodes, now.at, self.settings.retain_left) {
            // A node with an open connection is about to speak again.
            if self.nodes.get(&id).is_none_or(|node| node.connections == 0) {
                self.nodes.remove(&id);
                self.write(Change::NodeForgotten { node_id: id, revision: self.revision + 1 });
            }
        }
    }
}

/// Takes the first of what has been over for so long.
fn due(over: &mut BTreeMap<u64, (Stamp, String)>, now: Stamp, kept: Duration) -> Option<String> {
    let entry = over.first_entry().filter(|entry| now >= entry.get().0 + kept)?;
    Some(entry.remove().1)
}

fn report_of(task: TaskState, node_id: &str, epoch: u64) -> StatusReport {
    StatusReport {
        task_id: task.task_id,
        status: task.status,
        node_id: node_id.to_owned(),
        timestamp: task.timestamp,
        version: Some(task.version),
        epoch: Some(epoch),
        payload: task.payload,
    }
}
