//! What the user meant with rate, duration and limits; checked once, serialised into every run.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::model::span::as_nanos;
use crate::model::words;

/// The fastest plan we accept for one lane; far above what one event loop can start.
const HIGHEST_PER_SECOND: u64 = 10_000_000;

/// A rate that cannot be planned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RateError {
    /// No unit of time.
    #[error("a rate needs its unit: write `{0}/s`, `{0}/m` or `{0}/h`")]
    Unit(String),
    /// Below zero.
    #[error("`{0}` is below zero: a rate must be positive")]
    Negative(String),
    /// Not a whole number before the slash.
    #[error("`{0}` is not a whole number of starts; for less than one a second write, for example, `30/m`")]
    Count(String),
    /// Nothing would ever start.
    #[error("a rate of 0 starts nothing; use --count or --duration to limit a run")]
    Zero,
    /// More than any machine starts.
    #[error("over {HIGHEST_PER_SECOND} starts a second per target is more than this program plans")]
    TooHigh,
}

/// Planned starts per unit of time, kept exact: no rounding adds up over a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    per_ns: u64,
}

impl Rate {
    /// When start `k` is due, in nanoseconds after the first.
    #[must_use]
    pub fn offset_ns(self, k: u64) -> u64 {
        u64::try_from(u128::from(k) * u128::from(self.per_ns) / u128::from(self.count)).unwrap_or(u64::MAX)
    }

    /// The gap between two starts.
    #[must_use]
    pub fn gap(self) -> Duration {
        Duration::from_nanos(self.offset_ns(1))
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let Some((count, unit)) = text.split_once('/') else { return Err(RateError::Unit(text.to_owned())) };
        let per_ns = match unit {
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(RateError::Unit(count.to_owned())),
        };
        if count.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok()) {
            return Err(RateError::Negative(text.to_owned()));
        }
        let count: u64 = count.parse().map_err(|_| RateError::Count(count.to_owned()))?;
        if count == 0 {
            return Err(RateError::Zero);
        }
        if u128::from(count) * 1_000_000_000 > u128::from(HIGHEST_PER_SECOND) * u128::from(per_ns) {
            return Err(RateError::TooHigh);
        }
        Ok(Self { count, per_ns })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per_ns {
            1_000_000_000 => "s",
            60_000_000_000 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How planned starts are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly.
    Constant,
    /// With exponential gaps from the seed, as independent clients arrive.
    Poisson,
}

words!(Spacing { Constant = "constant", Poisson = "poisson" });

/// What decides when an attempt starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Arrival {
    /// A plan made beforehand, which slow answers never delay.
    Open {
        /// Starts per target and channel.
        rate: Rate,
        /// Their spacing.
        spacing: Spacing,
        /// For how long a start may wait for others to be made together with it: one waking then serves many.
        #[serde(rename = "slack_ns", serialize_with = "as_nanos", skip_serializing_if = "Duration::is_zero")]
        slack: Duration,
    },
    /// The answer to the attempt before.
    Closed {
        /// Attempts kept in flight per target and channel.
        concurrency: usize,
    },
}

impl Arrival {
    /// For how long a planned start may wait for others.
    #[must_use]
    pub const fn slack(self) -> Duration {
        match self {
            Self::Open { slack, .. } => slack,
            Self::Closed { .. } => Duration::ZERO,
        }
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// After this span of planned starts, warm-up not included.
    #[serde(rename = "duration_ns", serialize_with = "as_nanos")]
    Duration(Duration),
    /// After this many recorded attempts per target and channel.
    Count(u64),
}

/// How to load: the part of a spec that every measuring command shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadSpec {
    /// What decides when an attempt starts.
    pub arrival: Arrival,
    /// When the run is over.
    pub length: Length,
    /// Span of attempts made first and not recorded.
    #[serde(rename = "warmup_ns", serialize_with = "as_nanos")]
    pub warmup: Duration,
    /// After how long an attempt counts as lost.
    #[serde(rename = "timeout_ns", serialize_with = "as_nanos")]
    pub timeout: Duration,
    /// Attempts in flight per target and channel above which planned starts are skipped.
    pub max_in_flight: usize,
    /// Seed of everything random; not part of the spec hash.
    #[serde(skip)]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_exact_over_a_day() {
        let rate: Rate = "3/s".parse().unwrap();
        assert_eq!(rate.offset_ns(3 * 86_400), 86_400_000_000_000);
        assert_eq!("30/m".parse::<Rate>().unwrap().gap(), Duration::from_secs(2));
    }

    #[test]
    fn what_cannot_be_planned_says_why() {
        let error = |text: &str| text.parse::<Rate>().unwrap_err();
        assert_eq!(error("10"), RateError::Unit("10".into()));
        assert_eq!(error("0/s"), RateError::Zero);
        assert_eq!(error("-1/s"), RateError::Negative("-1/s".into()));
        assert_eq!(error("0.5/s"), RateError::Count("0.5".into()));
        assert_eq!(error("10/d"), RateError::Unit("10".into()));
        assert_eq!(error("99999999/s"), RateError::TooHigh);
    }
}
