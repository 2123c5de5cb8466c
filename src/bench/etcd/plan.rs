//! The measurements of a run in their order: every combination of the lists that the user gave.
//!
//! Pure, so that what a command line stands for can be tested without a cluster.

use super::spec::{EtcdSpec, Workload};
use crate::model::Labels;
use crate::wire::etcd::Read;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is done.
    pub workload: Workload,
    /// Puts in a transaction.
    pub batch: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Attempts in flight of a closed loop.
    pub clients: Option<usize>,
    /// How reads are answered.
    pub read: Read,
    /// How many leases are kept, where that is what is done.
    pub leases: Option<u64>,
}

/// All measurements, in their order. What a workload does not depend on is not varied for it.
#[must_use]
pub fn cells(spec: &EtcdSpec) -> Vec<Cell> {
    let clients: Vec<Option<usize>> = match spec.clients.as_slice() {
        [] => vec![None],
        clients => clients.iter().copied().map(Some).collect(),
    };
    let mut cells = Vec::new();
    for &workload in &spec.workloads {
        let batches = if workload.has_batches() { spec.batches.as_slice() } else { &[1] };
        let reads = if workload.has_reads() { spec.consistencies.as_slice() } else { &[Read::Linearizable] };
        let sizes = if workload.has_values() { spec.value_sizes.as_slice() } else { &spec.value_sizes[..1] };
        let leases = (workload == Workload::Lease).then_some(spec.leases);
        for &value_size in sizes {
            for &batch in batches {
                for &read in reads {
                    let cell = |&clients| Cell { workload, batch, value_size, clients, read, leases };
                    cells.extend(clients.iter().map(cell));
                }
            }
        }
    }
    cells
}

impl Workload {
    /// Whether it writes in transactions of `--batch`.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::Put | Self::Mixed)
    }

    /// Whether it has values, whose size matters.
    #[must_use]
    pub const fn has_values(self) -> bool {
        !matches!(self, Self::Lease)
    }

    /// Whether it reads with `--consistency`.
    #[must_use]
    pub const fn has_reads(self) -> bool {
        matches!(self, Self::Range | Self::Mixed)
    }

    /// Whether the keys must be there before.
    #[must_use]
    pub const fn needs_keys(self) -> bool {
        self.has_reads()
    }
}

impl Cell {
    /// Labels of the writes of this measurement.
    #[must_use]
    pub fn write_labels(&self, base: &Labels) -> Labels {
        let labels = self.common(base);
        match self.workload {
            Workload::Watch | Workload::Lease => labels,
            _ => labels.with("batch", &self.batch.to_string()),
        }
    }

    /// Labels of the reads of this measurement.
    #[must_use]
    pub fn read_labels(&self, base: &Labels) -> Labels {
        let labels = self.common(base).with("consistency", self.read.name());
        match self.workload {
            Workload::Mixed => labels.with("batch", &self.batch.to_string()),
            _ => labels,
        }
    }

    /// What is measured, in words.
    #[must_use]
    pub fn labels_text(&self) -> String {
        let labels = if self.workload == Workload::Range {
            self.read_labels(&Labels::new())
        } else {
            self.write_labels(&Labels::new())
        };
        let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} with {}", self.workload, pairs.join(", "))
    }

    fn common(&self, base: &Labels) -> Labels {
        let mut labels = match self.leases {
            Some(leases) => base.clone().with("leases", &leases.to_string()),
            None => base.clone().with("value_size", &self.value_size.to_string()),
        };
        if let Some(clients) = self.clients {
            labels = labels.with("clients", &clients.to_string());
        }
        if self.workload == Workload::Mixed {
            // Reads beside writes are not the reads of a cluster at rest, and must not be mistaken for them.
            labels = labels.with("workload", "mixed").with("consistency", self.read.name());
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::{Arrival, Length, LoadSpec};
    use crate::wire::TlsSpec;

    fn spec(workloads: &[Workload]) -> EtcdSpec {
        EtcdSpec {
            endpoints: Vec::new(),
            login: None,
            password_file: None,
            tls: TlsSpec::default(),
            spawn: None,
            shards: 1,
            wal_dirs: Vec::new(),
            workloads: workloads.to_vec(),
            key_size: 16,
            value_sizes: vec![8, 256],
            key_space: 100,
            leases: 50,
            lease_ttl: Duration::from_secs(60),
            connections: 1,
            clients: vec![1, 64],
            batches: vec![1, 10],
            consistencies: vec![Read::Linearizable, Read::Serializable],
            may_load_kubernetes: false,
            load: LoadSpec {
                arrival: Arrival::Closed { concurrency: 1 },
                length: Length::Count(1),
                warmup: Duration::ZERO,
                timeout: Duration::from_secs(1),
                max_in_flight: 8,
                seed: 0,
            },
            max_loss_ratio: 1.0,
        }
    }

    #[test]
    fn only_what_matters_to_a_workload_is_varied() {
        let count = |workload| cells(&spec(&[workload])).len();
        let all = [Workload::Put, Workload::Range, Workload::Mixed, Workload::Watch, Workload::Lease].map(count);
        assert_eq!(all, [8, 8, 16, 4, 2]);
        let open = EtcdSpec { clients: Vec::new(), ..spec(&[Workload::Put]) };
        assert_eq!(cells(&open).iter().filter(|cell| cell.clients.is_none()).count(), 4);
    }

    #[test]
    fn no_two_cells_share_their_labels() {
        let spec = spec(&[Workload::Put, Workload::Range, Workload::Mixed, Workload::Watch, Workload::Lease]);
        let mut seen: Vec<(&str, Labels)> = Vec::new();
        for cell in cells(&spec) {
            let base = Labels::new();
            let lanes = match cell.workload {
                Workload::Put => vec![("put", cell.write_labels(&base))],
                Workload::Range => vec![("range", cell.read_labels(&base))],
                Workload::Mixed => vec![("put", cell.write_labels(&base)), ("range", cell.read_labels(&base))],
                Workload::Watch => vec![("watch", cell.write_labels(&base))],
                Workload::Lease => vec![("lease", cell.write_labels(&base))],
            };
            for lane in lanes {
                assert!(!seen.contains(&lane), "{lane:?}");
                seen.push(lane);
            }
        }
    }
}
