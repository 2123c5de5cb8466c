//! What is different where other gateways have the same store: wishes instead of changes, and nodes that others watch.
//!
//! Separate because a gateway that is alone knows nothing of it. What a node is about is written by whoever hears it; that it is
//! *not* heard may be said by its owner alone, and the store refuses it from anybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::node::Node;
use super::{Machine, Moment};
use crate::sync::record::{Change, NodeRecord, NodeState};
use crate::sync::store::Snapshot;
use crate::sync::store::shared::{Act, Event, JANITOR, Loaded, Name, Owner, Proposal, number, revision_of};

/// Heartbeats in a row after which a node that another gateway owns is ours: what a balancer strews does not move it.
const HEARD_IN_ROW: u32 = 2;

/// Wishes that may wait at a time for what is not urgent.
const MOST_WISHES: usize = 10_000;

/// What is kept beside the state where the store is shared.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The name of this gateway.
    me: String,
    owners: BTreeMap<String, Owner>,
    /// Wishes that nobody has taken yet.
    outbox: Vec<Proposal>,
    /// What is wished for, taken or not: nothing else is wished of it meanwhile.
    pending: BTreeSet<Name>,
}

impl Machine {
    /// From now on the store is one that others have as well, and this is what it keeps. May be called again when it was
    /// replaced; all wishes are forgotten then.
    pub fn share(&mut self, me: &str, loaded: Loaded, now: Moment) {
        let Loaded { lineage, revision, tasks, nodes, owners, history, floor } = loaded;
        let owners = owners.into_iter().collect();
        let (outbox, pending) = (Vec::new(), BTreeSet::new());
        self.shared = Some(Shared { me: me.to_owned(), owners, outbox, pending });
        let (newest, told) = (number(revision + 1, 0) - 1, history.len());
        self.restore(Snapshot { lineage, revision: newest, tasks, nodes, history }, now);
        if self.history.len() == told {
            self.history_floor = floor;
        }
        self.adopt_orphans(now);
    }

    /// The wishes since the last time.
    pub fn take_wishes(&mut self) -> Vec<Proposal> {
        self.shared.as_mut().map(|shared| std::mem::take(&mut shared.outbox)).unwrap_or_default()
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_wishes(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| !shared.outbox.is_empty())
    }

    /// Whether something is wished of this name, and not decided yet.
    #[must_use]
    pub fn is_pending(&self, name: &Name) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.pending.contains(name))
    }

    /// Takes what the store tells.
    pub fn tell(&mut self, now: Moment, event: Event) {
        match event {
            // What was loaded is told again where the watch begins earlier.
            Event::Change(change) if change.revision() > self.revision => self.apply(now, change),
            Event::Owner { node_id, owner } => self.own(now, node_id, owner),
            Event::Change(_) | Event::Replaced => {}
        }
    }

    /// What was wished of this name is decided: come true, lost, or given up.
    pub fn release(&mut self, now: Moment, name: &Name) {
        if let Some(shared) = &mut self.shared {
            shared.pending.remove(name);
        }
        match name {
            // Whatever was planned for it was put off by the wish.
            Name::Task(id) => {
                if let Some(record) = self.tasks.get(id).cloned() {
                    self.remember_end(now, &record);
                }
            }
            Name::Node(id) => {
                if let Some(record) = self.nodes.get(id).and_then(|node| node.record.clone()) {
                    self.remember_absence(now, &record);
                }
                self.plan(id);
            }
            Name::Owner(id) => {
                let is_free = self.shared.as_ref().is_some_and(|shared| !shared.owners.contains_key(id));
                if is_free {
                    self.adopt(id);
                }
            }
        }
    }

    /// The store was away and took no wishes: what nobody owns is wished for again.
    pub fn wish_again(&mut self, now: Moment) {
        if self.shared.is_some() {
            self.adopt_orphans(now);
        }
    }

    /// Whether this gateway watches the node; alone, it watches all.
    #[must_use]
    pub fn is_ours(&self, node_id: &str) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.is_ours(node_id))
    }

    /// Nodes that this gateway watches, where the store is shared.
    #[must_use]
    pub fn owned_count(&self) -> Option<usize> {
        let shared = self.shared.as_ref()?;
        Some(shared.owners.iter().filter(|(id, owner)| *id != JANITOR && owner.gateway == shared.me).count())
    }

    /// Whether this gateway forgets and compacts for all.
    #[must_use]
    pub fn is_janitor(&self) -> bool {
        self.is_ours(JANITOR)
    }

    /// The oldest revision of the store that is still told.
    #[must_use]
    pub fn oldest_told(&self) -> u64 {
        revision_of(self.history_floor + 1)
    }

    /// Whether something that is not urgent may be wished.
    pub(super) fn has_room_to_propose(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.outbox.len() < MOST_WISHES)
    }

    pub(super) fn is_node_pending(&self, id: &str) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.pending.contains(&Name::Node(id.to_owned())))
    }

    /// The agent of a node is heard here: is the node ours from now on?
    pub(super) fn claim_heard(&mut self, id: &str) {
        let (Some(shared), Some(node)) = (&self.shared, self.nodes.get(id)) else { return };
        let state = node.record.as_ref().map(|record| record.state);
        let is_here = node.connections > 0 || node.row >= HEARD_IN_ROW;
        let is_meant = match shared.owners.get(id) {
            Some(owner) => owner.gateway != shared.me && (is_here || state.is_some_and(NodeState::is_silent)),
            None => true,
        };
        if is_meant {
            self.claim(id);
        }
    }

    /// A record of a node that somebody wrote, before it is taken.
    pub(super) fn hear_of(&mut self, now: Moment, record: &NodeRecord) {
        let is_ours = self.is_ours(&record.node_id);
        let (true, Some(node)) = (self.shared.is_some(), self.nodes.get_mut(&record.node_id)) else { return };
        if record.epoch > node.epoch {
            node.restart(record.epoch);
        }
        match record.state {
            NodeState::Left => {
                (node.detector, node.last) = (None, None);
                if let Some(planned) = node.planned.take() {
                    self.looks.remove(&(planned, record.node_id.clone()));
                }
            }
            NodeState::Unreachable if !is_ours => node.lose(now.at),
            _ => {}
        }
    }

    /// A node is forgotten: its owner's key goes as well.
    pub(super) fn let_go(&mut self, node_id: &str) {
        let is_open = self.nodes.get(node_id).is_some_and(|node| node.connections > 0);
        let Some(shared) = self.shared.as_mut().filter(|shared| !is_open && shared.is_ours(node_id)) else { return };
        let guard = shared.owners.get(node_id).map_or(0, |owner| owner.revision);
        shared.wish(Proposal { act: Act::Release(node_id.to_owned()), guard, ownership: None });
    }

    /// A node may be there again, perhaps by late word of a heartbeat from long ago: somebody has to watch it like any other.
    pub(super) fn watch_again(&mut self, now: Moment, node_id: &str) {
        let Some(shared) = &self.shared else { return };
        if !shared.owners.contains_key(node_id) {
            return self.adopt(node_id);
        }
        if !shared.is_ours(node_id) {
            return;
        }
        let Some(node) = self.nodes.get(node_id).filter(|node| !node.is_planned()) else { return };
        if node.detector.as_ref().is_none_or(|detector| detector.suspicion(now.at)) {
            self.begin_watch(now, node_id);
        }
        self.plan(node_id);
    }

    pub(super) fn propose_change(&mut self, change: Change) {
        let (guard, is_owners_word) = match &change {
            Change::Task(task) => (self.tasks.get(&task.task_id).map(|known| known.revision), None),
            Change::TaskForgotten { task_id, .. } => (self.tasks.get(task_id).map(|known| known.revision), None),
            Change::Node(node) => {
                let is_word = matches!(node.state, NodeState::Suspect | NodeState::Unreachable);
                (self.node_revision(&node.node_id), is_word.then(|| node.node_id.clone()))
            }
            Change::NodeForgotten { node_id, .. } => (self.node_revision(node_id), None),
        };
        let Some(shared) = &mut self.shared else { return };
        let ownership = is_owners_word.and_then(|id| shared.owners.get(&id)).map(|owner| owner.revision);
        let guard = guard.map_or(0, revision_of);
        shared.wish(Proposal { act: Act::Change(change), guard, ownership });
    }

    fn node_revision(&self, id: &str) -> Option<u64> {
        Some(self.nodes.get(id)?.record.as_ref()?.revision)
    }

    /// A node has another owner, or none.
    fn own(&mut self, now: Moment, node_id: String, owner: Option<Owner>) {
        let Some(shared) = &mut self.shared else { return };
        let is_ours = owner.as_ref().is_some_and(|owner| owner.gateway == shared.me);
        let is_free = owner.is_none();
        match owner {
            Some(owner) => drop(shared.owners.insert(node_id.clone(), owner)),
            None => drop(shared.owners.remove(&node_id)),
        }
        if is_ours {
            self.begin_watch(now, &node_id);
        } else {
            self.end_watch(&node_id);
        }
        if is_free {
            self.adopt(&node_id);
        }
    }

    /// A node is ours from now on: nobody is accused of a silence that we did not listen to.
    fn begin_watch(&mut self, now: Moment, node_id: &str) {
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        let Some(record) = node.record.as_ref().filter(|record| !record.state.is_silent()) else { return };
        let written = Duration::from_millis(record.interval_ms);
        match &node.detector {
            Some(_) => node.excuse(now.at),
            None => node.watch(&self.settings.detector, now.at, written),
        }
        self.plan(node_id);
    }

    /// A node is not ours any more.
    fn end_watch(&mut self, node_id: &str) {
        if let Some(planned) = self.nodes.get_mut(node_id).and_then(|node: &mut Node| node.planned.take()) {
            self.looks.remove(&(planned, node_id.to_owned()));
        }
    }

    /// Wishes for what nobody owns: nodes that are to be watched, and the work of the janitor.
    fn adopt_orphans(&mut self, now: Moment) {
        let ids: Vec<String> = self.nodes.keys().cloned().chain([JANITOR.to_owned()]).collect();
        for id in ids {
            let is_free = self.shared.as_ref().is_some_and(|shared| !shared.owners.contains_key(&id));
            if is_free {
                self.adopt(&id);
            } else if self.is_ours(&id) {
                self.begin_watch(now, &id);
            }
        }
    }

    fn adopt(&mut self, id: &str) {
        let state = self.nodes.get(id).and_then(|node| Some(node.record.as_ref()?.state));
        if id == JANITOR || state.is_some_and(|state| !state.is_silent()) {
            self.claim(id);
        }
    }

    fn claim(&mut self, id: &str) {
        let Some(shared) = &mut self.shared else { return };
        let guard = shared.owners.get(id).map_or(0, |owner| owner.revision);
        shared.wish(Proposal { act: Act::Claim(id.to_owned()), guard, ownership: None });
    }
}

impl Shared {
    fn is_ours(&self, id: &str) -> bool {
        self.owners.get(id).is_some_and(|owner| owner.gateway == self.me)
    }

    /// Unless something is wished of it already: whoever wishes looks again when that is decided.
    fn wish(&mut self, proposal: Proposal) {
        if self.pending.insert(proposal.name()) {
            self.outbox.push(proposal);
        }
    }
}
