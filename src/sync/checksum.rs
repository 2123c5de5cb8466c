//! A checksum of all that an agent and the gateway should agree on, kept up to date in constant time.
//!
//! Separate because both sides compute it, each from its own memory. It covers the tasks of a node that are not over: one
//! that is over is sent once, and may then be forgotten on either side at different times. It is the sum, modulo 2^64, of
//! the first eight bytes of the SHA-256 of `task_id NUL status NUL version` of each task, so that order does not count and
//! a change costs two hashes however many tasks there are.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::record::Status;

/// The checksum of a set of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSum(u64);

impl StateSum {
    /// The checksum of no task at all.
    #[must_use]
    pub const fn zero() -> Self {
        Self(0)
    }

    /// Adds a task; one that is over does not count.
    pub fn add(&mut self, task_id: &str, status: Status, version: u64) {
        self.0 = self.0.wrapping_add(weight(task_id, status, version));
    }

    /// Takes out a task that was added with these very values.
    pub fn remove(&mut self, task_id: &str, status: Status, version: u64) {
        self.0 = self.0.wrapping_sub(weight(task_id, status, version));
    }

    /// Whether this is its text: once for each heartbeat, and so without writing it.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        text.len() == 16 && u64::from_str_radix(text, 16) == Ok(self.0)
    }
}

impl fmt::Display for StateSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn weight(task_id: &str, status: Status, version: u64) -> u64 {
    if status.is_final() {
        return 0;
    }
    let hash = Sha256::new()
        .chain_update(task_id)
        .chain_update([0])
        .chain_update(status.name())
        .chain_update([0])
        .chain_update(version.to_string())
        .finalize();
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_what_is_taken_out_leaves_no_trace() {
        let (mut a, mut b) = (StateSum::default(), StateSum::default());
        a.add("x", Status::Running, 1);
        a.add("y", Status::Pending, 2);
        b.add("y", Status::Pending, 2);
        b.add("gone", Status::Running, 9);
        b.add("x", Status::Running, 1);
        assert_ne!(a, b);
        assert!(a.is(&a.to_string()) && !a.is(&b.to_string()) && !a.is("") && !a.is(&format!("0{a}")));
        b.remove("gone", Status::Running, 9);
        b.add("over", Status::Completed, 10);
        assert_eq!(a.to_string(), b.to_string());
    }

    #[test]
    fn every_part_counts_and_the_text_is_fixed() {
        let of = |id, status, version| {
            let mut sum = StateSum::default();
            sum.add(id, status, version);
            sum.to_string()
        };
        // The first 16 digits of: printf 'task-1\0running\0007' | sha256sum
        assert_eq!(of("task-1", Status::Running, 7), "1ac1f74e7838b9e0");
        let all = [
            ("a", Status::Running, 1),
            ("b", Status::Running, 1),
            ("a", Status::Unknown, 1),
            ("a", Status::Running, 2),
        ];
        let texts: std::collections::BTreeSet<String> = all.into_iter().map(|(id, s, v)| of(id, s, v)).collect();
        assert_eq!(texts.len(), all.len());
    }
}
