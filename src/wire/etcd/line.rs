//! Whether there is a connection at this moment, and the wait for one that is being opened.
//!
//! Separate because of the moment between two: a server that sends its clients away (HTTP/2: GOAWAY) has another connection for
//! them, and a call that comes meanwhile waits for that one instead of failing. One that is gone is gone, and calls are told.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The connection of the moment, each with a number.
pub struct Line<S> {
    state: Mutex<(Standing<S>, u64)>,
    /// It is up, or down, or to be left.
    changed: Notify,
    /// Whether any call was answered since a connection was opened at once.
    has_answered: AtomicBool,
    /// Connections that were opened at once since then.
    opened_count: AtomicU32,
}

/// Connections that are opened at once while no call is answered: a server takes few calls on each, and their answers come
/// after it has sent the others away. More would storm one that never answers.
const MOST_AT_ONCE: u32 = 20;

enum Standing<S> {
    Down,
    /// One is being opened, or is to be.
    Opening,
    Up(S),
}

impl<S> Default for Line<S> {
    fn default() -> Self {
        let state = Mutex::new((Standing::Down, 0));
        Self { state, changed: Notify::new(), has_answered: AtomicBool::new(false), opened_count: AtomicU32::new(0) }
    }
}

impl<S: Clone> Line<S> {
    /// There is a connection.
    pub fn open(&self, sender: S) {
        self.set(|(standing, number)| {
            *standing = Standing::Up(sender);
            *number += 1;
        });
    }

    /// There is none, and none that could be waited for.
    pub fn close(&self) {
        self.set(|(standing, _)| *standing = Standing::Down);
    }

    /// Another one is opened at once, unless that was done too often without an answer; whether it is.
    pub fn reopen(&self) -> bool {
        if self.has_answered.swap(false, Ordering::Relaxed) {
            self.opened_count.store(0, Ordering::Relaxed);
        }
        let is_meant = self.opened_count.fetch_add(1, Ordering::Relaxed) < MOST_AT_ONCE;
        self.set(|(standing, _)| *standing = if is_meant { Standing::Opening } else { Standing::Down });
        is_meant
    }

    /// The server wants calls on another connection than that of this number.
    pub fn leave(&self, number: u64) {
        self.set(|(standing, present)| {
            if *present == number && matches!(standing, Standing::Up(_)) {
                *standing = Standing::Opening;
            }
        });
    }

    /// Returns when the connection of the moment is to be left.
    pub async fn left(&self) {
        loop {
            let changed = self.changed.notified();
            if matches!(self.lock().0, Standing::Opening) {
                return;
            }
            changed.await;
        }
    }

    /// A call was answered, or was not.
    pub fn note(&self, is_answered: bool) {
        if is_answered && !self.has_answered.load(Ordering::Relaxed) {
            self.has_answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        matches!(self.lock().0, Standing::Up(_))
    }

    /// The connection and its number, or that there is none; nothing yet while one is being opened.
    pub fn get(&self) -> Option<Option<(S, u64)>> {
        match &*self.lock() {
            (Standing::Up(sender), number) => Some(Some((sender.clone(), *number))),
            (Standing::Opening, _) => None,
            (Standing::Down, _) => Some(None),
        }
    }

    /// The same once it is known.
    pub async fn wait(&self) -> Option<(S, u64)> {
        loop {
            let changed = self.changed.notified();
            if let Some(known) = self.get() {
                return known;
            }
            changed.await;
        }
    }

    fn set(&self, change: impl FnOnce(&mut (Standing<S>, u64))) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, (Standing<S>, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_waits_for_the_next_connection_and_not_for_none() {
        let line: Line<&str> = Line::default();
        assert_eq!(line.get(), Some(None));
        line.open("first");
        assert_eq!(line.get(), Some(Some(("first", 1))));
        line.leave(0);
        assert!(line.is_up(), "that was another one");
        line.leave(1);
        let (_, found) = tokio::join!(async { line.open("second") }, line.wait());
        assert_eq!(found, Some(("second", 2)));
        line.leave(2);
        let (_, found, ()) = tokio::join!(async { line.close() }, line.wait(), line_is_left(&line));
        assert_eq!(found, None);
    }

    /// Whoever keeps the line hears of it, too, or it was closed already.
    async fn line_is_left(line: &Line<&str>) {
        line.open("third");
        line.leave(3);
        line.left().await;
        line.close();
    }

    #[test]
    fn who_never_answers_is_not_called_again_at_once_for_ever() {
        let line: Line<&str> = Line::default();
        let at_once = || (0..100).filter(|_| line.reopen()).count();
        assert_eq!((at_once(), line.get()), (20, Some(None)));
        line.open("a");
        line.note(false);
        assert_eq!(at_once(), 0);
        line.note(true);
        assert_eq!(at_once(), 20);
    }
}
