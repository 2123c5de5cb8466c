//! What the user puts on top of every network: a loss instead of its own, duplicates, disorder.
//!
//! Separate from the networks because it is said once for all of them, and because the command that repeats a setting has
//! to say it again.

use std::fmt;

use crate::sim::{Burst, Loss};

/// Longest mean burst: the mean stay in the bad state, in messages.
const LONGEST_BURST: f64 = 1000.0;

/// A loss that no link has.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// Nothing would ever arrive.
    #[error("at a loss of 100 % no heartbeat ever arrives: there is nothing to detect")]
    All,
    /// Bursts shorter than a message, or longer than is simulated.
    #[error("a mean burst of {0} messages is not simulated: from 1 to {LONGEST_BURST}")]
    Length(f64),
    /// So much loss does not fit into bursts so short: there is one message at least between two of them.
    #[error("a loss of {} % needs bursts of {:.3} messages at least", ratio * 100.0, least)]
    TooShort {
        /// Share lost.
        ratio: f64,
        /// The shortest mean burst at that loss.
        least: f64,
    },
}

impl LossError {
    /// The next step.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::All => "give a --loss below 100 %",
            Self::Length(_) | Self::TooShort { .. } => "write, for example, --loss 1%/burst=5",
        }
    }
}

/// How much is lost, and in which bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lost {
    ratio: f64,
    burst: Option<f64>,
}

impl Lost {
    /// So much, each message for itself, or in bursts of this mean length.
    ///
    /// # Errors
    /// When no link loses like that.
    pub fn new(ratio: f64, burst: Option<f64>) -> Result<Self, LossError> {
        if ratio >= 1.0 {
            return Err(LossError::All);
        }
        let Some(length) = burst else { return Ok(Self { ratio, burst }) };
        if !(1.0..=LONGEST_BURST).contains(&length) {
            return Err(LossError::Length(length));
        }
        if ratio > 0.0 && Burst::of_mean(ratio, length).is_none() {
            return Err(LossError::TooShort { ratio, least: ratio / (1.0 - ratio) });
        }
        Ok(Self { ratio, burst })
    }

    /// As a link has it.
    #[must_use]
    pub fn loss(self) -> Loss {
        let burst = self.burst.and_then(|length| Burst::of_mean(self.ratio, length));
        match burst {
            Some(burst) => Loss::Burst(burst),
            None if self.ratio > 0.0 => Loss::Independent(self.ratio),
            None => Loss::Never,
        }
    }

    /// Share of messages that are lost.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.ratio
    }

    /// Mean length of a burst in messages; `None` where each is lost for itself.
    #[must_use]
    pub const fn burst(self) -> Option<f64> {
        self.burst
    }
}

/// What is put on top of every network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Condition {
    /// Instead of the network's own loss.
    pub lost: Option<Lost>,
    /// Share of messages that arrive twice.
    pub duplicate_ratio: f64,
    /// Whether messages may overtake each other.
    pub is_reordered: bool,
}

/// As options of the command, each with a space before it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lost) = self.lost {
            write!(f, " --loss {}%", percent(lost.ratio))?;
            lost.burst.iter().try_for_each(|length| write!(f, "/burst={length}"))?;
        }
        if self.duplicate_ratio > 0.0 {
            write!(f, " --duplicate {}%", percent(self.duplicate_ratio))?;
        }
        if self.is_reordered { f.write_str(" --reorder") } else { Ok(()) }
    }
}

/// A ratio in per cent without the digits that only its binary form has.
fn percent(ratio: f64) -> f64 {
    (ratio * 1e12).round() / 1e10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_that_no_link_has_is_refused() {
        assert_eq!(Lost::new(1.0, None), Err(LossError::All));
        assert_eq!(Lost::new(0.01, Some(0.5)), Err(LossError::Length(0.5)));
        assert_eq!(Lost::new(0.01, Some(1e9)), Err(LossError::Length(1e9)));
        let refused = Lost::new(0.8, Some(2.0)).unwrap_err().to_string();
        assert_eq!(refused, "a loss of 80 % needs bursts of 4.000 messages at least");
        assert!(Lost::new(0.8, Some(4.01)).is_ok());
    }

    #[test]
    fn a_loss_becomes_that_of_a_link() {
        let loss = |ratio, burst| Lost::new(ratio, burst).unwrap().loss();
        assert_eq!(loss(0.0, Some(5.0)), Loss::Never);
        assert_eq!(loss(0.01, None), Loss::Independent(0.01));
        assert!(matches!(loss(0.01, Some(5.0)), Loss::Burst(burst) if burst.recover == 0.2));
    }

    #[test]
    fn it_is_written_as_it_is_typed() {
        let all = Condition { lost: Lost::new(0.013, Some(5.0)).ok(), duplicate_ratio: 0.07, is_reordered: true };
        assert_eq!(all.to_string(), " --loss 1.3%/burst=5 --duplicate 7% --reorder");
        assert_eq!(Condition::default().to_string(), "");
    }
}
