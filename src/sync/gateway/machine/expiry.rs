//! What is no longer kept after a while, by when that is.
//!
//! Separate because it is a queue and knows neither tasks nor nodes. Each entry has the revision of the record that it is
//! about: what is written anew leaves the queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Stamp;

/// A queue of names.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    due: BTreeSet<(Stamp, u64)>,
    of: BTreeMap<u64, (Stamp, String)>,
}

impl Expiry {
    /// The record of this revision, of something of that name, is kept until then.
    pub fn insert(&mut self, revision: u64, until: Stamp, id: String) {
        self.remove(revision);
        self.due.insert((until, revision));
        self.of.insert(revision, (until, id));
    }

    /// The record of this revision is no longer the newest.
    pub fn remove(&mut self, revision: u64) {
        if let Some((until, _)) = self.of.remove(&revision) {
            self.due.remove(&(until, revision));
        }
    }

    /// When the first is due.
    pub fn next(&self) -> Option<Stamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Takes the first that is due, with its revision.
    pub fn pop(&mut self, now: Stamp) -> Option<(u64, String)> {
        let (_, revision) = self.due.first().filter(|(until, _)| *until <= now).copied()?;
        self.due.pop_first();
        Some((revision, self.of.remove(&revision)?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_what_was_written_anew_does_not_come() {
        let (at, mut expiry) = (Stamp::from_nanos, Expiry::default());
        for (revision, until, id) in [(1, 30, "a"), (2, 10, "b"), (3, 20, "c"), (4, 10, "d")] {
            expiry.insert(revision, at(until), id.to_owned());
        }
        expiry.insert(4, at(40), "d".to_owned());
        expiry.remove(3);
        assert_eq!((expiry.next(), expiry.pop(at(9))), (Some(at(10)), None));
        let mut taken = || expiry.pop(at(40)).map(|(revision, id)| format!("{revision} {id}"));
        let all: Vec<String> = std::iter::from_fn(&mut taken).collect();
        assert_eq!(all, ["2 b", "1 a", "4 d"]);
        assert_eq!(expiry.next(), None);
    }
}
