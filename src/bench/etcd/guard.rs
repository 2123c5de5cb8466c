//! What keeps a cluster from harm: the refusals before a load, and the watch on its space during one.
//!
//! Separate because a mistake here costs somebody a cluster: a database over its quota refuses every write until it is
//! compacted, defragmented and its alarm disarmed by hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::plan::{Cell, cells};
use super::server::Metrics;
use super::spec::EtcdSpec;
use super::window::Counters;
use crate::load::Length;
use crate::sys::shutdown::Shutdown;
use crate::wire::etcd::{Fault, Link, MemberStatus, PERMISSION_DENIED};

/// What etcd allows where neither the member nor its metrics tell: its own default.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// Room that is left free below the quota: the database file grows in steps of 16 MiB, and a fast disk writes as much
/// between two looks.
const LEAST_MARGIN: u64 = 48 << 20;

/// Pause between two looks at the size during a load: a question that costs a member a few microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks from one scrape of the metrics to the next.
const LOOKS_PER_SCRAPE: u32 = 10;

/// Where a Kubernetes keeps everything.
const KUBERNETES_PREFIX: &[u8] = b"/registry";

/// Why a cluster is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The quota is used up already.
    #[error("the cluster has raised the alarm NOSPACE: it takes no writes, and more load would not help it")]
    NoSpace,
    /// The quota would be used up.
    #[error(
        "the database of {endpoint} has {} MiB of its quota of {} MiB; this run may write about {} MiB and leaves at least {} MiB free",
        mib(*.used), mib(*.quota), mib(*.needed), mib(*.margin)
    )]
    Quota {
        /// Whose.
        endpoint: String,
        /// Bytes used.
        used: u64,
        /// Bytes allowed.
        quota: u64,
        /// Bytes that the run would write.
        needed: u64,
        /// Bytes that stay free.
        margin: u64,
    },
    /// Somebody's Kubernetes lives there.
    #[error("the cluster serves a Kubernetes: {keys} keys below `/registry`; a load test slows it down or stops it")]
    Kubernetes {
        /// How many keys it has.
        keys: u64,
    },
}

impl Refusal {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoSpace => {
                "compact and defragment it, then `etcdctl alarm disarm`; `etcdctl alarm list` shows the alarm"
            }
            Self::Quota { .. } => {
                "measure for less with --count, compact and defragment the cluster, or raise its --quota-backend-bytes"
            }
            Self::Kubernetes { .. } => "say --yes if that is meant; better measure another cluster",
        }
    }
}

const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// The space of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes used.
    pub used: u64,
    /// Bytes allowed.
    pub quota: u64,
    /// Whether the cluster said so, or it is taken for etcd's own default.
    pub is_known: bool,
}

impl Space {
    /// What a member and its metrics say: before version 3.6 only the metrics know the quota.
    #[must_use]
    pub fn of(status: &MemberStatus, counters: Option<&Counters>) -> Self {
        let known = |value: Option<f64>| value.filter(|value| *value > 0.0).map(|value| value as u64);
        let quota = known(counters.and_then(|counters| counters.quota_bytes)).unwrap_or(status.quota_bytes);
        let is_known = quota > 0;
        Self { used: status.db_size_bytes, quota: if is_known { quota } else { DEFAULT_QUOTA }, is_known }
    }

    const fn margin(self) -> u64 {
        let tenth = self.quota / 10;
        if tenth > LEAST_MARGIN { tenth } else { LEAST_MARGIN }
    }

    /// Whether this many bytes more would come too near to the quota.
    #[must_use]
    pub const fn is_too_small_for(self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) > self.quota.saturating_sub(self.margin())
    }

    /// The refusal, if there is no room for so many bytes.
    ///
    /// # Errors
    /// When there is no room.
    pub fn check(self, endpoint: &str, needed: u64) -> Result<(), Refusal> {
        if self.is_too_small_for(needed) {
            let (used, quota, margin) = (self.used, self.quota, self.margin());
            return Err(Refusal::Quota { endpoint: endpoint.to_owned(), used, quota, needed, margin });
        }
        Ok(())
    }
}

/// Bytes that a run writes, as far as that is known beforehand: etcd keeps every revision until somebody compacts.
#[must_use]
pub fn bytes_needed(spec: &EtcdSpec) -> u64 {
    // A revision's own key, its protobuf fields and its share of a page, from databases that were filled for this.
    let entry = |cell: &Cell| (spec.key_size + cell.value_size + 150) as u64 * 5 / 4;
    let writes = |cell: &Cell| match spec.load.length {
        Length::Count(count) if cell.workload != super::spec::Workload::Range && cell.leases.is_none() => {
            count * cell.batch as u64
        }
        _ => 0,
    };
    let filled = |cell: &Cell| if cell.workload.needs_keys() { spec.key_space } else { 0 };
    cells(spec).iter().fold(0_u64, |sum, cell| {
        sum.saturating_add((writes(cell).saturating_add(filled(cell))).saturating_mul(entry(cell)))
    })
}

/// Refuses what would harm the cluster as it stands.
///
/// # Errors
/// The outer one when the cluster cannot be asked, the inner one when it must not be loaded.
pub async fn check(link: &Link, spec: &EtcdSpec) -> Result<Result<(), Refusal>, Fault> {
    if link.is_out_of_space().await? {
        return Ok(Err(Refusal::NoSpace));
    }
    let keys = match link.count(KUBERNETES_PREFIX).await {
        // A user who may not read there may not write there either, but can still slow it down.
        Err(fault) if fault.kind == PERMISSION_DENIED => 0,
        other => other?,
    };
    Ok(if keys > 0 && !spec.may_load_kubernetes { Err(Refusal::Kubernetes { keys }) } else { Ok(()) })
}

/// What was seen while a load went on.
#[derive(Default)]
pub struct Sightings {
    state: Mutex<Vec<Vec<Option<Counters>>>>,
}

impl Sightings {
    /// All scrapes of one endpoint.
    pub fn of(&self, endpoint: usize) -> Vec<Counters> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.iter().filter_map(|scrape| scrape.get(endpoint).cloned().flatten()).collect()
    }
}

/// Looks again and again, and wishes the load to end when the quota is near; runs until it is dropped.
pub async fn watch(links: Vec<Arc<Link>>, metrics: Metrics, end: Arc<Shutdown>, seen: Arc<Sightings>) {
    let mut telling = None;
    for look in 0_u32.. {
        if look % LOOKS_PER_SCRAPE == 0 {
            let scrapes = metrics.scrape().await;
            // The members have one quota: one that tells it tells it for all.
            telling = scrapes.iter().flatten().find(|counters| counters.quota_bytes.is_some()).cloned().or(telling);
            seen.state.lock().unwrap_or_else(PoisonError::into_inner).push(scrapes);
        }
        for link in &links {
            let Ok(status) = link.status().await else { continue };
            if Space::of(&status, telling.as_ref()).is_too_small_for(0) {
                return end.request();
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_or_48_mib_stay_free() {
        let gib = Space { used: 1 << 30, quota: 2 << 30, is_known: true };
        assert!(!gib.is_too_small_for(800 << 20) && gib.is_too_small_for(820 << 20));
        let small = Space { used: 20 << 20, quota: 64 << 20, is_known: true };
        assert!(small.is_too_small_for(0));
        let refused = small.check("http://a:1", 5 << 20).unwrap_err().to_string();
        assert!(refused.contains("20 MiB of its quota of 64 MiB"), "{refused}");
    }
}
