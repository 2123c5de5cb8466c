//! What is done, and therefore known to have happened: containers of our own, made, started, killed and removed.
//!
//! Separate from the watching, and from whose hands do it.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::EventsError;
use super::correlate::Truth;
use super::hands::{HandError, Hands, Step};
use super::spec::{EventsSpec, Own};
use crate::load::{Answer, Operation};
use crate::model::{Outcome, Stamp, Warning};
use crate::source::watch::Act;
use crate::sys::clock;

/// How long a container stays that has ended, so that a list can show it, as those do that nobody removes at once.
const LINGER: Duration = Duration::from_secs(1);

/// Pause between two looks at whether all lives are over.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for what the engine was asked to make when the run ends.
const MADE_WITHIN: Duration = Duration::from_secs(15);

/// Containers of ours.
pub struct Actor {
    hand: Hands,
    own: Own,
    lives: RefCell<JoinSet<()>>,
    /// Whether lives are to be cut short.
    stop: watch::Sender<bool>,
    book: Arc<Mutex<Book>>,
    /// Containers that are still to be made: the last burst may be smaller.
    rest: Cell<u64>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Book {
    /// What succeeded.
    pub truths: Vec<Truth>,
    /// Containers of which a look before their removal said that they were started and have ended.
    pub proved: Vec<String>,
    /// Why something did not, each reason once.
    pub faults: Vec<String>,
    /// How long each step of the making of a Pod took.
    pub steps: Vec<(Step, Duration)>,
}

impl Actor {
    /// Removes what killed runs left, and makes ready to act: with the warnings about what was left.
    ///
    /// # Errors
    /// When whoever is to act cannot be reached.
    pub async fn open(spec: &EventsSpec, own: &Own) -> Result<(Self, Vec<Warning>), EventsError> {
        let (hand, warnings) = Hands::open(spec, own).await?;
        let actor = Self {
            hand,
            own: own.clone(),
            lives: RefCell::new(JoinSet::new()),
            stop: watch::Sender::new(false),
            book: Arc::default(),
            rest: Cell::new(u64::from(own.count)),
        };
        Ok((actor, warnings))
    }

    /// Brings the image, if it is to be one of ours. Whatever comes of it, [`Actor::clear`] removes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn prepare(&self) -> Result<(), EventsError> {
        self.hand.prepare().await
    }

    /// Waits until every container has been killed and removed in its time.
    pub async fn outlive(&self) {
        // They are left in their set while they are waited for: whoever stops waiting must not end them.
        while !self.lives.borrow().is_empty() {
            while self.lives.borrow_mut().try_join_next().is_some() {}
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was done so far.
    pub fn book(&self) -> Book {
        std::mem::take(&mut *self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes everything of this run.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<(), HandError> {
        // What the engine was asked to make is made, whether or not anybody waits for its answer: it is listed only then.
        self.stop.send_replace(true);
        // Past that an engine hangs, and what it makes even so is for the next run.
        let _ = tokio::time::timeout(MADE_WITHIN, self.outlive()).await;
        self.hand.clear().await
    }

    /// Makes and starts one container in a task of its own, which goes on where nobody waits for it any more.
    async fn launch(&self) -> Outcome {
        let maker = Maker { hand: self.hand.clone(), book: Arc::clone(&self.book), alive: self.own.alive };
        let mut stop = self.stop.subscribe();
        let (sender, outcome) = oneshot::channel();
        self.lives.borrow_mut().spawn(async move {
            let (outcome, life) = maker.launch().await;
            // Nobody to tell it to: the attempt timed out, or the run is over.
            let _ = sender.send(outcome);
            let Some((life, has_started)) = life else { return };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = life.live(has_started) => {}
            }
        });
        outcome.await.unwrap_or(Outcome::Failed("engine_broke_off"))
    }
}

/// Makes one container.
struct Maker {
    hand: Hands,
    book: Arc<Mutex<Book>>,
    alive: Duration,
}

impl Maker {
    /// How it went, and what there is of it now: whether it was started stands beside it.
    async fn launch(self) -> (Outcome, Option<(Life, bool)>) {
        let made = match self.hand.create().await {
            Ok(made) => made,
            Err(error) => return (self.fault("made", &error), None),
        };
        let (id, mut steps) = (made.id, made.steps);
        let created = note(&self.book, &id, Act::Create, made.called);
        let called = clock::now();
        let outcome = match self.hand.start(&id).await {
            Ok(()) => {
                let started = note(&self.book, &id, Act::Start, called);
                steps.extend([(Step::Create, created), (Step::Start, started)]);
                Outcome::Ok
            }
            Err(error) => self.fault("started", &error),
        };
        let Self { hand, book, alive } = self;
        if hand.has_steps() && outcome == Outcome::Ok {
            book.lock().unwrap_or_else(PoisonError::into_inner).steps.extend(steps);
        }
        (outcome, Some((Life { hand, book, id, alive }, outcome == Outcome::Ok)))
    }

    fn fault(&self, what: &str, error: &HandError) -> Outcome {
        fault(&self.book, format!("a container could not be {what}: {}", error.told()));
        error.outcome()
    }
}

impl Operation for Actor {
    async fn attempt(&self) -> Answer {
        let burst = u64::from(self.own.burst).min(self.rest.get());
        self.rest.set(self.rest.get() - burst);
        let all = join_all((0..burst).map(|_| self.launch())).await;
        let bad = all.into_iter().find(|outcome| *outcome != Outcome::Ok);
        Answer::new(bad.unwrap_or(Outcome::Ok))
    }
}

/// A container from its start to its removal.
struct Life {
    hand: Hands,
    book: Arc<Mutex<Book>>,
    id: String,
    alive: Duration,
}

impl Life {
    async fn live(self, has_started: bool) {
        let Self { hand, book, id, alive } = self;
        if has_started {
            tokio::time::sleep(alive).await;
            let called = clock::now();
            match hand.kill(&id).await {
                Ok(()) => drop(note(&book, &id, Act::Exit, called)),
                Err(error) => fault(&book, format!("a container could not be killed: {}", error.told())),
            }
            tokio::time::sleep(LINGER).await;
            if hand.has_lived(&id).await {
                book.lock().unwrap_or_else(PoisonError::into_inner).proved.push(id.clone());
            }
        }
        let called = clock::now();
        match hand.remove(&id).await {
            Ok(()) => drop(note(&book, &id, Act::Destroy, called)),
            Err(error) => fault(&book, format!("a container could not be removed: {}", error.told())),
        }
        if let Err(error) = hand.tidy(&id).await {
            fault(&book, format!("what was made for a container could not be removed: {}", error.told()));
        }
    }
}

/// Writes down what was done; how long the call took.
fn note(book: &Mutex<Book>, container: &str, act: Act, called: Stamp) -> Duration {
    let truth = Truth { container: container.to_owned(), act, called, returned: clock::now() };
    let took = truth.returned.since(called);
    book.lock().unwrap_or_else(PoisonError::into_inner).truths.push(truth);
    took
}

fn fault(book: &Mutex<Book>, text: String) {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if book.faults.len() < 10 && !book.faults.contains(&text) {
        book.faults.push(text);
    }
}
