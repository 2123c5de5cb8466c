//! How long to wait before the next attempt: exponential, with full jitter.
//!
//! Separate because it is a formula: the wait is drawn evenly from zero to `first * 2^n`, at most `longest`. Full jitter
//! spreads the agents of a gateway that was away better than any smaller one.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The longest wait of all.
    pub longest: Duration,
}

/// The waits of one agent.
#[derive(Clone, Debug)]
pub struct Backoff {
    bounds: Bounds,
    generator: ChaCha8Rng,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        Self { bounds, generator: ChaCha8Rng::seed_from_u64(seed), failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next(&mut self) -> Duration {
        let limit = self.bounds.first.saturating_mul(1 << self.failures.min(20)).min(self.bounds.longest);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(self.generator.random::<f64>())
    }

    /// The wait before another gateway is tried: as after the first failure, and it does not count as one.
    pub fn step(&mut self) -> Duration {
        self.bounds.first.min(self.bounds.longest).mul_f64(self.generator.random::<f64>())
    }

    /// An attempt succeeded.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_over_a_span_that_doubles_up_to_its_bound() {
        let bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
        let waits = |failures: u32| -> Vec<Duration> {
            let wait = |seed| {
                let mut backoff = Backoff::new(bounds, seed);
                (0..failures).for_each(|_| _ = backoff.next());
                backoff.next()
            };
            (0..400).map(wait).collect()
        };
        for (failures, limit_ms) in [(0, 200), (1, 400), (5, 6_400), (9, 30_000), (100, 30_000)] {
            let limit = Duration::from_millis(limit_ms);
            let waits = waits(failures);
            assert!(waits.iter().all(|wait| *wait <= limit));
            assert!(waits.iter().any(|wait| *wait > limit * 19 / 20), "{failures}");
            assert!(waits.iter().any(|wait| *wait < limit / 20), "{failures}");
        }
    }

    #[test]
    fn a_success_begins_it_anew() {
        let bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
        let mut backoff = Backoff::new(bounds, 1);
        (0..50).for_each(|_| _ = backoff.next());
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }
}
