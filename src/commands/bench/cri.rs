//! `offloadctl bench cri`: arguments to spec, and the run around the measurements.

use std::time::Duration;

use clap::Args;

use crate::bench::cri::{CriSpec, MEASUREMENT, measure};
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{parse_positive, parse_whole, seed, unique};
use crate::error::{Exit, Failure};
use crate::load::{Arrival, Length, LoadSpec, Rate, Spacing};
use crate::probe::events::{USUAL_CRI, socket_of};

const EXAMPLES: &str = "Examples:
  How late does a kubelet know, and what would its runtime's events change?
    offloadctl bench cri --relist 1s --events
  Is the delay what the closed formula says, and how do lists grow with containers?
    offloadctl bench cri --relist 100ms,1s,10s --events --containers 10,100
  Another runtime, with an image that it can pull:
    offloadctl bench cri --cri unix:///run/crio/crio.sock --image docker.io/library/busybox:1
  Fail a CI job when a relist takes long:
    offloadctl bench cri --containers 100 --fail-if 'cri.list.p95 > 50ms'

Pods of its own stand by and come and go, made of a busybox of this host from a registry of its own.
They are removed at the end, on Ctrl-C and on error; what a killed run left, the next one removes.
No other Pod is touched.";

/// The shortest and the longest span between two relists.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Beyond the longest span between two relists, how long a container lives if nobody says so: each relist then sees it run.
const BEYOND: Duration = Duration::from_millis(500);

/// Containers that may stand by: a kubelet's node has some hundreds (`maxPods` 110).
const MOST_CONTAINERS: u32 = 10_000;

/// A start that has not returned by then is lost.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts under way above which planned ones are skipped.
const MAX_IN_FLIGHT: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CriArgs {
    /// The socket by which the runtime serves CRI, as a path or unix://PATH
    #[arg(long, value_name = "ENDPOINT", env = "CONTAINER_RUNTIME_ENDPOINT", default_value = USUAL_CRI)]
    cri: String,
    /// Ask for the lists each TIME, as a kubelet's relist does; all of them side by side
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', default_value = "100ms,1s,10s", value_parser = parse_positive)]
    relist: Vec<Duration>,
    /// Watch the runtime's events beside them
    #[arg(long)]
    events: bool,
    /// Let so many containers stand by; a list measures each number, fewest first
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "10", value_parser = parse_whole::<u32>)]
    containers: Vec<u32>,
    /// How many containers come to life beside them
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = parse_whole::<u32>, help_heading = "Lives")]
    count: u32,
    /// Planned starts, at random moments (Poisson), whatever comes back: 1/s, 30/m
    #[arg(long, value_name = "RATE", default_value = "1/s", help_heading = "Lives")]
    rate: Rate,
    /// How long each lives [default: the longest --relist and 500 ms, so that each relist sees it]
    #[arg(long, value_name = "TIME", value_parser = parse_positive, help_heading = "Lives")]
    alive: Option<Duration>,
    /// An image that the runtime can pull and that holds `sleep` [default: of this host's static busybox]
    #[arg(long, value_name = "NAME", help_heading = "Lives")]
    image: Option<String>,
    /// Seed of the random moments [default: drawn anew, and kept in the run]
    #[arg(long, value_name = "N", help_heading = "Lives")]
    seed: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &CriArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let conduct = Conduct::driven(&MEASUREMENT, &spec, &spec.load, 1.0, &args.output);
    let conduct = Conduct { times: spec.containers.len(), ..conduct };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

impl CriArgs {
    fn spec(&self) -> Result<CriSpec, Failure> {
        let usage = |what: &str| Err(Failure::plain(Exit::Usage, what));
        if self.relist.iter().any(|every| !(SHORTEST..=LONGEST).contains(every)) {
            return usage("lists can be asked for each 10 ms at the most and each 10 min at the least");
        }
        if self.containers.iter().any(|count| *count > MOST_CONTAINERS) {
            return usage("--containers can be at most 10,000");
        }
        let mut relists = unique(self.relist.iter().copied());
        relists.sort_unstable();
        let longest = relists.last().copied().unwrap_or_default();
        let alive = self.alive.unwrap_or(longest + BEYOND);
        if alive > LONGEST * 10 {
            return usage("--alive can be at most 100 min");
        }
        let mut containers = unique(self.containers.iter().copied());
        containers.sort_unstable();
        let socket = socket_of(&self.cri).map_err(|error| {
            Failure::usage(error).hint("give the path of its socket, as `unix:///run/containerd/containerd.sock`")
        })?;
        let load = LoadSpec {
            arrival: Arrival::Open { rate: self.rate, spacing: Spacing::Poisson, slack: Duration::ZERO },
            length: Length::Count(u64::from(self.count)),
            warmup: Duration::ZERO,
            timeout: TIMEOUT,
            max_in_flight: MAX_IN_FLIGHT,
            seed: seed(self.seed),
        };
        let image = self.image.clone();
        Ok(CriSpec { cri_socket: socket, relists, events: self.events, containers, load, alive, image })
    }
}
