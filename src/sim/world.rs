//! Nodes that send heartbeats to one monitor, and what happens to them.
//!
//! A node sends, plans its next send, and its link says when the message arrives. The monitor keeps one detector a node
//! and at most one planned deadline each: a deadline that has moved on by the time it passes is planned anew, which costs
//! less than taking it back with every heartbeat. Notices tell whoever runs the world what happened.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::link::{LinkSpec, LinkState};
use super::wheel::{Rank, Wheel};
use crate::detect::{Beat, Detector};
use crate::model::Stamp;
use crate::model::span::nanos;

/// Heartbeats of one slot of the wheel, about: fewer, and the wheel turns through empty slots; more, and they are sorted.
const BEATS_PER_SLOT: u64 = 4;

/// Most slots of one interval: beyond it, the slots themselves no longer fit the cache.
const SLOTS_PER_INTERVAL: u64 = 4096;

/// A world as it is meant.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    /// Span between two heartbeats of a node.
    pub interval: Duration,
    /// What happens on every node's way to the monitor.
    pub link: LinkSpec,
    /// How a node that notices a loss tries again before its interval is over; `None` if it does not notice.
    pub retry: Option<Retry>,
    /// Seed of everything random in it.
    pub seed: u64,
}

/// Retries of a heartbeat that is a request with an answer, as the renewal of a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Wait before the first; each later one waits twice as long.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

/// A node as it is meant.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// When it sends its first heartbeat.
    pub first: Stamp,
    /// The detector that watches it.
    pub detector: Detector,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends and never sends again.
    Crash,
    /// It stands still for so long: what it would have sent, it sends afterwards, once.
    Freeze(Duration),
    /// Nothing of it gets through for so long.
    Partition(Duration),
    /// Its clock is set forward by so much: an agent on wall-clock timers sends its next heartbeat so much earlier.
    ClockForward(Duration),
    /// Its clock is set back by so much: the next heartbeat comes so much later.
    ClockBack(Duration),
}

/// Something that happened to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When.
    pub at: Stamp,
    /// To which.
    pub node: usize,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A heartbeat was sent.
    Sent(u64),
    /// The link lost it.
    Lost(u64),
    /// It arrived.
    Received(u64),
    /// A planned deadline came, and the node is not suspected: a heartbeat had moved it.
    Moved,
    /// The node is suspected from here on.
    Suspected,
    /// A heartbeat ended the suspicion.
    Trusted,
    /// Something happened to the node.
    Faulted(Fault),
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    interval_ns: u64,
    link: LinkSpec,
    retry: Option<Retry>,
    random: ChaCha8Rng,
    events: Wheel<Event>,
    nodes: Vec<Node>,
    /// Planned faults, which are few: an event names its place here.
    faults: Vec<Fault>,
    sent_count: u64,
}

#[derive(Clone, Debug)]
struct Node {
    detector: Detector,
    link: LinkState,
    /// Number of the next heartbeat.
    sequence: u64,
    /// The one planned send that counts; one that was planned before a clock step does not.
    next_send: u64,
    /// Losses in a row.
    losses: u32,
    /// Moment of the planned deadline.
    planned_deadline: u64,
    frozen_until: u64,
    partitioned_until: u64,
    is_crashed: bool,
    is_suspected: bool,
}

/// Small, because events are what the simulation moves about; its rank says what happens.
#[derive(Clone, Copy, Debug)]
struct Event {
    node: u32,
    /// The low half of the number of the heartbeat that arrives, or the place of the fault.
    value: u32,
}

impl Retry {
    /// The wait after so many losses in a row.
    fn wait_ns(self, losses: u32) -> u64 {
        let doubled = self.first.saturating_mul(1 << losses.saturating_sub(1).min(16));
        nanos(doubled.min(self.longest))
    }
}

impl World {
    /// A world with these nodes at moment zero.
    #[must_use]
    pub fn new(spec: WorldSpec, nodes: Vec<NodeSpec>) -> Self {
        let interval_ns = nanos(spec.interval).max(1);
        let slots = (nodes.len() as u64 / BEATS_PER_SLOT).clamp(1, SLOTS_PER_INTERVAL);
        let mut world = Self {
            interval_ns,
            link: spec.link,
            retry: spec.retry,
            random: ChaCha8Rng::seed_from_u64(spec.seed),
            events: Wheel::new(interval_ns / slots, interval_ns.saturating_mul(2)),
            nodes: Vec::with_capacity(nodes.len()),
            faults: Vec::new(),
            sent_count: 0,
        };
        nodes.into_iter().for_each(|node| world.add(node));
        world
    }

    /// Plans a fault.
    pub fn plan(&mut self, at: Stamp, node: usize, fault: Fault) {
        let value = self.faults.len() as u32;
        self.faults.push(fault);
        self.events.push(at.as_nanos(), Rank::Fault, Event { node: node as u32, value });
    }

    /// Lets everything happen up to and including a moment, and tells of it.
    pub fn run(&mut self, until: Stamp, tell: &mut impl FnMut(Notice)) {
        while let Some((at, rank, event)) = self.events.pop(until.as_nanos()) {
            self.happen(at, rank, event, tell);
        }
    }

    /// Draws everything from now on from another seed: one history, many futures.
    pub fn reseed(&mut self, seed: u64) {
        self.random = ChaCha8Rng::seed_from_u64(seed);
    }

    /// Heartbeats sent so far.
    #[must_use]
    pub const fn sent_count(&self) -> u64 {
        self.sent_count
    }

    fn add(&mut self, spec: NodeSpec) {
        let (first, deadline) = (spec.first.as_nanos(), spec.detector.deadline().as_nanos());
        let at = self.nodes.len();
        self.nodes.push(Node {
            detector: spec.detector,
            link: LinkState::found(self.link.loss, &mut self.random),
            sequence: 1,
            next_send: first,
            losses: 0,
            planned_deadline: deadline,
            frozen_until: 0,
            partitioned_until: 0,
            is_crashed: false,
            is_suspected: false,
        });
        self.push(first, Rank::Send, at);
        self.push(deadline, Rank::Deadline, at);
    }

    fn push(&mut self, at: u64, rank: Rank, node: usize) {
        self.events.push(at, rank, Event { node: node as u32, value: 0 });
    }

    fn happen(&mut self, at: u64, rank: Rank, event: Event, tell: &mut impl FnMut(Notice)) {
        let node = event.node as usize;
        let mut tell = |what| tell(Notice { at: Stamp::from_nanos(at), node, what });
        match rank {
            Rank::Send => self.send(at, node, &mut tell),
            Rank::Arrival => {
                let next = self.nodes[node].sequence;
                let sequence = next - u64::from((next as u32).wrapping_sub(event.value));
                self.arrive(at, node, sequence, &mut tell);
            }
            Rank::Deadline => self.pass(at, node, &mut tell),
            Rank::Fault => {
                let fault = self.faults[event.value as usize];
                tell(What::Faulted(fault));
                self.fault(at, node, fault);
            }
        }
    }

    fn send(&mut self, at: u64, index: usize, tell: &mut impl FnMut(What)) {
        let node = &mut self.nodes[index];
        if node.is_crashed || at != node.next_send {
            return;
        }
        if at < node.frozen_until {
            node.next_send = node.frozen_until;
            let thaw = node.frozen_until;
            return self.push(thaw, Rank::Send, index);
        }
        let sequence = node.sequence;
        node.sequence += 1;
        self.sent_count += 1;
        tell(What::Sent(sequence));
        let (once, again) = match at < node.partitioned_until {
            true => (None, None),
            false => node.link.send(&self.link, at, &mut self.random),
        };
        node.losses = if once.is_none() { node.losses + 1 } else { 0 };
        if once.is_none() {
            tell(What::Lost(sequence));
        }
        let wait = self.retry.filter(|_| once.is_none()).map(|retry| retry.wait_ns(node.losses));
        node.next_send = at + wait.unwrap_or(self.interval_ns).min(self.interval_ns);
        let next = node.next_send;
        for arrival in [once, again].into_iter().flatten() {
            self.events.push(arrival, Rank::Arrival, Event { node: index as u32, value: sequence as u32 });
        }
        self.push(next, Rank::Send, index);
    }

    fn arrive(&mut self, at: u64, index: usize, sequence: u64, tell: &mut impl FnMut(What)) {
        let promised = Duration::from_nanos(self.interval_ns);
        let node = &mut self.nodes[index];
        tell(What::Received(sequence));
        node.detector.heartbeat(Beat { at: Stamp::from_nanos(at), sequence, promised });
        if !node.is_suspected {
            return;
        }
        // Only a heartbeat that moves the deadline beyond now ends a suspicion; one that was overtaken does not.
        let deadline = node.detector.deadline().as_nanos();
        if deadline > at {
            node.is_suspected = false;
            node.planned_deadline = deadline;
            tell(What::Trusted);
            self.push(deadline, Rank::Deadline, index);
        }
    }

    fn pass(&mut self, at: u64, index: usize, tell: &mut impl FnMut(What)) {
        let node = &mut self.nodes[index];
        if node.is_suspected || at != node.planned_deadline {
            return;
        }
        let deadline = node.detector.deadline().as_nanos();
        if deadline <= at {
            node.is_suspected = true;
            return tell(What::Suspected);
        }
        node.planned_deadline = deadline;
        tell(What::Moved);
        self.push(deadline, Rank::Deadline, index);
    }

    fn fault(&mut self, at: u64, index: usize, fault: Fault) {
        let node = &mut self.nodes[index];
        let next_send = node.next_send;
        match fault {
            Fault::Crash => node.is_crashed = true,
            Fault::Freeze(span) => node.frozen_until = at.saturating_add(nanos(span)),
            Fault::Partition(span) => node.partitioned_until = at.saturating_add(nanos(span)),
            Fault::ClockForward(span) => self.resend(index, at.max(next_send.saturating_sub(nanos(span)))),
            Fault::ClockBack(span) => self.resend(index, next_send.saturating_add(nanos(span))),
        }
    }

    /// The next heartbeat is sent at another moment than was planned.
    fn resend(&mut self, index: usize, at: u64) {
        self.nodes[index].next_send = at;
        self.push(at, Rank::Send, index);
    }
}

#[cfg(test)]
mod tests;
