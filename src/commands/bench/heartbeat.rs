//! `offloadctl bench heartbeat`: arguments to spec, and the run around the simulation.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use crate::bench::heartbeat::{Goal, HeartbeatSpec, Measured, Network, simulate};
use crate::commands::measuring::{Measuring, check_gates, on_event_loop};
use crate::commands::output_args::OutputArgs;
use crate::commands::value::{parse_positive, parse_share, parse_whole};
use crate::console::Steps;
use crate::context::{Header, Parts, read_run};
use crate::detect::DetectorSpec;
use crate::error::{Exit, Failure};
use crate::sys::clock;
use crate::sys::shutdown::Shutdown;
use crate::topo::{BUILT_IN, built_in};

const EXAMPLES: &str = "Examples:
  Three intervals with every detector on a local network:
    offloadctl bench heartbeat --interval 2s,5s,10s
  The cheapest setting that notices a crash within 10 s and accuses wrongly once a day at most, at 1 % loss:
    offloadctl bench heartbeat --interval 1s,2s,5s --network hybrid --loss 1% --target-detection 10s --max-mistakes 1/day
  Over the network that a stored `probe rtt` measured, and what 10,000 nodes ask of the store:
    offloadctl bench heartbeat --network rtt.json --nodes 10000

Detectors: missed:K, overdue:TIME, phi:P, phi-akka:P, phi-exp:P, chen:TIME, k8s-lease; options follow slashes, as in
missed:3/margin=200ms/check=1s, phi:8/pause=3s/floor=100ms or k8s-lease/grace=40s.";

/// The measurements of this command.
const SERIES: [&str; 2] = ["heartbeat.detection", "heartbeat.mistake_duration"];

/// The single numbers that a gate may name.
const SCALARS: [&str; 5] = [
    "heartbeat.messages_per_h",
    "heartbeat.network_bytes_per_h",
    "heartbeat.mistakes_per_day",
    "heartbeat.mistakes_per_day_high",
    "heartbeat.query_accuracy",
];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HeartbeatArgs {
    /// Spans between heartbeats
    #[arg(long, value_name = "TIME,...", value_delimiter = ',', default_value = "2s,5s,10s", value_parser = parse_positive)]
    interval: Vec<Duration>,
    /// Failure detectors
    #[arg(
        long,
        value_name = "DETECTOR,...",
        value_delimiter = ',',
        default_value = "missed:1,missed:2,missed:3,overdue:3s,phi:8,phi-exp:8,chen:1s,k8s-lease"
    )]
    detector: Vec<DetectorSpec>,
    /// Networks: ideal, local-dc, cross-region, hybrid, or a stored run of `probe rtt`
    #[arg(long, value_name = "NETWORK,...", value_delimiter = ',', default_value = "local-dc")]
    network: Vec<String>,
    /// Share of heartbeats that every network loses, instead of its own
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    loss: Option<f64>,
    /// Crashes simulated for each setting
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = parse_whole::<u64>)]
    trials: u64,
    /// Heartbeats of each setting that are watched for mistakes
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = parse_whole::<u64>)]
    mistake_beats: u64,
    /// Bytes of a heartbeat on the wire; assumed, until a live run has measured it
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = parse_whole::<u64>)]
    heartbeat_bytes: u64,
    /// Say what so many nodes ask of the store
    #[arg(long, value_name = "N", value_parser = parse_whole::<u64>)]
    nodes: Option<u64>,
    /// Name the cheapest setting whose mean detection is at most this
    #[arg(long, value_name = "TIME", value_parser = parse_positive, help_heading = "Goal")]
    target_detection: Option<Duration>,
    /// ... and whose mistakes, at the upper end of their interval, are at most this: 1/day
    #[arg(long, value_name = "N/day", value_parser = parse_mistakes, help_heading = "Goal")]
    max_mistakes: Option<f64>,
    /// ... and whose network cost a node is at most this: 200KB/h
    #[arg(long, value_name = "SIZE/h", value_parser = parse_cost, help_heading = "Goal")]
    max_cost: Option<f64>,
    /// Seed of everything random, to repeat a run; drawn and printed otherwise
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Simulates, and ends with the verdict.
///
/// # Errors
/// When the arguments cannot be meant, a network cannot be read, or the run cannot be written.
pub fn run(args: &HeartbeatArgs) -> Result<Exit, Failure> {
    let spec = args.spec()?;
    let header = Header::new("bench heartbeat", &spec, spec.seed, args.output.labels())?;
    let measuring = Measuring::open(&args.output, header, None)?;
    let steps = Steps::start("bench heartbeat", spec.cells().len() as u64, args.output.quiet);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = clock::now();
    let is_over = AtomicBool::new(false);
    let measured = std::thread::scope(|scope| {
        let (done, mut all_done) = tokio::sync::oneshot::channel();
        scope.spawn(|| done.send(simulate(&spec, threads, &|| steps.advance(), &|| is_over.load(Ordering::Relaxed))));
        // This thread only listens to the signals meanwhile.
        on_event_loop(async |shutdown: &Shutdown| {
            tokio::select! {
                () = shutdown.requested() => is_over.store(true, Ordering::Relaxed),
                measured = &mut all_done => return measured.map_err(|_| ended_early()),
            }
            all_done.await.map_err(|_| ended_early())
        })
    })?;
    drop(steps);
    let run = measuring.run(parts(measured, clock::now().since(began)));
    measuring.conclude(run, &[])
}

fn ended_early() -> Failure {
    Failure::plain(Exit::Unable, "the simulation ended early, which is a bug")
}

fn parts(measured: Measured, elapsed: Duration) -> Parts {
    Parts {
        series: measured.series,
        scalars: measured.scalars,
        findings: measured.findings,
        warnings: measured.warnings,
        elapsed,
        complete: !measured.interrupted,
    }
}

impl HeartbeatArgs {
    fn spec(&self) -> Result<HeartbeatSpec, Failure> {
        check_gates("bench heartbeat", &self.output.show.fail_if, &SERIES, &SCALARS)?;
        if self.loss.is_some_and(|loss| loss >= 1.0) {
            return Err(Failure::plain(
                Exit::Usage,
                "at a loss of 100 % no heartbeat ever arrives: there is nothing to detect",
            )
            .hint("give a --loss below 100 %"));
        }
        let networks = self.network.iter().map(|name| self.network_of(name)).collect::<Result<_, _>>()?;
        let spec = HeartbeatSpec {
            mode: "simulated",
            intervals: self.interval.clone(),
            detectors: self.detector.clone(),
            networks,
            trials: self.trials,
            mistake_beats: self.mistake_beats,
            heartbeat_bytes: self.heartbeat_bytes,
            nodes: self.nodes,
            goal: Goal {
                detection: self.target_detection,
                mistakes_per_day: self.max_mistakes,
                bytes_per_h: self.max_cost,
            },
            // 53 bits, so that the seed survives every JSON reader.
            seed: self.seed.unwrap_or_else(|| clock::entropy() >> 11),
        };
        spec.checked().map_err(|error| Failure::usage(error).hint("see `offloadctl bench heartbeat --help`"))
    }

    fn network_of(&self, name: &str) -> Result<Network, Failure> {
        if name == "ideal" {
            return Ok(Network::ideal(self.loss));
        }
        if let Some(profile) = built_in(name) {
            return Network::profile(name, &profile.link(), self.loss).map_err(Failure::usage);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known: Vec<&str> = BUILT_IN.iter().map(|profile| profile.name).collect();
            return Err(Failure::plain(Exit::Usage, format!("`{name}` is neither a network nor a file"))
                .hint(format!("write ideal, {}, or the file of a stored `probe rtt`", known.join(", "))));
        }
        let run = read_run(path)?;
        let measured: Vec<_> = run.responses().filter(|series| series.name.starts_with("rtt.")).collect();
        // The echo is what a heartbeat is like; without one, whatever has most answers.
        let best = measured.iter().max_by_key(|series| (series.name == "rtt.echo", series.histogram.len()));
        match best {
            None => Err(Failure::plain(
                Exit::Usage,
                format!("`{name}` is a run of `{}`, which has no round trips", run.command),
            )
            .hint("give a run of `offloadctl probe rtt`")),
            Some(series) => Network::measured(name, series, self.loss).map_err(|error| {
                Failure::usage(error).hint("measure longer: `offloadctl probe rtt ... --rate 50/s --duration 5m`")
            }),
        }
    }
}

fn parse_mistakes(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a number a day, such as 1/day or 0.1/day".to_owned();
    let number = text.strip_suffix("/day").or_else(|| text.strip_suffix("/d")).ok_or_else(wrong)?;
    number.parse().ok().filter(|rate: &f64| *rate > 0.0 && rate.is_finite()).ok_or_else(wrong)
}

fn parse_cost(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a size an hour, such as 200KB/h".to_owned();
    let size = text.strip_suffix("/h").ok_or_else(wrong)?;
    let units = [("GB", 1e9), ("MB", 1e6), ("KB", 1e3), ("kB", 1e3), ("B", 1.0)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((size.strip_suffix(unit)?, factor))).ok_or_else(wrong)?;
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if number > 0.0 && number.is_finite() { Ok(number * factor) } else { Err(wrong()) }
}
