//! A series over time: interval histograms within a fixed budget, and the outages.
//!
//! Separate because its memory must not grow with the length of a run: when the budget is full, neighbouring
//! intervals are merged and the width doubles.

use serde::{Deserialize, Serialize};

use super::{Counts, Histogram, Outcome, Stamp};

/// Width of an interval at the beginning of a run.
const FIRST_WIDTH_NS: u64 = 1_000_000_000;

/// Unanswered attempts in a row from which on we speak of an outage.
const OUTAGE_LENGTH: u64 = 3;

/// Outages that are listed one by one; later ones are counted only.
const OUTAGE_LIMIT: usize = 1000;

/// One interval of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Planned starts from here, in nanoseconds since recording began.
    pub start_ns: u64,
    /// Width of the interval.
    pub width_ns: u64,
    /// How the attempts planned in the interval ended.
    #[serde(flatten)]
    pub counts: Counts,
    /// Their latencies, to 2 significant digits.
    pub histogram: Histogram,
}

/// A time without answers: at least three attempts in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Planned start of the first unanswered attempt, in nanoseconds since recording began.
    pub start_ns: u64,
    /// From there to the planned start of the next answered attempt, or of the last attempt where none followed.
    pub length_ns: u64,
    /// Unanswered attempts in it.
    pub unanswered_count: u64,
}

/// Interval histograms and outages of one series while it is recorded.
#[derive(Clone, Debug)]
pub struct Timeline {
    capacity: usize,
    width_ns: u64,
    origin: Stamp,
    intervals: Vec<Interval>,
    silence: Option<Outage>,
    outages: Vec<Outage>,
    outage_count: u64,
}

impl Timeline {
    /// A timeline that begins at `origin`, of at most `capacity` intervals (at least two).
    #[must_use]
    pub const fn new(origin: Stamp, capacity: usize) -> Self {
        Self {
            capacity: if capacity < 2 { 2 } else { capacity },
            width_ns: FIRST_WIDTH_NS,
            origin,
            intervals: Vec::new(),
            silence: None,
            outages: Vec::new(),
            outage_count: 0,
        }
    }

    /// Takes one attempt by its planned start; attempts must come in order.
    pub fn push(&mut self, planned: Stamp, outcome: Outcome, latency_ns: Option<u64>) {
        let offset = planned.nanos_since(self.origin);
        let interval = self.interval_at(offset);
        interval.counts.add(outcome);
        if let Some(latency) = latency_ns {
            interval.histogram.record(coarse(latency));
        }
        match outcome.is_answered() {
            true => self.end_silence(offset),
            false => self.extend_silence(offset),
        }
    }

    /// Takes one attempt that was planned and never started.
    pub fn skip(&mut self, planned: Stamp) {
        let offset = planned.nanos_since(self.origin);
        self.interval_at(offset).counts.skipped_count += 1;
    }

    /// Nothing is planned for a while: a silence ends with the last attempt before.
    pub fn interrupt(&mut self) {
        self.end_silence_at_last();
    }

    /// The intervals that hold anything; the outages so far, one that is still going on included, and how many there were.
    pub fn into_parts(mut self) -> (Vec<Interval>, Vec<Outage>, u64) {
        self.end_silence_at_last();
        self.intervals.retain(|interval| interval.counts != Counts::default());
        (self.intervals, self.outages, self.outage_count)
    }

    fn end_silence_at_last(&mut self) {
        if let Some(silence) = self.silence.take() {
            self.list(silence);
        }
    }

    fn extend_silence(&mut self, offset: u64) {
        let silence = self.silence.get_or_insert(Outage { start_ns: offset, length_ns: 0, unanswered_count: 0 });
        silence.length_ns = offset.saturating_sub(silence.start_ns);
        silence.unanswered_count += 1;
    }

    fn end_silence(&mut self, offset: u64) {
        if let Some(mut silence) = self.silence.take() {
            silence.length_ns = offset.saturating_sub(silence.start_ns);
            self.list(silence);
        }
    }

    fn list(&mut self, silence: Outage) {
        if silence.unanswered_count < OUTAGE_LENGTH {
            return;
        }
        self.outage_count += 1;
        if self.outages.len() < OUTAGE_LIMIT {
            self.outages.push(silence);
        }
    }

    fn interval_at(&mut self, offset: u64) -> &mut Interval {
        while offset / self.width_ns >= self.capacity as u64 {
            self.coarsen();
        }
        let at = (offset / self.width_ns) as usize;
        while self.intervals.len() <= at {
            let start_ns = self.intervals.len() as u64 * self.width_ns;
            self.intervals.push(Interval { start_ns, width_ns: self.width_ns, ..Interval::default() });
        }
        &mut self.intervals[at]
    }

    fn coarsen(&mut self) {
        self.width_ns *= 2;
        let mut merged: Vec<Interval> = Vec::with_capacity(self.capacity);
        for (at, interval) in std::mem::take(&mut self.intervals).into_iter().enumerate() {
            if at % 2 == 0 {
                merged.push(Interval { width_ns: self.width_ns, ..interval });
            } else if let Some(last) = merged.last_mut() {
                last.counts.merge(&interval.counts);
                last.histogram.merge(&interval.histogram);
            }
        }
        self.intervals = merged;
    }
}

/// The value to 2 significant digits (128 steps an octave): an interval's histogram then stays in its sparse form.
const fn coarse(value: u64) -> u64 {
    let shift = match value {
        0..256 => return value,
        _ => value.ilog2() - 7,
    };
    (value >> shift << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Stamp {
        Stamp::from_nanos(5_000_000_000 + n * 1_000_000_000)
    }

    #[test]
    fn the_budget_holds_and_nothing_is_dropped() {
        let mut timeline = Timeline::new(second(0), 8);
        for n in 0..1000 {
            timeline.push(second(n), Outcome::Ok, Some(n));
        }
        let (intervals, ..) = timeline.into_parts();
        assert!(intervals.len() <= 8);
        assert_eq!(intervals.iter().map(|i| i.counts.ok_count).sum::<u64>(), 1000);
        assert_eq!(intervals.iter().map(|i| i.histogram.len()).sum::<u64>(), 1000);
        assert_eq!(intervals[1].start_ns, intervals[0].width_ns);
    }

    #[test]
    fn an_outage_has_a_start_and_a_length() {
        let mut timeline = Timeline::new(second(0), 8);
        for n in 0..20 {
            let dead = (5..9).contains(&n) || n == 12 || n > 16;
            let outcome = if dead { Outcome::Lost } else { Outcome::Ok };
            timeline.push(second(n), outcome, (!dead).then_some(1));
        }
        let (_, outages, count) = timeline.into_parts();
        let first = Outage { start_ns: 5_000_000_000, length_ns: 4_000_000_000, unanswered_count: 4 };
        let last = Outage { start_ns: 17_000_000_000, length_ns: 2_000_000_000, unanswered_count: 3 };
        assert_eq!((outages, count), (vec![first, last], 2));
    }
}
