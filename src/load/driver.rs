//! The driver: one loop that starts what is due, settles what has ended, and waits for whichever comes first.
//!
//! Open loop: starts follow the plan alone. At most `max_in_flight` attempts of a lane are under way; a start that is
//! due above that, or that would be later than the timeout, is skipped and counted. Closed loop: each answer starts the
//! next attempt, planned for the moment of that answer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::deadline::{Deadlines, Limit};
use super::recorder::Earlier;
use super::{Answer, Arrival, Lane, LaneRecord, Length, LoadSpec, Observer, Operation, Pace, Part, Settled};
use crate::model::span::nanos;
use crate::model::{Outcome, Stamp};
use crate::sys::clock;
use crate::sys::presence::Presence;
use crate::sys::shutdown::Shutdown;
use crate::sys::timer::Timer;

/// Starts made in one pass before ended attempts are looked at again.
const STARTS_PER_PASS: usize = 64;

/// Planned attempts looked at in one pass, those that are skipped included.
const PLANNED_PER_PASS: usize = 1024;

/// Passes without waiting after which the event loop gets a turn.
const PASSES_PER_TURN: u32 = 32;

/// A wake-up later than this was not the timer's doing.
const STANDSTILL: Duration = Duration::from_millis(20);

/// Turns of the event loop in which waiting answers are read: one to hear of them, one to read, one to spare.
const TURNS_AFTER_STANDSTILL: usize = 3;

/// How often the observer may write down what was recorded.
pub(super) const CHECKPOINT: Duration = Duration::from_secs(60);

/// From one lane of a checkpoint to the next, and until one that was not taken is offered again.
const CHECKPOINT_STEP: Duration = Duration::from_millis(2);
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(20);

/// How long a closed loop holds back after an attempt that ended unanswered at once.
const CLOSED_PAUSE: Duration = Duration::from_millis(1);

/// Intervals kept over all lanes together, of some KiB each; a lane has at least 8 of them and at most 240.
const TIMELINE_BUDGET: usize = 6_000;

/// A run that cannot be driven.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The timer does not work.
    #[error("the kernel gave no timer")]
    Timer(#[source] io::Error),
}

/// What was driven.
pub struct Load {
    /// One record per lane, in the order of the lanes.
    pub lanes: Vec<LaneRecord>,
    /// From the beginning, warm-up included, to the last answer.
    pub elapsed: Duration,
    /// Whether it was stopped before its planned end.
    pub interrupted: bool,
    /// Attempts that were in flight at the interruption and are counted nowhere.
    pub abandoned_count: u64,
}

/// Drives all lanes to the end of the spec, or until `shutdown`.
///
/// # Errors
/// When the timer does not work. What happens to attempts is never an error.
pub async fn drive<O: Operation>(
    lanes: &[Lane<O>],
    spec: &LoadSpec,
    observer: &mut dyn Observer,
    shutdown: &Shutdown,
) -> Result<Load, DriverError> {
    drive_on(lanes, Vec::new(), spec, observer, shutdown).await
}

/// Drives all lanes once more, and records on top of the `records` of an earlier time: so that several settings can be
/// measured in turns. Without records it begins anew.
///
/// # Errors
/// As [`drive`].
pub(super) async fn drive_on<O: Operation>(
    lanes: &[Lane<O>],
    records: Vec<LaneRecord>,
    spec: &LoadSpec,
    observer: &mut dyn Observer,
    shutdown: &Shutdown,
) -> Result<Load, DriverError> {
    let mut timer = Timer::new().map_err(DriverError::Timer)?;
    let mut plan = Plan::new(lanes, records, spec);
    let mut in_flight = FuturesUnordered::new();
    let mut due = Vec::with_capacity(STARTS_PER_PASS);
    let mut deadlines = Deadlines::default();
    let (mut presence, mut passes) = (Presence::begin(), 0);
    observer.driving(&lanes.iter().map(Lane::named).collect::<Vec<_>>());
    lanes.iter().for_each(|lane| lane.operation.record_from(plan.recording_from));
    observer.recording(plan.recording_from);
    let interrupted = loop {
        let now = clock::now();
        deadlines.expire(now);
        let is_behind = plan.take_due(now, &mut due);
        for start in due.drain(..) {
            let limit = deadlines.add(now + spec.timeout);
            in_flight.push(attempt(&lanes[start.lane].operation, start, limit, spec));
        }
        plan.checkpoint(now, lanes, observer);
        if shutdown.is_requested() {
            break true;
        }
        if in_flight.is_empty() && plan.is_finished() {
            break false;
        }
        let wake = deadlines.next().map_or(plan.next_wake(), |deadline| deadline.min(plan.next_wake()));
        passes += 1;
        if is_behind || passes % PASSES_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            Some((start, settled)) = in_flight.next(), if !in_flight.is_empty() => {
                if start.number.is_some() {
                    lanes[start.lane].operation.settled(&settled);
                }
                plan.settle(start, settled, observer);
            }
            waited = timer.wait_until(wake) => waited.map_err(DriverError::Timer)?,
            () = shutdown.requested() => {}
        }
        if presence.missed(wake) > STANDSTILL {
            // The process stood still, or its machine slept. Answers may lie in the sockets: they are read before anything is called lost.
            for _ in 0..TURNS_AFTER_STANDSTILL {
                tokio::task::yield_now().await;
            }
        }
    };
    let abandoned_count = in_flight.len() as u64;
    Ok(plan.finish(interrupted, abandoned_count))
}

/// One start that the plan let go.
struct Start {
    lane: usize,
    /// Number among the started and recorded attempts of its lane; `None` in the warm-up.
    number: Option<u64>,
    /// Place in the plan of its lane.
    ordinal: u64,
    planned: Stamp,
}

async fn attempt<O: Operation>(operation: &O, start: Start, limit: Rc<Limit>, spec: &LoadSpec) -> (Start, Settled) {
    let began = clock::now();
    let answer = {
        let attempt = pin!(operation.attempt());
        limit.hold(attempt).await.unwrap_or_else(|| Answer::new(Outcome::Lost))
    };
    let ended = answer.ended.unwrap_or_else(clock::now);
    let (ordinal, planned) = (start.ordinal, start.planned);
    let settled = Settled { ordinal, planned, started: answer.started.unwrap_or(began), ended, answer };
    let closed = matches!(spec.arrival, Arrival::Closed { .. });
    if closed && !settled.answer.outcome.is_answered() && ended.since(began) < CLOSED_PAUSE {
        tokio::time::sleep(CLOSED_PAUSE).await;
    }
    (start, settled)
}

/// Where every lane stands in its plan, and what it recorded.
struct Plan<'a> {
    spec: &'a LoadSpec,
    began: Stamp,
    recording_from: Stamp,
    /// Planned starts end before this; `None` where the length is a count.
    ends: Option<Stamp>,
    cursors: Vec<Cursor>,
    /// For how long the earliest of the upcoming starts may wait for others.
    slack: Duration,
    /// Whether the last pass left some of what was due to the next.
    is_behind: bool,
    /// The next planned start of every open lane that has one.
    upcoming: BinaryHeap<Reverse<(Stamp, usize)>>,
    /// Starts that ended attempts of a closed loop have earned.
    earned: Vec<(Stamp, usize)>,
    records: Vec<LaneRecord>,
    /// When the next lane of a checkpoint is to be written down, and which.
    next_checkpoint: Stamp,
    checkpoint_lane: usize,
}

struct Cursor {
    pace: Option<Pace>,
    in_flight: usize,
    /// Recorded attempts planned so far, and those of them that started.
    recorded: u64,
    started: u64,
    /// What earlier times have left: their attempts that started, and their places in the plan.
    earlier: Earlier,
}

impl<'a> Plan<'a> {
    fn new<O>(lanes: &[Lane<O>], records: Vec<LaneRecord>, spec: &'a LoadSpec) -> Self {
        let timeout_ns = nanos(spec.timeout);
        let intervals = (TIMELINE_BUDGET / lanes.len().max(1)).clamp(8, 240);
        let began = clock::now();
        let recording_from = began + spec.warmup;
        let mut plan = Self {
            spec,
            began,
            recording_from,
            ends: match spec.length {
                Length::Duration(span) => Some(recording_from + span),
                Length::Count(_) => None,
            },
            cursors: Vec::new(),
            slack: spec.arrival.slack(),
            is_behind: false,
            upcoming: BinaryHeap::new(),
            earned: Vec::new(),
            records,
            next_checkpoint: began + CHECKPOINT,
            checkpoint_lane: 0,
        };
        for (lane, of) in lanes.iter().enumerate() {
            if plan.records.len() == lane {
                plan.records.push(LaneRecord::new(of, timeout_ns, recording_from, intervals));
            }
            let earlier = plan.records[lane].earlier();
            let pace = match spec.arrival {
                Arrival::Open { rate, spacing, .. } => Some(Pace::new(rate, spacing, spec.seed, lane, lanes.len())),
                Arrival::Closed { concurrency } => {
                    plan.earned.extend(std::iter::repeat_n((began, lane), concurrency));
                    None
                }
            };
            plan.cursors.push(Cursor { pace, in_flight: 0, recorded: 0, started: 0, earlier });
            plan.advance(lane);
        }
        plan
    }

    /// Puts the lane's next planned start into the queue, if its plan has one.
    fn advance(&mut self, lane: usize) {
        let Some(offset) = self.cursors[lane].pace.as_mut().and_then(Iterator::next) else { return };
        let planned = self.began + Duration::from_nanos(offset);
        if self.has_room(lane, planned) {
            self.upcoming.push(Reverse((planned, lane)));
        }
    }

    /// Whether the lane's length allows a start planned for then.
    fn has_room(&self, lane: usize, planned: Stamp) -> bool {
        match self.spec.length {
            Length::Duration(_) => self.ends.is_some_and(|ends| planned < ends),
            Length::Count(count) => self.cursors[lane].recorded < count,
        }
    }

    /// Takes a pass's worth of what is due; true if there is more.
    fn take_due(&mut self, now: Stamp, due: &mut Vec<Start>) -> bool {
        self.is_behind = self.take_some(now, due);
        self.is_behind
    }

    fn take_some(&mut self, now: Stamp, due: &mut Vec<Start>) -> bool {
        for (planned, lane) in std::mem::take(&mut self.earned) {
            if self.has_room(lane, planned) {
                due.push(self.start(lane, planned));
            }
        }
        if !self.is_behind && self.next_start().is_none_or(|start| start > now) {
            return false;
        }
        for _ in 0..PLANNED_PER_PASS {
            let Some(&Reverse((planned, lane))) = self.upcoming.peek() else { return false };
            if planned > now {
                return false;
            }
            if due.len() >= STARTS_PER_PASS {
                return true;
            }
            self.upcoming.pop();
            let late = now.since(planned) > self.spec.timeout;
            if late || self.cursors[lane].in_flight >= self.spec.max_in_flight {
                self.skip(lane, planned);
            } else {
                due.push(self.start(lane, planned));
            }
            self.advance(lane);
        }
        true
    }

    fn start(&mut self, lane: usize, planned: Stamp) -> Start {
        let cursor = &mut self.cursors[lane];
        cursor.in_flight += 1;
        let (ordinal, mut number) = (cursor.earlier.ordinal + cursor.recorded, None);
        if planned >= self.recording_from {
            number = Some(cursor.earlier.number + cursor.started);
            cursor.recorded += 1;
            cursor.started += 1;
        }
        Start { lane, number, ordinal, planned }
    }

    fn skip(&mut self, lane: usize, planned: Stamp) {
        if planned >= self.recording_from {
            self.cursors[lane].recorded += 1;
            self.records[lane].skip(planned);
        }
    }

    fn settle(&mut self, start: Start, settled: Settled, observer: &mut dyn Observer) {
        let lane = start.lane;
        self.cursors[lane].in_flight -= 1;
        if matches!(self.spec.arrival, Arrival::Closed { .. }) {
            // An answer is the intention to start the next; after a pause it is the end of the pause.
            let answered = settled.answer.outcome.is_answered();
            self.earned.push((if answered { settled.ended } else { clock::now() }, lane));
        }
        if let Some(number) = start.number {
            observer.settled(lane, &settled);
            self.records[lane].settle(number, settled);
        }
    }

    fn checkpoint<O: Operation>(&mut self, now: Stamp, lanes: &[Lane<O>], observer: &mut dyn Observer) {
        let (lane, lane_count) = (self.checkpoint_lane, self.records.len());
        let Some(record) = self.records.get(lane).filter(|_| now >= self.next_checkpoint) else { return };
        let beside = || lanes[lane].operation.beside(lanes[lane].named());
        let elapsed = now.since(self.began);
        let is_taken = observer.checkpoint(Part { lane, lane_count, elapsed, record, beside: &beside });
        self.checkpoint_lane = (lane + usize::from(is_taken)) % lane_count;
        self.next_checkpoint = now
            + match (is_taken, self.checkpoint_lane) {
                (false, _) => CHECKPOINT_PATIENCE,
                (true, 0) => CHECKPOINT,
                (true, _) => CHECKPOINT_STEP,
            };
    }

    /// When the earliest planned start can wait no longer: all that are due are then made together.
    fn next_start(&self) -> Option<Stamp> {
        self.upcoming.peek().map(|Reverse((planned, _))| *planned + self.slack)
    }

    fn next_wake(&self) -> Stamp {
        self.next_start().map_or(self.next_checkpoint, |start| start.min(self.next_checkpoint))
    }

    fn is_finished(&self) -> bool {
        self.upcoming.is_empty() && self.earned.is_empty()
    }

    fn finish(mut self, interrupted: bool, abandoned_count: u64) -> Load {
        self.records.iter_mut().for_each(|record| record.close(self.recording_from));
        let elapsed = clock::now().since(self.began);
        Load { lanes: self.records, elapsed, interrupted, abandoned_count }
    }
}
