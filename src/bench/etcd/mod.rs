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

mod compare;
mod disk;
mod error;
mod evaluate;
mod guard;
mod keyspace;
mod layout;
mod lease;
mod leftover;
mod metrics;
mod operation;
mod plan;
mod server;
mod spawn;
mod spec;
mod stop;
mod summary;
mod target;
mod watch;
mod window;

pub use error::EtcdError;
pub use metrics::MEASUREMENT;
pub use spawn::{Cluster, Setting, SettingError, Settings, SpawnSpec};
pub use spec::{EtcdSpec, LARGEST_KEY, LARGEST_VALUE, SpecError, Workload};

use crate::load::Session;
use crate::model::{Labels, Measured, Warning, with_causes};
use crate::wire::Url;
use stop::{Refused, Stopped};
use target::{Measurement, Round, Target};

/// Measures all cells one after another, and removes what it wrote.
///
/// # Errors
/// When the cluster cannot be reached or must not be loaded, or the driver cannot run.
pub async fn measure(spec: &EtcdSpec, session: &mut Session<'_>) -> Result<Measured, EtcdError> {
    let disks = disk::measure(&spec.wal_dirs, session.shutdown()).await?;
    if session.is_over() {
        return Ok(Measured { interrupted: true, ..disks });
    }
    let cluster = match &spec.spawn {
        Some(spawn) => compare::measure(spec, spawn, session).await?,
        None => measure_at(spec, &spec.endpoints, &Labels::new(), session).await?,
    };
    Ok(disks.and(cluster))
}

/// How many measurements a run makes one after another.
#[must_use]
pub fn cell_count(spec: &EtcdSpec) -> usize {
    let sides = spec.spawn.as_ref().map_or(1, |spawn| spawn.settings.len());
    plan::cells(spec).len() * if spec.shards > 1 { 2 } else { sides }
}

/// The same at other endpoints and with labels that tell them apart: one setting of several.
async fn measure_at(
    spec: &EtcdSpec,
    endpoints: &[Url],
    labels: &Labels,
    session: &mut Session<'_>,
) -> Result<Measured, EtcdError> {
    let Some(target) = session.prepare(Target::open(spec, endpoints)).await else { return Ok(Measured::default()) };
    let target = target?;
    let made = measure_all(spec, &target, labels, session).await;
    let cleared = target.clear().await;
    let measurements = match (made, &cleared) {
        (Ok(measurements), _) => measurements,
        (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(_)) => return Err(target.left(Some(error))),
    };
    let mut measured = summary::assemble(&target, labels, &measurements);
    measured.interrupted = session.is_over();
    tell_stops(&mut measured, &measurements);
    match cleared {
        Ok(()) if measurements.iter().any(|one| one.stopped == Some(Stopped::Refused(Refused::NoSpace))) => {
            match target.make_room().await {
                Ok(()) => {
                    let text = "the keys were removed, the cluster compacted and defragmented, and the alarm NOSPACE disarmed, which this load had raised";
                    measured.warnings.push(Warning::new("room_made", text));
                }
                Err(error) => measured.bad.push(with_causes(&error)),
            }
        }
        Ok(()) => {}
        Err(error) => measured.bad.push(error.to_string()),
    }
    Ok(measured)
}

/// Why loads ended before their time; each reason once.
fn tell_stops(measured: &mut Measured, measurements: &[Measurement]) {
    let warnings = measurements.iter().filter_map(|one| one.stopped?.warning(&one.cell));
    for warning in warnings {
        if !measured.bad.contains(&warning.text) {
            measured.bad.push(warning.text.clone());
            measured.warnings.push(warning);
        }
    }
}

/// Every cell, one after another, until the end, the wish to stop, or a quota that came near.
async fn measure_all(
    spec: &EtcdSpec,
    target: &Target<'_>,
    labels: &Labels,
    session: &mut Session<'_>,
) -> Result<Vec<Measurement>, EtcdError> {
    let mut measurements: Vec<Measurement> = Vec::new();
    let cells = plan::cells(spec);
    for (at, cell) in cells.iter().enumerate() {
        if session.is_over() || measurements.last().and_then(|last| last.stopped).is_some_and(Stopped::is_final) {
            break;
        }
        session.stage(&format!("{} of {}: {}", at + 1, cells.len(), cell.labels_text()));
        let part = Round { cell: *cell, labels, rounds: 1, earlier: None, others: &[] };
        let Some(measurement) = target.measure(part, session).await? else { break };
        session.keep(&measurement.lanes);
        measurements.push(measurement);
    }
    Ok(measurements)
}
