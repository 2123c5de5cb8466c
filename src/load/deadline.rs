//! The time limit of every attempt, kept by the driver itself.
//!
//! One span for all attempts of a run, so their deadlines come in the order of their starts: a queue is enough. The async
//! runtime's own timer per attempt would cost a registration and a second `epoll_wait` between each send and the wait for
//! its answer, which is time that a far end on the same core waits too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::model::Stamp;

/// Entries below which nothing is tidied.
const LEAST_ROOM: usize = 1024;

/// Attempts in flight by the time at which they count as lost.
#[derive(Default)]
pub struct Deadlines {
    queue: VecDeque<(Stamp, Rc<Limit>)>,
    /// Length at which those that are over are looked for.
    room: usize,
}

/// The limit of one attempt.
#[derive(Default)]
pub struct Limit {
    is_over: Cell<bool>,
    is_expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Deadlines {
    /// A limit for an attempt that starts now; deadlines must not go back.
    pub fn add(&mut self, deadline: Stamp) -> Rc<Limit> {
        if self.queue.len() >= self.room {
            // One silent attempt at the front must not hold on to all that ended behind it.
            self.queue.retain(|(_, limit)| !limit.is_over.get());
            self.room = self.queue.len() * 2 + LEAST_ROOM;
        }
        let limit = Rc::new(Limit::default());
        self.queue.push_back((deadline, Rc::clone(&limit)));
        limit
    }

    /// Ends the attempts whose time is up, and forgets those that are over.
    pub fn expire(&mut self, now: Stamp) {
        while let Some((_, limit)) = self.queue.pop_front_if(|(at, limit)| *at <= now || limit.is_over.get()) {
            limit.expire();
        }
    }

    /// When the next attempt's time is up.
    pub fn next(&self) -> Option<Stamp> {
        self.queue.front().map(|(at, _)| *at)
    }
}

impl Limit {
    fn expire(&self) {
        self.is_expired.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The outcome of `attempt`, or `None` once the limit has expired; the attempt is then to be dropped. It comes pinned
    /// because a future that is moved about is copied each time, and some of them are large.
    pub async fn hold<F: Future>(&self, mut attempt: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| {
            let ended = match attempt.as_mut().poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending if self.is_expired.get() => None,
                Poll::Pending => {
                    self.waker.borrow_mut().get_or_insert_with(|| context.waker().clone()).clone_from(context.waker());
                    return Poll::Pending;
                }
            };
            self.is_over.set(true);
            Poll::Ready(ended)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_kept_and_a_silence_ends() {
        let mut deadlines = Deadlines::default();
        let (answered, silent) = (deadlines.add(Stamp::from_nanos(5)), deadlines.add(Stamp::from_nanos(7)));
        assert_eq!(answered.hold(pin!(ready(1))).await, Some(1));
        deadlines.expire(Stamp::from_nanos(1));
        assert_eq!(deadlines.next(), Some(Stamp::from_nanos(7)));
        deadlines.expire(Stamp::from_nanos(7));
        assert_eq!((silent.hold(pin!(pending::<()>())).await, deadlines.next()), (None, None));
    }

    #[tokio::test]
    async fn expiry_wakes_who_waits() {
        let mut deadlines = Deadlines::default();
        let limit = deadlines.add(Stamp::from_nanos(3));
        let attempt = pin!(pending::<()>());
        let (ended, ()) = tokio::join!(limit.hold(attempt), async {
            tokio::task::yield_now().await;
            deadlines.expire(Stamp::from_nanos(3));
        });
        assert_eq!(ended, None);
    }
}
