//! `offloadctl probe rtt`: arguments to spec, and the run around the measurement.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::commands::address_args::AddressArgs;
use crate::commands::catalogue::Known;
use crate::commands::config::Config;
use crate::commands::load_args::LoadArgs;
use crate::commands::measuring::Conduct;
use crate::commands::output_args::OutputArgs;
use crate::commands::topology::{read_topology, unknown_profile};
use crate::commands::value::{one_of, parse_positive, parse_share, unique};
use crate::error::{Exit, Failure};
use crate::probe::rtt::{Channel, MEASUREMENT, Place, RttSpec, Target, measure};
use crate::topo::{TopologyFile, TopologyTarget};

const EXAMPLES: &str = "Examples:
  Compare three emulated topologies, with nothing else installed:
    offloadctl probe rtt --emulate local-dc,cross-region,hybrid --rate 50/s --duration 25s
  Two real places, side by side; handshake and ICMP always, echo where `offloadctl echo` answers:
    offloadctl probe rtt dc=10.0.0.5:7777 cloud=app.example.com:443 --duration 5m
  A day at ten a second, written down each minute:
    offloadctl probe rtt edge=192.0.2.7:7777 --duration 24h --output edge.json
  Fail a CI job when the 95th percentile got too high:
    offloadctl probe rtt dc=10.0.0.5:7777 --channel echo --fail-if 'rtt.echo.p95 > 10ms'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RttArgs {
    /// A target and the name of its series, or a name of offload.toml; without NAME= it is named as typed, without :PORT
    /// there is only ICMP
    #[arg(value_name = "NAME=HOST:PORT")]
    targets: Vec<Target>,
    /// Emulated links in this process instead of a network: local-dc, cross-region, hybrid, or of --topology
    #[arg(long, value_name = "PROFILE", value_delimiter = ',')]
    emulate: Vec<String>,
    /// A file with link profiles and targets of your own
    #[arg(long, value_name = "FILE.toml")]
    topology: Option<PathBuf>,
    /// Channels to measure [default: connect, icmp; echo and udp where the far end is an offloadctl echo]
    #[arg(long, value_name = "CHANNEL", value_delimiter = ',', value_parser = one_of::<Channel>(Channel::NAMES))]
    channel: Vec<Channel>,
    /// How far apart the wall clocks of both ends are at most, as chrony or PTP says: allows rtt.oneway between hosts
    #[arg(long, value_name = "TIME", value_parser = parse_positive)]
    clock_bound: Option<Duration>,
    #[command(flatten)]
    address: AddressArgs,
    /// Exit 1 if more of a target's attempts than this stay unanswered; total loss always does
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = parse_share)]
    max_loss: f64,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Measures, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, nothing can be measured, or the run cannot be written.
pub fn run(args: &RttArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let conduct = Conduct::driven(&MEASUREMENT, &spec, &spec.load, spec.max_loss_ratio, &args.output);
    let targets = spec.targets.iter().map(|target| target.name.as_str()).chain(["loopback"]);
    let conduct = Conduct { known: Known::new("target", targets), ..conduct };
    conduct
        .run(async |session| measure(&spec, session).await.map_err(|error| Failure::unable(&error).hint(error.hint())))
}

impl RttArgs {
    fn spec(&self) -> Result<RttSpec, Failure> {
        let file = match &self.topology {
            Some(path) => read_topology(path)?,
            None => TopologyFile::default(),
        };
        let spec = RttSpec {
            targets: self.all_targets(&file, &self.output.show.config()?)?,
            channels: (!self.channel.is_empty()).then(|| self.channel.iter().copied().collect()),
            reach: self.address.reach(),
            clock_bound: self.clock_bound,
            load: self.load.spec().map_err(|text| Failure::plain(Exit::Usage, text))?,
            max_loss_ratio: self.max_loss,
        };
        spec.checked().map_err(|error| Failure::usage(error).hint("see `offloadctl probe rtt --help`"))
    }

    /// Typed targets, then emulated ones; those of the topology file, or else of `offload.toml`, where nothing was typed.
    fn all_targets(&self, file: &TopologyFile, config: &Config) -> Result<Vec<Target>, Failure> {
        let typed = self.targets.iter().map(|target| match config.target(&target.name) {
            Some(address) if target.is_bare() => from_address(&target.name, address),
            _ => Ok(target.clone()),
        });
        let mut targets = unique(typed.collect::<Result<Vec<_>, _>>()?);
        for name in unique(&self.emulate) {
            let link = file.profile(name).ok_or_else(|| unknown_profile(name, self.topology.as_deref()))?;
            targets.push(Target { name: name.clone(), place: Place::Emulated { profile: name.clone(), link } });
        }
        if !targets.is_empty() {
            return Ok(targets);
        }
        if self.topology.is_none() {
            // What has a scheme is of the probes that speak HTTP.
            let plain = config.targets.iter().filter(|(_, address)| !address.contains("://"));
            return plain.map(|(name, address)| from_address(name, address)).collect();
        }
        file.targets.iter().map(|(name, target)| from_file(name, target)).collect()
    }
}

fn from_address(name: &str, address: &str) -> Result<Target, Failure> {
    format!("{name}={address}").parse().map_err(Failure::usage)
}

fn from_file(name: &str, target: &TopologyTarget) -> Result<Target, Failure> {
    match target {
        TopologyTarget::Address(address) => from_address(name, address),
        TopologyTarget::Emulated(profile, link) => {
            let place = Place::Emulated { profile: profile.clone(), link: link.clone() };
            Ok(Target { name: name.to_owned(), place })
        }
    }
}
