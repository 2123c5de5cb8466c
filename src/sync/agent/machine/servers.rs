//! Which of several gateways is tried next, and how long before: in random order, all of them before the wait grows.
//!
//! Separate because it is a rule of its own. After a failure another gateway is tried after one step of the back-off, however long
//! all have been away; only when all of a round have failed does the wait double. One that went away comes last in the next round.

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Which of the gateways, by its place in their list.
    pub server: usize,
    /// Puts the addresses of its name in an order.
    pub seed: u64,
}

/// The gateways of one agent.
#[derive(Clone, Debug)]
pub struct Servers {
    count: usize,
    generator: ChaCha8Rng,
    /// What is left of the round; the next is at the end.
    round: Vec<usize>,
    current: usize,
}

impl Servers {
    /// So many gateways, at least one.
    pub fn new(count: usize, seed: u64) -> Self {
        // Another row than that of the waits, which one gateway alone has always had.
        let generator = ChaCha8Rng::seed_from_u64(seed.rotate_left(32));
        let mut servers = Self { count: count.max(1), generator, round: Vec::new(), current: 0 };
        servers.begin();
        servers
    }

    /// Another list.
    pub fn replace(&mut self, count: usize) {
        self.count = count.max(1);
        self.begin();
    }

    /// The next to be tried.
    pub fn next(&mut self) -> Attempt {
        if self.round.is_empty() {
            self.begin();
        }
        self.current = self.round.pop().unwrap_or_default();
        Attempt { server: self.current, seed: self.generator.random() }
    }

    /// Whether all of the round have been tried: the wait may grow.
    pub fn is_exhausted(&self) -> bool {
        self.round.is_empty()
    }

    /// The present one was there and went away: the others are tried before it.
    pub fn lost(&mut self) {
        self.begin();
        let current = self.current;
        if let Some(at) = self.round.iter().position(|server| *server == current) {
            self.round.remove(at);
            self.round.insert(0, current);
        }
    }

    fn begin(&mut self) {
        self.round = (0..self.count).collect();
        self.round.shuffle(&mut self.generator);
    }
}

/// Puts addresses in the order in which one attempt tries them.
pub fn shuffle<T>(addresses: &mut [T], seed: u64) {
    addresses.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_tries_each_once_in_an_order_of_its_own() {
        let mut firsts = [0; 3];
        for seed in 0..300 {
            let mut servers = Servers::new(3, seed);
            let mut round: Vec<usize> = (0..3).map(|_| servers.next().server).collect();
            assert!(servers.is_exhausted());
            firsts[round[0]] += 1;
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
        assert!(firsts.iter().all(|count| *count > 60), "{firsts:?}");
    }

    #[test]
    fn one_that_went_away_is_the_last_of_the_next_round() {
        for seed in 0..50 {
            let mut servers = Servers::new(3, seed);
            let gone = servers.next().server;
            servers.lost();
            assert_eq!((0..3).map(|_| servers.next().server).last(), Some(gone));
        }
        let mut alone = Servers::new(1, 7);
        alone.next();
        alone.lost();
        assert!(!alone.is_exhausted() && alone.next().server == 0 && alone.is_exhausted());
    }

    #[test]
    fn a_shorter_list_has_no_places_of_the_longer_one() {
        let mut servers = Servers::new(5, 1);
        servers.replace(2);
        assert!((0..10).all(|_| servers.next().server < 2));
        let mut addresses: Vec<u32> = (0..8).collect();
        shuffle(&mut addresses, 3);
        let mut again: Vec<u32> = (0..8).collect();
        shuffle(&mut again, 3);
        assert_eq!(addresses, again);
        assert_ne!(addresses, (0..8).collect::<Vec<_>>());
    }
}
