//! `offloadctl bench protocol`: arguments to spec, and the run around the measurements.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::bench::protocol::{MEASUREMENT, NOT_BUILT, ProtocolSpec, measure};
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{parse_positive, parse_whole, seed, unique};
use crate::echo::protocol::Protocol;
use crate::error::{Exit, Failure};
use crate::load::{Arrival, Length, LoadSpec, Rate, Spacing};

const EXAMPLES: &str = "Examples:
  Which protocol should carry heartbeats and reports? Both ends on this host:
    offloadctl bench protocol
  Over a real network: an echo there, and its certificate here:
    offloadctl echo --protocols grpc,grpc-stream,websocket,http1,http2 --protocol-listen 0.0.0.0:7778
    offloadctl bench protocol https://there:7778 --ca-file certificate.pem --rate 500/s
  What does agreement of three cost, and how long are they without a leader?
    offloadctl bench protocol --protocols websocket,raft
  How do reports grow with containers?
    offloadctl bench protocol --protocols grpc,http1 --containers 1,10,100 --detail
  Fail a CI job when gRPC gets slow:
    offloadctl bench protocol --protocols grpc --fail-if 'protocol.heartbeat.p99 > 2ms'

All protocols carry the same messages of protobuf over TLS, at the same time and on one schedule.";

/// Containers of a report, at most: what a gateway takes.
const MOST_CONTAINERS: u32 = 1_000;

/// Heartbeats on new connections: as many a second, of each protocol.
const COLD_RATE: &str = "5/s";

/// Messages under way above which planned ones are skipped.
const MAX_IN_FLIGHT: usize = 1_024;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProtocolArgs {
    /// An echo with --protocols, as https://HOST:PORT [default: one of our own on this host]
    #[arg(value_name = "URL")]
    target: Option<String>,
    /// What to compare: grpc, grpc-stream, websocket, http1, http2, raft (heartbeats of a leader, and proposals)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "grpc,grpc-stream,websocket,http1,http2")]
    protocols: Vec<Protocol>,
    /// Reports on so many containers; a list measures each number, fewest first
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,10,100", value_parser = parse_whole::<u32>)]
    containers: Vec<u32>,
    /// Trust the authorities in this file instead of those of this host
    #[arg(long, value_name = "FILE", requires = "target")]
    ca_file: Option<PathBuf>,
    /// Messages of each protocol, whatever comes back (open loop): 100/s, 1000/s
    #[arg(long, value_name = "RATE", default_value = "100/s", help_heading = "Load")]
    rate: Rate,
    /// How long each measurement at that rate takes; so long too takes the closed loop of each protocol
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_positive, help_heading = "Load")]
    duration: Duration,
    /// Heartbeats in flight in the closed loop that finds the highest rate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = parse_whole::<u16>, help_heading = "Load")]
    in_flight: u16,
    /// A message without a receipt by then is lost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive, help_heading = "Load")]
    timeout: Duration,
    /// Ask a peer each so long whether it lives, and wait as long for the answer, where peers fall silent
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_positive, help_heading = "Load")]
    keepalive: Duration,
    /// Seed for everything random, to repeat a run [default: a new one, which is printed]
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &ProtocolArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let conduct = Conduct::driven(&MEASUREMENT, &spec, &spec.load, 1.0, &args.output);
    let conduct = Conduct { times: 1 + spec.containers.len(), ..conduct };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

/// Whether this build speaks all of these.
///
/// # Errors
/// When it does not, with the line that gets it.
pub fn built(protocols: &[Protocol]) -> Result<(), Failure> {
    if protocols.iter().all(|protocol| protocol.is_built()) {
        return Ok(());
    }
    let what = "this build of offloadctl was made without the feature `raft`";
    Err(Failure::plain(Exit::Unable, what).hint(NOT_BUILT))
}

impl ProtocolArgs {
    fn spec(&self) -> Result<ProtocolSpec, Failure> {
        let usage = |what: &str| Failure::plain(Exit::Usage, what);
        let mut containers = unique(self.containers.iter().copied());
        containers.sort_unstable();
        if containers.iter().any(|count| !(1..=MOST_CONTAINERS).contains(count)) {
            return Err(usage("--containers can be 1 to 1,000: what a gateway takes in one report"));
        }
        if self.duration > Duration::from_secs(3_600) || self.timeout.max(self.keepalive) > Duration::from_secs(60) {
            return Err(usage("--duration can be at most 1h, --timeout and --keepalive 60s"));
        }
        built(&self.protocols)?;
        let rate = |text: &str| text.parse::<Rate>().map_err(Failure::usage);
        let open = |rate| Arrival::Open { rate, spacing: Spacing::Constant, slack: Duration::ZERO };
        let seed = seed(self.seed);
        let load = |arrival| LoadSpec {
            arrival,
            length: Length::Duration(self.duration),
            warmup: Duration::ZERO,
            timeout: self.timeout,
            max_in_flight: MAX_IN_FLIGHT,
            seed,
        };
        Ok(ProtocolSpec {
            protocols: unique(self.protocols.iter().copied()),
            target: self.target.clone(),
            ca_file: self.ca_file.clone(),
            containers,
            keepalive: self.keepalive,
            load: load(open(self.rate)),
            cold: load(open(rate(COLD_RATE)?)),
            busy: load(Arrival::Closed { concurrency: usize::from(self.in_flight) }),
        })
    }
}
