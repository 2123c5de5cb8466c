//! What answers say is looked at on a thread of its own: reading a long list would make the next request late.

use std::cell::Cell;
use std::io;

use bytes::Bytes;
use hyper::header::{AGE, HeaderMap};
use hyper::http::response::Parts;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::evaluate::{Ledger, News, View};
use super::object;
use crate::model::Stamp;
use crate::sys::thread::Background;

/// Answers that may wait to be looked at; beyond it they are measured and not looked at.
const MOST_WAITING: usize = 256;

/// The way to read whose answers are the truth: through etcd, from the server itself.
pub const TRUTH: usize = 0;

/// Something to look at.
pub enum Sight {
    /// A list came.
    Answer {
        /// By which way.
        way: usize,
        /// When it was asked for, and when it was whole.
        span: (Stamp, Stamp),
        /// Its body.
        pieces: Vec<Bytes>,
        /// Where it came from.
        origin: Origin,
    },
    /// An informer's own store was read.
    Own {
        /// By which way.
        way: usize,
        /// When.
        began: Stamp,
        /// What it held.
        view: View,
    },
    /// An informer was told something.
    News {
        /// Which.
        informer: usize,
        /// What.
        news: News,
    },
}

/// What the head of an answer tells of where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Whether a cache gave it, in its own words.
    pub is_hit: Option<bool>,
    /// What a Kubernetes writes on each answer, each time another: on a copy of one it is the same.
    pub mark: Option<String>,
}

impl Origin {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let said = ["x-cache-status", "x-cache", "cache-status"].into_iter().find_map(text).and_then(is_hit);
        let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
        let mark = text("audit-id").map(|mark| mark.chars().take(64).collect());
        Self { is_hit: said.or_else(|| age.map(|_| true)), mark }
    }
}

/// The words of nginx, Varnish, CDNs and RFC 9211.
fn is_hit(said: &str) -> Option<bool> {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["miss", "bypass", "expired", "fwd=", "dynamic"]) => Some(false),
        () if says(&["hit", "stale", "updating", "revalidated"]) => Some(true),
        () => None,
    }
}

/// Hands answers of one way over; never waits.
#[derive(Debug)]
pub struct Looking {
    way: usize,
    teller: Sender<Sight>,
    /// Answers that nobody had time to look at.
    pub dropped_count: Cell<u64>,
}

impl Looking {
    /// Of this way to read.
    #[must_use]
    pub const fn new(way: usize, teller: Sender<Sight>) -> Self {
        Self { way, teller, dropped_count: Cell::new(0) }
    }

    /// An answer is whole; of an error nothing is to be seen.
    pub fn note(&self, span: (Stamp, Stamp), head: &Parts, pieces: Vec<Bytes>) {
        if head.status == 200 {
            self.tell(Sight::Answer { way: self.way, span, pieces, origin: Origin::of(&head.headers) });
        }
    }

    /// A store of our own was read.
    pub fn note_own(&self, began: Stamp, view: View) {
        self.tell(Sight::Own { way: self.way, began, view });
    }

    fn tell(&self, sight: Sight) {
        if self.teller.try_send(sight).is_err() {
            self.dropped_count.set(self.dropped_count.get() + 1);
        }
    }
}

/// Looks until nobody tells any more.
pub struct Looker {
    /// Where things are told.
    pub teller: Sender<Sight>,
    ledger: oneshot::Receiver<Ledger>,
    thread: Background,
}

impl Looker {
    /// Begins to look, at so many ways to read and so many informers.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(way_count: usize, informer_count: usize) -> io::Result<Self> {
        let (teller, told) = channel(MOST_WAITING);
        let (done, ledger) = oneshot::channel();
        let thread = Background::spawn("looker", move || async move {
            // Who has given the run up does not want it.
            let _ = done.send(look(told, Ledger::new(way_count, informer_count)).await);
        })?;
        Ok(Self { teller, ledger, thread })
    }

    /// What was seen, once all who tell are gone.
    pub async fn finish(self) -> Ledger {
        drop(self.teller);
        let ledger = self.ledger.await.unwrap_or_default();
        drop(self.thread);
        ledger
    }
}

async fn look(mut told: Receiver<Sight>, mut ledger: Ledger) -> Ledger {
    while let Some(sight) = told.recv().await {
        match sight {
            Sight::Answer { way, span, pieces, origin } => answer(&mut ledger, way, span, &pieces, &origin),
            Sight::Own { way, began, view } => {
                ledger.judged[way].answer_count += 1;
                ledger.take(way, &view, began);
            }
            Sight::News { informer, news } => ledger.hear(informer, news),
        }
    }
    ledger
}

fn answer(ledger: &mut Ledger, way: usize, (began, ended): (Stamp, Stamp), pieces: &[Bytes], origin: &Origin) {
    let is_hit = origin.is_hit.or_else(|| origin.mark.as_ref().map(|mark| ledger.is_repeated(mark)));
    let judged = &mut ledger.judged[way];
    judged.answer_count += 1;
    judged.body_bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
    match is_hit {
        Some(true) => judged.hit_count += 1,
        Some(false) => judged.miss_count += 1,
        None => {}
    }
    let text = match pieces {
        [piece] => piece.clone(),
        pieces => pieces.concat().into(),
    };
    match object::list(&text, false) {
        Ok(list) => {
            let view = View { version: list.number, objects: list.objects };
            ledger.take(way, &view, began);
            if way == TRUTH {
                ledger.take_truth(&view, ended);
            }
        }
        Err(_) => ledger.judged[way].unreadable_count += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_known_by_its_words_its_age_or_a_mark_that_comes_again() {
        let origin = |fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Origin::of(&fields.collect::<HeaderMap>())
        };
        let said = |name, value| origin(&[(name, value)]).is_hit;
        for hit in ["HIT", "STALE", "UPDATING", "hit from edge"] {
            assert_eq!(said("x-cache-status", hit), Some(true), "{hit}");
        }
        for miss in ["MISS", "BYPASS", "EXPIRED", "TCP_MISS"] {
            assert_eq!(said("x-cache", miss), Some(false), "{miss}");
        }
        assert_eq!(said("cache-status", "edge; hit; ttl=3"), Some(true));
        assert_eq!(said("cache-status", "edge; fwd=uri-miss"), Some(false));
        assert_eq!(said("age", "0"), Some(true));
        assert_eq!(said("x-cache-status", "odd"), None);
        assert_eq!(origin(&[("audit-id", "a-b")]), Origin { is_hit: None, mark: Some("a-b".to_owned()) });
    }
}
