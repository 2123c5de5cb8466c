//! A link as a pure machine: (message, now) -> when to let it go.
//!
//! Each exchange draws one round-trip delay; half of it is applied on the way there, half on the way back. Order is kept
//! (FIFO), as TCP and one network path keep it: a short delay behind a long one waits. Bandwidth makes messages queue.
//! Where nobody knows what is an answer to what, it is taken to be one to what has arrived last.

use std::collections::VecDeque;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Bernoulli, Distribution as _};

use super::{FitError, RoundTrips};
use crate::model::{LinkProfile, Stamp};

/// What a stream waits for a lost segment: Linux's smallest retransmission timeout (TCP_RTO_MIN).
const RETRANSMISSION_NS: u64 = 200_000_000;

/// Exchanges under way beyond which the oldest is forgotten; its answer would draw a delay of its own.
const UNDER_WAY_LIMIT: usize = 65_536;

/// Both directions of one link.
#[derive(Debug)]
pub struct Link {
    round_trips: RoundTrips,
    losses: Option<(ChaCha8Rng, Bernoulli)>,
    /// Whether lost messages are sent again, as a stream does, or are gone.
    stream: bool,
    there: Direction,
    back: Direction,
    under_way: VecDeque<Exchange>,
    under_way_limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    half_ns: u64,
    /// Delay that was applied on the way there.
    applied_ns: u64,
    /// When it arrives at the far end.
    arrives: Stamp,
}

/// What one direction has promised so far.
#[derive(Clone, Copy, Debug)]
struct Direction {
    wire: Wire,
    last_release: Stamp,
}

/// What one direction can carry: every message occupies it for as long as its bits take.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    bits_per_s: Option<u64>,
    busy_until: Stamp,
}

impl Link {
    /// A link of this profile; streams retransmit, datagrams are lost.
    ///
    /// # Errors
    /// When no delay process has the profile's figures.
    pub fn new(profile: &LinkProfile, stream: bool, seed: u64, number: u64) -> Result<Self, FitError> {
        let wire = Wire::new(profile.bandwidth_bits_per_s);
        let idle = Direction { wire, last_release: Stamp::from_nanos(0) };
        let losses = Bernoulli::new(profile.loss_ratio).ok().filter(|_| profile.loss_ratio > 0.0).map(|bernoulli| {
            let mut generator = ChaCha8Rng::seed_from_u64(!seed);
            generator.set_stream(number);
            (generator, bernoulli)
        });
        Ok(Self {
            round_trips: RoundTrips::fit(profile, seed, number)?,
            losses,
            stream,
            there: idle,
            back: idle,
            under_way: VecDeque::new(),
            under_way_limit: UNDER_WAY_LIMIT,
        })
    }

    /// The same link that remembers fewer exchanges under way, where there are many links and not every message is answered.
    #[must_use]
    pub const fn remembering(mut self, exchanges: usize) -> Self {
        self.under_way_limit = exchanges;
        self
    }

    /// A message sets out at `now`: when it arrives at the far end, or `None` if it is lost.
    pub fn forward(&mut self, bytes: usize, now: Stamp) -> Option<Stamp> {
        let half_ns = self.round_trips.draw() / 2;
        let extra = self.lose()?;
        let release = self.there.pass(bytes, now, Duration::from_nanos(half_ns + extra));
        if self.under_way.len() >= self.under_way_limit {
            self.under_way.pop_front();
        }
        self.under_way.push_back(Exchange { half_ns, applied_ns: release.nanos_since(now), arrives: release });
        Some(release)
    }

    /// The far end did not answer the oldest message under way.
    pub fn unanswered(&mut self) {
        self.under_way.pop_front();
    }

    /// The answer to the oldest message under way sets out at `now`: when it arrives, and the delay that was applied to
    /// the exchange in both directions; `None` if it is lost.
    pub fn backward(&mut self, bytes: usize, now: Stamp) -> Option<(Stamp, u64)> {
        let exchange = self.under_way.pop_front();
        let applied_ns = exchange.map_or(0, |exchange| exchange.applied_ns);
        let release = self.pass_back(exchange, bytes, now)?;
        Some((release, applied_ns + release.nanos_since(now)))
    }

    /// What came out of the far end at `came` sets out at `now`: when it arrives; `None` if it is lost.
    ///
    /// It has the delay of what had arrived there last, as what it answers has; if that has been answered, or nothing had
    /// arrived, a delay of its own. So what nobody answers, and what is answered in one, spoils no exchange after it.
    pub fn backward_from(&mut self, came: Stamp, bytes: usize, now: Stamp) -> Option<Stamp> {
        let arrived = self.under_way.partition_point(|exchange| exchange.arrives <= came);
        let latest = self.under_way.range(..arrived).next_back().map(|exchange| exchange.arrives);
        let answered = latest.and_then(|latest| {
            // Those that arrived together are answered in their order.
            let passed = self.under_way.partition_point(|exchange| exchange.arrives < latest);
            self.under_way.drain(..passed);
            self.under_way.pop_front()
        });
        self.pass_back(answered, bytes, now)
    }

    fn pass_back(&mut self, answered: Option<Exchange>, bytes: usize, now: Stamp) -> Option<Stamp> {
        let half_ns = answered.map_or_else(|| self.round_trips.draw() / 2, |exchange| exchange.half_ns);
        let extra = self.lose()?;
        Some(self.back.pass(bytes, now, Duration::from_nanos(half_ns + extra)))
    }

    /// Extra delay of a lost segment in a stream, 0 for one that passes, `None` for a datagram that is gone.
    fn lose(&mut self) -> Option<u64> {
        let lost = self.losses.as_mut().is_some_and(|(generator, bernoulli)| bernoulli.sample(generator));
        match (lost, self.stream) {
            (false, _) => Some(0),
            (true, true) => Some(RETRANSMISSION_NS),
            (true, false) => None,
        }
    }
}

impl Direction {
    fn pass(&mut self, bytes: usize, now: Stamp, delay: Duration) -> Stamp {
        self.last_release = self.last_release.max(self.wire.carry(bytes, now) + delay);
        self.last_release
    }
}

impl Wire {
    /// An idle one; `None` carries everything at once.
    #[must_use]
    pub const fn new(bits_per_s: Option<u64>) -> Self {
        Self { bits_per_s, busy_until: Stamp::from_nanos(0) }
    }

    /// A message is put on it at `now`, behind what is on it already: when its last bit is.
    pub fn carry(&mut self, bytes: usize, now: Stamp) -> Stamp {
        let bits = bytes as u64 * 8;
        let transmission = self.bits_per_s.map_or(Duration::ZERO, |bits_per_s| {
            Duration::from_nanos(bits.saturating_mul(1_000_000_000) / bits_per_s.max(1))
        });
        self.busy_until = self.busy_until.max(now) + transmission;
        self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topo::BUILT_IN;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn constant(rtt_ms: u64, loss_ratio: f64, bandwidth: Option<u64>) -> LinkProfile {
        let ns = rtt_ms * 1_000_000;
        LinkProfile { rtt_mean_ns: ns, rtt_p95_ns: ns, jitter_ns: 0, loss_ratio, bandwidth_bits_per_s: bandwidth }
    }

    #[test]
    fn half_there_half_back() {
        let mut link = Link::new(&constant(10, 0.0, None), true, 1, 0).unwrap();
        assert_eq!(link.forward(72, at(100)), Some(at(105)));
        assert_eq!(link.backward(72, at(106)), Some((at(111), 10_000_000)));
    }

    #[test]
    fn an_answer_has_the_delay_of_what_it_answers_also_after_something_that_was_not_answered() {
        let new = || Link::new(&BUILT_IN[0].link(), true, 3, 0).unwrap();
        let (mut known, mut unknown, mut now) = (new(), new(), at(0));
        // A connection is made; nobody answers that, and the next exchange is not the later for it.
        for link in [&mut known, &mut unknown] {
            now = link.forward(0, at(0)).unwrap();
        }
        known.unanswered();
        for _ in 0..1_000 {
            let [arrived, also] = [&mut known, &mut unknown].map(|link| link.forward(72, now).unwrap());
            let (back, _) = known.backward(72, arrived).unwrap();
            assert_eq!((also, unknown.backward_from(arrived, 72, arrived)), (arrived, Some(back)));
            now = back;
        }
    }

    #[test]
    fn what_arrived_together_is_answered_in_its_order_and_what_was_answered_already_draws_anew() {
        let mut link = Link::new(&constant(10, 0.0, None), true, 1, 0).unwrap();
        assert_eq!(
            (link.forward(72, at(0)), link.forward(72, at(0)), link.forward(72, at(9))),
            (Some(at(5)), Some(at(5)), Some(at(14)))
        );
        let mut left = |came| {
            assert_eq!(link.backward_from(at(came), 72, at(came)), Some(at(came + 5)));
            link.under_way.len()
        };
        assert_eq!(left(4), 3, "nothing has arrived that it could be an answer to");
        assert_eq!((left(5), left(6), left(7)), (2, 1, 1));
        assert_eq!((left(14), left(15)), (0, 0));
    }

    #[test]
    fn a_narrow_link_makes_messages_queue() {
        // 1,000 bytes at 8 Mbit/s take 1 ms each.
        let mut link = Link::new(&constant(10, 0.0, Some(8_000_000)), true, 1, 0).unwrap();
        assert_eq!(link.forward(1000, at(0)), Some(at(6)));
        assert_eq!(link.forward(1000, at(0)), Some(at(7)));
    }

    #[test]
    fn a_stream_waits_for_what_a_datagram_loses() {
        let certain = constant(10, 1.0, None);
        assert_eq!(Link::new(&certain, false, 1, 0).unwrap().forward(72, at(0)), None);
        assert_eq!(Link::new(&certain, true, 1, 0).unwrap().forward(72, at(0)), Some(at(205)));
    }

    proptest! {
        #[test]
        fn order_is_kept_and_nothing_is_early(seed: u64, gaps in prop::collection::vec(0u64..40, 1..200)) {
            let mut link = Link::new(&BUILT_IN[1].link(), true, seed, 0).unwrap();
            let (mut now, mut last) = (0, at(0));
            for gap in gaps {
                now += gap;
                let release = link.forward(72, at(now)).unwrap();
                prop_assert!(release >= last && release >= at(now));
                last = release;
            }
        }
    }
}
