//! What must never happen, and who watches that it does not.
//!
//! Separate because it knows the world from outside: what became durable, what was told to whom, who really died.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Kept, SystemSpec, nanos};
use offloadctl::sync::message::{Answer, FromAgent, FromGateway, Outcome, StatusReport};
use offloadctl::sync::record::{Change, NodeState, Status, TaskRecord};

/// Beyond the detector's own wait: a link's delay, a slow commit, and the look of the subscriber.
pub const SLACK_NS: u64 = 1_500_000_000;

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
    /// Something is no longer kept before its time.
    #[error("{what} was forgotten at {at:?}, before its time")]
    Forgotten {
        /// A task or a node.
        what: String,
        /// When.
        at: Duration,
    },
    /// Something is kept after its time.
    #[error("{what} is kept at {at:?}, after its time")]
    Kept {
        /// A task or a node.
        what: String,
        /// When.
        at: Duration,
    },
    /// The gateway's counts are not those of what it shows.
    #[error("the gateway counts {counted}, and shows {shown}")]
    Miscounted {
        /// What it counts.
        counted: String,
        /// What it shows.
        shown: String,
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
    pub(super) nodes: Vec<Seen>,
    tasks: BTreeMap<String, Known>,
    /// What each frame that waits for answers said, by its connection and number: task and version.
    asked: BTreeMap<(u64, u64), Vec<(String, u64)>>,
    /// Tasks that ended, and whose agent still has to say so or has said so.
    pub(super) ended: BTreeMap<String, usize>,
    last: u64,
    acknowledged: u64,
    detections: Vec<Duration>,
    /// When the gateway was back after its last setback.
    set_back: u64,
    /// From which span on a silence counts as one.
    pub(super) patience_ns: u64,
    forbids_accusation: bool,
    kept: Kept,
    forgotten: u64,
}

/// What is durably known of a task.
#[derive(Clone, Debug)]
struct Known {
    node: String,
    place: (u64, u64),
    /// Since when it is over, and known to be.
    over_since: Option<u64>,
}

/// What is true of a node, and what is durably said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// When it died; `None` while it lives.
    pub(super) died: Option<u64>,
    /// Since when it lives.
    lives_since: u64,
    /// What is said.
    pub(super) state: Option<NodeState>,
    /// Since when.
    said_at: u64,
    /// Whether it once stood still or was cut off: what is said of it then says nothing.
    was_hushed: bool,
}

impl Witness {
    /// Watches over a world.
    pub fn new(spec: &SystemSpec) -> Self {
        Self {
            nodes: vec![Seen::default(); spec.agents],
            tasks: BTreeMap::new(),
            asked: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: 0,
            acknowledged: 0,
            detections: Vec::new(),
            set_back: 0,
            patience_ns: patience_ns(spec.interval, spec.margin),
            forbids_accusation: spec.is_clean(),
            kept: spec.kept,
            forgotten: 0,
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

    /// Tasks and nodes that were forgotten.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What is durably said of a node.
    pub fn state(&self, at: usize) -> Option<NodeState> {
        self.nodes[at].state
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
                let over_since = (task.status.is_final() || task.status == Status::Unknown).then_some(now);
                let known = Known { node: task.node_id.clone(), place: new, over_since };
                match self.tasks.insert(task.task_id.clone(), known) {
                    Some(old) if old.node == task.node_id && old.place >= new => {
                        Err(Violation::WentBack { task: task.task_id.clone(), old: old.place, new })
                    }
                    _ => Ok(()),
                }
            }
            Change::Node(node) => self.said(now, &node.node_id, node.state),
            Change::TaskForgotten { task_id, .. } => {
                let is_over = self.may_be_forgotten(now, task_id);
                let known = self.tasks.remove(task_id);
                self.ended.remove(task_id);
                let is_due = is_over || known.is_some_and(|known| self.is_absent(now, &known.node));
                self.forgot(now, task_id, is_due)
            }
            Change::NodeForgotten { node_id, .. } => {
                let is_due = self.is_absent(now, node_id);
                if let Some(node) = self.nodes.get_mut(number_of(node_id)) {
                    node.state = None;
                }
                self.forgot(now, node_id, is_due)
            }
        }
    }

    fn forgot(&mut self, now: u64, what: &str, is_due: bool) -> Result<(), Violation> {
        self.forgotten += 1;
        let at = Duration::from_nanos(now);
        if is_due { Ok(()) } else { Err(Violation::Forgotten { what: what.to_owned(), at }) }
    }

    /// Whether a node has been unreachable for as long as it is kept.
    fn is_absent(&self, now: u64, node_id: &str) -> bool {
        let node = self.nodes.get(number_of(node_id));
        node.is_some_and(|node| {
            node.state.is_some_and(NodeState::is_silent) && is_past(now, node.said_at, self.kept.absent)
        })
    }

    /// Whether a task has been over for as long as it is kept.
    pub fn may_be_forgotten(&self, now: u64, task_id: &str) -> bool {
        let since = self.tasks.get(task_id).and_then(|known| known.over_since);
        since.is_some_and(|since| is_past(now, since, self.kept.over))
    }

    /// Whether something is still kept long after its time.
    pub fn check_kept(&self, now: u64) -> Result<(), Violation> {
        let at = Duration::from_nanos(now);
        let is_late = |since: u64, kept: Duration| now > since + nanos(kept) + SLACK_NS;
        let is_over = |known: &Known| known.over_since.is_some_and(|since| is_late(since, self.kept.over));
        let task = self.tasks.iter().find(|(_, known)| is_over(known)).map(|(id, _)| id.clone());
        let is_absent =
            |node: &&Seen| node.state.is_some_and(NodeState::is_silent) && is_late(node.said_at, self.kept.absent);
        let node = self.nodes.iter().find(is_absent).map(|node| format!("{node:?}"));
        task.or(node).map_or(Ok(()), |what| Err(Violation::Kept { what, at }))
    }

    fn said(&mut self, now: u64, node_id: &str, state: NodeState) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(number_of(node_id)) else { return Ok(()) };
        (node.state, node.said_at) = (Some(state), now);
        if state != NodeState::Unreachable {
            return Ok(());
        }
        let Some(died) = node.died else {
            let is_false = self.forbids_accusation && now > node.lives_since + self.patience_ns + SLACK_NS;
            let at = Duration::from_nanos(now);
            return if is_false { Err(Violation::Accused { node: node_id.to_owned(), at }) } else { Ok(()) };
        };
        // One that died again before it was heard is missed for its first death.
        // Soon after a setback the gateway waits since then, and not since a heartbeat.
        if !node.was_hushed && died > node.lives_since.max(self.set_back) + self.patience_ns {
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

    /// An agent sends something on a connection.
    pub fn sent(&mut self, connection: u64, frame: &FromAgent) {
        let (id, said) = match frame {
            FromAgent::Reports(batch) => {
                let said = |report: &StatusReport| (report.task_id.clone(), report.version.unwrap_or(0));
                (batch.id, batch.reports.iter().map(said).collect())
            }
            FromAgent::State(state) => {
                (state.id, state.tasks.iter().map(|task| (task.task_id.clone(), task.version)).collect())
            }
            FromAgent::Heartbeat(_) | FromAgent::Leave(_) => return,
        };
        self.asked.insert((connection, id), said);
    }

    /// An agent is given an answer: each receipt has to be that of the report in its place.
    pub fn answered(&mut self, connection: u64, frame: &FromGateway, log: &[Change]) -> Result<(), Violation> {
        let FromGateway::Answers(answers) = frame else { return Ok(()) };
        let asked = self.asked.get(&(connection, answers.id)).map_or(&[][..], Vec::as_slice);
        for (place, answer) in answers.answers.iter().enumerate() {
            let Answer::Receipt(receipt) = answer else { continue };
            if receipt.outcome != Outcome::Stored {
                continue;
            }
            self.acknowledged += 1;
            let at = usize::try_from(receipt.revision).ok().and_then(|revision| log.get(revision.checked_sub(1)?));
            let said = |task: &TaskRecord| Some(&(task.task_id.clone(), task.version)) == asked.get(place);
            if !matches!(at, Some(Change::Task(task)) if task.version == receipt.version && said(task)) {
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

fn number_of(node_id: &str) -> usize {
    node_id.trim_start_matches("node-").parse().unwrap_or(usize::MAX)
}

/// Whether something that became durable then may be over now; it was decided a little before.
fn is_past(now: u64, since: u64, kept: Duration) -> bool {
    now + SLACK_NS >= since + nanos(kept)
}

/// What the detector waits at most: three intervals as a restart remembers them, and the margin.
fn patience_ns(interval: Duration, margin: Duration) -> u64 {
    let written_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).next_power_of_two();
    3 * written_ms * 1_000_000 + nanos(margin)
}

#[cfg(test)]
mod tests {
    use super::super::Troubles;
    use super::*;
    use offloadctl::model::WallTime;
    use offloadctl::sim::LinkSpec;
    use offloadctl::sync::message::{Answers, Batch, Receipt};

    fn witness() -> Witness {
        let second = Duration::from_secs(1);
        Witness::new(&SystemSpec {
            seed: 1,
            agents: 1,
            interval: second,
            detector: "missed:3".parse().unwrap(),
            margin: second,
            sources: 1,
            link: LinkSpec::ideal(),
            troubles: Troubles::default(),
            span: second,
            frame_bytes: 600,
            kept: Kept { over: 10 * second, absent: 10 * second },
        })
    }

    fn record(task_id: &str, status: Status, revision: u64) -> TaskRecord {
        let timestamp = WallTime::from_unix_nanos(0);
        let (task_id, node_id) = (task_id.to_owned(), "node-0".to_owned());
        TaskRecord { task_id, node_id, status, epoch: 1, version: 1, timestamp, payload: None, over_at: None, revision }
    }

    #[test]
    fn receipts_that_are_swapped_within_a_frame_are_noticed() {
        let log = [("a", 1), ("b", 2)].map(|(id, revision)| Change::Task(record(id, Status::Running, revision)));
        let report = |task_id: &str| StatusReport {
            task_id: task_id.to_owned(),
            status: Status::Running,
            node_id: "node-0".to_owned(),
            timestamp: WallTime::from_unix_nanos(0),
            version: Some(1),
            epoch: Some(1),
            payload: None,
            trace: None,
        };
        let mut witness = witness();
        witness.sent(7, &FromAgent::Reports(Batch { id: 3, reports: vec![report("a"), report("b")] }));
        let answers = |revisions: [u64; 2]| {
            let receipt = |revision| {
                Answer::Receipt(Receipt { outcome: Outcome::Stored, revision, version: 1, known_epoch: None })
            };
            FromGateway::Answers(Answers { id: 3, answers: revisions.map(receipt).to_vec() })
        };
        assert_eq!(witness.answered(7, &answers([1, 2]), &log), Ok(()));
        assert_eq!(witness.answered(7, &answers([2, 1]), &log), Err(Violation::Lost { revision: 2, version: 1 }));
    }

    #[test]
    fn what_is_forgotten_too_early_or_kept_too_long_is_noticed() {
        let second = 1_000_000_000;
        let over = |witness: &mut Witness| witness.durable(second, &Change::Task(record("a", Status::Completed, 1)));
        let forgotten = Change::TaskForgotten { task_id: "a".to_owned(), revision: 2 };
        let mut early = witness();
        over(&mut early).unwrap();
        assert!(matches!(early.durable(5 * second, &forgotten), Err(Violation::Forgotten { .. })));
        let mut good = witness();
        over(&mut good).unwrap();
        assert!(good.check_kept(12 * second).is_ok());
        assert!(matches!(good.check_kept(13 * second), Err(Violation::Kept { .. })));
        assert_eq!(good.durable(11 * second, &forgotten), Ok(()));
        assert!(good.check_kept(13 * second).is_ok());
    }
}
