//! The tasks of a node as its agent knows them: which versions they have, which were sent, which the gateway has taken.
//!
//! Separate from the machine because nothing here knows time or connections. The latest state of a task wins; one that is
//! over is kept until the gateway has it, and then forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::WallTime;
use crate::sync::checksum::StateSum;
use crate::sync::message::{Answer, Digest, Outcome, Receipt, StatusReport, TaskState};
use crate::sync::payload::Payload;
use crate::sync::record::Status;

/// Most reports of one frame: below a gateway's limit, and what it takes from one node within a second.
const MOST_IN_BATCH: usize = 500;

/// Most bytes of one frame: half of what a gateway reads, because a task takes more than its name and payload.
pub const MOST_BYTES: usize = 512 * 1024;

/// What a task takes in a frame beside its name and payload, at most: keys, numbers and a time.
const BYTES_PER_TASK: usize = 256;

/// What a source has seen of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which task.
    pub task_id: String,
    /// Where it stands.
    pub status: Status,
    /// When that began.
    pub timestamp: WallTime,
    /// What else there is to say of it.
    pub payload: Option<Payload>,
}

/// What was lost because there were too many tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Ends of tasks that were never acknowledged.
    pub dropped: u64,
    /// New tasks that were not taken.
    pub refused: u64,
}

/// What was sent and is not answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent(Vec<(String, u64, Status)>);

impl Sent {
    /// How many reports it holds.
    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

/// A part of the whole state.
#[derive(Clone, Debug)]
pub struct Part {
    /// It begins behind this name; `None` in the first.
    pub after: Option<String>,
    /// It ends with this one; `None` in the last.
    pub until: Option<String>,
    /// Everything that is known between them.
    pub tasks: Vec<TaskState>,
    /// The highest version of all, and the checksum of the part.
    pub digest: Digest,
    /// What is to be answered.
    pub sent: Sent,
}

/// What the answers to a frame ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The gateway could not take some now.
    pub is_busy: bool,
    /// It knows a record of this epoch, which is later than ours or not less.
    pub later_epoch: Option<u64>,
    /// It does not take these because of their times, and what it said of one.
    pub misdated: Option<String>,
    misdated_tasks: Vec<(String, u64)>,
    /// It will never take this one, and why.
    pub refused: Option<(String, String)>,
}

/// All tasks of a node.
#[derive(Clone, Debug)]
pub struct Ledger {
    tasks: BTreeMap<String, Task>,
    /// The tasks whose present version was not sent, in the order of their versions.
    unsent: BTreeSet<(u64, String)>,
    /// The highest version that was given.
    version: u64,
    /// Of what the gateway has taken.
    sum: StateSum,
    most: usize,
    most_bytes: usize,
    lost: Lost,
}

#[derive(Clone, Debug)]
struct Task {
    source: usize,
    status: Status,
    timestamp: WallTime,
    payload: Option<Payload>,
    version: u64,
    /// What the gateway has of it, as far as the checksum goes.
    agreed: Option<(Status, u64)>,
    /// Its source no longer knows it.
    is_gone: bool,
}

impl Ledger {
    /// No tasks yet, so many at most, and so many bytes of them in a frame.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        let (tasks, unsent, lost) = (BTreeMap::new(), BTreeSet::new(), Lost::default());
        Self { tasks, unsent, version: 0, sum: StateSum::zero(), most, most_bytes, lost }
    }

    /// Whether something waits to be sent.
    pub fn is_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// What was lost so far.
    pub const fn lost(&self) -> Lost {
        self.lost
    }

    /// How many tasks it holds.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Takes what a source has seen; true if it is news.
    pub fn observe(&mut self, source: usize, seen: Seen) -> bool {
        let known = self.tasks.get(&seen.task_id);
        if known.is_some_and(|task| !task.is_gone && task.status == seen.status && task.payload == seen.payload) {
            return false;
        }
        let (is_known, agreed) = (known.is_some(), known.and_then(|task| task.agreed));
        if !is_known && !self.make_room() {
            self.lost.refused += 1;
            return false;
        }
        let Seen { task_id, status, timestamp, payload } = seen;
        self.put(task_id, Task { source, status, timestamp, payload, version: 0, agreed, is_gone: false });
        true
    }

    /// Takes everything that a source knows: what it told before and does not now has vanished. True if there is news.
    pub fn replace(&mut self, source: usize, now: WallTime, all: Vec<Seen>) -> bool {
        let told: BTreeSet<String> = all.iter().map(|seen| seen.task_id.clone()).collect();
        let of_source = self.tasks.iter().filter(|(id, task)| task.source == source && !told.contains(*id));
        let vanished: Vec<String> = of_source.map(|(id, _)| id.clone()).collect();
        let mut is_news = false;
        for id in vanished {
            is_news |= self.vanish(&id, now);
        }
        for seen in all {
            is_news |= self.observe(source, seen);
        }
        is_news
    }

    /// A source no longer knows a task: unless it is over, nobody knows where it stands. True if that is news.
    pub fn vanish(&mut self, task_id: &str, now: WallTime) -> bool {
        let Some(task) = self.tasks.get(task_id).filter(|task| !task.is_gone && !task.status.is_final()) else {
            return false;
        };
        let gone = Task { status: Status::Unknown, timestamp: now, payload: None, is_gone: true, ..task.clone() };
        self.put(task_id.to_owned(), gone);
        true
    }

    /// Takes the next reports to be sent, the oldest first.
    pub fn take_batch(&mut self, node_id: &str, epoch: u64) -> (Vec<StatusReport>, Sent) {
        let (mut reports, mut sent, mut bytes) = (Vec::new(), Sent::default(), 0);
        while let Some((_, id)) = self.unsent.first()
            && reports.len() < MOST_IN_BATCH
        {
            let Some(task) = self.tasks.get(id) else { break };
            bytes += size(id, task);
            if bytes > self.most_bytes && !reports.is_empty() {
                break;
            }
            sent.0.push((id.clone(), task.version, task.status));
            reports.push(StatusReport {
                task_id: id.clone(),
                status: task.status,
                node_id: node_id.to_owned(),
                timestamp: task.timestamp,
                version: Some(task.version),
                epoch: Some(epoch),
                payload: task.payload.clone(),
                trace: None,
            });
            self.unsent.pop_first();
        }
        (reports, sent)
    }

    /// Takes what is to be sent as the part of the whole state behind a name: as much as a frame holds, and everything that is
    /// known up to there. Tasks that vanished are not in it: that alone makes them unknown.
    pub fn take_state(&mut self, after: Option<String>) -> Part {
        if after.is_none() {
            // Both sides will agree on what this state tells, and on nothing else.
            self.sum = StateSum::zero();
            self.tasks.values_mut().for_each(|task| task.agreed = None);
        }
        let (told, until) = self.next_span(after.as_deref());
        let mut part = Part { after, until, tasks: Vec::new(), digest: self.digest(), sent: Sent::default() };
        let mut sum = StateSum::zero();
        for (id, task) in told {
            self.unsent.remove(&(task.version, id.clone()));
            if task.is_gone {
                self.forget(&id);
                continue;
            }
            sum.add(&id, task.status, task.version);
            part.sent.0.push((id.clone(), task.version, task.status));
            let Task { status, version, timestamp, payload, .. } = task;
            part.tasks.push(TaskState { task_id: id, status, version, timestamp, payload });
        }
        part.digest.checksum = sum.to_string();
        part
    }

    /// The tasks behind a name that fit into a frame, and the last name of them, unless these are all.
    fn next_span(&self, after: Option<&str>) -> (Vec<(String, Task)>, Option<String>) {
        let (mut told, mut bytes) = (Vec::new(), 0);
        let span = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        for (id, task) in self.tasks.range::<str, _>(span) {
            let more = bytes + if task.is_gone { 0 } else { size(id, task) };
            if more > self.most_bytes && bytes > 0 {
                let until = told.last().map(|(id, _): &(String, Task)| id.clone());
                return (told, until);
            }
            bytes = more;
            told.push((id.clone(), task.clone()));
        }
        (told, None)
    }

    /// What the gateway should know, if it has answered everything.
    pub fn digest(&self) -> Digest {
        Digest { version: self.version, checksum: self.sum.to_string() }
    }

    /// What was sent is to be sent once more, unless something newer is.
    pub fn unsend(&mut self, sent: Sent) {
        for (id, version, _) in sent.0 {
            if self.tasks.get(&id).is_some_and(|task| task.version == version) {
                self.unsent.insert((version, id));
            }
        }
    }

    /// Takes the answers to what was sent, one for each; `None` if they are not as many.
    pub fn settle(&mut self, sent: Sent, answers: Vec<Answer>) -> Option<Verdict> {
        if sent.len() != answers.len() {
            self.unsend(sent);
            return None;
        }
        let mut verdict = Verdict::default();
        for ((id, version, status), answer) in sent.0.into_iter().zip(answers) {
            match answer {
                Answer::Receipt(receipt) => {
                    self.take_receipt(&id, (version, status), &receipt, &mut verdict);
                }
                Answer::Refused(body) => self.take_refusal(&id, version, body.error, &mut verdict),
                Answer::Odd(_) => {
                    let what = "the gateway answers in words that this agent does not know".to_owned();
                    verdict.refused = Some((id, what));
                }
            }
        }
        Some(verdict)
    }

    /// What was refused for its time has this one, and is sent once more. The time is no content, so the version stays.
    pub fn redate(&mut self, verdict: &mut Verdict, now: WallTime) {
        for (id, version) in verdict.misdated_tasks.drain(..) {
            if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.version == version) {
                task.timestamp = now;
                self.unsent.insert((version, id));
            }
        }
    }

    /// The clock was set back: what lies in its future was told by a wrong one, and is told anew. True if there is any.
    pub fn redate_future(&mut self, now: WallTime) -> bool {
        let future = self.tasks.iter().filter(|(_, task)| task.timestamp > now);
        let future: Vec<(String, Task)> = future.map(|(id, task)| (id.clone(), task.clone())).collect();
        let is_news = !future.is_empty();
        future.into_iter().for_each(|(id, task)| self.put(id, Task { timestamp: now, ..task }));
        is_news
    }

    /// A report was looked at.
    fn take_receipt(&mut self, id: &str, (version, status): (u64, Status), receipt: &Receipt, verdict: &mut Verdict) {
        if receipt.outcome != Outcome::Stale {
            self.agree(id, Some((status, version)));
            match self.tasks.get(id) {
                Some(task) if task.version == version && status.is_final() => self.forget(id),
                // The gateway goes on to know it as unknown, so that it stays in the checksum.
                Some(task) if task.version == version && task.is_gone => drop(self.tasks.remove(id)),
                _ => {}
            }
            return;
        }
        verdict.later_epoch = verdict.later_epoch.max(receipt.known_epoch);
        if receipt.known_epoch.is_some() {
            // Everything is told anew under a later epoch, whatever the versions are.
            return;
        }
        self.version = self.version.max(receipt.version);
        match self.tasks.get(id) {
            Some(task) if task.version <= receipt.version => {
                let task = task.clone();
                self.put(id.to_owned(), task);
            }
            // Ours is higher and of no older epoch: the record is another node's, which ended the task after our part of it.
            Some(task) if task.version == version => {
                verdict.refused = Some((id.to_owned(), "another node has ended it since".to_owned()));
                if task.status.is_final() {
                    self.forget(id);
                }
            }
            _ => {}
        }
    }

    fn take_refusal(&mut self, id: &str, version: u64, error: crate::sync::message::ErrorText, verdict: &mut Verdict) {
        let Some(task) = self.tasks.get(id) else { return };
        let is_newest = task.version == version;
        match error.code.as_str() {
            // Something else is known under this very version: ours is newer, so it gets the next one.
            "version_conflict" if is_newest => {
                let task = task.clone();
                self.put(id.to_owned(), task);
            }
            "version_conflict" => {}
            "rate_limited" | "overloaded" | "store_unavailable" | "too_many" => {
                verdict.is_busy = true;
                if is_newest {
                    self.unsent.insert((version, id.to_owned()));
                }
            }
            _ if error.key.as_deref() == Some("timestamp") => {
                verdict.misdated_tasks.push((id.to_owned(), version));
                verdict.misdated = Some(error.message);
            }
            code => {
                if code == "owned_elsewhere" {
                    self.agree(id, None);
                }
                verdict.refused = Some((id.to_owned(), error.message));
                if is_newest && self.tasks.get(id).is_some_and(|task| task.status.is_final()) {
                    self.forget(id);
                }
            }
        }
    }

    /// Gives a task the next version and lets it be sent.
    fn put(&mut self, id: String, task: Task) {
        self.version += 1;
        let version = self.version;
        self.unsent.insert((version, id.clone()));
        if let Some(old) = self.tasks.insert(id.clone(), Task { version, ..task }) {
            self.unsent.remove(&(old.version, id));
        }
    }

    /// This is what the gateway has of a task.
    fn agree(&mut self, id: &str, now: Option<(Status, u64)>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        if let Some((status, version)) = std::mem::replace(&mut task.agreed, now) {
            self.sum.remove(id, status, version);
        }
        if let Some((status, version)) = now {
            self.sum.add(id, status, version);
        }
    }

    fn forget(&mut self, id: &str) {
        self.agree(id, None);
        if let Some(task) = self.tasks.remove(id) {
            self.unsent.remove(&(task.version, id.to_owned()));
        }
    }

    /// Whether one more task fits. A task that vanished, then the oldest that is over, makes room.
    fn make_room(&mut self) -> bool {
        if self.tasks.len() < self.most {
            return true;
        }
        let gone = self.tasks.iter().filter(|(_, task)| task.is_gone);
        let over = self.tasks.iter().filter(|(_, task)| task.status.is_final());
        let oldest = |(_, a): &(&String, &Task), (_, b): &(&String, &Task)| a.version.cmp(&b.version);
        let Some(id) = gone.min_by(oldest).or_else(|| over.min_by(oldest)).map(|(id, _)| id.clone()) else {
            return false;
        };
        self.lost.dropped += 1;
        self.forget(&id);
        true
    }
}

fn size(id: &str, task: &Task) -> usize {
    BYTES_PER_TASK + id.len() + task.payload.as_ref().map_or(0, |payload| payload.text().len())
}
