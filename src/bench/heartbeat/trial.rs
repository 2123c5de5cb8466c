//! The trials of one cell: a warmed world, many futures with a crash, and one without.
//!
//! Detectors that learn need a history. It is simulated once, and each batch of trials goes on from a copy of it with
//! random numbers of its own; every node then crashes at a random moment of one interval.

use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::plan::{NODES, Plan};
use super::spec::{Cell, HeartbeatSpec};
use crate::detect::{Detector, Rule};
use crate::model::span::nanos;
use crate::model::{Histogram, Moments, Stamp};
use crate::sim::{Fault, NodeSpec, Notice, Retry, What, World, WorldSpec};

/// Heartbeats of a node between two looks at whether to stop.
const BEATS_BETWEEN_LOOKS: u64 = 100;

/// The back-off of the kubelet's lease renewal.
const LEASE_RETRY: Retry = Retry { first: Duration::from_millis(200), longest: Duration::from_secs(7) };

/// A moment that no trial reaches: all nodes have crashed, and the events run out.
const END: u64 = u64::MAX >> 2;

/// Who is told how far it is, and asked whether to stop.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Hears of heartbeats that were planned and are done.
    pub advance: &'a (dyn Fn(u64) + Sync),
    /// Whether to stop.
    pub is_over: &'a (dyn Fn() -> bool + Sync),
}

/// What the trials of one cell gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// From each crash to the suspicion that stays.
    pub detection: Spans,
    /// Crashes of nodes that were suspected already, wrongly until then; their detection is 0.
    pub already_count: u64,
    /// From each false suspicion to its end.
    pub mistakes: Spans,
    /// False suspicions that began.
    pub mistake_count: u64,
    /// Node time under false suspicion, and watched at all.
    pub mistaken_ns: u128,
    pub watched_ns: u128,
    /// Heartbeats that were simulated.
    pub beat_count: u64,
    /// Heartbeats that were sent while watching for mistakes.
    pub watched_beats: u64,
    /// Whether it was stopped before its end.
    pub is_partial: bool,
}

/// A distribution of spans.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// As counts.
    pub histogram: Histogram,
    /// Mean, deviation and extremes.
    pub moments: Moments,
}

impl Spans {
    fn push(&mut self, ns: u64) {
        self.histogram.record(ns);
        self.moments.push(ns);
    }
}

/// All that happened to the node of one trial, from the beginning of its history.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its detector before anything happened.
    pub detector: Detector,
    /// What happened, in order.
    pub notices: Vec<Notice>,
}

/// A cell with its world as far as the history goes.
struct Warmed<'a> {
    cell: &'a Cell,
    plan: &'a Plan,
    world: World,
    now: Stamp,
}

/// The chances of one batch: what everything random in it is drawn from, and when each node crashes.
struct Batch {
    seed: u64,
    crashes: Vec<u64>,
}

/// Runs the trials of a cell; when it is stopped, the outcome is of what was done until then.
pub fn run(spec: &HeartbeatSpec, cell: &Cell, at: usize, plan: &Plan, hooks: Hooks) -> Outcome {
    let mut seeds = seeds(spec, at);
    let warmed = warm(cell, plan, nodes(cell, &mut seeds), &mut seeds, &mut |_| {});
    (hooks.advance)(plan.history_beats());
    let mut outcome = Outcome { beat_count: warmed.world.sent_count(), ..Outcome::default() };
    let mut left = spec.trials;
    while left > 0 {
        if (hooks.is_over)() {
            return Outcome { is_partial: true, ..outcome };
        }
        let count = left.min(NODES as u64);
        let batch = warmed.draw(&mut seeds);
        warmed.crash(&batch, count as usize, &mut outcome);
        (hooks.advance)(plan.batch_beats());
        left -= count;
    }
    warmed.watch(&mut seeds, &mut outcome, hooks);
    outcome
}

/// One trial of a run once more, told in full: the same seeds give the same history and the same batch. The first is 1.
pub fn trace(spec: &HeartbeatSpec, cell: &Cell, at: usize, number: u64) -> Trace {
    let before = number.saturating_sub(1);
    let node = (before % NODES as u64) as usize;
    let plan = Plan::of(spec, cell);
    let mut seeds = seeds(spec, at);
    let nodes = nodes(cell, &mut seeds);
    let detector = nodes[node].detector.clone();
    let mut notices = Vec::new();
    let mut tell = |notice: Notice| notices.extend((notice.node == node).then_some(notice));
    let warmed = warm(cell, &plan, nodes, &mut seeds, &mut tell);
    for _ in 0..before / NODES as u64 {
        warmed.draw(&mut seeds);
    }
    warmed.future(&warmed.draw(&mut seeds), &mut tell);
    Trace { detector, notices }
}

/// What everything random of a cell is drawn from; it depends on the place of the cell alone.
fn seeds(spec: &HeartbeatSpec, at: usize) -> ChaCha8Rng {
    let mut seeds = ChaCha8Rng::seed_from_u64(spec.seed);
    seeds.set_stream(at as u64);
    seeds
}

fn nodes(cell: &Cell, seeds: &mut ChaCha8Rng) -> Vec<NodeSpec> {
    let interval = nanos(cell.interval);
    let period = match cell.detector.rule {
        Rule::Lease { period, .. } => nanos(period),
        _ => nanos(cell.detector.check),
    };
    let node = |_| {
        let first = Stamp::from_nanos(seeds.random_range(0..interval));
        let phase = Stamp::from_nanos(seeds.random_range(0..period.max(1)));
        NodeSpec { first, detector: Detector::new(&cell.detector, first, cell.interval, phase) }
    };
    (0..NODES).map(node).collect()
}

/// A world whose detectors have a history, and the moment it has come to.
fn warm<'a>(
    cell: &'a Cell,
    plan: &'a Plan,
    nodes: Vec<NodeSpec>,
    seeds: &mut ChaCha8Rng,
    tell: &mut impl FnMut(Notice),
) -> Warmed<'a> {
    let retry = matches!(cell.detector.rule, Rule::Lease { .. }).then_some(LEASE_RETRY);
    let link = cell.network.link.clone();
    let mut world = World::new(WorldSpec { interval: cell.interval, link, retry, seed: seeds.random() }, nodes);
    let now = Stamp::from_nanos(nanos(cell.interval).saturating_mul(plan.history));
    world.run(now, tell);
    Warmed { cell, plan, world, now }
}

impl Warmed<'_> {
    /// The chances of the next batch: each node crashes within one interval.
    fn draw(&self, seeds: &mut ChaCha8Rng) -> Batch {
        let seed = seeds.random();
        let interval = nanos(self.cell.interval);
        let from = self.now.as_nanos() + interval * self.plan.settle;
        Batch { seed, crashes: (0..NODES).map(|_| from + seeds.random_range(0..interval)).collect() }
    }

    /// One batch to its end; returns the heartbeats that it took.
    fn future(&self, batch: &Batch, tell: &mut impl FnMut(Notice)) -> u64 {
        let mut world = self.world.clone();
        world.reseed(batch.seed);
        for (node, at) in batch.crashes.iter().enumerate() {
            world.plan(Stamp::from_nanos(*at), node, Fault::Crash);
        }
        world.run(Stamp::from_nanos(END), tell);
        world.sent_count() - self.world.sent_count()
    }

    /// One batch, of which so many trials count.
    fn crash(&self, batch: &Batch, count: usize, outcome: &mut Outcome) {
        let mut suspected = vec![None; NODES];
        outcome.beat_count += self.future(batch, &mut |notice: Notice| match notice.what {
            What::Suspected => suspected[notice.node] = Some(notice.at.as_nanos()),
            What::Trusted => suspected[notice.node] = None,
            _ => {}
        });
        for (crash, suspected) in batch.crashes.iter().zip(suspected).take(count) {
            // A node that was suspected before this history was copied, and stayed so, has no notice: it was known.
            let suspected = suspected.unwrap_or(*crash);
            outcome.already_count += u64::from(suspected <= *crash);
            outcome.detection.push(suspected.saturating_sub(*crash));
        }
    }

    /// A future without a crash: every suspicion is a mistake.
    fn watch(mut self, seeds: &mut ChaCha8Rng, outcome: &mut Outcome, hooks: Hooks) {
        self.world.reseed(seeds.random());
        let before = self.world.sent_count();
        let (from, interval) = (self.now.as_nanos(), nanos(self.cell.interval));
        let mut since: Vec<Option<u64>> = vec![None; NODES];
        let mut watched = 0;
        while watched < self.plan.watched {
            if (hooks.is_over)() {
                outcome.is_partial = true;
                break;
            }
            let more = BEATS_BETWEEN_LOOKS.min(self.plan.watched - watched);
            watched += more;
            let until = Stamp::from_nanos(from + interval * watched);
            self.world.run(until, &mut |notice| outcome.take(notice, &mut since));
            (hooks.advance)(more * NODES as u64);
        }
        // Mistakes that are still going on count as mistaken time; how long they will last is not known.
        let end = from + interval * watched;
        outcome.mistaken_ns += since.iter().flatten().map(|from| u128::from(end - from)).sum::<u128>();
        outcome.watched_ns = u128::from(end - from) * NODES as u128;
        outcome.watched_beats = self.world.sent_count() - before;
        outcome.beat_count += outcome.watched_beats;
    }
}

impl Outcome {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.detection.histogram.is_empty()
    }

    /// Takes what happened to a node that lives: `since` is when it was accused.
    fn take(&mut self, notice: Notice, since: &mut [Option<u64>]) {
        match notice.what {
            What::Suspected => {
                self.mistake_count += 1;
                since[notice.node] = Some(notice.at.as_nanos());
            }
            What::Trusted => {
                // A mistake from before the copy has no beginning here.
                if let Some(from) = since[notice.node].take() {
                    let span = notice.at.as_nanos() - from;
                    self.mistakes.push(span);
                    self.mistaken_ns += u128::from(span);
                }
            }
            _ => {}
        }
    }
}
