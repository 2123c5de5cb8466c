//! How sure a rate of rare events is: the exact interval of a Poisson count.
//!
//! From the quantiles of chi-squared (Garwood 1936): for k events the 95 % interval of their expectation is
//! `[chi2(0.025, 2k) / 2, chi2(0.975, 2k + 2) / 2]`; where none was seen there is only an upper bound, at 95 % it is 3.

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

/// Lower and upper bound of the expectation of a count.
#[must_use]
pub fn interval(count: u64) -> (Option<f64>, Option<f64>) {
    if count == 0 {
        return (None, Some(-(0.05_f64).ln()));
    }
    let quantile = |p: f64, degrees: f64| ChiSquared::new(degrees).ok().map(|chi| chi.inverse_cdf(p) / 2.0);
    (quantile(0.025, 2.0 * count as f64), quantile(0.975, 2.0 * count as f64 + 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_intervals() {
        let close = |got: Option<f64>, wanted: f64| got.is_some_and(|got| (got / wanted - 1.0).abs() < 0.001);
        assert_eq!(interval(0).0, None);
        assert!(close(interval(0).1, 2.9957));
        assert!(close(interval(1).0, 0.025_318) && close(interval(1).1, 5.5716));
        assert!(close(interval(10).0, 4.7954) && close(interval(10).1, 18.3904));
    }
}
