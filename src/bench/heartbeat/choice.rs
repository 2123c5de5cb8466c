//! Which setting to choose: the ones that nothing beats, and the cheapest that meets what was asked for.
//!
//! Pure. A rate of mistakes that was too small to be seen is judged by its upper bound: unknown is not fine.

use std::time::Duration;

use serde::Serialize;

use crate::model::span::known_as_nanos;

/// What the setting must meet; nothing given asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Goal {
    /// Longest mean detection time.
    #[serde(rename = "target_detection_ns", serialize_with = "known_as_nanos")]
    pub detection: Option<Duration>,
    /// Most mistakes a day and node.
    pub mistakes_per_day: Option<f64>,
    /// Most bytes an hour and node.
    pub bytes_per_h: Option<f64>,
}

/// What a setting gives, as far as choices go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Mean detection time.
    pub detection_ns: f64,
    /// Mistakes a day and node: the rate seen, or its upper bound where none was.
    pub mistakes_per_day: f64,
    /// The upper bound of it.
    pub mistakes_upper: f64,
    /// Bytes an hour and node.
    pub bytes_per_h: f64,
}

/// A bound that could be loosened.
#[derive(Clone, Debug, PartialEq)]
pub enum Loosen {
    /// To this mean detection time.
    Detection(Duration),
    /// To so many mistakes a day.
    Mistakes(f64),
    /// To so many bytes an hour.
    Cost(f64),
}

impl Goal {
    /// Whether anything was asked for.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.detection.is_some() || self.mistakes_per_day.is_some() || self.bytes_per_h.is_some()
    }

    fn is_met(&self, offer: &Offer) -> bool {
        self.detection.is_none_or(|most| offer.detection_ns <= most.as_nanos() as f64)
            && self.mistakes_per_day.is_none_or(|most| offer.mistakes_upper <= most)
            && self.bytes_per_h.is_none_or(|most| offer.bytes_per_h <= most)
    }

    /// The cheapest offer that meets all; of equally cheap ones the fastest.
    #[must_use]
    pub fn cheapest(&self, offers: &[Offer]) -> Option<usize> {
        let met = (0..offers.len()).filter(|at| self.is_met(&offers[*at]));
        met.min_by(|a, b| key(&offers[*a]).partial_cmp(&key(&offers[*b])).unwrap_or(std::cmp::Ordering::Equal))
    }

    /// The single bounds that would have to be loosened, and how far, for some offer to meet all; none if one alone is
    /// not enough.
    #[must_use]
    pub fn loosen(&self, offers: &[Offer]) -> Vec<Loosen> {
        let least = |goal: Self, figure: fn(&Offer) -> f64| {
            offers.iter().filter(|offer| goal.is_met(offer)).map(figure).min_by(f64::total_cmp)
        };
        let mut all = Vec::new();
        if self.detection.is_some() {
            let found = least(Self { detection: None, ..*self }, |offer| offer.detection_ns);
            all.extend(found.map(|ns| Loosen::Detection(Duration::from_nanos(ns.ceil() as u64))));
        }
        if self.mistakes_per_day.is_some() {
            let found = least(Self { mistakes_per_day: None, ..*self }, |offer| offer.mistakes_upper);
            all.extend(found.map(Loosen::Mistakes));
        }
        if self.bytes_per_h.is_some() {
            let found = least(Self { bytes_per_h: None, ..*self }, |offer| offer.bytes_per_h);
            all.extend(found.map(Loosen::Cost));
        }
        all
    }
}

fn key(offer: &Offer) -> (f64, f64, f64) {
    (offer.bytes_per_h, offer.detection_ns, offer.mistakes_upper)
}

/// Whether nothing else is at least as good in all of detection, mistakes and cost, and better in one.
#[must_use]
pub fn is_unbeaten(at: usize, offers: &[Offer]) -> bool {
    let mine = &offers[at];
    !offers.iter().any(|other| {
        let no_worse = other.detection_ns <= mine.detection_ns
            && other.mistakes_per_day <= mine.mistakes_per_day
            && other.bytes_per_h <= mine.bytes_per_h;
        let better = other.detection_ns < mine.detection_ns
            || other.mistakes_per_day < mine.mistakes_per_day
            || other.bytes_per_h < mine.bytes_per_h;
        no_worse && better
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [Offer; 4] =
        [offer(2.0, 1.0, 360.0), offer(5.0, 0.1, 144.0), offer(9.0, 0.5, 144.0), offer(12.0, 0.1, 72.0)];

    const fn offer(seconds: f64, mistakes: f64, bytes: f64) -> Offer {
        Offer {
            detection_ns: seconds * 1e9,
            mistakes_per_day: mistakes,
            mistakes_upper: mistakes * 2.0,
            bytes_per_h: bytes,
        }
    }

    #[test]
    fn what_something_else_beats_is_no_choice() {
        let unbeaten: Vec<bool> = (0..4).map(|at| is_unbeaten(at, &OFFERS)).collect();
        assert_eq!(unbeaten, [true, true, false, true]);
    }

    #[test]
    fn the_cheapest_that_meets_all_or_the_bound_to_loosen() {
        let goal = Goal { detection: Some(Duration::from_secs(10)), mistakes_per_day: Some(1.0), bytes_per_h: None };
        assert_eq!(goal.cheapest(&OFFERS), Some(1));
        let tight = Goal { detection: Some(Duration::from_secs(1)), ..goal };
        assert_eq!(tight.cheapest(&OFFERS), None);
        assert_eq!(tight.loosen(&OFFERS), [Loosen::Detection(Duration::from_secs(5))]);
        let both = Goal { detection: Some(Duration::from_secs(3)), mistakes_per_day: Some(0.3), bytes_per_h: None };
        assert_eq!(both.loosen(&OFFERS), [Loosen::Detection(Duration::from_secs(5)), Loosen::Mistakes(2.0)]);
    }
}
