//! How stale an answer was: older than what a read through etcd had shown before it was asked for. Pure.
//!
//! The truth from outside is the quorum read: what one has shown was there when it ended, so a later read that shows less is
//! stale by no less than the time in between. What changed is told by the objects and not by the version of the list, which
//! any change of any resource moves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::object::Object;
use crate::model::{Histogram, Moments, Stamp};

/// Changes that are kept; beyond it none is added, so that a long run is no large one.
const MOST_CHANGES: usize = 100_000;

/// News of an informer that wait for a quorum read to show the same.
const MOST_NEWS: usize = 100_000;

/// Marks of answers that are remembered, to know one that comes again.
const MOST_MARKS: usize = 10_000;

/// What a read showed.
#[derive(Debug)]
pub struct View {
    /// The version of the whole.
    pub version: u64,
    /// The objects.
    pub objects: Vec<Arc<Object>>,
}

/// Something that an informer was told.
#[derive(Clone, Debug)]
pub struct News {
    /// When.
    pub at: Stamp,
    /// Of which version it is then.
    pub version: u64,
    /// What is gone, if it is about that.
    pub removed: Option<Arc<str>>,
}

/// A change, as the first quorum read showed it.
#[derive(Debug)]
struct Change {
    seen: Stamp,
    /// The list before it, which did not have it yet, was of this version.
    since: u64,
    /// Lists of this version or later show it.
    revision: u64,
    /// What is gone, where nothing else tells of the change: so late a revision is not known exactly.
    removed: Vec<(Arc<str>, u64)>,
}

impl Change {
    fn is_in(&self, view: &View) -> bool {
        view.version >= self.revision
            || !self.removed.is_empty() && {
                let is_there = |(key, version): &(Arc<str>, u64)| {
                    view.objects.iter().any(|object| object.key == *key && object.version <= *version)
                };
                !self.removed.iter().any(is_there)
            }
    }

    fn is_told_by(&self, news: &News) -> bool {
        news.version >= self.revision
            || news.version > self.since
                && news.removed.as_ref().is_some_and(|gone| self.removed.iter().any(|(key, _)| key == gone))
    }
}

/// Spans of time, as a series is made of them.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// How they are spread.
    pub histogram: Histogram,
    /// Their mean and spread.
    pub moments: Moments,
}

impl Spans {
    fn push(&mut self, nanos: u64) {
        self.histogram.record(nanos);
        self.moments.push(nanos);
    }
}

/// What one way to read has come to.
#[derive(Debug, Default)]
pub struct Judged {
    /// How stale its answers were; 0 of one that showed everything. Empty until something has changed.
    pub staleness: Spans,
    /// Answers that showed less than a quorum read before them.
    pub stale_count: u64,
    /// Answers, and the bytes of their bodies.
    pub answer_count: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Answers that came from a cache in front of the server, as far as that is known.
    pub hit_count: u64,
    /// Answers that came from the server.
    pub miss_count: u64,
    /// Answers whose body could not be read.
    pub unreadable_count: u64,
}

/// Everything that was read, as far as it matters.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The newest that a quorum read has shown.
    truth: Option<Known>,
    changes: Vec<Change>,
    marks: VecDeque<String>,
    news: Vec<Vec<News>>,
    /// By the number of the way to read.
    pub judged: Vec<Judged>,
}

impl Ledger {
    /// For so many ways to read, and so many informers.
    #[must_use]
    pub fn new(way_count: usize, informer_count: usize) -> Self {
        let judged = (0..way_count).map(|_| Judged::default()).collect();
        Self { judged, news: vec![Vec::new(); informer_count], ..Self::default() }
    }

    /// How many changes were seen.
    #[must_use]
    pub const fn change_count(&self) -> usize {
        self.changes.len()
    }

    /// A quorum read of the server itself, in the order in which they ended.
    pub fn take_truth(&mut self, view: &View, ended: Stamp) {
        if self.truth.as_ref().is_some_and(|(version, _)| view.version <= *version) {
            return;
        }
        let now: BTreeMap<Arc<str>, u64> =
            view.objects.iter().map(|object| (Arc::clone(&object.key), object.version)).collect();
        let newest = (view.version, now);
        if let Some(before) = &self.truth
            && self.changes.len() < MOST_CHANGES
        {
            self.changes.extend(change(before, &newest, ended));
        }
        self.truth = Some(newest);
    }

    /// An answer of a way to read: how stale it was, where that is known.
    pub fn take(&mut self, way: usize, view: &View, began: Stamp) {
        let known = self.changes.partition_point(|change| change.seen <= began);
        if known == 0 {
            return;
        }
        // Revisions grow with the changes. What is gone may be known before its revision is, by whoever knows all before it.
        let known_by_version = self.changes[..known].partition_point(|change| change.revision <= view.version);
        let also = self.changes[known_by_version..known].iter().take_while(|change| change.is_in(view)).count();
        let missing = known_by_version + also;
        let stale = self.changes[..known].get(missing).map_or(0, |change| began.nanos_since(change.seen));
        let judged = &mut self.judged[way];
        judged.staleness.push(stale);
        judged.stale_count += u64::from(missing < known);
    }

    /// Whether an answer with this mark has been there before: the server gives each another.
    pub fn is_repeated(&mut self, mark: &str) -> bool {
        if self.marks.iter().rev().any(|known| known == mark) {
            return true;
        }
        if self.marks.len() == MOST_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(mark.to_owned());
        false
    }

    /// What an informer was told.
    pub fn hear(&mut self, informer: usize, news: News) {
        if self.news[informer].len() < MOST_NEWS {
            self.news[informer].push(news);
        }
    }

    /// How long after a quorum read an informer was told of the same; 0 where it had been told before. And how many changes it
    /// was not told of.
    #[must_use]
    pub fn lag(&self, informer: usize) -> (Spans, u64) {
        let (mut spans, mut untold) = (Spans::default(), 0);
        for change in &self.changes {
            match self.news[informer].iter().find(|news| change.is_told_by(news)) {
                Some(news) => spans.push(news.at.nanos_since(change.seen)),
                None => untold += 1,
            }
        }
        (spans, untold)
    }
}

/// Objects and their versions, and the version of the whole.
type Known = (u64, BTreeMap<Arc<str>, u64>);

fn change((since, before): &Known, (version, now): &Known, seen: Stamp) -> Option<Change> {
    let since = *since;
    let newest =
        now.iter().filter(|(key, version)| before.get(*key) != Some(version)).map(|(_, version)| *version).max();
    if let Some(revision) = newest {
        return Some(Change { seen, since, revision, removed: Vec::new() });
    }
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    let removed: Vec<_> = gone.map(|(key, version)| (Arc::clone(key), *version)).collect();
    (!removed.is_empty()).then_some(Change { seen, since, revision: *version, removed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Stamp {
        Stamp::from_nanos(millis * 1_000_000)
    }

    fn view(version: u64, objects: &[(&str, u64)]) -> View {
        let object =
            |(key, version): &(&str, u64)| Arc::new(Object { key: (*key).into(), version: *version, text: None });
        View { version, objects: objects.iter().map(object).collect() }
    }

    fn worst(ledger: &Ledger, way: usize) -> (u64, Option<u64>, u64) {
        let judged = &ledger.judged[way];
        let last = judged.staleness.histogram.buckets().last().map(|(_, high, _)| high / 1_000_000);
        (judged.staleness.histogram.len(), last, judged.stale_count)
    }

    #[test]
    fn an_answer_is_as_stale_as_the_oldest_change_that_it_lacks() {
        let mut ledger = Ledger::new(2, 0);
        ledger.take_truth(&view(10, &[("a", 5), ("b", 6)]), at(0));
        ledger.take(1, &view(9, &[]), at(1));
        assert_eq!(worst(&ledger, 1), (0, None, 0), "nothing has changed, so nothing is known");
        ledger.take_truth(&view(20, &[("a", 15), ("b", 6)]), at(100));
        ledger.take_truth(&view(30, &[("a", 15), ("b", 26)]), at(200));
        ledger.take_truth(&view(40, &[("a", 15), ("b", 26)]), at(300));
        assert_eq!(ledger.change_count(), 2, "another resource moves the version and changes nothing");
        // Asked for before the second change was seen: it lacks nothing that was known.
        ledger.take(1, &view(15, &[]), at(150));
        assert_eq!(worst(&ledger, 1), (1, Some(0), 0));
        ledger.take(1, &view(15, &[]), at(210));
        assert_eq!(worst(&ledger, 1), (2, Some(10), 1));
        ledger.take(1, &view(14, &[]), at(240));
        assert_eq!(worst(&ledger, 1), (3, Some(140), 2));
        ledger.take(0, &view(26, &[]), at(400));
        assert_eq!(worst(&ledger, 0), (1, Some(0), 0));
    }

    #[test]
    fn what_is_gone_is_missed_in_the_objects_where_no_version_tells() {
        let mut ledger = Ledger::new(1, 1);
        ledger.take_truth(&view(10, &[("a", 5), ("b", 6)]), at(0));
        ledger.take_truth(&view(90, &[("a", 5)]), at(100));
        // Somewhere between 10 and 90 it went: this view is of 50 and has it no more, that one has it still.
        ledger.take(0, &view(50, &[("a", 5)]), at(110));
        assert_eq!(worst(&ledger, 0), (1, Some(0), 0));
        ledger.take(0, &view(50, &[("a", 5), ("b", 6)]), at(130));
        assert_eq!(worst(&ledger, 0), (2, Some(30), 1));
        // One from before `c` was made does not know that it is gone.
        ledger.take_truth(&view(95, &[("a", 5), ("c", 94)]), at(140));
        ledger.take_truth(&view(99, &[("a", 5)]), at(150));
        ledger.take(0, &view(93, &[("a", 5)]), at(190));
        assert_eq!(worst(&ledger, 0), (3, Some(50), 2));
        ledger.take(0, &view(94, &[("a", 5), ("c", 94)]), at(190));
        assert_eq!(worst(&ledger, 0).2, 3);
        // An earlier end of another of that name is none of this one.
        ledger.hear(0, News { at: at(5), version: 9, removed: Some("b".into()) });
        ledger.hear(0, News { at: at(120), version: 50, removed: Some("b".into()) });
        let (lag, untold) = ledger.lag(0);
        assert_eq!((lag.histogram.len(), untold), (1, 2));
        assert!(lag.moments.mean() >= 19.9e6);
    }

    #[test]
    fn an_informer_that_knew_it_before_is_not_late_and_what_it_was_not_told_is_counted() {
        let mut ledger = Ledger::new(1, 1);
        ledger.take_truth(&view(10, &[("a", 5)]), at(0));
        ledger.hear(0, News { at: at(50), version: 15, removed: None });
        ledger.take_truth(&view(20, &[("a", 15)]), at(100));
        ledger.take_truth(&view(30, &[("a", 25)]), at(200));
        ledger.hear(0, News { at: at(235), version: 25, removed: None });
        ledger.take_truth(&view(50, &[("a", 45)]), at(300));
        let (lag, untold) = ledger.lag(0);
        assert_eq!((lag.histogram.len(), untold), (2, 1));
        assert!((lag.moments.mean() - 17.5e6).abs() < 1e4, "{}", lag.moments.mean());
    }

    #[test]
    fn an_older_answer_that_ends_later_takes_nothing_back() {
        let mut ledger = Ledger::new(1, 0);
        ledger.take_truth(&view(20, &[("a", 15)]), at(10));
        ledger.take_truth(&view(10, &[("a", 5)]), at(20));
        ledger.take_truth(&view(30, &[("a", 15)]), at(30));
        assert_eq!(ledger.change_count(), 0);
        assert!(!ledger.is_repeated("x") && !ledger.is_repeated("y") && ledger.is_repeated("x"));
    }
}
