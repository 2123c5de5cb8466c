//! The lives that are measured: containers that are made, started, ended and removed while watchers look.
//!
//! Separate from those that stand by.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::bed::Bed;
use super::evaluate::Life;
use super::spec::CriSpec;
use crate::load::{Answer, Operation};
use crate::model::{Outcome, with_causes};
use crate::source::cri::{Hand, Pod, Wanted};
use crate::source::line::LineError;
use crate::source::watch::OwnTime;

/// How long after the longest span between two relists a container stays that has ended, so that each of them shows it.
const LINGER: Duration = Duration::from_millis(500);

/// Pause between two looks at whether all lives are over.
const LOOK: Duration = Duration::from_millis(5);

/// Most reasons that are kept of what could not be done.
const MOST_FAULTS: usize = 10;

/// Makes lives.
pub struct Acts {
    maker: Maker,
    lives: RefCell<JoinSet<()>>,
    number: Cell<u32>,
}

#[derive(Clone)]
struct Maker {
    hand: Hand,
    pod: Pod,
    image: String,
    command: Vec<String>,
    alive: Duration,
    linger: Duration,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    lives: Vec<Life>,
    time: OwnTime,
    faults: Vec<String>,
}

impl Acts {
    /// In the Pod of those that come and go.
    pub fn new(spec: &CriSpec, bed: &Bed, pod: &Pod) -> Self {
        let linger = spec.longest_relist() + LINGER;
        let (program, seconds) = (Bed::program(), (spec.alive + linger).as_secs().max(60).to_string());
        let command = bed.command(&program, &seconds).into_iter().map(str::to_owned).collect();
        let (hand, pod, image) = (bed.hand.clone(), pod.clone(), bed.image.clone());
        let maker = Maker { hand, pod, image, command, alive: spec.alive, linger, book: Arc::default() };
        Self { maker, lives: RefCell::default(), number: Cell::new(0) }
    }

    /// Waits until every container has been ended and removed in its time.
    pub async fn outlive(&self) {
        while !self.lives.borrow().is_empty() {
            while self.lives.borrow_mut().try_join_next().is_some() {}
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Cuts all of them short; what there is of them is removed with everything.
    pub fn stop(&self) {
        self.lives.borrow_mut().abort_all();
    }

    /// What was done, and what could not be.
    pub fn book(&self) -> (Vec<Life>, Vec<String>) {
        let book = std::mem::take(&mut *self.maker.book.lock().unwrap_or_else(PoisonError::into_inner));
        (book.lives, book.faults)
    }
}

impl Operation for Acts {
    async fn attempt(&self) -> Answer {
        let number = self.number.replace(self.number.get() + 1);
        let (sender, outcome) = oneshot::channel();
        let maker = self.maker.clone();
        self.lives.borrow_mut().spawn(async move {
            let started = maker.launch(&crate::sys::clock::entropy().to_string(), number).await;
            // Nobody to tell it to: the attempt timed out, or the run is over.
            let _ = sender.send(if started.is_some() { Outcome::Ok } else { Outcome::Failed("runtime_failed") });
            if let Some(id) = started {
                maker.live(id).await;
            }
        });
        Answer::new(outcome.await.unwrap_or(Outcome::Failed("runtime_failed")))
    }
}

impl Maker {
    async fn launch(&self, run: &str, number: u32) -> Option<String> {
        let name = format!("act-{number}-{run}");
        let command: Vec<&str> = self.command.iter().map(String::as_str).collect();
        let wanted = Wanted { name: &name, image: &self.image, command: &command };
        let id = self.done("made", self.hand.create(&self.pod, wanted).await)?;
        self.done("started", self.hand.start(&id).await)?;
        Some(id)
    }

    async fn live(&self, id: String) {
        tokio::time::sleep(self.alive).await;
        let ended = self.done("ended", self.hand.kill(&id).await).is_some();
        let [started, finished] = self.hand.life(&id).await;
        {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let started = started.and_then(|at| book.time.stamp(at));
            let finished = finished.filter(|_| ended).and_then(|at| book.time.stamp(at));
            book.lives.push(Life { id: id.clone(), started, finished });
        }
        tokio::time::sleep(self.linger).await;
        self.done("removed", self.hand.remove(&id).await);
    }

    /// What came of it; why not is written down, each reason once.
    fn done<T>(&self, what: &str, result: Result<T, LineError>) -> Option<T> {
        let error = match result {
            Ok(done) => return Some(done),
            Err(error) => error,
        };
        let text = format!("a container could not be {what}: {}", with_causes(&error));
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if book.faults.len() < MOST_FAULTS && !book.faults.contains(&text) {
            book.faults.push(text);
        }
        None
    }
}
