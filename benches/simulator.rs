//! How many heartbeats a second the simulator manages on one core, beside the loop that anybody would write first.
//!
//! A program of its own, because it compares the simulator with a peer that is no part of it: the same nodes, links and
//! detectors on a binary heap. It prints one number for one measurement, so that a script can take both in turn:
//! `simulator wheel|heap ideal|lossy` in millions of heartbeats a second, `simulator million` in megabytes at the peak.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program of one figure, for the one who compares")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use offloadctl::detect::{Beat, Detector, DetectorSpec};
use offloadctl::model::Stamp;
use offloadctl::sim::{Delay, LinkSpec, Loss, NodeSpec, What, World, WorldSpec};
use offloadctl::sys::{clock, host};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_NS: u64 = 2_000_000_000;

/// Nodes of one world of `bench heartbeat`, and heartbeats of each: a second of work or two.
const NODES: usize = 1000;
const BEATS: u64 = 10_000;

/// The largest world that is promised, and heartbeats of each node in it.
const MANY: usize = 1_000_000;
const BEATS_OF_MANY: u64 = 5;

const LOSS: f64 = 0.01;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["wheel", "ideal"] => println!("{:.3}", rate(|| wheel(ideal(), NODES, BEATS))),
        ["wheel", "lossy"] => println!("{:.3}", rate(|| wheel(lossy(), NODES, BEATS))),
        ["heap", "ideal"] => println!("{:.3}", rate(|| Peer::new(ideal(), NODES).run(BEATS))),
        ["heap", "lossy"] => println!("{:.3}", rate(|| Peer::new(lossy(), NODES).run(BEATS))),
        ["million"] => {
            wheel(lossy(), MANY, BEATS_OF_MANY);
            println!("{:.0}", host::self_cost().memory_peak_bytes.unwrap() as f64 / 1e6);
        }
        _ => println!("usage: simulator wheel|heap ideal|lossy, or simulator million"),
    }
}

/// Millions of heartbeats a second of work that returns how many it sent, and how many suspicions it saw.
fn rate(work: impl FnOnce() -> (u64, u64)) -> f64 {
    let began = clock::now();
    let (sent, suspicions) = work();
    let seconds = clock::now().since(began).as_secs_f64();
    // Three lost in a row are a mistake, one in a million heartbeats: a loop that sees hundreds does something else.
    assert!(suspicions < 200, "{suspicions} suspicions of {sent} heartbeats");
    sent as f64 / seconds / 1e6
}

fn ideal() -> LinkSpec {
    LinkSpec::ideal()
}

/// A few milliseconds with a long tail, in order, and one in a hundred lost: the link of the profile `hybrid`.
fn lossy() -> LinkSpec {
    LinkSpec { delay: Delay::LogNormal { mu: 16.2, sigma: 0.6 }, loss: Loss::Independent(LOSS), ..LinkSpec::ideal() }
}

/// The detector of every node, and when that node sends first.
fn node(number: usize, nodes: usize) -> (Stamp, Detector) {
    let spec: DetectorSpec = "missed:3/margin=200ms".parse().unwrap();
    let first = Stamp::from_nanos(number as u64 * INTERVAL_NS / nodes as u64);
    (first, Detector::new(&spec, first, INTERVAL, first))
}

/// The simulator: heartbeats sent, and suspicions.
fn wheel(link: LinkSpec, nodes: usize, beats: u64) -> (u64, u64) {
    let specs = (0..nodes).map(|number| {
        let (first, detector) = node(number, nodes);
        NodeSpec { first, detector }
    });
    let mut world = World::new(WorldSpec { interval: INTERVAL, link, retry: None, seed: 1 }, specs.collect());
    let mut suspicions = 0;
    world.run(Stamp::from_nanos(INTERVAL_NS * beats), &mut |notice| {
        suspicions += u64::from(notice.what == What::Suspected);
    });
    (world.sent_count(), suspicions)
}

/// What happens at one moment, in the order in which it does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrival(u64),
    Send,
    Deadline,
}

/// The same world as a loop over a binary heap, with a deadline planned anew where a heartbeat had moved it.
struct Peer {
    events: BinaryHeap<Reverse<(u64, Happens, u32)>>,
    nodes: Vec<PeerNode>,
    link: LinkSpec,
    random: ChaCha8Rng,
}

struct PeerNode {
    detector: Detector,
    sequence: u64,
    last_arrival: u64,
    is_suspected: bool,
}

impl Peer {
    fn new(link: LinkSpec, nodes: usize) -> Self {
        let mut peer =
            Self { events: BinaryHeap::new(), nodes: Vec::new(), link, random: ChaCha8Rng::seed_from_u64(1) };
        for number in 0..nodes {
            let (first, detector) = node(number, nodes);
            peer.events.push(Reverse((first.as_nanos(), Happens::Send, number as u32)));
            peer.events.push(Reverse((detector.deadline().as_nanos(), Happens::Deadline, number as u32)));
            peer.nodes.push(PeerNode { detector, sequence: 0, last_arrival: 0, is_suspected: false });
        }
        peer
    }

    fn run(mut self, beats: u64) -> (u64, u64) {
        let (mut sent, mut suspicions) = (0, 0);
        while let Some(Reverse((at, happens, number))) =
            self.events.pop().filter(|next| next.0.0 <= INTERVAL_NS * beats)
        {
            match happens {
                Happens::Send => sent += self.send(at, number),
                Happens::Arrival(sequence) => self.arrive(at, number, sequence),
                Happens::Deadline => suspicions += self.pass(at, number),
            }
        }
        (sent, suspicions)
    }

    fn send(&mut self, at: u64, number: u32) -> u64 {
        let node = &mut self.nodes[number as usize];
        node.sequence += 1;
        let is_lost = matches!(self.link.loss, Loss::Independent(share) if self.random.random::<f64>() < share);
        if !is_lost {
            node.last_arrival = node.last_arrival.max(at + self.link.delay.draw(&mut self.random));
            self.events.push(Reverse((node.last_arrival, Happens::Arrival(node.sequence), number)));
        }
        self.events.push(Reverse((at + INTERVAL_NS, Happens::Send, number)));
        1
    }

    fn arrive(&mut self, at: u64, number: u32, sequence: u64) {
        let node = &mut self.nodes[number as usize];
        node.detector.heartbeat(Beat { at: Stamp::from_nanos(at), sequence, promised: INTERVAL });
        if std::mem::take(&mut node.is_suspected) {
            self.events.push(Reverse((node.detector.deadline().as_nanos(), Happens::Deadline, number)));
        }
    }

    fn pass(&mut self, at: u64, number: u32) -> u64 {
        let node = &mut self.nodes[number as usize];
        let deadline = node.detector.deadline().as_nanos();
        node.is_suspected = deadline <= at;
        if !node.is_suspected {
            self.events.push(Reverse((deadline, Happens::Deadline, number)));
        }
        u64::from(node.is_suspected)
    }
}
