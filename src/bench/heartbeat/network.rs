//! Networks that heartbeats are sent over: constant, from a profile, or from what a stored run measured.
//!
//! A heartbeat goes one way, and what is known are round trips: half of one is taken, which is all that can be known
//! without a clock at the far end.

use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::condition::{Condition, LossError, Lost};
use crate::model::span::as_nanos;
use crate::model::{LinkProfile, Series};
use crate::sim::{Delay, LinkSpec};
use crate::topo::{FitError, log_normal_of};

/// Draws by which a network's own spread is worked out.
const DRAWS: usize = 100_000;

/// Values that stand for a measured distribution.
const VALUES: u64 = 10_000;

/// Answers below which a p99.9 is not known , with ten values above it: the margin rests on it.
const LEAST_ANSWERS: u64 = 10_000;

/// A network that cannot be simulated.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum NetworkError {
    /// Too few answers for the tail.
    #[error("`{network}`: {series} has {answered} answers; its tail needs {LEAST_ANSWERS} at least")]
    TooFew {
        /// Which network.
        network: String,
        /// Which series.
        series: String,
        /// What it has.
        answered: u64,
    },
    /// No heartbeat would arrive.
    #[error(transparent)]
    Lost(#[from] LossError),
    /// No delays of this kind exist.
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// A network with a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Network {
    /// As typed.
    pub name: String,
    /// What happens to a message.
    #[serde(skip)]
    pub link: LinkSpec,
    /// Its p99.9 above its minimum: the margin of detectors that were given none.
    #[serde(rename = "margin_ns", serialize_with = "as_nanos")]
    pub margin: Duration,
    /// Mean one-way delay.
    #[serde(rename = "delay_mean_ns", serialize_with = "as_nanos")]
    pub delay_mean: Duration,
    /// Share of messages that are lost.
    pub loss_ratio: f64,
    /// Mean length of a burst of losses in messages; `None` where each is lost for itself.
    pub loss_burst_count: Option<f64>,
    /// Share of messages that arrive twice.
    pub duplicate_ratio: f64,
    /// Whether messages arrive in the order in which they were sent.
    pub in_order: bool,
}

impl Network {
    /// No delay and no loss.
    #[must_use]
    pub fn ideal() -> Self {
        Self::of("ideal", Delay::Constant { ns: 0 })
    }

    /// Half the round trips of a profile, with its loss.
    ///
    /// # Errors
    /// When no log-normal delay has the profile's figures, or it loses everything.
    pub fn profile(name: &str, profile: &LinkProfile) -> Result<Self, NetworkError> {
        let (mu, sigma) = log_normal_of(profile)?;
        // Half of a log-normal is a log-normal.
        let delay = Delay::LogNormal { mu: mu - std::f64::consts::LN_2, sigma };
        Ok(Self::of(name, delay).losing(Lost::new(profile.loss_ratio, None)?))
    }

    /// Half the round trips of a measured series, with its loss.
    ///
    /// # Errors
    /// When it has too few answers for its tail.
    pub fn measured(name: &str, series: &Series) -> Result<Self, NetworkError> {
        let answered = series.histogram.len();
        if answered < LEAST_ANSWERS {
            let (network, series) = (name.to_owned(), series.full_name());
            return Err(NetworkError::TooFew { network, series, answered });
        }
        // The middle of each ten-thousandth of the distribution, both ends of it included.
        let rank = |at: u64| (at * answered / VALUES + answered / (2 * VALUES)).clamp(1, answered);
        let values = (0..VALUES).filter_map(|at| series.histogram.value_at_rank(rank(at)));
        let ns = values.map(|round_trip| round_trip / 2).collect();
        // What is lost of round trips is lost on one of two ways: 1 - l = (1 - q)^2.
        let lost = series.counts.lost_count as f64 / series.counts.attempt_count as f64;
        Ok(Self::of(name, Delay::Drawn { ns }).losing(Lost::new(1.0 - (1.0 - lost).sqrt(), None)?))
    }

    /// The same under conditions that were asked for.
    #[must_use]
    pub fn under(self, condition: &Condition) -> Self {
        let mut network = match condition.lost {
            Some(lost) => self.losing(lost),
            None => self,
        };
        (network.duplicate_ratio, network.in_order) = (condition.duplicate_ratio, !condition.is_reordered);
        (network.link.duplicate, network.link.in_order) = (network.duplicate_ratio, network.in_order);
        network
    }

    fn losing(mut self, lost: Lost) -> Self {
        (self.loss_ratio, self.loss_burst_count, self.link.loss) = (lost.ratio(), lost.burst(), lost.loss());
        self
    }

    fn of(name: &str, delay: Delay) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut draws: Vec<u64> = (0..DRAWS).map(|_| delay.draw(&mut random)).collect();
        draws.sort_unstable();
        let spread = draws[DRAWS * 999 / 1000] - draws[0];
        let mean = draws.iter().map(|ns| u128::from(*ns)).sum::<u128>() / DRAWS as u128;
        Self {
            name: name.to_owned(),
            link: LinkSpec { delay, ..LinkSpec::ideal() },
            margin: Duration::from_nanos(spread),
            delay_mean: Duration::from_nanos(mean as u64),
            loss_ratio: 0.0,
            loss_burst_count: None,
            duplicate_ratio: 0.0,
            in_order: true,
        }
    }
}
