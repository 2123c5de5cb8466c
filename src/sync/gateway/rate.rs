//! How much one node may send and one reader ask: buckets of messages that fill at a steady rate.
//!
//! Separate because it is arithmetic. Pure: time is an argument. Heartbeats have a bucket of their own, so that a node which
//! has much to tell is not refused its sign of life.

use std::collections::HashMap;

use crate::model::Stamp;

/// What a bucket is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signs of life.
    Heartbeat,
    /// Reports, states, goodbyes.
    Report,
    /// Requests that only read.
    Read,
}

/// The buckets of everybody.
#[derive(Debug)]
pub struct Shares {
    /// Messages a second, of each kind.
    per_s: u32,
    of: HashMap<String, [Bucket; 3]>,
}

/// A bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In billionths of a message: nanoseconds times messages a second.
    level: u64,
    last: Stamp,
}

/// A message in the units of a bucket.
const MESSAGE: u64 = 1_000_000_000;

impl Shares {
    /// Nobody has a bucket yet.
    #[must_use]
    pub fn new(per_s: u32) -> Self {
        Self { per_s, of: HashMap::new() }
    }

    /// Messages of one kind that one name may send in a second.
    #[must_use]
    pub const fn per_s(&self) -> u32 {
        self.per_s
    }

    /// Takes so many messages out of a bucket; false if there are not as many in it.
    pub fn take(&mut self, now: Stamp, name: &str, kind: Kind, messages: u64) -> bool {
        let full = u64::from(self.per_s) * MESSAGE;
        if !self.of.contains_key(name) {
            // A full one holds what comes in within a second.
            self.of.insert(name.to_owned(), [Bucket { level: full, last: now }; 3]);
        }
        let Some(buckets) = self.of.get_mut(name) else { return false };
        buckets[kind as usize].take(now, messages, self.per_s)
    }
}

impl Bucket {
    fn take(&mut self, now: Stamp, messages: u64, per_s: u32) -> bool {
        let full = u64::from(per_s) * MESSAGE;
        let fresh = now.nanos_since(self.last).saturating_mul(u64::from(per_s));
        self.level = self.level.saturating_add(fresh).min(full);
        self.last = now;
        // More than the bucket ever holds empties it, so that a long batch passes once in a while.
        let wanted = messages.saturating_mul(MESSAGE).min(full);
        if self.level < wanted {
            return false;
        }
        self.level -= wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_second_is_held_and_no_more_and_it_fills_steadily() {
        let mut shares = Shares::new(10);
        let mut take = |ms, messages| shares.take(at(ms), "n", Kind::Report, messages);
        assert!((0..10).all(|_| take(0, 1)));
        assert!(!take(99, 1));
        assert!(take(100, 1));
        assert!(!take(100, 1));
        assert!((0..10).all(|_| take(60_000, 1)) && !take(60_000, 1));
        assert!(take(62_000, 1_000) && !take(62_050, 1));
    }

    #[test]
    fn who_told_much_may_still_give_a_sign_of_life_and_delays_nobody_else() {
        let mut shares = Shares::new(10);
        assert!(shares.take(at(0), "n", Kind::Report, 10) && !shares.take(at(0), "n", Kind::Report, 1));
        assert!(shares.take(at(0), "n", Kind::Heartbeat, 1) && shares.take(at(0), "n", Kind::Read, 1));
        assert!(shares.take(at(0), "m", Kind::Report, 1));
    }
}
