//! Load on an etcd cluster: how fast it writes, reads and tells its watchers, and what holds it back.
//!
//! ## Question
//! How many writes and reads does this etcd take, how long does each take, how late does a watcher hear of a write, and
//! is it the disk, the network, too small batches, a client or the processor that sets the limit?
//!
//! ## Timed
//! From the planned start of an attempt (`etcd.put`, `etcd.range`) and from its real one (`.service`) to the moment this
//! process has read the whole answer: encoding, HTTP/2, network and everything that the cluster does. `etcd.watch` ends
//! when the event is read, which may be before the answer to its put. Connecting, logging in, writing the keys to be read,
//! opening the watch and removing the keys are outside.
//!
//! ## Needs
//! A reachable member of the cluster, and the right to write below a prefix of ours. Reading `/metrics` makes the server's
//! side known.
//!
//! ## Blind spots
//! This process is one event loop: above its speed it measures itself, and the verdict says so. The buckets of the
//! server's metrics are coarse: a percentile of them is an upper bound. All values hold the same byte. Revisions that were
//! written stay in the database until the cluster is compacted, keys or not.

mod bed;
mod compare;
mod disk;
mod error;
mod evaluate;
mod guard;
mod keyspace;
mod layout;
mod metrics;
mod operation;
mod plan;
mod server;
mod spawn;
mod spec;
mod summary;
mod watch;
mod window;

use std::time::Duration;

pub use error::EtcdError;
pub use metrics::MEASUREMENT;
pub use spawn::{SettingError, Settings, SpawnSpec};
pub use spec::{EtcdSpec, LARGEST_KEY, LARGEST_VALUE, SpecError, Workload};

use crate::load::{LaneRecord, Observer, Part, Settled};
use crate::model::{Labels, Measured, Stamp, Warning};
use crate::sys::shutdown::Shutdown;
use crate::wire::Url;
use bed::{Bed, Measurement, Turn};

/// Measures all cells one after another, and removes what it wrote.
///
/// # Errors
/// When the cluster cannot be reached or must not be loaded, or the driver cannot run.
pub async fn measure<W: Observer>(
    spec: &EtcdSpec,
    observer: &mut W,
    shutdown: &Shutdown,
) -> Result<Measured, EtcdError> {
    let disks = disk::measure(&spec.wal_dirs, shutdown).await?;
    if shutdown.is_requested() {
        return Ok(Measured { interrupted: true, ..disks });
    }
    let cluster = match &spec.spawn {
        Some(spawn) => compare::measure(spec, spawn, observer, shutdown).await?,
        None => measure_at(spec, &spec.endpoints, &Labels::new(), observer, shutdown).await?,
    };
    Ok(disks.and(cluster))
}

/// How many measurements a run makes one after another.
#[must_use]
pub fn cell_count(spec: &EtcdSpec) -> usize {
    plan::cells(spec).len() * spec.spawn.as_ref().map_or(1, |spawn| spawn.settings.len())
}

/// The same at other endpoints and with labels that tell them apart: one setting of several.
async fn measure_at<W: Observer>(
    spec: &EtcdSpec,
    endpoints: &[Url],
    labels: &Labels,
    observer: &mut W,
    shutdown: &Shutdown,
) -> Result<Measured, EtcdError> {
    let bed = tokio::select! {
        bed = Bed::open(spec, endpoints) => bed?,
        () = shutdown.requested() => return Ok(Measured::stopped()),
    };
    let mut all = Through::new(observer);
    let made = measure_all(spec, &bed, labels, &mut all, shutdown).await;
    let cleared = bed.clear().await;
    let measurements = match (made, &cleared) {
        (Ok(measurements), _) => measurements,
        (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(_)) => return Err(bed.left(Some(error))),
    };
    let mut measured = summary::assemble(&bed, labels, &measurements);
    measured.interrupted = shutdown.is_requested();
    if !measured.interrupted && measurements.iter().any(|measurement| measurement.is_cut_short) {
        let why = "the load was stopped: the database came near to its quota; compact and defragment the cluster, or measure for less";
        measured.bad.push(why.to_owned());
        measured.warnings.push(Warning::new("quota_near", why));
    }
    if let Err(error) = cleared {
        measured.bad.push(error.to_string());
    }
    Ok(measured)
}

/// Every cell in turn, until the end, the wish to stop, or a quota that came near.
async fn measure_all<W: Observer>(
    spec: &EtcdSpec,
    bed: &Bed<'_>,
    labels: &Labels,
    through: &mut Through<'_, W>,
    shutdown: &Shutdown,
) -> Result<Vec<Measurement>, EtcdError> {
    let mut measurements = Vec::new();
    for cell in plan::cells(spec) {
        if shutdown.is_requested() {
            break;
        }
        let turn = Turn { cell, labels, rounds: 1, earlier: None };
        let Some(measurement) = bed.measure(turn, through, shutdown).await? else { break };
        through.finished.extend(measurement.lanes.iter().cloned());
        through.elapsed += measurement.elapsed;
        let is_cut_short = measurement.is_cut_short;
        measurements.push(measurement);
        if is_cut_short {
            break;
        }
    }
    Ok(measurements)
}

/// Passes on what the driver tells of one cell as a part of the whole run.
struct Through<'a, W> {
    observer: &'a mut W,
    finished: Vec<LaneRecord>,
    /// How many of them the checkpoint that is being written has.
    noted: usize,
    began: Option<Stamp>,
    elapsed: Duration,
}

impl<'a, W> Through<'a, W> {
    fn new(observer: &'a mut W) -> Self {
        Self { observer, finished: Vec::new(), noted: 0, began: None, elapsed: Duration::ZERO }
    }
}

impl<W: Observer> Observer for Through<'_, W> {
    fn recording(&mut self, from: Stamp) {
        self.noted = 0;
        if self.began.is_none() {
            self.began = Some(from);
            self.observer.recording(from);
        }
    }

    fn settled(&mut self, lane: usize, settled: &Settled) {
        self.observer.settled(lane, settled);
    }

    fn checkpoint(&mut self, part: Part<'_>) -> bool {
        let (before, elapsed) = (self.finished.len(), self.elapsed + part.elapsed);
        let lane_count = before + part.lane_count;
        // Those that were finished before go first, in the place of this cell's first lane.
        if let Some(record) = self.finished.get(self.noted) {
            let taken = self.observer.checkpoint(Part { lane: self.noted, lane_count, elapsed, record, ..part });
            self.noted += usize::from(taken);
            return false;
        }
        let taken = self.observer.checkpoint(Part { lane: before + part.lane, lane_count, elapsed, ..part });
        if taken && part.lane + 1 == part.lane_count {
            self.noted = 0;
        }
        taken
    }
}
