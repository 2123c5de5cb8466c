//! How much one node may send: a bucket of messages that fills at a steady rate.
//!
//! Separate because it is arithmetic. Pure: time is an argument.

use crate::model::Stamp;

/// A bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Messages a second.
    per_s: u32,
    /// In billionths of a message: nanoseconds times messages a second.
    level: u64,
    last: Stamp,
}

/// A message in the units of a bucket.
const MESSAGE: u64 = 1_000_000_000;

impl Bucket {
    /// A full bucket, which holds what comes in within a second.
    #[must_use]
    pub const fn new(per_s: u32, now: Stamp) -> Self {
        Self { per_s, level: per_s as u64 * MESSAGE, last: now }
    }

    /// Takes so many messages out; false if there are not as many in it.
    pub fn take(&mut self, now: Stamp, messages: u64) -> bool {
        let full = u64::from(self.per_s) * MESSAGE;
        let fresh = now.nanos_since(self.last).saturating_mul(u64::from(self.per_s));
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

    #[test]
    fn a_second_is_held_and_no_more_and_it_fills_steadily() {
        let at = |ms: u64| Stamp::from_nanos(ms * 1_000_000);
        let mut bucket = Bucket::new(10, at(0));
        assert!((0..10).all(|_| bucket.take(at(0), 1)));
        assert!(!bucket.take(at(99), 1));
        assert!(bucket.take(at(100), 1));
        assert!(!bucket.take(at(100), 1));
        assert!((0..10).all(|_| bucket.take(at(60_000), 1)) && !bucket.take(at(60_000), 1));
        assert!(bucket.take(at(62_000), 1_000) && !bucket.take(at(62_050), 1));
    }
}
