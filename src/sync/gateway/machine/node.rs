//! One node as the gateway knows it: its heartbeats, its clock, its tasks, and how much its recovery is believed.
//!
//! Separate from the machine because everything here concerns one node and writes nothing.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use super::offset::ClockFilter;
use crate::detect::{Beat, Detector, DetectorSpec};
use crate::model::Stamp;
use crate::sync::checksum::StateSum;
use crate::sync::message::{Heartbeat, Usage};
use crate::sync::record::{NodeRecord, TaskRecord};

/// Recoveries within [`FLAP_MEMORY`] after which a node has to send more than one heartbeat before it is believed.
const FLAPS_FORGIVEN: u32 = 1;

/// How long a recovery is remembered.
const FLAP_MEMORY: Duration = Duration::from_secs(600);

/// Most heartbeats that a recovery has to wait for.
const LONGEST_PROOF: u32 = 16;

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What was written last; `None` before anything was.
    pub record: Option<NodeRecord>,
    /// What watches it; `None` before its first heartbeat.
    pub detector: Option<Detector>,
    /// The planned look at its deadline.
    pub planned: Option<Stamp>,
    /// The last heartbeat.
    pub last: Option<Beat>,
    /// The start of its agent.
    pub epoch: u64,
    /// Its clock.
    pub clock: ClockFilter,
    /// What it said of its own use.
    pub usage: Option<Usage>,
    /// Open connections of its agent.
    pub connections: u32,
    /// Heartbeats that were heard here one after another, none between them elsewhere.
    pub row: u32,
    /// Its tasks that are not over, as its agent knows them.
    pub tasks: BTreeSet<String>,
    /// Their checksum.
    pub sum: StateSum,
    damping: Damping,
}

/// How often a node came back lately, and what it still has to prove.
#[derive(Clone, Copy, Debug, Default)]
struct Damping {
    recoveries: u32,
    last: Option<Stamp>,
    missing: u32,
}

impl Node {
    /// A node that nothing is known of.
    pub fn new(epoch: u64) -> Self {
        Self {
            record: None,
            detector: None,
            planned: None,
            last: None,
            epoch,
            clock: ClockFilter::default(),
            usage: None,
            connections: 0,
            row: 0,
            tasks: BTreeSet::new(),
            sum: StateSum::default(),
            damping: Damping::default(),
        }
    }

    /// Whether a look is planned that is early enough for its detector.
    pub fn is_planned(&self) -> bool {
        let deadline = self.detector.as_ref().map(Detector::deadline);
        self.planned.zip(deadline).is_some_and(|(planned, deadline)| planned <= deadline)
    }

    /// Watches it from now on, as if it had just been heard.
    pub fn watch(&mut self, spec: &DetectorSpec, now: Stamp, interval: Duration) {
        self.detector = Some(Detector::new(spec, now, interval, now));
    }

    /// Whoever watches it was away until now.
    pub fn excuse(&mut self, now: Stamp) {
        let written = self.record.as_ref().map_or(0, |record| record.interval_ms);
        let promised = self.last.map_or(Duration::from_millis(written), |last| last.promised);
        if let Some(detector) = &mut self.detector {
            detector.excuse(now, promised);
        }
    }

    /// A heartbeat of this number is about to be taken: does it follow the last one that was heard here?
    pub fn count_row(&mut self, sequence: u64) {
        match self.last {
            Some(last) if sequence == last.sequence + 1 => self.row = self.row.saturating_add(1),
            Some(last) if sequence <= last.sequence => {}
            _ => self.row = 1,
        }
    }

    /// Takes a heartbeat of this epoch; false if it is not newer than the last.
    pub fn hear(&mut self, spec: &DetectorSpec, now: Stamp, heartbeat: &Heartbeat) -> bool {
        if self.last.is_some_and(|last| heartbeat.seq <= last.sequence) {
            return false;
        }
        let promised = Duration::from_millis(heartbeat.next_interval_ms);
        let beat = Beat { at: now, sequence: heartbeat.seq, promised };
        match (&mut self.detector, self.last) {
            (Some(detector), Some(_)) => detector.heartbeat(beat),
            // The first of this epoch: silences before it say nothing about this agent.
            _ => self.watch(spec, now, promised),
        }
        self.last = Some(beat);
        self.usage = heartbeat.usage.or(self.usage);
        if let Some(exchange) = heartbeat.last {
            self.clock.push(exchange);
        }
        true
    }

    /// Begins a later epoch: another process, with numbers and a clock history of its own.
    pub fn restart(&mut self, epoch: u64) {
        self.epoch = epoch;
        (self.last, self.row) = (None, 0);
        self.clock = ClockFilter::default();
    }

    /// The node was unreachable: its next heartbeats are counted before it is believed.
    pub fn lose(&mut self, now: Stamp) {
        let damping = &mut self.damping;
        if damping.last.is_none_or(|last| now.since(last) > FLAP_MEMORY) {
            damping.recoveries = 0;
        }
        let doubled = damping.recoveries.saturating_sub(FLAPS_FORGIVEN).min(LONGEST_PROOF.ilog2());
        damping.missing = if damping.recoveries < FLAPS_FORGIVEN { 0 } else { 2 << doubled }.min(LONGEST_PROOF);
    }

    /// A heartbeat of a node that was unreachable: whether it is believed now.
    pub fn recovers(&mut self, now: Stamp) -> bool {
        if self.damping.missing > 1 {
            self.damping.missing -= 1;
            return false;
        }
        self.damping = Damping { recoveries: self.damping.recoveries + 1, last: Some(now), missing: 0 };
        true
    }

    /// The tasks that its agent no longer tells of, after one name and up to another.
    pub fn vanished(&self, (after, until): (Option<&str>, Option<&str>), told: &BTreeSet<String>) -> Vec<String> {
        let span = (after.map_or(Bound::Unbounded, Bound::Excluded), until.map_or(Bound::Unbounded, Bound::Included));
        self.tasks.range::<str, _>(span).filter(|id| !told.contains(*id)).cloned().collect()
    }

    /// This is one of its tasks, as its agent knows as well.
    pub fn agree_on(&mut self, task: &TaskRecord) {
        if !self.tasks.contains(&task.task_id) {
            self.replace(None, task);
        }
    }

    /// A task of it has this record instead of that one.
    pub fn replace(&mut self, old: Option<&TaskRecord>, new: &TaskRecord) {
        if let Some(old) = old {
            self.drop_task(old);
        }
        if !new.status.is_final() {
            self.tasks.insert(new.task_id.clone());
            self.sum.add(&new.task_id, new.status, new.version);
        }
    }

    /// A task is no longer its own.
    pub fn drop_task(&mut self, old: &TaskRecord) {
        if self.tasks.remove(&old.task_id) {
            self.sum.remove(&old.task_id, old.status, old.version);
        }
    }
}

/// Whether an interval that was written is that of a promise, or a little more.
pub const fn is_near(written_ms: u64, promised_ms: u64) -> bool {
    written_ms >= promised_ms && written_ms <= 4 * promised_ms.next_power_of_two()
}
