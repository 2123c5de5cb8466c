//! What must never happen, and who watches that it does not.
//!
//! Separate because it knows the world from outside: what became durable, what was told to whom, who really died.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{System, nanos};
use crate::sync::message::{Answer, FromGateway, Outcome};
use crate::sync::record::{Change, NodeState, Status};

/// Beyond the detector's own wait: a link's delay, a slow commit, and the look of the subscriber.
const SLACK_NS: u64 = 1_500_000_000;

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The store's changes have a gap, or come twice.
    #[error("revision {found} became durable after {last}")]
    Order {
        /// The last one before.
        last: u64,
        /// The one that came.
        found: u64,
    },
    /// An older state replaced a newer one.
    #[error("task {task} of epoch and version {new:?} replaced {old:?}")]
    WentBack {
        /// Which task.
        task: String,
        /// What was known.
        old: (u64, u64),
        /// What replaced it.
        new: (u64, u64),
    },
    /// Something was acknowledged that is not on the disk.
    #[error("version {version} was acknowledged at revision {revision}, which the disk does not have so")]
    Lost {
        /// Revision of the receipt.
        revision: u64,
        /// Version of the receipt.
        version: u64,
    },
    /// A subscriber was told of another change than the next.
    #[error("a subscriber at {at} was told of {told}")]
    Skipped {
        /// Where it was.
        at: u64,
        /// What it was told.
        told: u64,
    },
    /// A node that lives, on a link without a fault, was called unreachable.
    #[error("{node} was accused at {at:?} while it lived")]
    Accused {
        /// Which node.
        node: String,
        /// When.
        at: Duration,
    },
    /// A dead node was noticed too late, or never.
    #[error("the death of {node} was noticed after {after:?}, which is later than {bound:?}")]
    Late {
        /// Which node.
        node: String,
        /// How long it took; `None` if it never was.
        after: Option<Duration>,
        /// The bound.
        bound: Duration,
    },
    /// Once everything had healed, the gateway showed something else than is true.
    #[error("in the end {what} is shown as {shown}, and is {truth}")]
    Untrue {
        /// A task or a node.
        what: String,
        /// What the gateway shows.
        shown: String,
        /// What is true.
        truth: String,
    },
}

/// The witness.
pub struct Witness {
    nodes: Vec<Seen>,
    tasks: BTreeMap<String, (String, u64, u64)>,
    /// Tasks that ended, and whose agent still has to say so or has said so.
    ended: BTreeMap<String, usize>,
    last: u64,
    acknowledged: u64,
    detections: Vec<Duration>,
    /// When the gateway was back after its last setback.
    set_back: u64,
    /// From which span on a silence counts as one.
    patience_ns: u64,
    forbids_accusation: bool,
}

/// What is true of a node, and what is durably said of it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When it died; `None` while it lives.
    died: Option<u64>,
    /// Since when it lives.
    lives_since: u64,
    /// What is said.
    state: Option<NodeState>,
    /// Whether it once stood still or was cut off: what is said of it then says nothing.
    was_hushed: bool,
}

impl Witness {
    /// Watches over so many nodes. `patience_ns` is what the detector waits at most.
    pub fn new(nodes: usize, patience_ns: u64, forbids_accusation: bool) -> Self {
        Self {
            nodes: vec![Seen::default(); nodes],
            tasks: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: 0,
            acknowledged: 0,
            detections: Vec::new(),
            set_back: 0,
            patience_ns,
            forbids_accusation,
        }
    }

    /// Reports that were acknowledged as stored.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// From each death to the durable word of it.
    pub fn detections(&self) -> &[Duration] {
        &self.detections
    }

    /// An agent begins.
    pub fn started(&mut self, now: u64, at: usize) {
        (self.nodes[at].died, self.nodes[at].lives_since) = (None, now);
    }

    /// An agent dies, and with it what it had not told yet.
    pub fn died(&mut self, now: u64, at: usize) {
        self.nodes[at].died = Some(now);
        self.ended.retain(|_, of| *of != at);
    }

    /// A node stands still or is cut off.
    pub fn hushed(&mut self, at: usize) {
        self.nodes[at].was_hushed = true;
    }

    /// The gateway is back at this moment.
    pub fn set_back(&mut self, at: u64) {
        self.set_back = self.set_back.max(at);
    }

    /// A task of a node ends.
    pub fn ended(&mut self, at: usize, task: &str) {
        self.ended.insert(task.to_owned(), at);
    }

    /// A change is durable.
    pub fn durable(&mut self, now: u64, change: &Change) -> Result<(), Violation> {
        if change.revision() != self.last + 1 {
            return Err(Violation::Order { last: self.last, found: change.revision() });
        }
        self.last += 1;
        match change {
            Change::Task(task) => {
                let new = (task.epoch, task.version);
                let old = self.tasks.insert(task.task_id.clone(), (task.node_id.clone(), new.0, new.1));
                match old {
                    Some((node, epoch, version)) if node == task.node_id && (epoch, version) >= new => {
                        Err(Violation::WentBack { task: task.task_id.clone(), old: (epoch, version), new })
                    }
                    _ => Ok(()),
                }
            }
            Change::Node(node) => self.said(now, &node.node_id, node.state),
            Change::TaskForgotten { .. } | Change::NodeForgotten { .. } => Ok(()),
        }
    }

    fn said(&mut self, now: u64, node_id: &str, state: NodeState) -> Result<(), Violation> {
        let number = node_id.trim_start_matches("node-").parse().unwrap_or(usize::MAX);
        let Some(node) = self.nodes.get_mut(number) else { return Ok(()) };
        node.state = Some(state);
        if state != NodeState::Unreachable {
            return Ok(());
        }
        let Some(died) = node.died else {
            let is_false = self.forbids_accusation && now > node.lives_since + self.patience_ns + SLACK_NS;
            let at = Duration::from_nanos(now);
            return if is_false { Err(Violation::Accused { node: node_id.to_owned(), at }) } else { Ok(()) };
        };
        // One that died again before it was heard is missed for its first death.
        if !node.was_hushed && died > node.lives_since + self.patience_ns {
            self.detections.push(Duration::from_nanos(now - died));
        }
        let from = died.max(self.set_back);
        let bound = self.patience_ns + SLACK_NS;
        if now > from + bound {
            let (node, after) = (node_id.to_owned(), Some(Duration::from_nanos(now - from)));
            return Err(Violation::Late { node, after, bound: Duration::from_nanos(bound) });
        }
        Ok(())
    }

    /// An agent is given an answer.
    pub fn answered(&mut self, frame: &FromGateway, log: &[Change]) -> Result<(), Violation> {
        let FromGateway::Answers(answers) = frame else { return Ok(()) };
        for answer in &answers.answers {
            let Answer::Receipt(receipt) = answer else { continue };
            if receipt.outcome != Outcome::Stored {
                continue;
            }
            self.acknowledged += 1;
            let at = usize::try_from(receipt.revision).ok().and_then(|revision| log.get(revision.checked_sub(1)?));
            if !matches!(at, Some(Change::Task(task)) if task.version == receipt.version) {
                return Err(Violation::Lost { revision: receipt.revision, version: receipt.version });
            }
        }
        Ok(())
    }

    /// A subscriber at this revision is told of a change.
    pub fn subscribed(&self, at: u64, change: &Change, log: &[Change]) -> Result<(), Violation> {
        let is_next = change.revision() == at + 1 && log.get(at as usize) == Some(change);
        if is_next { Ok(()) } else { Err(Violation::Skipped { at, told: change.revision() }) }
    }

    /// A subscriber is told that changes are missing; they have to be.
    pub fn gap(&self, at: u64, first: u64, kept: usize) -> Result<(), Violation> {
        let is_true = first > at + 1 && self.last - at > kept as u64;
        if is_true { Ok(()) } else { Err(Violation::Skipped { at, told: first }) }
    }
}

impl System {
    /// Whether what the gateway shows is true, some time after all has healed.
    pub(super) fn check_healed(&self) -> Result<(), Violation> {
        let machine = self.far_end.machine();
        let shown_task = |id: &str| machine.and_then(|machine| machine.task(id)).map(|task| task.status);
        for (at, node) in self.nodes.iter().enumerate() {
            let seen = self.witness.nodes[at];
            let untrue = |what: &str, shown: String, truth: &str| {
                Err(Violation::Untrue { what: what.to_owned(), shown, truth: truth.to_owned() })
            };
            if seen.died.is_some() {
                let bound = self.witness.patience_ns + SLACK_NS;
                if matches!(seen.state, Some(NodeState::Alive | NodeState::Suspect)) {
                    let bound = Duration::from_nanos(bound);
                    return Err(Violation::Late { node: node.id.clone(), after: None, bound });
                }
                continue;
            }
            if node.agent.is_none() || seen.state != Some(NodeState::Alive) {
                return untrue(&node.id, format!("{:?}", seen.state), "alive, with its agent");
            }
            for (id, status) in &node.truth {
                if shown_task(id) != Some(*status) {
                    return untrue(id, format!("{:?}", shown_task(id)), status.name());
                }
            }
        }
        let untrue = self.witness.ended.keys().find(|id| shown_task(id) != Some(Status::Completed));
        match untrue {
            Some(id) => Err(Violation::Untrue {
                what: id.clone(),
                shown: format!("{:?}", shown_task(id)),
                truth: "completed".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// What the detector waits at most: three intervals as a restart remembers them, and the margin.
pub fn patience_ns(interval: Duration, margin: Duration) -> u64 {
    let written_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).next_power_of_two();
    3 * written_ms * 1_000_000 + nanos(margin)
}
