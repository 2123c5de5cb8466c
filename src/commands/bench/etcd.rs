//! `offloadctl bench etcd`: arguments to spec, and the run around the measurements.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::bench::etcd::{
    EtcdSpec, LARGEST_KEY, LARGEST_VALUE, MEASUREMENT, Settings, SpawnSpec, Workload, cell_count, measure,
};
use crate::commands::load_args::SpanArgs;
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::password::login;
use crate::commands::value::{one_of, parse_positive, parse_share, parse_whole, unique};
use crate::error::{Exit, Failure};
use crate::load::{Arrival, Rate, Spacing};
use crate::wire::etcd::{Login, Read};
use crate::wire::{TlsSpec, Url};

const EXAMPLES: &str = "Examples:
  What one client sees, and what holds it back:
    offloadctl bench etcd --endpoints http://127.0.0.1:2379
  How many writes it takes, with more and more clients and larger transactions:
    offloadctl bench etcd --clients 1,16,64 --connections 8 --batch 1,10 --duration 10s
  Reads and watches of a cluster with TLS:
    offloadctl bench etcd --endpoints https://10.0.0.1:2379,https://10.0.0.2:2379 \\
      --ca-file ca.crt --client-cert client.crt --client-key client.key \\
      --workload range,watch --consistency linearizable,serializable --clients 16
  What 5,000 nodes ask that renew a lease each 10 s:
    offloadctl bench etcd --workload lease --leases 5000 --rate 500/s --connections 50
  Which snapshot count, or which disk, on clusters of our own:
    offloadctl bench etcd --spawn snapshot-count=5000,10000,100000 --clients 64 --connections 8
    offloadctl bench etcd --spawn wal-dir=/mnt/ssd,/mnt/hdd --wal-dir /mnt/ssd --wal-dir /mnt/hdd
  What two clusters take of the same load, instead of one:
    offloadctl bench etcd --spawn --shard 2 --clients 64 --connections 8
  Latency at a given rate, and a gate on it:
    offloadctl bench etcd --rate 500/s --duration 1m --fail-if 'etcd.put.p99 > 50ms'

All keys lie below a random prefix `ofl-...`, which is removed at the end, on Ctrl-C and on error.
What was written stays in the history of the cluster until it is compacted.";

#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    mut_arg("count", |arg| arg.help("Make this many attempts in each measurement instead")),
    mut_arg("duration", |arg| arg.default_value("10s").help("How long each measurement takes, warm-up not included")),
    mut_arg("max_in_flight", |arg| arg.help("Attempts in flight above which planned starts are skipped, and counted")),
    mut_arg("timeout", |arg| arg.default_value("5s")),
)]
pub struct EtcdArgs {
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    spawn: SpawnArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Attempts in flight, each answer starts the next (closed loop); a list measures each [default: 1]
    #[arg(long, visible_alias = "concurrency", value_name = "N,...", value_delimiter = ',', conflicts_with = "rate", value_parser = parse_whole::<u16>, help_heading = "Load")]
    clients: Vec<u16>,
    /// Start attempts at this rate instead, without waiting for answers (open loop): 500/s, 30/m
    #[arg(long, value_name = "RATE", help_heading = "Load")]
    rate: Option<Rate>,
    /// How planned starts are spaced: evenly, or as independent clients arrive
    #[arg(long, default_value_t = Spacing::Constant, value_parser = one_of::<Spacing>(Spacing::NAMES), requires = "rate", help_heading = "Load")]
    spacing: Spacing,
    #[command(flatten)]
    span: SpanArgs,
    /// Exit 1 if more of a measurement's attempts than this stay unanswered; total loss always does
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = parse_share, help_heading = "Load")]
    max_loss: f64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
struct AccessArgs {
    /// Members to load, scheme included; connections are spread over them
    #[arg(long, value_name = "URL,...", value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<Url>,
    /// Log in as this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The user's password is the first line of this file [else: the environment variable OFFLOADCTL_ETCD_PASSWORD]
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the host's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Show this certificate (PEM) to the members
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key of --client-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Accept any certificate; the run says so
    #[arg(long)]
    insecure: bool,
    /// Load a cluster even if it serves a Kubernetes
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Clusters of our own")]
struct SpawnArgs {
    /// Start local clusters instead of loading --endpoints, one for each value of a flag of etcd, and compare them round by round
    #[arg(long, value_name = "SETTING=VALUE,...", num_args = 0..=1, default_missing_value = "")]
    spawn: Vec<Settings>,
    /// Spread the keys over so many of these clusters, and set that against one of them, round by round
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = parse_members, requires = "spawn")]
    shard: usize,
    /// Members of each of these clusters
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_members, requires = "spawn")]
    members: usize,
    /// Rounds that each measurement is made in
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = parse_whole::<u32>, requires = "spawn")]
    rounds: u32,
    /// The program to start
    #[arg(long, value_name = "PATH", default_value = "etcd", requires = "spawn")]
    etcd: PathBuf,
    /// Time small synced writes in this folder first, as etcd's write-ahead log makes them; may repeat
    #[arg(long, value_name = "DIR")]
    wal_dir: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Workload")]
struct WorkloadArgs {
    /// What to measure, one after another; may repeat
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',', value_parser = one_of::<Workload>(Workload::NAMES), default_value = "put")]
    workload: Vec<Workload>,
    /// Bytes of a key, of which our random prefix takes 11
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = parse_size::<LARGEST_KEY>)]
    key_size: usize,
    /// Bytes of a value; a list measures each
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', default_value = "256", value_parser = parse_size::<LARGEST_VALUE>)]
    value_size: Vec<usize>,
    /// Different keys that are written and read
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = parse_whole::<u32>)]
    key_space: u32,
    /// Leases of the workload lease: granted first, then kept alive
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = parse_whole::<u32>)]
    leases: u32,
    /// How long a lease lives without a keepalive; one that a kill left runs out by itself
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_ttl)]
    lease_ttl: Duration,
    /// Connections, spread over the endpoints [default: one to each]
    #[arg(long, value_name = "N", value_parser = parse_whole::<u16>)]
    connections: Option<u16>,
    /// Puts in one transaction; a list measures each
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", value_parser = parse_whole::<u16>)]
    batch: Vec<u16>,
    /// How reads are answered: by the cluster, or by the member asked; a list measures each
    #[arg(long, value_name = "CONSISTENCY", value_delimiter = ',', value_parser = one_of::<Read>(Read::NAMES), default_value = "linearizable")]
    consistency: Vec<Read>,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &EtcdArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let driven = Conduct::driven(&MEASUREMENT, &spec, &spec.load, spec.max_loss_ratio, &args.output);
    let conduct = Conduct { times: cell_count(&spec), ..driven };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

impl EtcdArgs {
    fn spec(&self) -> Result<EtcdSpec, Failure> {
        let clients: Vec<usize> = match (self.rate, self.clients.as_slice()) {
            (Some(_), _) => Vec::new(),
            (None, []) => vec![1],
            (None, clients) => unique(clients.iter().map(|n| usize::from(*n))),
        };
        let arrival = match self.rate {
            Some(rate) => Arrival::Open { rate, spacing: self.spacing, slack: Duration::ZERO },
            None => Arrival::Closed { concurrency: clients[0] },
        };
        let access = &self.access;
        let work = &self.workload;
        let spawn = self.spawn.spec();
        let endpoints = unique(access.endpoints.iter().filter(|_| spawn.is_none()).cloned());
        let members = spawn.as_ref().map_or(endpoints.len(), |spawn| spawn.members);
        let spec = EtcdSpec {
            login: self.login()?,
            password_file: access.password_file.clone(),
            spawn,
            shards: self.spawn.shard,
            wal_dirs: unique(self.spawn.wal_dir.iter().cloned()),
            tls: TlsSpec {
                ca_file: access.ca_file.clone(),
                client_cert: access.client_cert.clone(),
                client_key: access.client_key.clone(),
                insecure: access.insecure,
            },
            workloads: unique(work.workload.iter().copied()),
            key_size: work.key_size,
            value_sizes: unique(work.value_size.iter().copied()),
            key_space: u64::from(work.key_space),
            leases: u64::from(work.leases),
            lease_ttl: work.lease_ttl,
            connections: work.connections.map_or(members, usize::from),
            endpoints,
            clients,
            batches: unique(work.batch.iter().map(|n| usize::from(*n))),
            consistencies: unique(work.consistency.iter().copied()),
            may_load_kubernetes: access.yes,
            load: self.span.spec(arrival).map_err(|text| Failure::plain(Exit::Usage, text))?,
            max_loss_ratio: self.max_loss,
        };
        spec.checked().map_err(|error| Failure::usage(error).hint("see `offloadctl bench etcd --help`"))
    }

    fn login(&self) -> Result<Option<Login>, Failure> {
        login(self.access.user.as_deref(), self.access.password_file.as_deref(), "--password-file")
    }
}

impl SpawnArgs {
    fn spec(&self) -> Option<SpawnSpec> {
        let settings = unique(self.spawn.iter().flat_map(|settings| settings.0.iter().cloned()));
        let (program, members, rounds) = (self.etcd.clone(), self.members, self.rounds);
        (!settings.is_empty()).then_some(SpawnSpec { program, settings, members, rounds })
    }
}

/// Members of a cluster: more than nine help nobody.
fn parse_members(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=9).contains(count)).ok_or_else(|| "it must be from 1 to 9".to_owned())
}

/// The life of a lease: etcd counts in seconds.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_positive(text)?;
    let is_whole = ttl.subsec_nanos() == 0 && ttl.as_secs() <= 86_400;
    is_whole.then_some(ttl).ok_or_else(|| "it must be whole seconds, and at most a day".to_owned())
}

/// A size in bytes of at most `MOST`.
fn parse_size<const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if (1..=MOST).contains(&size) => Ok(size),
        Ok(_) => Err(format!("it must be from 1 to {MOST}")),
        Err(_) => Err("it is not a whole number of bytes".to_owned()),
    }
}
