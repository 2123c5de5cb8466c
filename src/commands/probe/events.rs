//! `offloadctl probe events`: arguments to spec, and the run around the measurement.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::commands::catalogue::Known;
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{parse_positive, parse_whole, unique};
use crate::error::{Exit, Failure};
use crate::load::{Arrival, Length, LoadSpec, Rate, Spacing};
use crate::probe::events::{
    By, Deed, EventsSpec, MEASUREMENT, Own, SourceSpec, USUAL_CONTAINERD, USUAL_CRI, USUAL_NAMESPACES, USUAL_SOCKET,
    Way, measure, socket_of,
};

const EXAMPLES: &str = "Examples:
  Who knows first that a container was started, and what does polling lose?
    offloadctl probe events --source docker,poll=1s
  The engine beside the containerd below it:
    offloadctl probe events --source docker,containerd --containerd /run/containerd/containerd.sock
  Pods at a kubelet's runtime: what its relist sees, and where their time goes?
    offloadctl probe events --act cri --source containerd,cri,poll-cri=1s
  A hundred containers in bursts of ten, polled faster and slower:
    offloadctl probe events --source docker,poll=100ms,poll=5s --count 100 --burst 10 --rate 30/m
  When did its process really begin, by the kernel's own stamps?
    offloadctl probe events --source docker,ebpf,poll=1s
  Without an engine, on plain processes in control groups:
    offloadctl probe events --source ebpf --act cgroup --rate 50/s
  Whatever happens on this node anyway, for ten minutes:
    offloadctl probe events --watch --duration 10m
  Fail a CI job when events come late:
    offloadctl probe events --source docker --fail-if 'events.since_act{event=start}.p95 > 1s'

Containers are made of a busybox of this host, without a network and without a registry.
They are removed at the end, on Ctrl-C and on error; what a killed run left, the next one
removes. No other container is touched.";

/// Longest that a container may live, and that is watched.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A call that has not returned by then is lost.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts under way above which planned ones are skipped.
const MAX_IN_FLIGHT: usize = 256;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EventsArgs {
    /// Sources to compare: docker, containerd and cri (their events), ebpf (the kernel's tracepoints), poll=TIME, poll-containerd=TIME
    /// and poll-cri=TIME (their lists, each TIME)
    #[arg(long, value_name = "SOURCE,...", value_delimiter = ',', default_value = "docker,poll=1s")]
    source: Vec<SourceSpec>,
    /// The socket of the Docker Engine, as a path or unix://PATH
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_HOST", default_value = USUAL_SOCKET)]
    docker_host: String,
    /// The socket of containerd, as a path or unix://PATH; that of a Docker Engine of your own lies below its --exec-root
    #[arg(long, value_name = "ADDRESS", env = "CONTAINERD_ADDRESS", default_value = USUAL_CONTAINERD)]
    containerd: String,
    /// The socket by which a runtime serves CRI, as a path or unix://PATH
    #[arg(long, value_name = "ENDPOINT", env = "CONTAINER_RUNTIME_ENDPOINT", default_value = USUAL_CRI)]
    cri: String,
    /// The namespaces of containerd that are watched
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', default_values = USUAL_NAMESPACES, value_parser = parse_namespace)]
    namespace: Vec<String>,
    #[command(flatten)]
    own: OwnArgs,
    /// Create no containers; watch what happens
    #[arg(long, help_heading = "Watching", conflicts_with_all = ["act", "count", "rate", "alive", "burst", "image"])]
    watch: bool,
    /// How long to watch
    #[arg(long, help_heading = "Watching", value_name = "TIME", default_value = "60s", requires = "watch", value_parser = parse_positive)]
    duration: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Containers")]
struct OwnArgs {
    /// What creates them: docker; cri (a Pod of one container each); or cgroup (no engine: plain processes in control groups of
    /// our own)
    #[arg(long, value_name = "WHO", default_value = "docker")]
    act: By,
    /// How many to create
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = parse_whole::<u32>)]
    count: u32,
    /// Start them at this rate, without waiting: 5/s, 30/m
    #[arg(long, value_name = "RATE", default_value = "5/s")]
    rate: Rate,
    /// How long each runs before it is killed
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_positive)]
    alive: Duration,
    /// How many to create at each planned start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_whole::<u16>)]
    burst: u16,
    /// An image that the engine has, or a runtime can pull, and that holds `sleep` [default: of this host's static busybox]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &EventsArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let conduct = match &spec.deed {
        Deed::Own(own) => Conduct::driven(&MEASUREMENT, &spec, &own.load, 1.0, &args.output),
        Deed::Watch { .. } => Conduct::steps(&MEASUREMENT, &spec, &args.output),
    };
    let words = spec.sources.iter().map(|source| source.word.clone());
    let conduct = Conduct { known: Known::new("source", words), seed: None, ..conduct };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

impl EventsArgs {
    fn spec(&self) -> Result<EventsSpec, Failure> {
        let mut sources: Vec<SourceSpec> = Vec::new();
        for source in &self.source {
            // One word is one label; twice would be two series of one name.
            if !sources.iter().any(|known| known.word == source.word) {
                sources.push(source.clone());
            }
        }
        if self.own.alive > LONGEST || self.duration > LONGEST {
            return Err(Failure::plain(Exit::Usage, "--alive and --duration can be at most 31 days"));
        }
        let deed = if self.watch { Deed::Watch { duration: self.duration } } else { Deed::Own(self.own.spec()) };
        let namespaces = unique(self.namespace.iter().cloned());
        let [docker_socket, containerd_socket, cri_socket] = [const { PathBuf::new() }; 3];
        let mut spec = EventsSpec { sources, docker_socket, containerd_socket, cri_socket, namespaces, deed };
        if matches!(&spec.deed, Deed::Own(own) if own.by == By::Cgroup) {
            self.check_groups(&spec)?;
        }
        let socket = |address: &str| {
            socket_of(address).map_err(|error| {
                Failure::usage(error).hint("give the path of its socket, as `unix:///var/run/docker.sock`")
            })
        };
        if spec.needs_engine() {
            spec.docker_socket = socket(&self.docker_host)?;
        }
        if spec.sources.iter().any(|source| matches!(source.way, Way::Containerd | Way::PollContainerd(_))) {
            spec.containerd_socket = socket(&self.containerd)?;
        }
        if spec.needs_cri() {
            spec.cri_socket = socket(&self.cri)?;
        }
        Ok(spec)
    }

    /// What makes no sense without an engine.
    fn check_groups(&self, spec: &EventsSpec) -> Result<(), Failure> {
        let usage = |what: &str, hint: &str| Err(Failure::plain(Exit::Usage, what).hint(hint));
        if spec.needs_engine()
            || spec.needs_cri()
            || spec.sources.iter().any(|source| matches!(source.way, Way::Containerd | Way::PollContainerd(_)))
        {
            return usage("plain processes are seen by the kernel alone", "write `--act cgroup --source ebpf`");
        }
        if self.own.image.is_some() {
            return usage("plain processes have no image", "leave out --image, or --act cgroup");
        }
        Ok(())
    }
}

impl OwnArgs {
    fn spec(&self) -> Own {
        let load = LoadSpec {
            arrival: Arrival::Open { rate: self.rate, spacing: Spacing::Constant, slack: Duration::ZERO },
            length: Length::Count(u64::from(self.count).div_ceil(u64::from(self.burst))),
            warmup: Duration::ZERO,
            timeout: TIMEOUT,
            max_in_flight: MAX_IN_FLIGHT,
            seed: 0,
        };
        Own {
            by: self.act,
            load,
            count: self.count,
            alive: self.alive,
            burst: u32::from(self.burst),
            image: self.image.clone(),
        }
    }
}

/// A namespace as containerd allows it: it stands in a filter.
fn parse_namespace(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = !text.is_empty() && text.len() <= 76 && text.chars().all(is_fine);
    is_name.then(|| text.to_owned()).ok_or_else(|| "it is no namespace of containerd".to_owned())
}
