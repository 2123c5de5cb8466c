//! The heartbeats of an agent: when the next one is due, what it promises, and what came of the last.
//!
//! Separate because it is a schedule and knows nothing of tasks. A fixed interval keeps to a grid that begins with the agent,
//! so that many agents whose grids are shifted stay spread out whenever they reconnect.

use std::time::Duration;

use crate::detect::{Adaptive, Bounds, Observation};
use crate::model::Stamp;
use crate::sync::message::{Exchange, Pulse};
use crate::sync::moment::Moment;

/// The shortest promise that a gateway takes.
const SHORTEST_PROMISE: Duration = Duration::from_millis(10);

/// How late a heartbeat may be and still promise the time from its plan on: timers wake a little late, and a promise that
/// is longer by that much is kept as well.
const FORGIVEN: Duration = Duration::from_millis(5);

/// How often a heartbeat is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// Always after the same time.
    Fixed(Duration),
    /// Between bounds, by what happens.
    Adaptive(Bounds),
}

/// What of a heartbeat this schedule knows.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Its number.
    pub seq: u64,
    /// When it is sent, in nanoseconds since the Unix epoch.
    pub t1: u64,
    /// What it promises.
    pub next_interval_ms: u64,
    /// The stamps of the last exchange.
    pub last: Option<Exchange>,
}

/// The schedule.
#[derive(Clone, Debug)]
pub struct Beats {
    interval: Duration,
    adaptive: Option<Adaptive>,
    /// A point of the grid.
    anchor: Stamp,
    due: Stamp,
    seq: u64,
    last: Option<Exchange>,
    /// The newest that was sent, and not answered yet.
    expected: Option<(u64, Moment)>,
    /// Since when heartbeats are not answered.
    unanswered_since: Option<Stamp>,
    round_trip: Option<Duration>,
    has_changed: bool,
}

impl Beats {
    /// A schedule whose grid begins here.
    pub fn new(rhythm: Rhythm, anchor: Stamp) -> Self {
        let mut beats = Self {
            interval: Duration::ZERO,
            adaptive: None,
            anchor,
            due: anchor,
            seq: 0,
            last: None,
            expected: None,
            unanswered_since: None,
            round_trip: None,
            has_changed: false,
        };
        beats.set_rhythm(rhythm);
        beats
    }

    /// Another interval from the next heartbeat on.
    pub fn set_rhythm(&mut self, rhythm: Rhythm) {
        (self.interval, self.adaptive) = match rhythm {
            Rhythm::Fixed(interval) => (interval, None),
            Rhythm::Adaptive(bounds) => (bounds.shortest, Some(Adaptive::new(bounds))),
        };
    }

    /// A connection has begun: the gateway hears of it at once.
    pub fn begin(&mut self, now: Stamp) {
        self.due = now;
        (self.expected, self.unanswered_since, self.round_trip) = (None, None, None);
    }

    /// When the next one is due.
    pub const fn due(&self) -> Stamp {
        self.due
    }

    /// Since when none was answered; `None` if none is missing.
    pub const fn unanswered_since(&self) -> Option<Stamp> {
        self.unanswered_since
    }

    /// We were away until now: what is not answered was not waited for.
    pub fn excuse(&mut self, now: Stamp) {
        if let Some(since) = &mut self.unanswered_since {
            *since = now;
        }
    }

    /// Some task has changed.
    pub const fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// The numbers begin anew with an epoch.
    pub const fn restart(&mut self) {
        (self.seq, self.last, self.expected) = (0, None, None);
    }

    /// The heartbeat to be sent now; plans the next one.
    pub fn next(&mut self, now: Moment) -> Beat {
        let seen = Observation { has_changed: self.has_changed, round_trip: self.round_trip };
        let is_in_time = now.at >= self.due && now.at.since(self.due) < FORGIVEN;
        let from = if is_in_time { self.due } else { now.at };
        self.due = match &mut self.adaptive {
            Some(adaptive) => from + adaptive.next(seen),
            None => self.after(from),
        };
        (self.has_changed, self.round_trip) = (false, None);
        self.seq += 1;
        self.expected = Some((self.seq, now));
        self.unanswered_since.get_or_insert(now.at);
        // The way back to the grid may be short: a promise of it would let a few ms of delay pass for a silence of three.
        let promise = self.due.since(from).max(self.interval).as_nanos().div_ceil(1_000_000);
        let next_interval_ms = u64::try_from(promise).unwrap_or(u64::MAX);
        Beat { seq: self.seq, t1: now.unix_nanos(), next_interval_ms, last: self.last }
    }

    /// Takes the answer to a heartbeat; false if it is not to the newest.
    pub fn answered(&mut self, now: Moment, pulse: &Pulse) -> bool {
        // Where a round trip is longer than the interval, an older answer shows as well that somebody is there.
        self.unanswered_since = (pulse.seq < self.seq).then_some(now.at);
        let Some((_, sent)) = self.expected.take_if(|(seq, _)| *seq == pulse.seq) else { return false };
        self.round_trip = Some(now.at.since(sent.at));
        self.last = Some(Exchange { t1: sent.unix_nanos(), t2: pulse.t2, t3: pulse.t3, t4: now.unix_nanos() });
        true
    }

    /// The next point of the grid that can be promised.
    fn after(&self, now: Stamp) -> Stamp {
        let interval = self.interval.as_nanos().max(1) as u64;
        let earliest = (now + SHORTEST_PROMISE).nanos_since(self.anchor);
        self.anchor + Duration::from_nanos(earliest.div_ceil(interval).saturating_mul(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;

    fn at(ms: u64) -> Moment {
        let wall = WallTime::from_unix_nanos(i128::from(ms) * 1_000_000);
        Moment { at: Stamp::from_nanos(ms * 1_000_000), wall }
    }

    #[test]
    fn a_fixed_interval_keeps_to_its_grid_whenever_the_connection_began() {
        let mut beats = Beats::new(Rhythm::Fixed(Duration::from_millis(500)), at(130).at);
        beats.begin(at(1_000).at);
        assert_eq!(beats.next(at(1_000)).next_interval_ms, 500);
        assert_eq!(beats.due(), at(1_130).at);
        assert_eq!(beats.next(at(1_130)).next_interval_ms, 500);
        // One that is late does not move the grid; one that would be nearer than can be promised is left out.
        assert_eq!(beats.next(at(1_700)).next_interval_ms, 500);
        assert_eq!(beats.due(), at(2_130).at);
        assert_eq!(beats.next(at(2_125)).next_interval_ms, 505);
    }

    #[test]
    fn an_exchange_is_told_with_the_next_heartbeat() {
        let mut beats = Beats::new(Rhythm::Fixed(Duration::from_millis(500)), at(0).at);
        let first = beats.next(at(0));
        assert_eq!((first.seq, first.last), (1, None));
        assert_eq!(beats.unanswered_since(), Some(at(0).at));
        let pulse = Pulse { seq: 1, t1: None, t2: 7, t3: 8, resync: false };
        assert!(beats.answered(at(3), &pulse) && !beats.answered(at(4), &pulse));
        assert_eq!(beats.unanswered_since(), None);
        assert_eq!(beats.next(at(500)).last, Some(Exchange { t1: 0, t2: 7, t3: 8, t4: 3_000_000 }));
    }

    #[test]
    fn a_change_makes_an_adaptive_interval_short() {
        let bounds = Bounds { shortest: Duration::from_secs(1), longest: Duration::from_secs(8) };
        let mut beats = Beats::new(Rhythm::Adaptive(bounds), at(0).at);
        let mut promised = 0;
        for n in 0..30 {
            let beat = beats.next(at(n * 10_000));
            promised = beat.next_interval_ms;
            beats.answered(at(n * 10_000 + 1), &Pulse { seq: beat.seq, t1: None, t2: 0, t3: 0, resync: false });
        }
        assert_eq!(promised, 8_000);
        beats.note_change();
        assert_eq!(beats.next(at(400_000)).next_interval_ms, 1_000);
    }
}
