//! What a measurement brings to the driver: an operation per lane, and somebody who watches.

use std::time::Duration;

use super::{LaneRecord, Settled};
use crate::model::{Clock, Labels, Outcome, Reference, Scalar, Series, Stamp};

/// One attempt of something measurable. It knows neither rate nor clock policy, repetition nor output.
///
/// The future is dropped at the timeout; an operation must then forget the attempt and keep nothing for it.
pub trait Operation {
    /// Makes one attempt.
    fn attempt(&self) -> impl Future<Output = Answer>;
}

/// How an attempt ended, with stamps where the operation can take them closer to the wire than the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// When it really started, if later than the driver's own stamp.
    pub started: Option<Stamp>,
    /// When it ended, if earlier than the driver's own stamp.
    pub ended: Option<Stamp>,
    /// Parts of it that are series of their own.
    pub details: Vec<Detail>,
}

impl Answer {
    /// An answer with nothing but its outcome; the driver takes the stamps.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { outcome, started: None, ended: None, details: Vec::new() }
    }
}

/// A part of an answered attempt that is a series of its own, such as a phase or the kernel's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Full name of its series.
    pub name: &'static str,
    /// Whose clock it is.
    pub clock: Clock,
    /// How long it took.
    pub value_ns: u64,
}

/// One target by one channel, with everything that is said about its series.
#[derive(Debug)]
pub struct Lane<O> {
    /// What is attempted.
    pub operation: O,
    /// Name of the response series.
    pub name: &'static str,
    /// Labels of all its series.
    pub labels: Labels,
    /// Whether it measures the tool's own floor.
    pub floor: bool,
    /// Figures published for a target of this name.
    pub reference: Option<Reference>,
}

/// What one lane has recorded by the time of a checkpoint.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Which lane.
    pub lane: usize,
    /// Of how many.
    pub lane_count: usize,
    /// Since the beginning of the run.
    pub elapsed: Duration,
    /// What the driver recorded of it.
    pub record: &'a LaneRecord,
    /// Copies what stands beside it and the driver does not know of; for those who really write it down.
    pub beside: &'a dyn Fn() -> MakeBeside,
}

/// Makes a copy into figures, away from the driver's loop.
pub type MakeBeside = Box<dyn FnOnce() -> Beside + Send>;

/// Figures beside those of the driver.
#[derive(Debug, Default)]
pub struct Beside {
    /// Distributions.
    pub series: Vec<Series>,
    /// Single numbers.
    pub scalars: Vec<Scalar>,
}

/// Somebody who watches a run while it is driven. Called inside the loop: it must return at once.
pub trait Observer {
    /// Recording begins with the attempts planned from `from` on.
    fn recording(&mut self, from: Stamp) {
        let _ = from;
    }

    /// One attempt of a lane ended.
    fn settled(&mut self, lane: usize, settled: &Settled) {
        let _ = (lane, settled);
    }

    /// A minute has passed: what was recorded so far may be written down. The lanes come one by one, between starts, so that
    /// copying many makes no start late. False asks for the same lane again, a moment later.
    fn checkpoint(&mut self, part: Part<'_>) -> bool {
        let _ = part;
        true
    }
}

impl Observer for () {}
