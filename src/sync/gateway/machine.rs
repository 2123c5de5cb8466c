//! What the gateway decides: which report is newer, which node is alive, what subscribers hear.
//!
//! A pure machine: every input has its moment, and whatever is to be written is collected as changes, each with the next
//! revision. Nothing that an input led to may be told to anybody before its revision is durable; the shell sees to that. So
//! what is decided here may run ahead of the store, and is forgotten with [`Machine::restore`] if the store refuses.

mod expiry;
mod judge;
mod node;
mod offset;
mod read;
mod retention;
mod room;
mod shared;
mod tally;
#[cfg(test)]
mod tests;
mod validate;
mod whole;
mod write;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use super::refusal::Refusal;
pub use offset::Offset;
pub use read::{Counts, NodeView, TaskView, View};
pub use whole::Whole;

use super::refusal::Code;
use crate::detect::{Detector, DetectorSpec};
use crate::model::Stamp;
use crate::sync::message::{Heartbeat, Leave, Outcome, Receipt, StatusReport};
pub use crate::sync::moment::Moment;
use crate::sync::record::{Change, NodeRecord, NodeState, TaskRecord};
use crate::sync::store::Snapshot;
use expiry::Expiry;
use judge::{Judgement, judge};
use node::{Node, is_near};
use room::{Room, weight_of};
use shared::Shared;
use tally::Tally;

/// Most bytes of the history: a subscriber that is further behind reads the view anew.
const HISTORY_BYTES: usize = 128 << 20;

/// Changes of one poll, about: what the store's queue holds many times.
const MOST_AT_ONCE: u64 = 10_000;

/// A node of which something is being written is looked at again after this.
const LOOKED_AT_AGAIN: Duration = Duration::from_millis(50);

/// What the gateway was told to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a silent node is unreachable.
    pub detector: DetectorSpec,
    /// How long a task that is over is kept.
    pub retain_completed: Duration,
    /// How long a node that has left is kept.
    pub retain_left: Duration,
    /// How long a node that is unreachable is kept.
    pub retain_unreachable: Duration,
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
    history_bytes: usize,
    /// All changes above this number are in the history.
    history_floor: u64,
    /// What it is about where other gateways have the same store; `None` where this one is alone.
    shared: Option<Shared>,
    room: Room,
    tally: Tally,
    /// How many of them were handed out to be written.
    handed_out: u64,
    /// The planned look at each node that is watched.
    looks: BTreeSet<(Stamp, String)>,
    /// Tasks that are over.
    over_tasks: Expiry,
    /// Nodes that have left or are unreachable.
    absent_nodes: Expiry,
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
            history_bytes: 0,
            history_floor: 0,
            shared: None,
            room: Room::default(),
            tally: Tally::default(),
            handed_out: 0,
            looks: BTreeSet::new(),
            over_tasks: Expiry::default(),
            absent_nodes: Expiry::default(),
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
        self.history_floor = self.history.front().map_or(self.revision, |first| first.revision() - 1);
        self.history_bytes = self.history.iter().map(weight_of).sum();
        self.trim_history();
        (self.room, self.tally) = (Room::default(), Tally::default());
        (self.over_tasks, self.absent_nodes) = (Expiry::default(), Expiry::default());
        self.tasks.clear();
        self.nodes.clear();
        self.looks.clear();
        for record in snapshot.nodes {
            self.restore_node(record, now);
        }
        for record in snapshot.tasks {
            let node = self.nodes.entry(record.node_id.clone()).or_insert_with(|| Node::new(0));
            node.replace(None, &record);
            self.remember_end(now, &record);
            self.room.take(&record);
            self.tally.take(&record);
            self.tasks.insert(record.task_id.clone(), record);
        }
        for (id, count) in connections {
            self.nodes.entry(id).or_insert_with(|| Node::new(0)).connections = count;
        }
    }

    fn restore_node(&mut self, record: NodeRecord, now: Moment) {
        let id = record.node_id.clone();
        let mut node = Node::new(record.epoch);
        if !record.state.is_silent() && self.is_ours(&id) {
            node.watch(&self.settings.detector, now.at, Duration::from_millis(record.interval_ms));
        }
        self.remember_absence(now, &record);
        self.tally.node(&id, None, Some(record.state));
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
        report.epoch.map_or(Ok(()), |epoch| self.check_epoch(&report.node_id, epoch))?;
        known.map_or(Ok(()), |known| self.check_owner(known, &report.node_id))?;
        self.room.check(known, &report, self.tally.count_of(&report.node_id), self.settings.most_tasks)?;
        let known_place = known.map(|known| (known.revision, known.version));
        let known_epoch = known.filter(|known| known.node_id == report.node_id).map(|known| known.epoch);
        let known_epoch = known_epoch.filter(|known| report.epoch.is_some_and(|epoch| epoch < *known));
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
        Ok(Receipt { outcome, revision, version, known_epoch })
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
        node.count_row(heartbeat.seq);
        self.claim_heard(id);
        let Some(node) = self.nodes.get_mut(id) else { return Ok(false) };
        let resync = heartbeat.digest.as_ref().is_some_and(|digest| !node.sum.is(&digest.checksum));
        if node.hear(&self.settings.detector, now.at, heartbeat) {
            let state = node.record.as_ref().map(|record| record.state);
            let is_believed = state != Some(NodeState::Unreachable) || node.recovers(now.at);
            let is_written = node.record.as_ref().is_some_and(|record| {
                record.state == NodeState::Alive
                    && record.epoch == heartbeat.epoch
                    && is_near(record.interval_ms, heartbeat.next_interval_ms)
            });
            let is_planned = node.is_planned();
            if is_believed && !is_written {
                self.write_node(now, id, NodeState::Alive);
            }
            if !is_planned {
                self.plan(id);
            }
        }
        Ok(resync)
    }

    /// An agent has opened a connection.
    ///
    /// # Errors
    /// When there are as many nodes as are kept.
    pub fn connect(&mut self, node_id: &str) -> Result<(), Refusal> {
        self.make_room(node_id)?;
        self.nodes.entry(node_id.to_owned()).or_insert_with(|| Node::new(0)).connections += 1;
        self.claim_heard(node_id);
        Ok(())
    }

    /// A connection of an agent is closed: without another one the node is suspect, and its detector goes on.
    pub fn disconnect(&mut self, now: Moment, node_id: &str) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        node.connections = node.connections.saturating_sub(1);
        let is_alive = node.record.as_ref().is_some_and(|record| record.state == NodeState::Alive);
        if node.connections == 0 && is_alive && self.is_ours(node_id) {
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
        let node = self.nodes.get(&leave.node_id).and_then(|node| node.record.as_ref());
        if node.is_none_or(|record| record.state != NodeState::Left || record.epoch != leave.epoch) {
            self.write_node(now, &leave.node_id, NodeState::Left);
        }
        Ok(())
    }

    /// We were away until now: whoever is watched is watched as if just heard, as after a restart.
    pub fn excuse(&mut self, now: Moment) {
        self.nodes.values_mut().for_each(|node| node.excuse(now.at));
    }

    /// Does what is due: suspicions, and the end of what is no longer kept.
    pub fn poll(&mut self, now: Moment) {
        // The rest is due at once again; the store gets it in portions.
        let most = self.revision + MOST_AT_ONCE;
        while let Some((at, _)) = self.looks.first()
            && *at <= now.at
            && self.revision < most
        {
            let Some((_, id)) = self.looks.pop_first() else { break };
            self.look(now, &id);
        }
        self.forget(now, most);
    }

    /// When to poll next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Stamp> {
        let look = self.looks.first().map(|(at, _)| *at);
        [look, self.over_tasks.next(), self.absent_nodes.next()].into_iter().flatten().min()
    }

    /// A look at one node: is its deadline past?
    fn look(&mut self, now: Moment, id: &str) {
        let (is_ours, is_pending) = (self.is_ours(id), self.is_node_pending(id));
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.planned = None;
        if is_pending {
            let later = now.at + LOOKED_AT_AGAIN;
            node.planned = Some(later);
            self.looks.insert((later, id.to_owned()));
        }
        if is_pending || !is_ours {
            return;
        }
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
        if !self.is_ours(id) {
            return;
        }
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Some(deadline) = node.detector.as_ref().map(Detector::deadline).filter(|_| !node.is_planned()) else {
            return;
        };
        if let Some(later) = node.planned.replace(deadline) {
            self.looks.remove(&(later, id.to_owned()));
        }
        self.looks.insert((deadline, id.to_owned()));
    }

    /// The node as of this epoch; a later epoch begins it anew.
    fn enter(&mut self, node_id: &str, epoch: u64) -> Result<(), Refusal> {
        match self.nodes.get_mut(node_id).map(|node| (node.epoch.cmp(&epoch), node)) {
            Some((Ordering::Equal, _)) => {}
            Some((Ordering::Less, node)) => node.restart(epoch),
            Some((Ordering::Greater, _)) => return self.check_epoch(node_id, epoch),
            None => {
                self.make_room(node_id)?;
                self.nodes.insert(node_id.to_owned(), Node::new(epoch));
            }
        }
        Ok(())
    }

    fn check_epoch(&self, node_id: &str, epoch: u64) -> Result<(), Refusal> {
        let known = self.nodes.get(node_id).map_or(0, |node| node.epoch);
        if epoch >= known {
            return Ok(());
        }
        let message = format!("an agent of `{node_id}` with epoch {known} is known, which is later than {epoch}");
        Err(Refusal { known_epoch: Some(known), ..Refusal::new(Code::OldEpoch, message) })
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
}
