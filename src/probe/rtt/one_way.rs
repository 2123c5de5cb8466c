//! How long each direction takes in itself, where the two clocks are one, or as near as somebody vouches for.
//!
//! Separate because no exchange can tell it: an offset of the clocks and a longer way there look the same. It takes knowledge
//! from outside, of one kernel under both ends or of a bound on the clocks, and that knowledge stands beside the figures.

use std::time::Duration;

use super::exchange::Exchange;
use crate::load::Track;
use crate::model::{Outcome, WallStamp};

/// The label of what one host measured of itself.
const ONE_HOST: &str = "one_host";

/// Each direction's delay, while it grows.
#[derive(Clone, Debug, Default)]
pub struct OneWay {
    /// How far the clocks are apart at most, as the user says.
    stated: Option<Duration>,
    /// Whether both ends run on one kernel, as the far end said last.
    is_same_host: bool,
    forward: Track,
    backward: Track,
}

impl OneWay {
    /// The two clocks differ by no more than this, says the user.
    pub const fn trust(&mut self, bound: Duration) {
        self.stated = Some(bound);
    }

    /// The far end compared the kernels. Where its answer changes there is another far end: what was known is of the old one.
    pub fn hear(&mut self, is_same_host: bool) {
        if is_same_host != self.is_same_host {
            *self = Self { stated: self.stated, is_same_host, ..Self::default() };
        }
    }

    /// Takes an exchange, unless nothing is known of the clocks; `network_ns` tells whether its stamps are in order.
    pub fn record(&mut self, ordinal: u64, exchange: &Exchange, network_ns: Result<u64, &'static str>) {
        if !self.is_same_host && self.stated.is_none() {
            return;
        }
        let stamps = network_ns.and_then(|_| exchange.four_stamps().ok_or("no_far_stamps"));
        let ways = [
            (&mut self.forward, stamps.and_then(|stamps| span(stamps.sent, stamps.far_received))),
            (&mut self.backward, stamps.and_then(|stamps| span(stamps.far_sent, stamps.received))),
        ];
        for (track, span_ns) in ways {
            match span_ns {
                Ok(span_ns) => track.record(ordinal, Outcome::Ok, span_ns),
                Err(kind) => track.record(ordinal, Outcome::Failed(kind), 0),
            }
        }
    }

    /// Both directions, and how far the clocks are apart at most; `None` where nothing is known of them.
    pub fn into_tracks(self) -> Option<(String, [(&'static str, Track); 2])> {
        let bound = match (self.is_same_host, self.stated) {
            (true, _) => ONE_HOST.to_owned(),
            (false, stated) => format!("{:?}", stated?),
        };
        Some((bound, [("forward", self.forward), ("backward", self.backward)]))
    }

    /// The bound that the user stated, where nothing better is known.
    pub const fn stated(&self) -> Option<Duration> {
        if self.is_same_host { None } else { self.stated }
    }
}

/// A message cannot come before it was sent: then the clocks are further apart than the way is long.
fn span(sent: WallStamp, received: WallStamp) -> Result<u64, &'static str> {
    received.nanos_since(sent).ok_or("negative")
}

#[cfg(test)]
mod tests {
    use super::super::exchange::CardStamps;
    use super::*;
    use crate::echo::Epoch;
    use crate::model::Stamp;

    /// An exchange of 30 there and 10 back, with a far clock that is `ahead`.
    fn exchange(ahead: u64) -> Exchange {
        let at = WallStamp::from_nanos;
        Exchange {
            sequence: 1,
            started: Stamp::from_nanos(0),
            set_out: WallStamp::from_nanos(0),
            ended: Some(Stamp::from_nanos(100)),
            sent: Some(at(1_000)),
            far: Some((at(1_030 + ahead), at(1_050 + ahead))),
            received: Some(at(1_060)),
            card: CardStamps::default(),
            is_steady: true,
            epoch: (0, Epoch::default()),
        }
    }

    fn figures(one_way: &OneWay) -> Option<(String, [(u64, u64); 2])> {
        let (bound, ways) = one_way.clone().into_tracks()?;
        let of = |track: Track| {
            let series = track.into_series(String::new(), crate::model::Labels::new());
            (series.counts.failed_count, series.summary.max_ns.unwrap_or(0))
        };
        Some((bound, ways.map(|(_, track)| of(track))))
    }

    #[test]
    fn nothing_is_told_of_clocks_that_nobody_vouches_for() {
        let mut one_way = OneWay::default();
        one_way.hear(false);
        one_way.record(0, &exchange(0), Ok(40));
        assert_eq!(figures(&one_way), None);
    }

    #[test]
    fn one_kernel_needs_no_bound_and_another_far_end_begins_anew() {
        let mut one_way = OneWay::default();
        one_way.hear(true);
        one_way.record(0, &exchange(0), Ok(40));
        assert_eq!(figures(&one_way), Some(("one_host".to_owned(), [(0, 30), (0, 10)])));
        one_way.hear(false);
        assert_eq!(figures(&one_way), None);
    }

    #[test]
    fn a_stated_bound_stands_beside_and_what_cannot_be_is_counted() {
        let mut one_way = OneWay::default();
        one_way.trust(Duration::from_micros(100));
        one_way.record(0, &exchange(15), Ok(40));
        one_way.record(1, &exchange(0), Err("clock_step"));
        assert_eq!(figures(&one_way), Some(("100µs".to_owned(), [(1, 45), (2, 0)])));
    }
}
