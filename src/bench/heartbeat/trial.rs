//! The trials of one cell: a warmed world, many futures with a crash, and one without.
//!
//! Detectors that learn need a history. It is simulated once, and each batch of trials goes on from a copy of it with
//! random numbers of its own; every node then crashes at a random moment of one interval.

use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::spec::{Cell, HeartbeatSpec};
use crate::detect::{Detector, Rule};
use crate::model::{Histogram, Moments, Stamp};
use crate::sim::{Fault, NodeSpec, Notice, Retry, What, World, WorldSpec};

/// Nodes of one world, which are the trials of one batch.
const NODES: usize = 1000;

/// Heartbeats of the history: a whole window for detectors that learn, and a few for those that do not.
const HISTORY_LEARNING: u64 = 1_000;
const HISTORY_FIXED: u64 = 3;

/// Heartbeats of a node between two looks at whether to stop.
const BEATS_BETWEEN_LOOKS: u64 = 100;

/// The back-off of the kubelet's lease renewal.
const LEASE_RETRY: Retry = Retry { first: Duration::from_millis(200), longest: Duration::from_secs(7) };

/// A moment that no trial reaches: all nodes have crashed, and the events run out.
const END: u64 = u64::MAX >> 2;

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

/// A cell with its world as far as the history goes.
struct Warmed<'a> {
    cell: &'a Cell,
    world: World,
    now: Stamp,
}

/// Runs the trials of a cell; `None` if it was stopped.
pub fn run(spec: &HeartbeatSpec, cell: &Cell, at: usize, is_over: &impl Fn() -> bool) -> Option<Outcome> {
    let mut seeds = ChaCha8Rng::seed_from_u64(spec.seed);
    seeds.set_stream(at as u64);
    let warmed = warm(cell, &mut seeds);
    let mut outcome = Outcome { beat_count: warmed.world.sent_count(), ..Outcome::default() };
    let mut left = spec.trials;
    while left > 0 {
        if is_over() {
            return None;
        }
        let count = left.min(NODES as u64);
        warmed.crash(count as usize, &mut seeds, &mut outcome);
        left -= count;
    }
    warmed.watch(spec.mistake_beats / NODES as u64, &mut seeds, &mut outcome, is_over)?;
    Some(outcome)
}

/// A world whose detectors have a history, and the moment it has come to.
fn warm<'a>(cell: &'a Cell, seeds: &mut ChaCha8Rng) -> Warmed<'a> {
    let interval = nanos(cell.interval);
    let rule = cell.detector.rule;
    let period = match rule {
        Rule::Lease { period, .. } => nanos(period),
        _ => nanos(cell.detector.check),
    };
    let nodes = (0..NODES).map(|_| {
        let first = Stamp::from_nanos(seeds.random_range(0..interval));
        let phase = Stamp::from_nanos(seeds.random_range(0..period.max(1)));
        NodeSpec { first, detector: Detector::new(&cell.detector, first, cell.interval, phase) }
    });
    let nodes = nodes.collect();
    let retry = matches!(rule, Rule::Lease { .. }).then_some(LEASE_RETRY);
    let link = cell.network.link.clone();
    let mut world = World::new(WorldSpec { interval: cell.interval, link, retry, seed: seeds.random() }, nodes);
    let history = if matches!(rule, Rule::Phi { .. } | Rule::Chen { .. }) { HISTORY_LEARNING } else { HISTORY_FIXED };
    let now = Stamp::from_nanos(interval.saturating_mul(history));
    world.run(now, &mut |_| {});
    Warmed { cell, world, now }
}

impl Warmed<'_> {
    /// One batch: each node crashes within the interval after next.
    fn crash(&self, count: usize, seeds: &mut ChaCha8Rng, outcome: &mut Outcome) {
        let mut world = self.world.clone();
        world.reseed(seeds.random());
        let interval = nanos(self.cell.interval);
        let from = self.now.as_nanos() + interval;
        let crashes: Vec<u64> = (0..NODES).map(|_| from + seeds.random_range(0..interval)).collect();
        for (node, at) in crashes.iter().enumerate() {
            world.plan(Stamp::from_nanos(*at), node, Fault::Crash);
        }
        let mut suspected = vec![None; NODES];
        world.run(Stamp::from_nanos(END), &mut |notice: Notice| match notice.what {
            What::Suspected => suspected[notice.node] = Some(notice.at.as_nanos()),
            What::Trusted => suspected[notice.node] = None,
            _ => {}
        });
        for (crash, suspected) in crashes.iter().zip(suspected).take(count) {
            // A node that was suspected before this history was copied, and stayed so, has no notice: it was known.
            let suspected = suspected.unwrap_or(*crash);
            outcome.already_count += u64::from(suspected <= *crash);
            outcome.detection.push(suspected.saturating_sub(*crash));
        }
        outcome.beat_count += world.sent_count() - self.world.sent_count();
    }

    /// A future without a crash: every suspicion is a mistake.
    fn watch(
        mut self,
        beats: u64,
        seeds: &mut ChaCha8Rng,
        outcome: &mut Outcome,
        is_over: &impl Fn() -> bool,
    ) -> Option<()> {
        self.world.reseed(seeds.random());
        let before = self.world.sent_count();
        let (from, interval) = (self.now.as_nanos(), nanos(self.cell.interval));
        let end = from + interval.saturating_mul(beats);
        let mut since: Vec<Option<u64>> = vec![None; NODES];
        let mut until = from;
        while until < end {
            if is_over() {
                return None;
            }
            until = until.saturating_add(interval * BEATS_BETWEEN_LOOKS).min(end);
            self.world.run(Stamp::from_nanos(until), &mut |notice| outcome.take(notice, &mut since));
        }
        // Mistakes that are still going on count as mistaken time; how long they will last is not known.
        outcome.mistaken_ns += since.iter().flatten().map(|from| u128::from(end - from)).sum::<u128>();
        outcome.watched_ns = u128::from(end - from) * NODES as u128;
        outcome.watched_beats = self.world.sent_count() - before;
        outcome.beat_count += outcome.watched_beats;
        Some(())
    }
}

impl Outcome {
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

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
