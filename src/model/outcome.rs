//! How one attempt ended, and how many ended so.
//!
//! Separate because the rule "attempt = ok + error + lost + refused + failed" is kept here once: nothing that was attempted
//! can be dropped, nothing lost can be counted as zero, and a quick refusal is no quick answer.

use serde::{Deserialize, Serialize};

/// How one attempt ended. A latency belongs to `Ok` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was served within the timeout.
    Ok,
    /// It was answered, but with an error (an HTTP status, a gRPC code); the text names the kind.
    Error(&'static str),
    /// No answer came within the timeout.
    Lost,
    /// The far end said no (a reset, an ICMP unreachable).
    Refused,
    /// The attempt broke in another way; the text names the kind, from a small fixed set.
    Failed(&'static str),
}

impl Outcome {
    /// Whether the far end answered, be it with an error.
    #[must_use]
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Ok | Self::Error(_))
    }
}

/// How many attempts ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Attempts that were started: ok + error + lost + refused + failed.
    pub attempt_count: u64,
    /// Attempts that were served.
    pub ok_count: u64,
    /// Attempts that were answered with an error.
    #[serde(default)]
    pub error_count: u64,
    /// Attempts without an answer within the timeout.
    pub lost_count: u64,
    /// Attempts that the far end refused.
    pub refused_count: u64,
    /// Attempts that broke in another way.
    pub failed_count: u64,
    /// Attempts that were planned and never started; not part of `attempt_count`.
    pub skipped_count: u64,
}

impl Counts {
    /// Counts one attempt.
    pub const fn add(&mut self, outcome: Outcome) {
        self.attempt_count += 1;
        match outcome {
            Outcome::Ok => self.ok_count += 1,
            Outcome::Error(_) => self.error_count += 1,
            Outcome::Lost => self.lost_count += 1,
            Outcome::Refused => self.refused_count += 1,
            Outcome::Failed(_) => self.failed_count += 1,
        }
    }

    /// Adds the counts of another part of the same series.
    pub const fn merge(&mut self, other: &Self) {
        self.attempt_count = self.attempt_count.saturating_add(other.attempt_count);
        self.ok_count = self.ok_count.saturating_add(other.ok_count);
        self.error_count = self.error_count.saturating_add(other.error_count);
        self.lost_count = self.lost_count.saturating_add(other.lost_count);
        self.refused_count = self.refused_count.saturating_add(other.refused_count);
        self.failed_count = self.failed_count.saturating_add(other.failed_count);
        self.skipped_count = self.skipped_count.saturating_add(other.skipped_count);
    }

    /// Attempts without an answer, for whichever reason: lost + refused + failed.
    #[must_use]
    pub const fn unanswered_count(&self) -> u64 {
        self.lost_count.saturating_add(self.refused_count).saturating_add(self.failed_count)
    }

    /// Unanswered attempts over attempts; `None` without attempts.
    #[must_use]
    pub fn loss_ratio(&self) -> Option<f64> {
        (self.attempt_count > 0).then(|| self.unanswered_count() as f64 / self.attempt_count as f64)
    }

    /// Attempts that rank above every answer: the lost, and those answered with an error.
    #[must_use]
    pub const fn beyond_count(&self) -> u64 {
        self.lost_count.saturating_add(self.error_count)
    }

    /// Whether the parts add up to the whole, as they must in a file we did not write just now.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let parts = [self.ok_count, self.error_count, self.lost_count, self.refused_count, self.failed_count];
        let sum = parts.into_iter().try_fold(0u64, u64::checked_add);
        sum == Some(self.attempt_count)
    }
}
