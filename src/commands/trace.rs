//! `offloadctl trace`: arguments to spec, and the run around the measurement.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::catalogue::Known;
use super::measuring::Conduct;
use super::output_args::OutputArgs;
use super::value::{one_of, parse_positive, parse_whole};
use crate::error::{Exit, Failure};
use crate::load::{Arrival, Length, LoadSpec, Rate, Spacing};
use crate::probe::events::{USUAL_SOCKET, socket_of};
use crate::source::ebpf;
use crate::sys::own_group::OwnGroups;
use crate::trace::{GatewaySpec, MEASUREMENT, Setting, Source, Store, TraceSpec, measure};
use crate::wire::Url;

const EXAMPLES: &str = "Examples:
  Where does the time of a change go? An agent, a gateway and a subscriber of our own:
    offloadctl trace
  The same with containers that the Docker Engine of this host starts:
    offloadctl trace --source docker --count 50
  What does polling cost, and what durability?
    offloadctl trace --compare source=docker,poll=500ms,poll=2s --count 40
    offloadctl trace --compare store=memory,embedded
  Through your gateway; the token file has lines `trace-probe TOKEN` and `* TOKEN`:
    offloadctl trace --source docker --gateway https://localhost:7443 --token-file tokens --ca-file state/certificate.pem
  Through your agent too (its agent.conf says `\"trace\": true`, the gateway runs with --trace):
    offloadctl trace --source docker --agent --node edge-1 --gateway https://localhost:7443 --token-file tokens
  Fail a CI job when state comes late, or when a single part does:
    offloadctl trace --fail-if 'trace.total.p95 > 50ms' --fail-if 'trace.hop{hop=store}.p95 > 10ms'

Everything is on this host, for all stamps are of one clock. What is started here is gone at the end.";

/// Changes a second by lines of a pipe, and by containers, whose start takes a good part of a second.
const RATE_OF_LINES: &str = "20/s";
const RATE_OF_CONTAINERS: &str = "2/s";

/// Changes under way above which planned ones are skipped.
const MAX_IN_FLIGHT: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    /// How the agent learns of changes: ebpf (the kernel's tracepoints, of plain processes in control groups of ours), script
    /// (lines of a pipe that this program writes), docker (its events), poll=TIME (its lists) [default: ebpf where this process
    /// may, else script]
    #[arg(long, value_name = "SOURCE")]
    source: Option<Source>,
    /// Where our gateway keeps what it knows
    #[arg(long, value_name = "STORE", default_value_t, value_parser = one_of::<Store>(Store::NAMES), conflicts_with = "gateway")]
    store: Store,
    /// An agent, a gateway and a subscriber of our own; so it is without any option
    #[arg(long, conflicts_with_all = ["gateway", "agent"])]
    embedded: bool,
    /// Lay settings side by side: source=A,B or store=A,B
    #[arg(long, value_name = "SETTING=A,B", conflicts_with = "agent")]
    compare: Option<String>,
    #[command(flatten)]
    system: SystemArgs,
    /// How many changes to follow
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = parse_whole::<u32>, help_heading = "Load")]
    count: u32,
    /// Planned changes, whatever comes back [default: 20/s of lines, 2/s of containers]
    #[arg(long, value_name = "RATE", help_heading = "Load")]
    rate: Option<Rate>,
    /// A change that has not arrived by then is lost; on top comes the period of a list
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive, help_heading = "Load")]
    timeout: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "System")]
struct SystemArgs {
    /// A gateway that runs already on this host
    #[arg(long, value_name = "URL", requires = "token_file")]
    gateway: Option<Url>,
    /// Its tokens: `* TOKEN`, and `trace-probe TOKEN` for an agent of ours
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file instead of the host's
    #[arg(long, value_name = "FILE", requires = "gateway")]
    ca_file: Option<PathBuf>,
    /// Start no agent: one runs already on this host, as --node
    #[arg(long, requires = "node", requires = "gateway")]
    agent: bool,
    /// The name of its node
    #[arg(long, value_name = "ID", requires = "agent")]
    node: Option<String>,
    /// The named pipe that this agent reads as its `script`: changes are then lines that this program writes
    #[arg(long, value_name = "FILE", requires = "agent")]
    pipe: Option<PathBuf>,
    /// The socket of the Docker Engine, as a path or unix://PATH
    #[arg(long, value_name = "ADDRESS", env = "DOCKER_HOST", default_value = USUAL_SOCKET)]
    docker_host: String,
    /// An image that the engine has and that holds `sleep` [default: one made of this host's static busybox]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &TraceArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let labels: Vec<&str> = spec.settings.iter().filter_map(|setting| setting.label.as_deref()).collect();
    let known = if labels.is_empty() { Known::default() } else { Known::new("setting", labels.iter().copied()) };
    let times = spec.settings.len();
    let conduct =
        Conduct { known, seed: None, times, ..Conduct::driven(&MEASUREMENT, &spec, &spec.load, 1.0, &args.output) };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

impl TraceArgs {
    /// As it was named; else the kernel's own word where it can be had, and lines of a pipe where not.
    fn source(&self) -> Source {
        let is_compared = self.compare.as_deref().is_some_and(|text| text.starts_with("source="));
        match self.source {
            Some(source) => source,
            None if self.system.pipe.is_some() || is_compared => Source::Script,
            None if ebpf::open().is_ok() && OwnGroups::make().is_ok() => Source::Ebpf,
            None => Source::Script,
        }
    }

    fn spec(&self) -> Result<TraceSpec, Failure> {
        let usage = |what: &str, hint: &str| Failure::plain(Exit::Usage, what).hint(hint);
        let base = Setting::new(self.source(), self.store);
        let settings = match &self.compare {
            Some(text) => Setting::compared(&base, text).map_err(Failure::usage)?,
            None => vec![base],
        };
        let has_docker = settings.iter().any(Setting::is_of_docker);
        if self.system.agent && !has_docker && self.system.pipe.is_none() {
            let what = "an agent that runs already watches a runtime, or a pipe of its own";
            return Err(usage(what, "write --source docker, or name the pipe with --pipe"));
        }
        if self.system.gateway.is_some() && settings.iter().any(|setting| setting.store != self.store) {
            return Err(usage("the store of a gateway that runs already cannot be changed", "leave out --gateway"));
        }
        if let Some(url) = self.system.gateway.as_ref().filter(|url| !url.is_tls()) {
            return Err(usage(&format!("`{url}`: a gateway is spoken to over TLS"), "write https:// in --gateway"));
        }
        if self.system.image.is_some() && !has_docker {
            return Err(usage("lines of a pipe have no image", "write --source docker, or leave out --image"));
        }
        let docker_socket = has_docker.then(|| socket_of(&self.system.docker_host)).transpose().map_err(|error| {
            Failure::usage(error).hint("give the path of its socket, as `unix:///var/run/docker.sock`")
        })?;
        let usual = if has_docker { RATE_OF_CONTAINERS } else { RATE_OF_LINES };
        let rate = self.rate.map_or_else(|| usual.parse().map_err(Failure::usage), Ok)?;
        let longest = settings.iter().map(|setting| setting.source.longest_wait()).max().unwrap_or_default();
        let SystemArgs { gateway, token_file, ca_file, node, pipe, image, .. } = &self.system;
        let gateway = gateway.clone().zip(token_file.clone());
        let gateway = gateway.map(|(url, token_file)| GatewaySpec { url, token_file, ca_file: ca_file.clone() });
        let load = LoadSpec {
            arrival: Arrival::Open { rate, spacing: Spacing::Constant, slack: Duration::ZERO },
            length: Length::Count(u64::from(self.count)),
            warmup: Duration::ZERO,
            timeout: self.timeout + longest,
            max_in_flight: MAX_IN_FLIGHT,
            seed: 0,
        };
        let (node, pipe, image) = (node.clone(), pipe.clone(), image.clone());
        Ok(TraceSpec { settings, gateway, node, pipe, docker_socket, image, load })
    }
}
