//! What happens to a heartbeat on its way: delay, loss, duplication.
//!
//! Losses are independent, or in bursts after Gilbert and Elliott (Gilbert, "Capacity of a burst-noise channel", Bell
//! System Technical Journal 39, 1960; Elliott, ibid. 42, 1963): a good and a bad state, each with its own loss, left with a
//! probability per message. In the long run a message finds the bad state with `worsen / (worsen + recover)`, and a stay in
//! it lasts `1 / recover` messages in the mean. So where all is lost in the bad state and nothing in the good one, a loss `q`
//! in bursts of mean length `b` is `recover = 1 / b` and `worsen = recover * q / (1 - q)`. Order is not kept, as datagrams do not keep it, unless the link says so: then nothing
//! arrives before what was sent earlier, as on one TCP connection.

use rand::Rng as _;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// One-way delay.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Constant {
        /// Nanoseconds.
        ns: u64,
    },
    /// Normal, never below zero.
    Normal {
        /// Nanoseconds.
        mean_ns: f64,
        /// Nanoseconds.
        deviation_ns: f64,
    },
    /// Log-normal: `exp(mu + sigma Z)` nanoseconds.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Deviation of the logarithm.
        sigma: f64,
    },
    /// One of these, each as likely: what a measurement saw.
    Drawn {
        /// Nanoseconds, at least one value.
        ns: Vec<u64>,
    },
}

/// How messages are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None is.
    #[default]
    Never,
    /// Each with this probability.
    Independent(f64),
    /// In bursts.
    Burst(Burst),
}

/// The four probabilities of Gilbert and Elliott, all per message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// From good to bad.
    pub worsen: f64,
    /// From bad to good.
    pub recover: f64,
    /// Loss while good.
    pub loss_good: f64,
    /// Loss while bad.
    pub loss_bad: f64,
}

impl Burst {
    /// Bursts of this mean length, in which all is lost, and this share of all messages in them; `None` where there is no
    /// such link: bursts are one message long at least, and what is between two of them is too.
    #[must_use]
    pub fn of_mean(loss: f64, length: f64) -> Option<Self> {
        let recover = 1.0 / length;
        let worsen = recover * loss / (1.0 - loss);
        let is_possible = length >= 1.0 && loss > 0.0 && loss < 1.0 && worsen <= 1.0;
        is_possible.then_some(Self { worsen, recover, loss_good: 0.0, loss_bad: 1.0 })
    }

    /// How much of a state is left after one more message: how far two messages are of one fate falls with this power.
    #[must_use]
    pub fn memory(&self) -> f64 {
        1.0 - self.worsen - self.recover
    }
}

/// A link as it is meant.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSpec {
    /// Delay of each message.
    pub delay: Delay,
    /// Loss.
    pub loss: Loss,
    /// Probability that a message arrives twice, the second time with a delay of its own.
    pub duplicate: f64,
    /// Whether messages arrive in the order in which they were sent.
    pub in_order: bool,
}

impl LinkSpec {
    /// A link that does nothing.
    #[must_use]
    pub const fn ideal() -> Self {
        Self { delay: Delay::Constant { ns: 0 }, loss: Loss::Never, duplicate: 0.0, in_order: true }
    }
}

/// What a link remembers between messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkState {
    is_bad: bool,
    /// When the last message that keeps its order arrives.
    last_arrival: u64,
}

impl LinkState {
    /// A link as somebody finds it who comes at any time: in the bad state as often as it is in the long run.
    pub fn found(loss: Loss, random: &mut ChaCha8Rng) -> Self {
        let is_bad = match loss {
            Loss::Never | Loss::Independent(_) => false,
            Loss::Burst(burst) => random.random::<f64>() * (burst.worsen + burst.recover) < burst.worsen,
        };
        Self { is_bad, ..Self::default() }
    }

    /// When a message that is sent now arrives: never, once, or twice.
    pub fn send(&mut self, spec: &LinkSpec, now: u64, random: &mut ChaCha8Rng) -> (Option<u64>, Option<u64>) {
        if self.loses(spec.loss, random) {
            return (None, None);
        }
        let first = self.arrival(spec, now, random);
        let again = spec.duplicate > 0.0 && random.random::<f64>() < spec.duplicate;
        (Some(first), again.then(|| self.arrival(spec, now, random)))
    }

    fn loses(&mut self, loss: Loss, random: &mut ChaCha8Rng) -> bool {
        match loss {
            Loss::Never => false,
            Loss::Independent(share) => random.random::<f64>() < share,
            Loss::Burst(burst) => {
                let leave = if self.is_bad { burst.recover } else { burst.worsen };
                self.is_bad ^= random.random::<f64>() < leave;
                random.random::<f64>() < if self.is_bad { burst.loss_bad } else { burst.loss_good }
            }
        }
    }

    fn arrival(&mut self, spec: &LinkSpec, now: u64, random: &mut ChaCha8Rng) -> u64 {
        let arrival = now + spec.delay.draw(random);
        if !spec.in_order {
            return arrival;
        }
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }
}

impl Delay {
    /// One delay in nanoseconds.
    pub fn draw(&self, random: &mut ChaCha8Rng) -> u64 {
        let normal = |random: &mut ChaCha8Rng| -> f64 { StandardNormal.sample(random) };
        match self {
            Self::Constant { ns } => *ns,
            Self::Normal { mean_ns, deviation_ns } => (mean_ns + deviation_ns * normal(random)).max(0.0) as u64,
            // The platform's own exp differs between machines in its last digit; this one does not.
            Self::LogNormal { mu, sigma } => libm::exp(mu + sigma * normal(random)) as u64,
            Self::Drawn { ns } if ns.is_empty() => 0,
            Self::Drawn { ns } => ns[(random.next_u64() % ns.len() as u64) as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn lost_share(loss: Loss) -> (f64, usize) {
        let spec = LinkSpec { loss, ..LinkSpec::ideal() };
        let (mut state, mut random) = (LinkState::default(), ChaCha8Rng::seed_from_u64(7));
        let lost: Vec<bool> = (0..1_000_000).map(|n| state.send(&spec, n, &mut random).0.is_none()).collect();
        let longest = lost.split(|lost| !lost).map(<[bool]>::len).max().unwrap();
        (lost.iter().filter(|lost| **lost).count() as f64 / lost.len() as f64, longest)
    }

    #[test]
    fn bursts_lose_as_much_as_they_say_but_together() {
        let (independent, short) = lost_share(Loss::Independent(0.02));
        // In the bad state for 1 of 50 messages (0.002 / 0.1), in spells of ten.
        let (bursty, long) =
            lost_share(Loss::Burst(Burst { worsen: 0.002, recover: 0.1, loss_good: 0.0, loss_bad: 1.0 }));
        assert!((independent - 0.02).abs() < 0.001 && (bursty - 0.0196).abs() < 0.002, "{independent} {bursty}");
        assert!(short < 6 && long > 30, "{short} {long}");
    }

    #[test]
    fn a_mean_loss_in_bursts_of_a_mean_length() {
        for (loss, length) in [(0.01, 5.0), (0.2, 2.0), (0.6, 30.0), (0.05, 1.0)] {
            let burst = Burst::of_mean(loss, length).unwrap();
            let spec = LinkSpec { loss: Loss::Burst(burst), ..LinkSpec::ideal() };
            let (mut state, mut random) = (LinkState::default(), ChaCha8Rng::seed_from_u64(5));
            let lost: Vec<bool> = (0..1_000_000).map(|n| state.send(&spec, n, &mut random).0.is_none()).collect();
            let count = lost.iter().filter(|lost| **lost).count() as f64;
            let bursts = lost.split(|lost| !lost).filter(|burst| !burst.is_empty()).count() as f64;
            let (seen_loss, seen_length) = (count / lost.len() as f64, count / bursts);
            assert!((seen_loss / loss - 1.0).abs() < 0.08, "{loss}: {seen_loss}");
            assert!((seen_length / length - 1.0).abs() < 0.08, "{length}: {seen_length}");
            let found = (0..100_000).filter(|_| LinkState::found(spec.loss, &mut random).is_bad).count() as f64;
            assert!((found / 1e5 / loss - 1.0).abs() < 0.1, "{loss}: {found} found bad");
        }
        let impossible = [(0.01, 0.5), (0.0, 5.0), (1.0, 5.0), (0.9, 5.0), (f64::NAN, 5.0), (0.1, f64::NAN)];
        assert_eq!(impossible.map(|(loss, length)| Burst::of_mean(loss, length)), [None; 6]);
    }

    #[test]
    fn delays_have_their_mean_and_order_is_kept_where_it_is_asked_for() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mean = |delay: Delay, random: &mut ChaCha8Rng| {
            (0..100_000).map(|_| delay.draw(random) as f64).sum::<f64>() / 100_000.0
        };
        let normal = mean(Delay::Normal { mean_ns: 5e6, deviation_ns: 1e6 }, &mut random);
        let log_normal = mean(Delay::LogNormal { mu: 15.0, sigma: 0.5 }, &mut random);
        assert!((normal / 5e6 - 1.0).abs() < 0.01, "{normal}");
        assert!((log_normal / libm::exp(15.125) - 1.0).abs() < 0.01, "{log_normal}");
        let spec = LinkSpec { delay: Delay::Drawn { ns: vec![9, 1] }, ..LinkSpec::ideal() };
        let mut state = LinkState::default();
        let arrivals: Vec<u64> = (0..100).filter_map(|n| state.send(&spec, n, &mut random).0).collect();
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn a_duplicate_arrives_twice() {
        let spec = LinkSpec { duplicate: 1.0, ..LinkSpec::ideal() };
        let sent = LinkState::default().send(&spec, 5, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(sent, (Some(5), Some(5)));
    }
}
