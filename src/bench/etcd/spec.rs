//! What the user meant with `bench etcd`: endpoints, workloads and their sizes; knows no command line.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::keyspace::Keyspace;
use super::spawn::SpawnSpec;
use crate::load::{Arrival, LoadSpec};
use crate::model::span::as_nanos;
use crate::model::{shell, words};
use crate::wire::etcd::{Login, Read};
use crate::wire::{TlsSpec, Url};

/// Longest key that is sent.
pub const LARGEST_KEY: usize = 4 << 10;

/// Longest value that is sent: etcd refuses requests above 1.5 MiB by default.
pub const LARGEST_VALUE: usize = 8 << 20;

/// Most cells that one run goes through.
const MOST_CELLS: usize = 1_000;

/// Bytes of a value that tell which attempt wrote it, for the watch.
pub const SEQUENCE_SIZE: usize = 8;

/// A spec that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Keys too short to be told apart.
    #[error("--key-size {given} is too small for our prefix and {key_space} keys: at least {least}")]
    KeySize {
        /// What was asked for.
        given: usize,
        /// For how many keys.
        key_space: u64,
        /// The least that works.
        least: usize,
    },
    /// A batch writes each key once.
    #[error("--batch {batch} needs as many keys: raise --key-space, which is {key_space}")]
    Batch {
        /// The largest batch.
        batch: usize,
        /// How many keys there are.
        key_space: u64,
    },
    /// The watch finds an attempt by its value.
    #[error("the watch workload marks each value: --value-size must be at least {SEQUENCE_SIZE}")]
    WatchValue,
    /// Somebody typed a large product.
    #[error("that would be {0} measurements one after another; at most {MOST_CELLS} are made")]
    Cells(usize),
    /// Leases that end between two keepalives.
    #[error("at {rate} each of {leases} leases is kept alive every {} s, and lives for {} s", every.as_secs(), ttl.as_secs())]
    LeaseEnds {
        /// The rate.
        rate: String,
        /// How many leases.
        leases: u64,
        /// How often each has its turn.
        every: Duration,
        /// How long each lives.
        ttl: Duration,
    },
    /// Shards of what cannot be spread.
    #[error("--shard spreads keys: leave out --workload {0}")]
    ShardWorkload(Workload),
    /// Shards of several settings.
    #[error("--shard sets one cluster against several: give one setting at most with --spawn")]
    ShardSettings,
    /// Shards without their keys.
    #[error("--batch {batch} in each of {shards} shards needs as many keys: raise --key-space, which is {key_space}")]
    ShardKeys {
        /// The largest batch.
        batch: usize,
        /// How many shards.
        shards: usize,
        /// How many keys there are.
        key_space: u64,
    },
    /// An endpoint is a server.
    #[error("the endpoint `{0}` has a path; an endpoint is only scheme, host and port")]
    Path(String),
}

/// What is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Writes.
    Put,
    /// Reads of one key.
    Range,
    /// Writes and reads at the same time.
    Mixed,
    /// Writes, until a watcher hears of them.
    Watch,
    /// Grants leases, and keeps them alive.
    Lease,
}

words!(Workload { Put = "put", Range = "range", Mixed = "mixed", Watch = "watch", Lease = "lease" });

/// The whole of a `bench etcd`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EtcdSpec {
    /// Members to talk to.
    pub endpoints: Vec<Url>,
    /// Who we are.
    #[serde(serialize_with = "redacted")]
    pub login: Option<Login>,
    /// Where the password lies, for the commands that the report advises.
    #[serde(skip)]
    pub password_file: Option<PathBuf>,
    /// Whom to trust.
    pub tls: TlsSpec,
    /// Clusters of our own to start and compare, instead of the endpoints.
    pub spawn: Option<SpawnSpec>,
    /// How many clusters the keys are spread over; with more than one, that many are set against one.
    pub shards: usize,
    /// Folders whose disks are timed first.
    pub wal_dirs: Vec<PathBuf>,
    /// What is done, in this order.
    pub workloads: Vec<Workload>,
    /// Bytes of a key, our prefix included.
    pub key_size: usize,
    /// Bytes of a value, one measurement each.
    pub value_sizes: Vec<usize>,
    /// How many different keys.
    pub key_space: u64,
    /// How many leases.
    pub leases: u64,
    /// How long each lives without a keepalive.
    #[serde(rename = "lease_ttl_ns", serialize_with = "as_nanos")]
    pub lease_ttl: Duration,
    /// Connections, spread over the endpoints.
    pub connections: usize,
    /// Attempts in flight of a closed loop, one measurement each; empty for an open one.
    pub clients: Vec<usize>,
    /// Puts in a transaction, one measurement each; 1 is a plain put.
    pub batches: Vec<usize>,
    /// Consistencies of the reads, one measurement each.
    pub consistencies: Vec<Read>,
    /// Whether a cluster that serves a Kubernetes may be loaded.
    #[serde(skip)]
    pub may_load_kubernetes: bool,
    /// How to load; the concurrency of a closed loop is that of the measurement.
    pub load: LoadSpec,
    /// Share of unanswered attempts above which a series counts as lost.
    pub max_loss_ratio: f64,
}

impl EtcdSpec {
    /// Who we are to the cluster, as options of this program.
    #[must_use]
    pub fn access_options(&self) -> String {
        let mut line = self.tls.options();
        self.login.iter().for_each(|login| shell::push(&mut line, "--user", &login.user));
        self.password_file.iter().for_each(|file| shell::push(&mut line, "--password-file", file.display()));
        line
    }

    /// `etcdctl` and what leads it to these endpoints; it asks for the password itself.
    #[must_use]
    pub fn etcdctl(&self, endpoints: &str) -> String {
        let mut line = "etcdctl".to_owned();
        shell::push(&mut line, "--endpoints", endpoints);
        let tls = &self.tls;
        let files = [("--cacert", &tls.ca_file), ("--cert", &tls.client_cert), ("--key", &tls.client_key)];
        for (option, file) in files {
            file.iter().for_each(|file| shell::push(&mut line, option, file.display()));
        }
        if tls.insecure {
            line.push_str(" --insecure-skip-tls-verify");
        }
        self.login.iter().for_each(|login| shell::push(&mut line, "--user", &login.user));
        line
    }

    /// Checks what no single argument shows.
    ///
    /// # Errors
    /// When the sizes contradict each other or the measurements are too many.
    pub fn checked(self) -> Result<Self, SpecError> {
        let (key_space, given) = (self.key_space, self.key_size);
        let least = Keyspace::smallest_key_size(key_space);
        if given < least {
            return Err(SpecError::KeySize { given, key_space, least });
        }
        let writes = |workload: &Workload| matches!(workload, Workload::Put | Workload::Mixed);
        if let Some(&batch) = self.batches.iter().max()
            && self.workloads.iter().any(writes)
            && batch as u64 > key_space
        {
            return Err(SpecError::Batch { batch, key_space });
        }
        if self.workloads.contains(&Workload::Watch) && self.value_sizes.iter().any(|size| *size < SEQUENCE_SIZE) {
            return Err(SpecError::WatchValue);
        }
        if self.workloads.contains(&Workload::Lease)
            && let Arrival::Open { rate, .. } = self.load.arrival
        {
            let every = rate.gap() * u32::try_from(self.leases).unwrap_or(u32::MAX);
            if every >= self.lease_ttl {
                let (leases, ttl) = (self.leases, self.lease_ttl);
                return Err(SpecError::LeaseEnds { rate: rate.to_string(), leases, every, ttl });
            }
        }
        if let Some(url) = self.endpoints.iter().find(|url| !matches!(url.path(), "/" | "")) {
            return Err(SpecError::Path(url.to_string()));
        }
        self.check_shards()?;
        match super::plan::cells(&self).len() {
            count if count > MOST_CELLS => Err(SpecError::Cells(count)),
            _ => Ok(self),
        }
    }
}

impl EtcdSpec {
    fn check_shards(&self) -> Result<(), SpecError> {
        let (shards, key_space) = (self.shards, self.key_space);
        if shards < 2 {
            return Ok(());
        }
        let cannot = |workload: &&Workload| matches!(workload, Workload::Watch | Workload::Lease);
        if let Some(workload) = self.workloads.iter().find(cannot) {
            return Err(SpecError::ShardWorkload(*workload));
        }
        if self.spawn.as_ref().is_none_or(|spawn| spawn.settings.len() != 1) {
            return Err(SpecError::ShardSettings);
        }
        let batch = self.batches.iter().copied().max().unwrap_or(1);
        // Keys of one transaction are so far apart, and none may come twice.
        match (batch * shards) as u64 <= key_space {
            true => Ok(()),
            false => Err(SpecError::ShardKeys { batch, shards, key_space }),
        }
    }
}

fn redacted<S: Serializer>(login: &Option<Login>, serializer: S) -> Result<S::Ok, S::Error> {
    match login {
        Some(login) => serializer.collect_str(&format_args!("{}, password redacted", login.user)),
        None => serializer.serialize_none(),
    }
}
