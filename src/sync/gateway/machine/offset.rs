//! How far the clock of a node is from ours, and how well that is known.
//!
//! Separate because it is a formula (RFC 5905): with `t1` to `t4` of an exchange the offset is `((t2 - t1) + (t3 - t4)) / 2`
//! and the delay `(t4 - t1) - (t3 - t2)`; however the delay is shared between the two ways, the offset is wrong by half of it
//! at most. Of the last eight exchanges the one with the least delay counts, as in NTP's clock filter.

use std::collections::VecDeque;

use serde::Serialize;

use crate::sync::message::Exchange;

/// Exchanges remembered: the length of NTP's clock filter.
const REMEMBERED: usize = 8;

/// What clocks may drift apart over the exchanges that are remembered, and more: a smaller step is not seen as one.
const STEP_NS: u64 = 100_000_000;

/// An offset with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Offset {
    /// How far the clock of the gateway is ahead of that of the node; negative if it is behind.
    pub offset_ns: i64,
    /// Half the delay of the exchange: it cannot be more wrong than that.
    pub error_ns: u64,
}

/// The exchanges with one node.
#[derive(Clone, Debug, Default)]
pub struct ClockFilter {
    seen: VecDeque<(u64, i64)>,
}

impl ClockFilter {
    /// Takes an exchange; one that cannot have been so is left out.
    pub fn push(&mut self, exchange: Exchange) {
        let signed = |a: u64, b: u64| i128::from(a) - i128::from(b);
        let offset = (signed(exchange.t2, exchange.t1) + signed(exchange.t3, exchange.t4)) / 2;
        let delay = signed(exchange.t4, exchange.t1) - signed(exchange.t3, exchange.t2);
        let (Ok(offset), Ok(delay)) = (i64::try_from(offset), u64::try_from(delay)) else { return };
        // Two exchanges whose bounds exclude each other are of two times of a clock: it was set in between.
        let apart = |(other_delay, other): &(u64, i64)| offset.abs_diff(*other) > (delay + other_delay) / 2 + STEP_NS;
        if self.seen.iter().any(apart) {
            self.seen.clear();
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back((delay, offset));
    }

    /// The best that is known; `None` before the first exchange.
    pub fn offset(&self) -> Option<Offset> {
        let best = self.seen.iter().min_by_key(|(delay, _)| *delay);
        best.map(|(delay, offset)| Offset { offset_ns: *offset, error_ns: delay.div_ceil(2) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_exchange_counts_and_its_bound_holds() {
        let mut filter = ClockFilter::default();
        assert_eq!(filter.offset(), None);
        // The gateway is 1,000 ahead. The first exchange took 10 there and 90 back, the second 5 each way.
        filter.push(Exchange { t1: 0, t2: 1_010, t3: 1_020, t4: 110 });
        let first = filter.offset().unwrap();
        assert_eq!((first.offset_ns, first.error_ns), (960, 50));
        filter.push(Exchange { t1: 200, t2: 1_205, t3: 1_206, t4: 211 });
        assert_eq!(filter.offset(), Some(Offset { offset_ns: 1_000, error_ns: 5 }));
    }

    #[test]
    fn a_clock_that_was_set_counts_at_once() {
        let mut filter = ClockFilter::default();
        filter.push(Exchange { t1: 0, t2: 1_010, t3: 1_020, t4: 30 });
        // A day later by the clock of the gateway, and a slower exchange at that.
        let day = 86_400_000_000_000;
        filter.push(Exchange { t1: 100, t2: day + 1_200, t3: day + 1_200, t4: 300 });
        assert_eq!(filter.offset(), Some(Offset { offset_ns: day as i64 + 1_000, error_ns: 100 }));
    }

    #[test]
    fn what_cannot_have_been_is_left_out_and_old_exchanges_leave() {
        let mut filter = ClockFilter::default();
        filter.push(Exchange { t1: 100, t2: 0, t3: 500, t4: 110 });
        assert_eq!(filter.offset(), None);
        filter.push(Exchange { t1: 0, t2: 7, t3: 7, t4: 0 });
        for n in 0..8 {
            filter.push(Exchange { t1: n, t2: n + 30, t3: n + 30, t4: n + 20 });
        }
        assert_eq!(filter.offset(), Some(Offset { offset_ns: 20, error_ns: 10 }));
    }
}
