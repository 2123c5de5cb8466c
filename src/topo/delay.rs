//! Round-trip delays drawn from a profile: log-normal, correlated from one message to the next.
//!
//! Log-normal because measured round trips are skewed to the right and never negative. With X = exp(mu + s Z):
//! mean = exp(mu + s²/2) and p95 = exp(mu + 1.645 s), so s solves s²/2 - 1.645 s + ln(p95/mean) = 0 (the smaller root).
//! Z is AR(1) with coefficient r. Two neighbours X, Y are then log-normal with one mean m, and
//! E|X - Y| = 2 m (2 Phi(d/2) - 1) with d = s sqrt(2 (1 - r)) (Margrabe's exchange formula, both ways): this is the mean
//! |IPDV|, and r follows from the profile's jitter.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::model::LinkProfile;

/// Largest |r| of the AR(1) process: beyond it the draws stop covering their distribution within a run.
const STRONGEST_CORRELATION: f64 = 0.999;

/// A profile that no such process has.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum FitError {
    /// p95 below the mean, or so far above it that no log-normal has both.
    #[error(
        "no log-normal delay has a mean of {mean_ms} ms and a p95 of {p95_ms} ms; the p95 must be 1 to 3.8 times the mean"
    )]
    Quantile {
        /// Asked for.
        mean_ms: f64,
        /// Asked for.
        p95_ms: f64,
    },
    /// More or less jitter than correlation can give.
    #[error("a jitter of {jitter_ms} ms does not fit: with this mean and p95 it can be {low_ms:.3} to {high_ms:.3} ms")]
    Jitter {
        /// Asked for.
        jitter_ms: f64,
        /// Least possible.
        low_ms: f64,
        /// Most possible.
        high_ms: f64,
    },
}

/// An endless sequence of round-trip delays.
#[derive(Clone, Debug)]
pub struct RoundTrips {
    mu: f64,
    sigma: f64,
    correlation: f64,
    state: Option<f64>,
    generator: ChaCha8Rng,
}

impl RoundTrips {
    /// Fits the sequence to a profile; one seed and stream give one sequence.
    ///
    /// # Errors
    /// When no log-normal AR(1) process has the profile's mean, p95 and jitter.
    pub fn fit(profile: &LinkProfile, seed: u64, stream: u64) -> Result<Self, FitError> {
        let mean = profile.rtt_mean_ns as f64;
        let sigma = fit_sigma(mean, profile.rtt_p95_ns as f64)?;
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Ok(Self {
            mu: mean.ln() - sigma * sigma / 2.0,
            sigma,
            correlation: fit_correlation(mean, sigma, profile.jitter_ns as f64)?,
            state: None,
            generator,
        })
    }

    /// The next round-trip delay in nanoseconds.
    pub fn draw(&mut self) -> u64 {
        let fresh: f64 = StandardNormal.sample(&mut self.generator);
        let z = match self.state {
            None => fresh,
            Some(z) => self.correlation * z + (1.0 - self.correlation.powi(2)).sqrt() * fresh,
        };
        self.state = Some(z);
        (self.mu + self.sigma * z).exp().round() as u64
    }
}

/// Mean and deviation of the logarithm of a profile's round trips, one at a time: their correlation is left out.
///
/// # Errors
/// When no log-normal has the profile's mean and p95.
pub fn log_normal_of(profile: &LinkProfile) -> Result<(f64, f64), FitError> {
    let mean = profile.rtt_mean_ns as f64;
    let sigma = fit_sigma(mean, profile.rtt_p95_ns as f64)?;
    Ok((mean.ln() - sigma * sigma / 2.0, sigma))
}

fn fit_sigma(mean: f64, p95: f64) -> Result<f64, FitError> {
    let z95 = standard_normal().inverse_cdf(0.95);
    let discriminant = z95 * z95 - 2.0 * (p95 / mean).ln();
    if mean > 0.0 && p95 >= mean && discriminant >= 0.0 {
        Ok(z95 - discriminant.sqrt())
    } else {
        Err(FitError::Quantile { mean_ms: mean / 1e6, p95_ms: p95 / 1e6 })
    }
}

fn fit_correlation(mean: f64, sigma: f64, jitter: f64) -> Result<f64, FitError> {
    let mean_difference = |r: f64| {
        let half = sigma * (2.0 * (1.0 - r)).sqrt() / 2.0;
        2.0 * mean * (2.0 * standard_normal().cdf(half) - 1.0)
    };
    let (low, high) = (mean_difference(STRONGEST_CORRELATION), mean_difference(-STRONGEST_CORRELATION));
    if sigma == 0.0 && jitter == 0.0 {
        return Ok(0.0);
    }
    if !(low..=high).contains(&jitter) {
        return Err(FitError::Jitter { jitter_ms: jitter / 1e6, low_ms: low / 1e6, high_ms: high / 1e6 });
    }
    let half = standard_normal().inverse_cdf((jitter / (2.0 * mean) + 1.0) / 2.0);
    Ok(1.0 - (2.0 * half / sigma).powi(2) / 2.0)
}

fn standard_normal() -> Normal {
    Normal::standard()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topo::BUILT_IN;

    fn profile(mean_us: u64, p95_us: u64, jitter_us: u64) -> LinkProfile {
        LinkProfile {
            rtt_mean_ns: mean_us * 1000,
            rtt_p95_ns: p95_us * 1000,
            jitter_ns: jitter_us * 1000,
            loss_ratio: 0.0,
            bandwidth_bits_per_s: None,
        }
    }

    #[test]
    fn the_built_in_profiles_have_the_figures_they_promise() {
        for built_in in &BUILT_IN {
            let link = built_in.link();
            let mut sequence = RoundTrips::fit(&link, 1, 0).unwrap();
            let draws: Vec<u64> = (0..200_000).map(|_| sequence.draw()).collect();
            let mean = draws.iter().sum::<u64>() as f64 / draws.len() as f64;
            let jitter = draws.windows(2).map(|w| w[0].abs_diff(w[1])).sum::<u64>() as f64 / (draws.len() - 1) as f64;
            let mut sorted = draws;
            sorted.sort_unstable();
            let p95 = sorted[sorted.len() * 95 / 100] as f64;
            let close = |got: f64, wanted: u64| (got / wanted as f64 - 1.0).abs() < 0.02;
            assert!(close(mean, link.rtt_mean_ns), "{}: mean {mean}", built_in.name);
            assert!(close(p95, link.rtt_p95_ns), "{}: p95 {p95}", built_in.name);
            assert!(close(jitter, link.jitter_ns), "{}: jitter {jitter}", built_in.name);
        }
    }

    #[test]
    fn a_constant_delay_is_a_profile_too() {
        let mut sequence = RoundTrips::fit(&profile(5_000, 5_000, 0), 1, 0).unwrap();
        assert_eq!([sequence.draw(), sequence.draw()], [5_000_000, 5_000_000]);
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed, stream| RoundTrips::fit(&BUILT_IN[1].link(), seed, stream).unwrap().draw();
        assert_eq!(draw(3, 4), draw(3, 4));
        assert_ne!(draw(3, 4), draw(3, 5));
    }

    #[test]
    fn impossible_profiles_say_what_is_possible() {
        let error = |link| RoundTrips::fit(&link, 1, 0).unwrap_err().to_string();
        assert!(error(profile(10_000, 9_000, 1_000)).contains("p95"));
        assert!(error(profile(10_000, 90_000, 1_000)).contains("p95"));
        assert!(error(profile(10_000, 20_000, 15_000)).contains("it can be"));
    }
}
