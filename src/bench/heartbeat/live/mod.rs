//! How soon is a dead node known by a real gateway, over real connections, and what do its heartbeats really cost?
//!
//! ## Question
//! Does what the simulation and the formulas promise of an interval and a detector hold for the agents and the gateway as
//! people run them, whatever kind of death a node dies?
//!
//! ## Timed
//! `heartbeat.detection` runs from the moment at which the agents of a cell are faulted, all at once, to the arrival of the
//! `unreachable` of each at a subscriber of the gateway's changes: the store and the stream are inside. The phases of the
//! agents are spread evenly over the interval, so that one moment meets every phase. `heartbeat.change_stored` runs from a
//! report to its receipt, `heartbeat.change_seen` to its arrival at the subscriber. All stamps are of one clock,
//! `CLOCK_MONOTONIC`. Connecting, settling and the counting of bytes are outside.
//!
//! ## Needs
//! Nothing but this program, which starts itself as gateway and agents; or a gateway that knows our agents. With `--store etcd`
//! also the program etcd, for two gateways on one store.
//!
//! ## Blind spots
//! Gateway, agents and subscriber share a host: there is no network but the loopback, and where its cores are busy the delay
//! of all three is in the result. A signal takes effect some microseconds after its stamp. The heartbeats of one cell are
//! faulted once, and a gateway dies at one moment of its lease: a mean over many moments would know more of the host's moods. Bytes are those of TCP and IP, not of the link
//! below, and of heartbeats alone: the agents watch no tasks.

mod assemble;
mod error;
mod fleet;
mod gateway;
mod layout;
mod machine;
mod observer;
mod spec;

use std::time::Duration;

pub use error::LiveError;
pub(super) use layout::layout;
pub use spec::{EtcdOfOurs, Fault, LiveCell, LiveSpec, LiveSpecError, Target};

use crate::load::{Session, Steps};
use crate::model::{Measured, Stamp, Warning};
use crate::sync::client::Client;
use crate::sync::client::event::Event;
use crate::sys::clock;
use crate::sys::owner::sweep_all;
use crate::sys::socket_table::Traffic;
use crate::wire::Exposition;
use assemble::Seen;
use fleet::{Fleet, node_id};
use gateway::Gateway;
use machine::{Act, CellPlan, Machine};
use observer::{News, Observer, ObserverError};

/// Longest time without a look at what is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Measures every cell at once.
///
/// # Errors
/// When gateway or agents are not there, or the stream of changes is not.
pub async fn measure(spec: &LiveSpec, session: &mut Session<'_>) -> Result<Measured, LiveError> {
    let cells = spec.cells();
    let names = |cell: usize| (1..=spec.nodes).map(move |node| node_id(cell, node));
    let all: Vec<String> = (0..cells.len()).flat_map(names).collect();
    let swept = sweep_all([std::env::temp_dir()]);
    let Some(gateway) = session.prepare(Gateway::make(spec, &all)).await else { return Ok(Measured::default()) };
    let gateway = gateway?;
    // Each node comes, and is noticed.
    let steps = session.steps(cells.len() as u64 * spec.nodes * 2);
    let observer = Observer::start(gateway.watched.clone()).map_err(LiveError::Thread)?;
    let plan = |(at, cell): (usize, &LiveCell)| CellPlan {
        nodes: names(at).collect(),
        interval: cell.interval,
        settling: spec.settling(cell.interval),
        silence: spec.longest_silence(cell.interval),
    };
    let machine = Machine::new(cells.iter().enumerate().map(plan).collect(), clock::now());
    let seen = Seen::of(&cells);
    let mut live = Live { spec, cells, gateway, observer, machine, fleets: Vec::new(), seen, steps };
    let interrupted = tokio::select! {
        biased;
        () = session.shutdown().requested() => true,
        ended = live.run(session) => ended.map(|()| false)?,
    };
    let mut measured = assemble::measured(spec, &live.seen, live.machine.cells(), interrupted);
    measured.warnings.extend(swept.into_iter().map(|text| Warning::new("leftover", text)));
    Ok(measured)
}

/// A run in progress.
struct Live<'a> {
    spec: &'a LiveSpec,
    cells: Vec<LiveCell>,
    fleets: Vec<Option<Fleet>>,
    observer: Observer,
    gateway: Gateway,
    machine: Machine,
    seen: Seen,
    steps: Steps,
}

impl Live<'_> {
    async fn run(&mut self, session: &mut Session<'_>) -> Result<(), LiveError> {
        self.watch_from_here().await?;
        for (at, cell) in self.cells.iter().enumerate() {
            self.fleets.push(Some(Fleet::start(&self.gateway, at, cell, self.spec.nodes)?));
        }
        let mut before = None;
        while !self.machine.is_over() {
            // The heartbeats at the begin of a connection are shorter than those that follow, and do not count.
            if before.is_none() && self.machine.is_connected() {
                before = Some(self.payload().await);
            }
            session.checkpoint(|| assemble::measured(self.spec, &self.seen, self.machine.cells(), true));
            let now = clock::now();
            for act in self.machine.due(now) {
                self.perform(act)?;
            }
            let wait = self.machine.next_deadline().map_or(LONGEST_SLEEP, |next| next.since(clock::now()));
            tokio::select! {
                news = self.observer.next() => self.take(news)?,
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => self.check_children()?,
            }
        }
        let after = self.payload().await;
        self.seen.payload = before.flatten().zip(after).map(|(before, after)| after - before);
        Ok(())
    }

    /// Waits until changes are seen: nothing may happen before.
    async fn watch_from_here(&mut self) -> Result<(), LiveError> {
        loop {
            match self.observer.next().await {
                Some(News::Open) => return Ok(()),
                news => self.take(news)?,
            }
        }
    }

    fn take(&mut self, news: Option<News>) -> Result<(), LiveError> {
        match news {
            Some(News::Event(at, Event::Node { node_id, state })) => {
                if self.machine.hear(at, &node_id, state) {
                    self.steps.advance(1);
                }
                if self.machine.is_connected() {
                    self.seen.connected_at.get_or_insert(at);
                }
            }
            Some(News::Event(at, Event::Task(task))) => self.seen.arrived(task.revision, at),
            Some(News::Stored { revision, sent, answered }) => self.seen.stored(revision, sent, answered),
            Some(News::NotStored(error)) => self.seen.not_stored = Some(error.to_string()),
            Some(News::Open) => {}
            Some(News::Event(_, Event::Gap)) => return Err(LiveError::Gap),
            Some(News::Ended(source)) => return Err(self.cannot_watch(source)),
            None => return Err(self.cannot_watch(ObserverError::Ended)),
        }
        Ok(())
    }

    fn cannot_watch(&mut self, source: ObserverError) -> LiveError {
        let url = self.gateway.url.to_string();
        self.gateway.check().err().map_or(LiveError::Watch { url, source }, LiveError::Server)
    }

    fn perform(&mut self, act: Act) -> Result<(), LiveError> {
        match act {
            Act::BeginCount(at) => self.seen.cells[at].before = self.traffic(at),
            Act::Fault(at) => {
                self.seen.cells[at].after = self.traffic(at);
                let silence = self.spec.longest_silence(self.cells[at].interval);
                let fault = self.cells[at].fault;
                let Some(Some(fleet)) = self.fleets.get_mut(at) else { return Ok(()) };
                let faulted = fleet.hurt(fault, silence);
                // The agents go first: one that outlived its gateway would look for another.
                let faulted = faulted.and_then(|at| match fault {
                    Fault::Gateway => self.gateway.kill().map(|()| at),
                    _ => Ok(at),
                });
                let name = || format!("live-{}", at + 1);
                let faulted = faulted.map_err(|source| LiveError::Fault { fleet: name(), source })?;
                self.machine.faulted(at, faulted);
            }
            // Before our own gateway a fleet is gone at once; before another one it says goodbye, which takes its time, at the
            // end.
            Act::End(at) if self.gateway.is_ours() => drop(self.fleets[at].take()),
            Act::End(_) => {}
            Act::GiveUp(at) => {
                let log = self.fleets[at].as_ref().map_or_else(String::new, Fleet::trouble);
                let (alive, nodes) = (self.machine.cells()[at].alive_count(), self.spec.nodes);
                return Err(LiveError::NotAlive { fleet: format!("live-{}", at + 1), alive, nodes, log });
            }
        }
        Ok(())
    }

    /// What passed over the connections of a cell until now, and when that was; `None` where the kernel does not tell.
    fn traffic(&self, at: usize) -> Option<(Stamp, Traffic)> {
        let fleet = self.fleets.get(at)?.as_ref()?;
        fleet.traffic().ok().map(|traffic| (clock::now(), traffic))
    }

    /// A fleet that ends before it is faulted, or a gateway that ends at all.
    fn check_children(&mut self) -> Result<(), LiveError> {
        self.gateway.check()?;
        for (fleet, cell) in self.fleets.iter_mut().zip(self.machine.cells()) {
            fleet.as_mut().filter(|_| cell.faulted_at.is_none()).map_or(Ok(()), Fleet::check)?;
        }
        Ok(())
    }

    /// Heartbeats that the gateway has heard, and their bytes; `None` of a gateway that does not tell.
    async fn payload(&self) -> Option<assemble::Payload> {
        let watched = &self.gateway.hearing;
        let client = Client::new(&watched.url, &watched.trust, &watched.reader).ok()?;
        let text = String::from_utf8(client.get("/metrics").await.ok()?).ok()?;
        let metrics = Exposition::parse(&text);
        let sum = |name: &str| metrics.sum_of(&format!("offloadctl_gateway_{name}"), |_| true);
        Some(assemble::Payload { beats: sum("heartbeats_total")?, bytes: sum("heartbeat_bytes_total")? })
    }
}
