//! When an informer lists and when it watches, as client-go's reflector does it. Pure.
//!
//! One list, then one watch after another from the version of the last event or bookmark. A watch that ends is opened again at
//! once; one that ends at once, or that the server has forgotten the beginning of, is followed by a list after a pause. The
//! pauses are those of client-go v0.34 (tools/cache/reflector.go): 0.8 s, doubled up to 30 s, each with up to as much again at
//! random, and from the beginning after two quiet minutes.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::model::Stamp;

const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(120);

/// A watch that ends before it without an event was none.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// A watch ends by itself after one to two of these, so that the load of many clients spreads over servers.
pub const LEAST_WATCH: Duration = Duration::from_secs(300);

/// What to do, and after which pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long to wait first.
    pub after: Duration,
    /// What then.
    pub act: Act,
}

/// What an informer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Lists, from the cache of the server if it is at least of this version; without one through etcd.
    List(Option<String>),
    /// Watches from this version on.
    Watch {
        /// The version.
        version: String,
        /// When it is to end by itself.
        lasts: Duration,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A list of this version.
    Listed(String),
    /// No list.
    NoList(Fault),
    /// A watch ended as watches do.
    Watched {
        /// The version of the last event or bookmark.
        version: String,
        /// How long it lasted.
        lasted: Duration,
        /// Events in it, bookmarks included.
        event_count: u64,
    },
    /// A watch that did not begin, or broke.
    NoWatch {
        /// The version of the last event or bookmark.
        version: String,
        /// Why.
        fault: Fault,
    },
}

/// Why there was no list, or no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 410: the server does not know the version any more.
    Gone,
    /// 429, or nobody there: the same may be asked again.
    Busy,
    /// Anything else.
    Other,
}

/// An informer's plan.
#[derive(Debug)]
pub struct Machine {
    /// The version of the last list, event or bookmark.
    version: Option<String>,
    /// What the latest list was asked with.
    asked: Option<String>,
    pause: Duration,
    failed_at: Option<Stamp>,
    random: ChaCha8Rng,
}

impl Machine {
    /// A plan from the beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { version: None, asked: None, pause: FIRST_PAUSE, failed_at: None, random }
    }

    /// The first step: whatever the server has at hand.
    pub fn begin(&mut self) -> Step {
        self.list(Duration::ZERO)
    }

    /// The next step.
    pub fn hear(&mut self, ended: Ended, now: Stamp) -> Step {
        match ended {
            Ended::Listed(version) => self.watch(Duration::ZERO, version),
            // Once more, through etcd; that nobody can have forgotten.
            Ended::NoList(Fault::Gone) if self.asked.is_some() => {
                self.asked = None;
                Step { after: Duration::ZERO, act: Act::List(None) }
            }
            Ended::NoList(_) => {
                let after = self.back_off(now);
                Step { after, act: Act::List(self.asked.clone()) }
            }
            Ended::Watched { version, lasted, event_count } if lasted >= SHORTEST_WATCH || event_count > 0 => {
                self.watch(Duration::ZERO, version)
            }
            Ended::NoWatch { version, fault: Fault::Busy } => {
                let after = self.back_off(now);
                self.watch(after, version)
            }
            Ended::Watched { version, .. } | Ended::NoWatch { version, .. } => {
                self.version = Some(version);
                let after = self.back_off(now);
                self.list(after)
            }
        }
    }

    fn list(&mut self, after: Duration) -> Step {
        self.asked = Some(self.version.clone().unwrap_or_else(|| "0".to_owned()));
        Step { after, act: Act::List(self.asked.clone()) }
    }

    fn watch(&mut self, after: Duration, version: String) -> Step {
        self.version = Some(version.clone());
        let lasts = LEAST_WATCH.mul_f64(1.0 + self.random.random::<f64>());
        Step { after, act: Act::Watch { version, lasts } }
    }

    fn back_off(&mut self, now: Stamp) -> Duration {
        if self.failed_at.is_some_and(|failed| now.since(failed) >= QUIET) {
            self.pause = FIRST_PAUSE;
        }
        self.failed_at = Some(now);
        let pause = self.pause.mul_f64(1.0 + self.random.random::<f64>());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Stamp {
        Stamp::from_nanos(seconds * 1_000_000_000)
    }

    fn listing() -> Machine {
        let mut machine = Machine::new(1);
        assert_eq!(machine.begin(), Step { after: Duration::ZERO, act: Act::List(Some("0".to_owned())) });
        machine
    }

    fn is_between(pause: Duration, least: Duration) -> bool {
        (least..least * 2).contains(&pause)
    }

    #[test]
    fn one_list_and_then_one_watch_after_another_from_where_the_last_one_ended() {
        let mut machine = listing();
        let ended = |version: &str| Ended::Watched {
            version: version.to_owned(),
            lasted: Duration::from_secs(400),
            event_count: 0,
        };
        for (from, ended) in [("5", Ended::Listed("5".to_owned())), ("9", ended("9")), ("12", ended("12"))] {
            let Step { after, act: Act::Watch { version, lasts } } = machine.hear(ended, at(1)) else { panic!() };
            assert_eq!((after, version.as_str()), (Duration::ZERO, from));
            assert!(is_between(lasts, LEAST_WATCH), "{lasts:?}");
        }
        let brief = Ended::Watched { version: "13".to_owned(), lasted: Duration::from_millis(5), event_count: 1 };
        assert!(matches!(machine.hear(brief, at(2)).act, Act::Watch { version, .. } if version == "13"));
    }

    #[test]
    fn what_the_server_has_forgotten_is_listed_again_at_last_through_etcd() {
        let mut machine = listing();
        machine.hear(Ended::Listed("5".to_owned()), at(1));
        let gone = Ended::NoWatch { version: "7".to_owned(), fault: Fault::Gone };
        let step = machine.hear(gone, at(2));
        assert!(is_between(step.after, FIRST_PAUSE), "{step:?}");
        assert_eq!(step.act, Act::List(Some("7".to_owned())));
        let step = machine.hear(Ended::NoList(Fault::Gone), at(3));
        assert_eq!(step, Step { after: Duration::ZERO, act: Act::List(None) });
        let step = machine.hear(Ended::NoList(Fault::Gone), at(3));
        assert_eq!(step.act, Act::List(None));
        assert!(is_between(step.after, FIRST_PAUSE * 2), "{step:?}");
    }

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_again_after_two_quiet_ones() {
        let mut machine = listing();
        let mut least = FIRST_PAUSE;
        for second in 0..10 {
            let step = machine.hear(Ended::NoList(Fault::Other), at(second));
            assert!(is_between(step.after, least), "{step:?}");
            least = (least * 2).min(LONGEST_PAUSE);
        }
        assert!(is_between(machine.hear(Ended::NoList(Fault::Busy), at(129)).after, FIRST_PAUSE));
    }

    #[test]
    fn a_watch_that_cannot_be_had_now_is_tried_again_and_one_that_ends_at_once_is_none() {
        let mut machine = listing();
        let busy = Ended::NoWatch { version: "7".to_owned(), fault: Fault::Busy };
        assert!(matches!(machine.hear(busy, at(1)).act, Act::Watch { version, .. } if version == "7"));
        let short = Ended::Watched { version: "7".to_owned(), lasted: Duration::from_millis(999), event_count: 0 };
        assert_eq!(machine.hear(short, at(2)).act, Act::List(Some("7".to_owned())));
        let broken = Ended::NoWatch { version: "8".to_owned(), fault: Fault::Other };
        assert_eq!(machine.hear(broken, at(3)).act, Act::List(Some("8".to_owned())));
    }
}
