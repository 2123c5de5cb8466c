//! The operation: one change, from the call that makes it to the subscriber that reads it.
//!
//! Separate from whose hands make it. What changes next is made ready while nothing is timed, and what has arrived is removed then.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::hand::{Hand, HandError, Task};
use super::subscriber::{Seen, Subscriber};
use crate::load::{Answer, Operation};
use crate::model::{Outcome, Stamp, with_causes};
use crate::sys::clock;

/// Tasks that are made ready in advance.
const READY: usize = 2;

/// Longest wait for what is still being removed when the run ends.
const REMOVED_WITHIN: Duration = Duration::from_secs(15);

/// One change that was followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The task, as the runtime calls it.
    pub task: String,
    /// When the call began.
    pub called: Stamp,
    /// What arrived.
    pub seen: Seen,
}

/// Makes changes and follows them.
pub struct Actor<'a> {
    hand: Hand,
    subscriber: &'a Subscriber,
    /// Names the run in ids.
    run: String,
    count: Cell<u64>,
    ready: RefCell<VecDeque<Task>>,
    /// What is made ready and removed beside the attempts.
    errands: RefCell<JoinSet<()>>,
    made: (mpsc::UnboundedSender<Made>, RefCell<mpsc::UnboundedReceiver<Made>>),
    followed: Rc<RefCell<Vec<Followed>>>,
    faults: RefCell<Vec<String>>,
}

type Made = Result<Task, HandError>;

impl<'a> Actor<'a> {
    /// Acts with this hand, and waits at this subscriber.
    pub fn new(hand: Hand, subscriber: &'a Subscriber) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            hand,
            subscriber,
            run: format!("{:08x}", clock::entropy() as u32),
            count: Cell::new(0),
            ready: RefCell::default(),
            errands: RefCell::default(),
            made: (sender, RefCell::new(receiver)),
            followed: Rc::default(),
            faults: RefCell::default(),
        }
    }

    /// Brings what every change needs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn bring(&self) -> Result<(), HandError> {
        self.hand.bring().await
    }

    /// What was followed since the last question.
    pub fn followed(&self) -> Vec<Followed> {
        self.followed.take()
    }

    /// Why something could not be done, each reason once.
    pub fn faults(&self) -> Vec<String> {
        self.faults.take()
    }

    /// Removes everything that is left.
    pub async fn clear(&self) {
        let left: Vec<Task> = self.ready.take().into();
        let removed = async {
            for task in &left {
                if let Err(error) = self.hand.remove(task).await {
                    self.fault(&error);
                }
            }
            let mut errands = self.errands.take();
            while errands.join_next().await.is_some() {}
            if let Err(error) = self.hand.clear().await {
                self.fault(&error);
            }
        };
        if tokio::time::timeout(REMOVED_WITHIN, removed).await.is_err() {
            self.faults.borrow_mut().push("what was made could not all be removed in time".to_owned());
        }
    }

    /// A task that can begin; others are made meanwhile.
    async fn next_task(&self) -> Result<Task, HandError> {
        while let Ok(made) = self.made.1.borrow_mut().try_recv() {
            match made {
                Ok(task) => self.ready.borrow_mut().push_back(task),
                Err(error) => self.fault(&error),
            }
        }
        let task = self.ready.borrow_mut().pop_front();
        let wanted = READY.saturating_sub(self.ready.borrow().len());
        for _ in 0..wanted {
            let (hand, trace, made) = (self.hand.clone(), self.next_id(), self.made.0.clone());
            self.errands.borrow_mut().spawn(async move {
                // Nobody takes it any more once the run is over: its mark is found by the final look.
                let _ = made.send(hand.prepare(trace).await);
            });
        }
        match task {
            Some(task) => Ok(task),
            None => self.hand.prepare(self.next_id()).await,
        }
    }

    fn next_id(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("{}-{}", self.run, self.count.get())
    }

    fn fault(&self, error: &HandError) {
        let (text, mut faults) = (with_causes(error), self.faults.borrow_mut());
        if faults.len() < 10 && !faults.contains(&text) {
            faults.push(text);
        }
    }

    fn dispose(&self, task: Task) {
        let hand = self.hand.clone();
        let mut errands = self.errands.borrow_mut();
        // What has ended is let go, so that a long run does not gather it.
        while errands.try_join_next().is_some() {}
        errands.spawn(async move {
            // What stays is found by its mark.
            let _ = hand.remove(&task).await;
        });
    }
}

impl Operation for Actor<'_> {
    async fn attempt(&self) -> Answer {
        let task = match self.next_task().await {
            Ok(task) => task,
            Err(error) => {
                self.fault(&error);
                return Answer::new(Outcome::Failed("not_prepared"));
            }
        };
        let wait = self.subscriber.wait(&task.id);
        let called = clock::now();
        if let Err(error) = self.hand.start(&task).await {
            self.fault(&error);
            self.dispose(task);
            return Answer::new(Outcome::Failed("not_started"));
        }
        let seen = wait.seen().await;
        let id = task.id.clone();
        self.dispose(task);
        let Some(seen) = seen else { return Answer::new(Outcome::Failed("stream_ended")) };
        let answer = Answer { started: Some(called), ended: Some(seen.at), ..Answer::new(Outcome::Ok) };
        self.followed.borrow_mut().push(Followed { task: id, called, seen });
        answer
    }
}
