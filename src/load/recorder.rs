//! What one lane recorded: response, service, slip and the operation's own parts, in planned order.
//!
//! Answers come in any order; a small queue puts them back into the planned one, so that delay variation compares
//! neighbours and an outage has a beginning. The queue never holds more than a timeout's worth of attempts.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Answer, Detail, Lane, Track};
use crate::model::{Clock, Counts, Labels, Outcome, Reference, Role, Series, Stamp, Timeline};

/// One attempt as the driver settled it.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its place in the lane's plan, skipped attempts counted: neighbours differ by one.
    pub ordinal: u64,
    /// When it was planned to start.
    pub planned: Stamp,
    /// When it really started.
    pub started: Stamp,
    /// When it ended.
    pub ended: Stamp,
    /// How it ended, and its parts.
    pub answer: Answer,
}

/// Ended attempts that wait for an earlier one to end; beyond it the earlier one is no longer waited for.
const ORDER_LIMIT: usize = 16_384;

/// Everything one lane recorded.
#[derive(Clone)]
pub struct LaneRecord {
    name: &'static str,
    labels: Labels,
    floor: bool,
    reference: Option<Reference>,
    timeout_ns: u64,
    response: Track,
    service: Track,
    slip: Track,
    /// In the order in which they were first seen: phases come one after another.
    details: Vec<(&'static str, Clock, Track)>,
    timeline: Timeline,
    /// Settled attempts behind one that has not ended, from number `next` on.
    queue: VecDeque<Option<Settled>>,
    next: u64,
    /// When the last recorded attempt ended, and for how long the lane has been recording in times that are over.
    last_end: Option<Stamp>,
    active: Duration,
    /// The highest place in the plan so far.
    last_ordinal: Option<u64>,
}

/// Where a record goes on when its lane is driven once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Number of the next started attempt.
    pub number: u64,
    /// Place of the next attempt in the plan: one is left out, because what lies between two times is no variation.
    pub ordinal: u64,
}

impl LaneRecord {
    /// An empty record of a lane that begins at `origin`, with room for `intervals` in its timeline.
    #[must_use]
    pub fn new<O>(lane: &Lane<O>, timeout_ns: u64, origin: Stamp, intervals: usize) -> Self {
        Self {
            name: lane.name,
            labels: lane.labels.clone(),
            floor: lane.floor,
            reference: lane.reference.clone(),
            timeout_ns,
            response: Track::default(),
            service: Track::default(),
            slip: Track::default(),
            details: Vec::new(),
            timeline: Timeline::new(origin, intervals),
            queue: VecDeque::new(),
            next: 0,
            last_end: None,
            active: Duration::ZERO,
            last_ordinal: None,
        }
    }

    /// Takes started attempt `number` when it has ended; numbers count the started attempts of the lane from 0.
    pub fn settle(&mut self, number: u64, settled: Settled) {
        if number < self.next {
            // It was given up waiting for; its order is lost, its end is not.
            return self.record(&settled);
        }
        let at = (number - self.next) as usize;
        while self.queue.len() <= at {
            self.queue.push_back(None);
        }
        self.queue[at] = Some(settled);
        if self.queue.len() > ORDER_LIMIT {
            while self.queue.pop_front_if(|front| front.is_none()).is_some() {
                self.next += 1;
            }
        }
        while let Some(settled) = self.queue.pop_front_if(|front| front.is_some()).flatten() {
            self.record(&settled);
            self.next += 1;
        }
    }

    /// Takes an attempt that was planned and never started. It needs no place in the order, and there may be millions.
    pub fn skip(&mut self, planned: Stamp) {
        self.response.skip();
        self.timeline.skip(planned);
    }

    /// Takes what is still queued behind attempts that never ended, because the run was interrupted.
    pub fn flush(&mut self) {
        while let Some(settled) = self.queue.pop_front() {
            settled.iter().for_each(|settled| self.record(settled));
            self.next += 1;
        }
        self.timeline.interrupt();
    }

    /// One time is over, that recorded from here on.
    pub fn close(&mut self, from: Stamp) {
        self.flush();
        self.active += self.last_end.take().map_or(Duration::ZERO, |end| end.since(from));
    }

    /// For how long it has recorded: from the beginning of each time to the end of its last attempt.
    #[must_use]
    pub const fn active(&self) -> Duration {
        self.active
    }

    /// Where it goes on when its lane is driven once more.
    #[must_use]
    pub fn earlier(&self) -> Earlier {
        Earlier { number: self.next, ordinal: self.last_ordinal.map_or(0, |last| last + 2) }
    }

    /// Name of the response series.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Labels of all its series.
    #[must_use]
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// How the attempts ended so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        self.response.counts()
    }

    /// The series of this lane.
    #[must_use]
    pub fn into_series(self) -> Vec<Series> {
        let Self { name, labels, floor, reference, timeout_ns, .. } = self;
        let series = |name: String, role, clock, timeout_ns, track: Track| Series {
            role,
            clock,
            timeout_ns,
            floor,
            reference: reference.clone(),
            ..track.into_series(name, labels.clone())
        };
        let role = if floor { Role::Floor } else { Role::Response };
        let response = series(name.to_owned(), role, Clock::User, Some(timeout_ns), self.response);
        let (timeline, outages, outage_count) = self.timeline.into_parts();
        let own = [
            Series { timeline, outages, outage_count, ..response },
            series(format!("{name}.service"), Role::Service, Clock::User, Some(timeout_ns), self.service),
            series(format!("{name}.slip"), Role::Slip, Clock::User, None, self.slip),
        ];
        let details = self.details.into_iter();
        let details = details.map(|(name, clock, track)| series(name.to_owned(), Role::Phase, clock, None, track));
        own.into_iter().chain(details).collect()
    }

    fn record(&mut self, settled: &Settled) {
        let (ordinal, planned) = (settled.ordinal, settled.planned);
        self.last_ordinal = self.last_ordinal.max(Some(ordinal));
        self.last_end = self.last_end.max(Some(settled.ended));
        let outcome = settled.answer.outcome;
        let response_ns = settled.ended.nanos_since(planned);
        self.response.record(ordinal, outcome, response_ns);
        self.service.record(ordinal, outcome, settled.ended.nanos_since(settled.started));
        self.slip.record(ordinal, Outcome::Ok, settled.started.nanos_since(planned));
        self.timeline.push(planned, outcome, (outcome == Outcome::Ok).then_some(response_ns));
        for Detail { name, clock, value_ns } in &settled.answer.details {
            let known = self.details.iter().position(|(known, ..)| known == name);
            let at = known.unwrap_or_else(|| {
                self.details.push((name, *clock, Track::default()));
                self.details.len() - 1
            });
            self.details[at].2.record(ordinal, Outcome::Ok, *value_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LaneRecord {
        let lane = Lane { operation: (), name: "x", labels: Labels::new(), floor: false, reference: None };
        LaneRecord::new(&lane, 1_000, Stamp::from_nanos(0), 8)
    }

    fn settled(at: u64, slip: u64, service: u64, outcome: Outcome) -> Settled {
        let planned = Stamp::from_nanos(at);
        let started = Stamp::from_nanos(at + slip);
        let ended = Stamp::from_nanos(at + slip + service);
        Settled { ordinal: at / 100, planned, started, ended, answer: Answer::new(outcome) }
    }

    #[test]
    fn response_is_slip_plus_service() {
        let mut lane = record();
        lane.settle(0, settled(100, 7, 50, Outcome::Ok));
        let minimum: Vec<_> = lane.clone().into_series().iter().map(|s| s.summary.min_ns).collect();
        assert_eq!(minimum, [Some(57), Some(50), Some(7)]);
    }

    #[test]
    fn answers_out_of_order_are_put_back_in_order() {
        let mut lane = record();
        lane.settle(2, settled(300, 0, 30, Outcome::Ok));
        lane.settle(0, settled(100, 0, 10, Outcome::Ok));
        assert_eq!(lane.counts().ok_count, 1);
        lane.settle(1, settled(200, 0, 25, Outcome::Ok));
        // |25 - 10| and |30 - 25|
        assert_eq!(lane.clone().into_series()[0].summary.ipdv_mean_ns, Some(10));
    }

    #[test]
    fn every_end_is_counted_and_only_answers_have_a_latency() {
        let mut lane = record();
        let ends = [Outcome::Ok, Outcome::Lost, Outcome::Refused, Outcome::Failed("reset"), Outcome::Failed("reset")];
        for (number, outcome) in ends.into_iter().enumerate() {
            lane.settle(number as u64, settled(number as u64, 0, 1, outcome));
        }
        lane.skip(Stamp::from_nanos(5));
        let response = &lane.clone().into_series()[0];
        let counts = Counts {
            attempt_count: 5,
            ok_count: 1,
            lost_count: 1,
            refused_count: 1,
            failed_count: 2,
            skipped_count: 1,
        };
        assert_eq!((response.counts, response.histogram.len()), (counts, 1));
        assert_eq!(response.failure_kinds.get("reset"), Some(&2));
    }

    #[test]
    fn a_lane_goes_on_where_it_was_and_the_pause_is_no_variation() {
        let mut lane = record();
        lane.settle(0, settled(100, 0, 10, Outcome::Ok));
        lane.settle(1, settled(200, 0, 14, Outcome::Ok));
        lane.flush();
        let earlier = lane.earlier();
        assert_eq!(earlier, Earlier { number: 2, ordinal: 4 });
        lane.settle(earlier.number, Settled { ordinal: earlier.ordinal, ..settled(9_000, 0, 999, Outcome::Ok) });
        let response = &lane.clone().into_series()[0];
        assert_eq!((response.counts.ok_count, response.summary.ipdv_mean_ns), (3, Some(4)));
    }

    #[test]
    fn an_interrupted_lane_keeps_what_ended() {
        let mut lane = record();
        lane.settle(1, settled(200, 0, 10, Outcome::Ok));
        lane.flush();
        assert_eq!(lane.counts().attempt_count, 1);
    }
}
