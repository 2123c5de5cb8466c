//! Failure detectors: when is silence a failure?
//!
//! Pure: a detector is told of heartbeats and says at which moment it would suspect the node if nothing more arrived.
//! Whoever runs it, on a real clock or on the simulator's, processes an arrival before a deadline of the same moment: on
//! a tie the arrival wins. Each file's header gives the formula, its source, and the defaults of the system that the
//! detector is known from.
//!
//! Every heartbeat promises its next interval, and every detector waits for that promise and not for a constant: an agent
//! that slowed down as it said is not accused.

mod adaptive;
mod chen;
mod formula;
mod kubernetes;
mod phi;
mod silence;
mod spec;
mod window;

pub use adaptive::{Adaptive, Bounds, Observation};
pub use formula::{Parts, detection_ns, detection_parts, silence_ns};
pub use phi::{Model, reach};
pub use spec::{DetectorSpec, Rule, SpecError};

use std::time::Duration;

use crate::model::Stamp;
use chen::Chen;
use kubernetes::{Lease, ceil_tick};
use phi::Phi;
use silence::Silence;

/// A heartbeat as the monitor receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it arrived.
    pub at: Stamp,
    /// Its number; a gap is a heartbeat that was lost or is late.
    pub sequence: u64,
    /// When the next one will be sent, after this one was.
    pub promised: Duration,
}

/// One detector that watches one node; small, because a simulation has a million of them.
#[derive(Clone, Debug)]
pub struct Detector {
    kind: Kind,
    /// The number of the last heartbeat.
    sequence: u64,
    check: Option<Box<Check>>,
}

/// Periodic looks: a suspicion is noticed at the first look at or after its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Check {
    period: Duration,
    phase: Stamp,
}

#[derive(Clone, Debug)]
enum Kind {
    Silence(Silence),
    Phi(Box<Phi>),
    Chen(Box<Chen>),
    Lease(Box<Lease>),
}

impl Detector {
    /// A detector of this kind that begins to watch at `from`, as if a heartbeat had arrived then: nobody is accused of a
    /// silence from before. `phase` is a moment at which the monitor looks, for those that look periodically.
    #[must_use]
    pub fn new(spec: &DetectorSpec, from: Stamp, interval: Duration, phase: Stamp) -> Self {
        let first = Beat { at: from, sequence: 0, promised: interval };
        let kind = match spec.rule {
            Rule::Missed { count, margin } => Kind::Silence(Silence::missed(first, count, margin)),
            Rule::Overdue { timeout } => Kind::Silence(Silence::overdue(first, timeout)),
            Rule::Phi { model, threshold, settings } => {
                Kind::Phi(Box::new(Phi::new(first, model, threshold, settings)))
            }
            Rule::Chen { margin, window } => Kind::Chen(Box::new(Chen::new(first, margin, window))),
            Rule::Lease { grace, period } => Kind::Lease(Box::new(Lease::new(from, grace, period, phase))),
        };
        let check = (!spec.check.is_zero()).then(|| Box::new(Check { period: spec.check, phase }));
        Self { kind, sequence: first.sequence, check }
    }

    /// Takes a heartbeat. One that is not newer than the last is a repetition and changes nothing. One that ends a silence
    /// which was suspected is no interval to learn from.
    pub fn heartbeat(&mut self, beat: Beat) {
        if beat.sequence <= self.sequence {
            return;
        }
        // On a tie the arrival wins: it is processed before the deadline of the same moment.
        let ends_outage = beat.at > self.deadline();
        self.sequence = beat.sequence;
        match &mut self.kind {
            Kind::Silence(silence) => silence.heartbeat(beat),
            Kind::Phi(phi) if ends_outage => phi.resume(beat),
            Kind::Phi(phi) => phi.heartbeat(beat),
            Kind::Chen(chen) if ends_outage => chen.resume(beat),
            Kind::Chen(chen) => chen.heartbeat(beat),
            Kind::Lease(lease) => lease.heartbeat(beat),
        }
    }

    /// The monitor itself was away until `now`: it begins to watch again, as if a heartbeat that promised so much had just
    /// arrived, and keeps what it has learnt of the node.
    pub fn excuse(&mut self, now: Stamp, promised: Duration) {
        let beat = Beat { at: now, sequence: self.sequence, promised };
        match &mut self.kind {
            Kind::Silence(silence) => silence.heartbeat(beat),
            Kind::Phi(phi) => phi.resume(beat),
            Kind::Chen(chen) => chen.resume(beat),
            Kind::Lease(lease) => lease.heartbeat(beat),
        }
    }

    /// The moment from which on the node is suspected, if no heartbeat arrives before or at it.
    #[must_use]
    pub fn deadline(&self) -> Stamp {
        let due = match &self.kind {
            Kind::Silence(silence) => silence.deadline(),
            Kind::Phi(phi) => phi.deadline(),
            Kind::Chen(chen) => chen.deadline(),
            Kind::Lease(lease) => lease.deadline(),
        };
        self.check.as_ref().map_or(due, |check| ceil_tick(due, check.phase, check.period))
    }

    /// Whether the node is suspected at `now`, all heartbeats up to and including that moment having been told.
    #[must_use]
    pub fn suspicion(&self, now: Stamp) -> bool {
        now >= self.deadline()
    }
}

#[cfg(test)]
mod tests;
