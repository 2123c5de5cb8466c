//! The arguments of everything that measures: how to load.

use std::time::Duration;

use clap::Args;

use super::value;
use crate::load::{Arrival, Length, LoadSpec, Rate, Spacing};

/// Longest run that is planned: a month.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Longest timeout: the largest value a histogram tells apart.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3_600);

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Start attempts at this rate per target and channel, without waiting for answers (open loop): 10/s, 30/m, 6/h
    #[arg(long, value_name = "RATE", default_value = "10/s")]
    rate: Rate,
    /// Keep N attempts in flight per target and channel instead: each answer starts the next (closed loop)
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = value::parse_whole::<u16>)]
    concurrency: Option<u16>,
    /// How planned starts are spaced: evenly, or as independent clients arrive
    #[arg(long, default_value_t = Spacing::Constant, value_parser = value::one_of::<Spacing>(Spacing::NAMES), conflicts_with = "concurrency")]
    spacing: Spacing,
    /// Let a start wait up to this long so that several are made together: many targets then take less processor time, and
    /// the wait counts as slip
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = value::parse, conflicts_with = "concurrency")]
    timer_slack: Duration,
    #[command(flatten)]
    span: SpanArgs,
}

/// The part of it that does not depend on what starts an attempt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub struct SpanArgs {
    /// How long to measure, warm-up not included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = value::parse_positive)]
    duration: Duration,
    /// Measure this many attempts per target and channel instead
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = value::parse_whole::<u64>)]
    count: Option<u64>,
    /// Run for this long first, without recording
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = value::parse)]
    warmup: Duration,
    /// An attempt without an answer by then is lost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = value::parse_positive)]
    timeout: Duration,
    /// Attempts in flight per target and channel above which planned starts are skipped, and counted
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = value::parse_whole::<u32>)]
    max_in_flight: u32,
    /// Seed for everything random, to repeat a run [default: a new one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl LoadArgs {
    /// What was meant.
    ///
    /// # Errors
    /// A sentence for the usage error.
    pub fn spec(&self) -> Result<LoadSpec, String> {
        self.span.spec(match self.concurrency {
            Some(concurrency) => Arrival::Closed { concurrency: usize::from(concurrency) },
            None if self.timer_slack > self.span.timeout / 2 => {
                return Err(
                    "--timer-slack can be at most half of --timeout: a start later than that is skipped".to_owned()
                );
            }
            None => Arrival::Open { rate: self.rate, spacing: self.spacing, slack: self.timer_slack },
        })
    }
}

impl SpanArgs {
    /// What was meant, with this to start the attempts.
    ///
    /// # Errors
    /// A sentence for the usage error.
    pub fn spec(&self, arrival: Arrival) -> Result<LoadSpec, String> {
        if self.duration > LONGEST || self.warmup > LONGEST {
            return Err("--duration and --warmup can be at most 31 days".to_owned());
        }
        if self.timeout > LONGEST_TIMEOUT {
            return Err("--timeout can be at most 1h, the largest value a histogram tells apart".to_owned());
        }
        Ok(LoadSpec {
            arrival,
            length: self.count.map_or(Length::Duration(self.duration), Length::Count),
            warmup: self.warmup,
            timeout: self.timeout,
            max_in_flight: self.max_in_flight as usize,
            seed: value::seed(self.seed),
        })
    }
}

/// How long the planned starts of a load take, where that is known beforehand.
#[must_use]
pub fn planned_span(spec: &LoadSpec) -> Option<Duration> {
    match (spec.length, spec.arrival) {
        (Length::Duration(span), _) => Some(span),
        (Length::Count(count), Arrival::Open { rate, .. }) => Some(Duration::from_nanos(rate.offset_ns(count))),
        (Length::Count(_), Arrival::Closed { .. }) => None,
    }
}
