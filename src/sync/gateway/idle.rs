//! Whether anything is asked on a connection, so that one on which nothing is does not stay open for nothing.
//!
//! Separate because HTTP/2 itself knows no such limit: a connection without a stream lives as long as its peer answers pings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How many requests of a connection are not answered to the end.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<watch::Sender<usize>>);

/// A request that is not answered to the end.
#[derive(Debug)]
pub struct Busy(Arc<watch::Sender<usize>>);

impl Activity {
    /// A request begins.
    #[must_use]
    pub fn begin(&self) -> Busy {
        self.0.send_modify(|open| *open += 1);
        Busy(Arc::clone(&self.0))
    }

    /// Ends when nothing was asked for so long, and nothing is being answered.
    pub async fn idle(&self, span: Duration) {
        let mut open = self.0.subscribe();
        loop {
            // Neither fails: the sender is ours.
            let _ = open.wait_for(|open| *open == 0).await;
            if timeout(span, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    const SPAN: Duration = Duration::from_millis(50);

    fn run<R>(work: impl Future<Output = R>) -> R {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    #[test]
    fn it_is_idle_a_while_after_the_last_answer_and_not_while_one_is_given() {
        run(async {
            let activity = Activity::default();
            let began = clock::now();
            activity.idle(SPAN).await;
            assert!(clock::now().since(began) >= SPAN);
            let busy = activity.begin();
            assert!(timeout(SPAN * 3, activity.idle(SPAN)).await.is_err(), "one is being answered");
            let ended = clock::now();
            drop(busy);
            activity.idle(SPAN).await;
            assert!(clock::now().since(ended) >= SPAN);
        });
    }
}
