//! The pure schedule of intended starts.
//!
//! Made before anything is sent and never changed by what comes back: that is what makes a loop open.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};

use super::{Rate, Spacing};

/// The planned starts of one lane, as nanoseconds after the beginning of the run.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: Rate,
    phase_ns: u64,
    number: u64,
    random: Option<(ChaCha8Rng, f64)>,
}

impl Pace {
    /// The plan of lane `lane` of `lanes`: evenly spaced lanes are staggered over one gap, random ones are independent.
    #[must_use]
    pub fn new(rate: Rate, spacing: Spacing, seed: u64, lane: usize, lanes: usize) -> Self {
        let gap = rate.offset_ns(1);
        let phase_ns = (u128::from(gap) * lane as u128 / lanes.max(1) as u128) as u64;
        match spacing {
            Spacing::Constant => Self { rate, phase_ns, number: 0, random: None },
            Spacing::Poisson => {
                let mut generator = ChaCha8Rng::seed_from_u64(seed);
                generator.set_stream(lane as u64);
                Self { rate, phase_ns: 0, number: 0, random: Some((generator, 0.0)) }
            }
        }
    }
}

impl Iterator for Pace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let offset = match &mut self.random {
            None => self.phase_ns + self.rate.offset_ns(self.number),
            Some((generator, sum_of_gaps)) => {
                let gap: f64 = Exp1.sample(generator);
                *sum_of_gaps += gap;
                // The mean gap, taken over a million starts so that rounding to a nanosecond does not bias the rate.
                (*sum_of_gaps * (self.rate.offset_ns(1_000_000) as f64 / 1e6)) as u64
            }
        };
        self.number += 1;
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn lanes_are_staggered_over_one_gap() {
        let first: Vec<u64> =
            (0..4).filter_map(|lane| Pace::new(rate("10/s"), Spacing::Constant, 0, lane, 4).next()).collect();
        assert_eq!(first, [0, 25_000_000, 50_000_000, 75_000_000]);
    }

    #[test]
    fn poisson_keeps_its_mean_rate_and_its_seed() {
        let plan = |seed| Pace::new(rate("1000/s"), Spacing::Poisson, seed, 1, 2).nth(99_999).unwrap();
        let seconds = plan(7) as f64 / 1e9;
        // 100,000 exponential gaps: the sum's standard deviation is 0.32 %; four of them either way.
        assert!((seconds - 100.0).abs() < 1.27, "{seconds}");
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    proptest! {
        #[test]
        fn a_plan_never_goes_back(count in 1u64..100_000, seed: u64, poisson: bool, lane in 0usize..5) {
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Constant };
            let plan: Vec<u64> = Pace::new(rate(&format!("{count}/s")), spacing, seed, lane, 5).take(500).collect();
            prop_assert!(plan.is_sorted());
        }

        #[test]
        fn constant_starts_are_within_a_nanosecond_of_the_rate(count in 1u64..1_000_000, k in 0usize..10_000) {
            let offset = Pace::new(rate(&format!("{count}/s")), Spacing::Constant, 0, 0, 1).nth(k).unwrap();
            prop_assert!((offset as f64 - k as f64 * 1e9 / count as f64).abs() <= 1.0);
        }
    }
}
