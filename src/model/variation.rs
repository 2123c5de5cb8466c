//! Delay variation by its three names, accumulated in the order of the attempts.
//!
//! Separate because "jitter" means at least four things; each is computed once, here, from the same series.
//! On round trips these are round-trip variations.

/// Running state of delay variation over one series of delays in planned order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variation {
    previous: Option<(u64, u64)>,
    ipdv_sum_ns: u128,
    ipdv_count: u64,
    rfc3550_ns: Option<f64>,
}

impl Variation {
    /// Takes the delay of attempt `number`; attempts must come in order, unanswered ones are left out.
    ///
    /// IPDV (RFC 5481 section 4.1) is defined between neighbours only, so a gap in the numbers contributes nothing.
    /// The RFC 3550 estimator (section 6.4.1) runs over whatever was received: J += (|D| - J) / 16, from 0.
    pub fn push(&mut self, number: u64, delay_ns: u64) {
        if let Some((previous_number, previous_ns)) = self.previous {
            let difference = delay_ns.abs_diff(previous_ns);
            if number == previous_number + 1 {
                self.ipdv_sum_ns += u128::from(difference);
                self.ipdv_count += 1;
            }
            let jitter = self.rfc3550_ns.unwrap_or(0.0);
            self.rfc3550_ns = Some(jitter + (difference as f64 - jitter) / 16.0);
        }
        self.previous = Some((number, delay_ns));
    }

    /// Mean |IPDV| in nanoseconds; `None` without two neighbours.
    #[must_use]
    pub fn ipdv_mean_ns(&self) -> Option<u64> {
        (self.ipdv_count > 0).then(|| u64::try_from(self.ipdv_sum_ns / u128::from(self.ipdv_count)).unwrap_or(u64::MAX))
    }

    /// The RFC 3550 interarrival jitter in nanoseconds; `None` without two delays.
    #[must_use]
    pub fn rfc3550_ns(&self) -> Option<u64> {
        self.rfc3550_ns.map(|jitter| jitter.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_count_and_gaps_do_not() {
        let mut variation = Variation::default();
        for (number, delay) in [(0, 100), (1, 130), (3, 500), (4, 490)] {
            variation.push(number, delay);
        }
        assert_eq!(variation.ipdv_mean_ns(), Some((30 + 10) / 2));
    }

    #[test]
    fn rfc3550_follows_the_formula() {
        let mut variation = Variation::default();
        for (number, delay) in [(0, 0), (1, 160), (2, 160)] {
            variation.push(number, delay);
        }
        // J1 = 0 + (160 - 0) / 16 = 10; J2 = 10 + (0 - 10) / 16 = 9.375.
        assert_eq!(variation.rfc3550_ns(), Some(9));
    }

    #[test]
    fn one_delay_has_no_variation() {
        let mut variation = Variation::default();
        variation.push(0, 5);
        assert_eq!((variation.ipdv_mean_ns(), variation.rfc3550_ns()), (None, None));
    }
}
