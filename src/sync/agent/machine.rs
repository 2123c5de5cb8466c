//! What an agent decides: when to connect, what to send, what to believe of the answers.
//!
//! A pure machine: every input has its moment, and what is to be done comes back as actions. It owns the versions of its
//! node's tasks and the epoch of its own start. At most one frame of reports is on its way at a time, so that its answers
//! are in order; heartbeats never wait for it. A frame that may have been lost is sent once more: versions make that harmless.

mod backoff;
mod beat;
mod connect;
mod ledger;
mod port;
mod send;
mod servers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub use backoff::Bounds as BackoffBounds;
pub use beat::Rhythm;
pub use ledger::{Lost, MOST_BYTES, Seen};
pub use port::{Action, End, Input, Settings, Warning};
pub use servers::{Attempt, shuffle};

use crate::model::Stamp;
use crate::sync::message::{Answers, ErrorText, FromGateway, HIGHEST_NUMBER, Pulse};
use crate::sync::moment::Moment;
use backoff::Backoff;
use beat::Beats;
use ledger::{Ledger, Sent};
use servers::Servers;

/// A goodbye that is not taken within this time is given up.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);

/// Most heartbeats without a digest after several whole states in a row did not make both sides agree.
const MOST_SKIPPED: u32 = 64;

/// How soon something is tried again that was refused for its time: a clock is set at once, and nobody says when.
const CLOCK_RETRY: Duration = Duration::from_secs(2);

/// A clock that jumps by more was set; NTP slews smaller differences away.
const CLOCK_STEP_NS: u128 = 1_000_000_000;

/// Who does what was due so much too late was stopped or asleep.
const AWAY: Duration = Duration::from_secs(1);

/// The state of an agent.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    epoch: u64,
    /// Whether a gateway has taken anything under this epoch.
    is_accepted: bool,
    ledger: Ledger,
    beats: Beats,
    backoff: Backoff,
    servers: Servers,
    /// Which gateway the last attempt was for.
    attempt: Attempt,
    /// Waits after reports that were refused for now.
    pauses: Backoff,
    link: Link,
    /// The sources that have told what they know.
    told: BTreeSet<usize>,
    last_frame: u64,
    digests: Digests,
    warned: Lost,
    /// How far the time of day was ahead of the monotonic clock, in nanoseconds.
    ahead: i128,
}

#[derive(Clone, Debug)]
enum Link {
    Waiting { until: Stamp },
    Dialing,
    Up(Session),
    Leaving { until: Stamp },
    Ended,
}

/// One connection.
#[derive(Clone, Debug)]
struct Session {
    /// What was sent and is not answered.
    flight: Option<Flight>,
    /// What of the whole state is still to be sent.
    rest: Option<Rest>,
    /// The first change waits for company until then; what was refused for now waits longer.
    hold_until: Option<Stamp>,
    /// Whether the gateway has taken anything on it.
    is_good: bool,
}

#[derive(Clone, Debug)]
struct Flight {
    id: u64,
    at: Stamp,
    sent: Sent,
    /// Of which part of the whole state it is.
    state: Option<Rest>,
}

/// Everything behind a name; without one, everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest(Option<String>);

/// How often digests are sent: with every quiet heartbeat, unless whole states do not make them agree.
#[derive(Clone, Debug, Default)]
struct Digests {
    /// The heartbeat that carried the last.
    sent_with: Option<u64>,
    /// Disagreements in a row.
    failures: u32,
    /// Heartbeats without one until the next.
    skip: u32,
}

impl Machine {
    /// An agent that starts now. `seed` spreads its attempts to connect.
    #[must_use]
    pub fn new(settings: Settings, now: Moment, seed: u64) -> Self {
        Self {
            // Microseconds: two starts differ, and every reader of JSON keeps the number.
            epoch: now.unix_nanos() / 1_000,
            is_accepted: false,
            ledger: Ledger::new(settings.most_tasks, settings.most_frame_bytes),
            beats: Beats::new(settings.rhythm, now.at + settings.phase),
            backoff: Backoff::new(settings.backoff, seed),
            servers: Servers::new(settings.servers, seed),
            attempt: Attempt::default(),
            pauses: Backoff::new(settings.backoff, !seed),
            link: Link::Waiting { until: now.at },
            told: BTreeSet::new(),
            last_frame: 0,
            digests: Digests::default(),
            warned: Lost::default(),
            ahead: ahead(now),
            settings,
        }
    }

    /// Its epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whom the connection that is asked for should lead to.
    #[must_use]
    pub const fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How many tasks it keeps.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.ledger.len()
    }

    /// Whether everything that it knows is acknowledged.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_quiet = matches!(&self.link, Link::Up(session) if session.flight.is_none() && session.rest.is_none());
        is_quiet && !self.ledger.is_unsent()
    }

    /// Takes an input and says what is to be done.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.next_deadline().is_some_and(|due| now.at.since(due) >= AWAY) {
            self.excuse(now);
        }
        self.watch_clock(now);
        match input {
            Input::Connected => self.connected(now),
            Input::Disconnected => self.disconnected(now, &mut actions),
            Input::Frame(frame) => self.frame(now, frame, &mut actions),
            Input::Known(source, all) => {
                self.told.insert(source);
                let is_news = self.ledger.replace(source, now.wall, all);
                self.changed(now, is_news);
            }
            Input::Observed(source, seen) => {
                let mut is_news = false;
                for seen in seen {
                    is_news |= self.ledger.observe(source, seen);
                }
                self.changed(now, is_news);
            }
            Input::Vanished(task_id) => {
                let is_news = self.ledger.vanish(&task_id, now.wall);
                self.changed(now, is_news);
            }
            Input::SetRhythm(rhythm) => self.beats.set_rhythm(rhythm),
            Input::SetServers(count) => self.servers.replace(count),
            Input::Reconnect => self.reconnect(now, &mut actions),
            Input::Leave => self.leave(now, &mut actions),
            Input::Woke => self.woke(now),
            Input::Tick => {}
        }
        self.advance(now, &mut actions);
        actions
    }

    /// When to tick next, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Stamp> {
        match &self.link {
            Link::Waiting { until } | Link::Leaving { until } => Some(*until),
            Link::Dialing | Link::Ended => None,
            Link::Up(session) => {
                let waits = session.flight.is_none() && self.has_word(session);
                let flush = waits.then_some(session.hold_until).flatten();
                [Some(self.beats.due()), flush, self.silent_at(session)].into_iter().flatten().min()
            }
        }
    }

    fn leave(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match &self.link {
            Link::Up(_) => self.say_goodbye(now, actions),
            Link::Waiting { .. } | Link::Dialing => self.end(End::LeftUnheard, actions),
            Link::Leaving { .. } | Link::Ended => {}
        }
    }

    fn frame(&mut self, now: Moment, frame: FromGateway, actions: &mut Vec<Action>) {
        if !matches!(self.link, Link::Up(_)) {
            return;
        }
        match frame {
            FromGateway::Pulse(pulse) => self.pulse(now, &pulse),
            FromGateway::Answers(answers) => self.answers(now, answers, actions),
            FromGateway::Error(error) => self.refused(now, error, actions),
        }
    }

    fn pulse(&mut self, now: Moment, pulse: &Pulse) {
        self.accepted();
        self.beats.answered(now, pulse);
        if self.digests.sent_with.take_if(|seq| *seq == pulse.seq).is_none() {
            return;
        }
        if !pulse.resync {
            self.digests = Digests::default();
            return;
        }
        // A whole state that did not help will not help at once: what differs may be nothing of ours.
        self.digests.skip = (1 << self.digests.failures.min(31)) - 1;
        self.digests.skip = self.digests.skip.min(MOST_SKIPPED);
        self.digests.failures += 1;
        if let Link::Up(session) = &mut self.link {
            session.rest = Some(Rest(None));
        }
    }

    fn answers(&mut self, now: Moment, answers: Answers, actions: &mut Vec<Action>) {
        let Link::Up(session) = &mut self.link else { return };
        // An answer to what was given up and sent once more says nothing new.
        let Some(flight) = session.flight.take_if(|flight| flight.id == answers.id) else { return };
        session.hold_until = None;
        let Some(mut verdict) = self.ledger.settle(flight.sent, answers.answers) else {
            return self.drop_link(now, actions);
        };
        match verdict.later_epoch {
            // Nothing is later than that: what it keeps of us stays as it is.
            Some(known) if known >= HIGHEST_NUMBER => actions.push(Action::Warn(Warning::LastEpoch(known))),
            Some(known) => {
                self.overtake(known, now, actions);
                self.pause(now);
            }
            None => self.accepted(),
        }
        self.ledger.redate(&mut verdict, now.wall);
        if verdict.is_busy {
            self.pause(now);
        } else if let Some(message) = verdict.misdated {
            actions.push(Action::Warn(Warning::WrongClock(message)));
            self.pause(now);
            self.hold_at_most(now.at + CLOCK_RETRY);
        } else if verdict.later_epoch.is_none() {
            self.pauses.reset();
        }
        if let Some((task_id, message)) = verdict.refused {
            actions.push(Action::Warn(Warning::TaskRefused { task_id, message }));
        }
    }

    /// A frame was refused; which one is not said, so that whatever is on its way is sent once more.
    fn refused(&mut self, now: Moment, error: ErrorText, actions: &mut Vec<Action>) {
        match error.code.as_str() {
            // It is about a frame that was sent before our epoch was raised.
            "old_epoch" if error.known_epoch.is_some_and(|known| known <= self.epoch) => return,
            "old_epoch" if error.known_epoch.is_some_and(|known| known >= HIGHEST_NUMBER) => {
                actions.push(Action::Warn(Warning::LastEpoch(HIGHEST_NUMBER)));
                return self.drop_link(now, actions);
            }
            "old_epoch" if !self.is_accepted => {
                return self.overtake(error.known_epoch.unwrap_or(self.epoch), now, actions);
            }
            "old_epoch" | "superseded" => {
                actions.push(Action::Close);
                return self.end(End::Superseded(error), actions);
            }
            "forbidden" | "unauthorized" => {
                actions.push(Action::Warn(Warning::Refused(error)));
                return self.drop_link(now, actions);
            }
            _ => {}
        }
        if let Link::Up(session) = &mut self.link
            && let Some(flight) = session.flight.take()
        {
            // A part of the whole state that was refused is told again, and all that follows it.
            session.rest = [session.rest.take(), flight.state].into_iter().flatten().min();
            self.ledger.unsend(flight.sent);
        }
        self.pause(now);
        actions.push(Action::Warn(Warning::Refused(error)));
    }

    /// Does what is due.
    fn advance(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match &self.link {
            Link::Waiting { until } if *until <= now.at => {
                (self.link, self.attempt) = (Link::Dialing, self.servers.next());
                actions.push(Action::Connect);
            }
            Link::Leaving { until } if *until <= now.at => {
                actions.push(Action::Close);
                self.end(End::Left, actions);
            }
            Link::Up(session) if self.silent_at(session).is_some_and(|at| at <= now.at) => {
                actions.push(Action::Warn(Warning::Silent(self.settings.answer_within)));
                self.drop_link(now, actions);
            }
            Link::Up(session) => {
                if session.hold_until.is_none_or(|until| until <= now.at) {
                    self.flush(now, actions);
                }
                if self.beats.due() <= now.at {
                    self.beat(now, actions);
                }
            }
            _ => {}
        }
        let lost = self.ledger.lost();
        if lost != self.warned {
            // Told once for each kind, not for each task.
            if (self.warned.dropped == 0 && lost.dropped > 0) || (self.warned.refused == 0 && lost.refused > 0) {
                actions.push(Action::Warn(Warning::TooMany(lost)));
            }
            self.warned = lost;
        }
    }

    /// The ledger has news: the first change waits for company.
    fn changed(&mut self, now: Moment, is_news: bool) {
        if !is_news {
            return;
        }
        self.beats.note_change();
        if let Link::Up(session) = &mut self.link
            && session.flight.is_none()
        {
            session.hold_until.get_or_insert(now.at + self.settings.coalescing);
        }
    }

    /// Something was taken: the connection is a good one, and the epoch is ours.
    fn accepted(&mut self) {
        self.is_accepted = true;
        self.backoff.reset();
        if let Link::Up(session) = &mut self.link {
            session.is_good = true;
        }
    }

    /// A start of our own that is later than what the gateway knows: in one step, however far ahead that is.
    fn overtake(&mut self, known: u64, now: Moment, actions: &mut Vec<Action>) {
        let by_clock = now.unix_nanos() / 1_000;
        self.epoch = known.max(self.epoch).saturating_add(1).max(by_clock);
        if self.epoch > by_clock {
            actions.push(Action::Warn(Warning::EpochAhead(self.epoch)));
        }
        self.beats.restart();
        self.beats.begin(now.at);
        if let Link::Up(session) = &mut self.link {
            (session.rest, session.hold_until) = (Some(Rest(None)), None);
            if let Some(flight) = session.flight.take() {
                self.ledger.unsend(flight.sent);
            }
        }
    }

    /// What was refused for now is sent later.
    fn pause(&mut self, now: Moment) {
        let wait = self.pauses.next().max(self.settings.backoff.first);
        if let Link::Up(session) = &mut self.link {
            session.hold_until = Some(now.at + wait);
        }
    }

    fn hold_at_most(&mut self, limit: Stamp) {
        if let Link::Up(Session { hold_until: Some(until), .. }) | Link::Waiting { until } = &mut self.link {
            *until = limit.min(*until);
        }
    }

    /// Whether the time of day was set. What waited for a right clock is tried at once, and what was told by a clock that was
    /// ahead is told anew.
    fn watch_clock(&mut self, now: Moment) {
        let before = std::mem::replace(&mut self.ahead, ahead(now));
        if self.ahead.abs_diff(before) < CLOCK_STEP_NS {
            return;
        }
        let is_news = self.ahead < before && self.ledger.redate_future(now.wall);
        self.changed(now, is_news);
        self.hold_at_most(now.at);
    }

    fn end(&mut self, end: End, actions: &mut Vec<Action>) {
        self.link = Link::Ended;
        actions.push(Action::End(end));
    }

    /// We were away until now: what was answered meanwhile waits to be read, and nobody was silent.
    fn excuse(&mut self, now: Moment) {
        if let Link::Up(session) = &mut self.link
            && let Some(flight) = &mut session.flight
        {
            flight.at = now.at;
        }
        self.beats.excuse(now.at);
    }

    /// The clock that deadlines are on stood still with the machine: a heartbeat at once shows whether the gateway still is there,
    /// and tells it that we are.
    fn woke(&mut self, now: Moment) {
        self.excuse(now);
        match &mut self.link {
            Link::Up(_) => self.beats.begin(now.at),
            Link::Waiting { until } => *until = now.at,
            Link::Dialing | Link::Leaving { .. } | Link::Ended => {}
        }
    }

    /// Whether there is anything to send.
    fn has_word(&self, session: &Session) -> bool {
        let is_known = self.told.len() >= self.settings.sources;
        if session.rest.is_some() { is_known } else { self.ledger.is_unsent() }
    }

    /// When the gateway will have been silent for too long.
    fn silent_at(&self, session: &Session) -> Option<Stamp> {
        let flight = session.flight.as_ref().map(|flight| flight.at);
        let since = [flight, self.beats.unanswered_since()].into_iter().flatten().min()?;
        Some(since + self.settings.answer_within)
    }
}

/// How far the time of day is ahead of the monotonic clock.
fn ahead(now: Moment) -> i128 {
    now.wall.unix_nanos() - i128::from(now.at.as_nanos())
}
