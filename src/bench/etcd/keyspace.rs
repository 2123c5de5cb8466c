//! The keys of a run: all of one size, all below one random prefix, numbered from 0.
//!
//! Separate because everything that is written must be found again to be removed, and nothing else may be touched.

use bytes::Bytes;

/// What every prefix of ours begins with, so that a person who finds one knows whose it is.
pub const MARK: &[u8] = b"ofl-";

/// Random digits of a prefix: 36^6 are two thousand million.
const RANDOM_DIGITS: usize = 6;

/// Bytes of the prefix, its closing slash included.
pub const PREFIX_SIZE: usize = MARK.len() + RANDOM_DIGITS + 1;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// All keys of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    prefix: Vec<u8>,
    key_size: usize,
    count: u64,
    seed: u64,
}

impl Keyspace {
    /// `count` keys of `key_size` bytes below a prefix that `random` decides; `seed` decides the order of the keys.
    #[must_use]
    pub fn new(key_size: usize, count: u64, seed: u64, random: u64) -> Self {
        let mut prefix = MARK.to_vec();
        write_number(&mut prefix, RANDOM_DIGITS, random);
        prefix.push(b'/');
        Self { prefix, key_size, count, seed }
    }

    /// The smallest key size that has room for so many keys.
    #[must_use]
    pub const fn smallest_key_size(count: u64) -> usize {
        let (mut room, mut digits) = (36_u64, 1);
        while room < count {
            room = room.saturating_mul(36);
            digits += 1;
        }
        PREFIX_SIZE + digits
    }

    /// What all keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The random digits of the prefix.
    #[must_use]
    pub fn digits(&self) -> &[u8] {
        &self.prefix[MARK.len()..MARK.len() + RANDOM_DIGITS]
    }

    /// Whether these may be such digits.
    #[must_use]
    pub fn are_digits(text: &[u8]) -> bool {
        text.len() == RANDOM_DIGITS && text.iter().all(|digit| DIGITS.contains(digit))
    }

    /// The prefix as text.
    #[must_use]
    pub fn prefix_text(&self) -> String {
        String::from_utf8_lossy(&self.prefix).into_owned()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Key number `number`, taken around where there are fewer.
    #[must_use]
    pub fn key(&self, number: u64) -> Bytes {
        let mut key = Vec::with_capacity(self.key_size);
        key.extend_from_slice(&self.prefix);
        write_number(&mut key, self.key_size - self.prefix.len(), number % self.count);
        key.into()
    }

    /// The number of the key of attempt `attempt`: all keys are as likely, in an order that the seed decides.
    #[must_use]
    pub const fn number_of(&self, attempt: u64) -> u64 {
        // The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a permutation that leaves no pattern.
        let mut z = self.seed.wrapping_add(attempt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % self.count
    }
}

/// Writes the low digits of a number to base 36, with zeros in front.
fn write_number(to: &mut Vec<u8>, digits: usize, mut number: u64) {
    let from = to.len();
    to.resize(from + digits, b'0');
    for digit in to[from..].iter_mut().rev() {
        *digit = DIGITS[(number % 36) as usize];
        number /= 36;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_have_their_size_and_are_all_different() {
        let keys = Keyspace::new(16, 1000, 1, 99);
        assert_eq!(keys.prefix_text(), "ofl-00002r/");
        assert!(keys.digits() == b"00002r" && Keyspace::are_digits(keys.digits()) && !Keyspace::are_digits(b"owner/"));
        let all: BTreeSet<Bytes> = (0..1000).map(|n| keys.key(n)).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|key| key.len() == 16 && key.starts_with(keys.prefix())));
        assert_eq!(keys.key(1000), keys.key(0));
    }

    #[test]
    fn a_key_has_room_for_its_number() {
        assert_eq!([1, 36, 37, 1296, 1297].map(Keyspace::smallest_key_size), [12, 12, 13, 13, 14]);
        let keys = Keyspace::new(Keyspace::smallest_key_size(1297), 1297, 1, 0);
        assert_eq!((0..1297).map(|n| keys.key(n)).collect::<BTreeSet<_>>().len(), 1297);
    }

    #[test]
    fn the_seed_decides_which_keys_come_when() {
        let order = |seed| (0..100).map(|n| Keyspace::new(16, 50, seed, 0).number_of(n)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_eq!(order(1).iter().filter(|n| **n >= 50).count(), 0);
    }
}
