//! What a measurement brings to the driver: an operation per lane, and somebody who watches.

use std::time::Duration;

use super::{LaneRecord, Settled, Steps};
use crate::model::{Clock, Labels, Measured, Outcome, Reference, Scalar, Series, Stamp};

/// One attempt of something measurable. It knows neither rate nor clock policy, repetition nor output.
///
/// The future is dropped at the timeout; an operation must then forget the attempt and keep nothing for it.
pub trait Operation {
    /// Makes one attempt.
    fn attempt(&self) -> impl Future<Output = Answer>;

    /// Recording begins with the attempts planned from `from` on.
    fn record_from(&self, from: Stamp) {
        let _ = from;
    }

    /// One recorded attempt has been settled, and no other was looked at since it ended.
    fn settled(&self, settled: &Settled) {
        let _ = settled;
    }

    /// Copies the figures that it keeps itself, for a checkpoint.
    fn beside(&self, lane: Named<'_>) -> MakeBeside {
        let _ = lane;
        Box::new(Beside::default)
    }
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

/// What the series of a lane are called.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Name of the response series.
    pub name: &'static str,
    /// Labels of all its series.
    pub labels: &'a Labels,
    /// Whether it measures the tool's own floor.
    pub floor: bool,
}

impl<O> Lane<O> {
    /// What its series are called.
    pub const fn named(&self) -> Named<'_> {
        Named { name: self.name, labels: &self.labels, floor: self.floor }
    }
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

/// Somebody who watches a measurement while it is made. Called inside the loop: it must return at once.
pub trait Observer {
    /// This of several measurements comes now.
    fn stage(&mut self, what: &str) {
        let _ = what;
    }

    /// These lanes are driven now.
    fn driving(&mut self, lanes: &[Named<'_>]) {
        let _ = lanes;
    }

    /// What is measured now has no lanes and counts its steps.
    fn counting(&mut self, steps: &Steps) {
        let _ = steps;
    }

    /// A minute has passed: this is what has been found without lanes so far, and may be written down.
    fn so_far(&mut self, measured: Measured) {
        let _ = measured;
    }

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
