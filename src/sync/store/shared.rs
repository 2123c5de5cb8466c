//! What gateways say to a store that they share, and what it tells them: plain words between the machine and etcd.
//!
//! Separate because the gateway's machine, its desk and the simulated world speak them and know no etcd. Pure. A change gets
//! its number from the store: the revision of the transaction and its place within it, in one number, so that it is the same
//! at every gateway.

use crate::sync::record::{Change, NodeRecord, TaskRecord};

/// Numbers of one revision: more changes than a transaction of ours ever holds.
pub const PLACES: u64 = 128;

/// The number of a change.
#[must_use]
pub const fn number(revision: u64, place: u64) -> u64 {
    revision * PLACES + place
}

/// The revision of the store in which the change of this number was made.
#[must_use]
pub const fn revision_of(number: u64) -> u64 {
    number / PLACES
}

/// What is written under one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The record of a task.
    Task(String),
    /// The record of a node.
    Node(String),
    /// Who watches a node; of the empty node, who forgets and compacts.
    Owner(String),
}

impl Name {
    /// What a change is about.
    #[must_use]
    pub fn of(change: &Change) -> Self {
        match change {
            Change::Task(TaskRecord { task_id, .. }) | Change::TaskForgotten { task_id, .. } => {
                Self::Task(task_id.clone())
            }
            Change::Node(NodeRecord { node_id, .. }) | Change::NodeForgotten { node_id, .. } => {
                Self::Node(node_id.clone())
            }
        }
    }
}

/// The node of whose owner nobody sends heartbeats: who holds it forgets and compacts for all.
pub const JANITOR: &str = "";

/// What a gateway wants to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A change, without a number yet.
    Change(Change),
    /// The gateway wants to watch this node.
    Claim(String),
    /// It wants to watch it no longer: nobody has to.
    Release(String),
}

/// A wish, and what must still be so for it to come true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What.
    pub act: Act,
    /// The revision at which its key was written last, as the gateway knows it; 0 where it is not there.
    pub guard: u64,
    /// The revision at which the gateway became owner of the node, where only the owner may say so.
    pub ownership: Option<u64>,
}

impl Proposal {
    /// The key that it writes.
    #[must_use]
    pub fn name(&self) -> Name {
        match &self.act {
            Act::Change(change) => Name::of(change),
            Act::Claim(node_id) | Act::Release(node_id) => Name::Owner(node_id.clone()),
        }
    }

    /// Whether it removes its key.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        matches!(self.act, Act::Release(_) | Act::Change(Change::TaskForgotten { .. } | Change::NodeForgotten { .. }))
    }
}

/// Who watches a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Which gateway.
    pub gateway: String,
    /// Since which revision.
    pub revision: u64,
}

/// What the store tells, in the order in which it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A change with its number.
    Change(Change),
    /// A node has another owner, or none.
    Owner {
        /// Which node.
        node_id: String,
        /// Who.
        owner: Option<Owner>,
    },
    /// What the store says of itself has changed: everything is to be loaded anew.
    Replaced,
}

impl Event {
    /// The change, if it is one.
    #[must_use]
    pub fn change(self) -> Option<Change> {
        match self {
            Self::Change(change) => Some(change),
            Self::Owner { .. } | Self::Replaced => None,
        }
    }
}

/// All that a shared store keeps at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Names the row of revisions.
    pub lineage: String,
    /// The revision.
    pub revision: u64,
    /// Tasks, with the numbers of their changes.
    pub tasks: Vec<TaskRecord>,
    /// Nodes, likewise.
    pub nodes: Vec<NodeRecord>,
    /// Who watches which node.
    pub owners: Vec<(String, Owner)>,
    /// The changes up to that revision that are still told, in order.
    pub history: Vec<Change>,
    /// All changes above this number are among them.
    pub floor: u64,
}
