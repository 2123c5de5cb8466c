//! What is done, and therefore known to have happened: containers of our own, made, started, killed and removed.
//!
//! Separate from the watching. Each thing of ours bears the mark of this process, so that the next run finds what a killed one
//! left; what bears no mark is never touched.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::EventsError;
use super::correlate::Truth;
use super::hands::{Groups, HandError, Hands};
use super::image::{PROGRAM, archive};
use super::spec::{By, Own};
use crate::load::{Answer, Operation};
use crate::model::{Outcome, Stamp, Warning, with_causes};
use crate::source::docker::{Hand, Labelled};
use crate::source::watch::Act;
use crate::sys::clock;
use crate::sys::owner::{Fate, Owner};

/// The labels of everything of ours: whose it is, and of which run.
const OWNER: &str = "offloadctl.owner";
const RUN: &str = "offloadctl.run";

/// How long a container stays that has ended, so that a list can show it, as those do that nobody removes at once.
const LINGER: Duration = Duration::from_secs(1);

/// How much longer than meant a container lives by itself where nobody kills it.
const SPARE: Duration = Duration::from_secs(60);

/// Pause between two looks at whether all lives are over.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for what the engine was asked to make when the run ends.
const MADE_WITHIN: Duration = Duration::from_secs(15);

/// Containers of ours at an engine.
pub struct Actor {
    hand: Hands,
    own: Own,
    image: String,
    labels: Labels,
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
}

#[derive(Clone)]
struct Labels {
    owner: String,
    run: String,
}

impl Actor {
    /// Removes what killed runs left, and makes ready to act: with the warnings about what was left.
    ///
    /// # Errors
    /// When the engine cannot be reached, or has no such image.
    pub async fn open(socket: &Path, own: &Own) -> Result<(Self, Vec<Warning>), EventsError> {
        let (hand, warnings) = match own.by {
            By::Docker => {
                let hand = Hand::open(socket).await.map_err(|error| EventsError::engine(socket, error))?;
                let warnings = sweep(&hand).await;
                (Hands::Docker(hand), warnings)
            }
            By::Cgroup => {
                let (groups, removed) = Groups::open()?;
                let warnings = removed.into_iter().map(|text| Warning::new("leftover", text)).collect();
                (Hands::Groups(groups), warnings)
            }
        };
        let run = format!("{:016x}", clock::entropy());
        let labels = Labels { owner: Owner::ours().to_string(), run: run.clone() };
        let actor = Self {
            hand,
            own: own.clone(),
            image: own.image.clone().unwrap_or_else(|| format!("offloadctl-events:{run}")),
            labels,
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
        if self.makes_image() {
            let archive = archive()?;
            self.hand.import(&self.image, archive, &self.labels.pairs()).await.map_err(EventsError::Import)?;
        }
        Ok(())
    }

    fn makes_image(&self) -> bool {
        self.own.by == By::Docker && self.own.image.is_none()
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

    /// Removes everything of this run; the ids of the containers that the listing still showed.
    ///
    /// # Errors
    /// When something of ours stays.
    pub async fn clear(&self) -> Result<Vec<String>, HandError> {
        // What the engine was asked to make is made, whether or not anybody waits for its answer: it is listed only then.
        self.stop.send_replace(true);
        // Past that an engine hangs, and what it makes even so is for the next run.
        let _ = tokio::time::timeout(MADE_WITHIN, self.outlive()).await;
        let filter = format!("{RUN}={}", self.labels.run);
        let is_ours = |one: &Labelled| one.label(RUN) == Some(self.labels.run.as_str());
        let mut stayed = Vec::new();
        for container in self.hand.containers(&filter).await?.into_iter().filter(is_ours) {
            self.hand.remove(&container.id).await?;
            stayed.push(container.id);
        }
        if self.makes_image() {
            self.hand.remove_image(&self.image).await?;
        }
        Ok(stayed)
    }

    /// Makes and starts one container in a task of its own, which goes on where nobody waits for it any more.
    async fn launch(&self) -> Outcome {
        let maker = Maker {
            hand: self.hand.clone(),
            book: Arc::clone(&self.book),
            image: self.image.clone(),
            is_own_image: self.own.image.is_none(),
            labels: self.labels.clone(),
            alive: self.own.alive,
        };
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
    image: String,
    is_own_image: bool,
    labels: Labels,
    alive: Duration,
}

impl Maker {
    /// How it went, and what there is of it now: whether it was started stands beside it.
    async fn launch(self) -> (Outcome, Option<(Life, bool)>) {
        let seconds = (self.alive + SPARE).as_secs().to_string();
        let program = format!("/{PROGRAM}");
        let command: &[&str] = if self.is_own_image { &[&program, "sleep", &seconds] } else { &["sleep", &seconds] };
        let called = clock::now();
        let id = match self.hand.create(&self.image, command, &self.labels.pairs()).await {
            Ok(id) => id,
            Err(error) => return (self.fault("made", &error), None),
        };
        note(&self.book, &id, Act::Create, called);
        let called = clock::now();
        let outcome = match self.hand.start(&id).await {
            Ok(()) => {
                note(&self.book, &id, Act::Start, called);
                Outcome::Ok
            }
            Err(error) => self.fault("started", &error),
        };
        let Self { hand, book, alive, .. } = self;
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

impl Labels {
    fn pairs(&self) -> [(&str, &str); 2] {
        [(OWNER, &self.owner), (RUN, &self.run)]
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
                Ok(()) => note(&book, &id, Act::Exit, called),
                Err(error) => fault(&book, format!("a container could not be killed: {}", error.told())),
            }
            tokio::time::sleep(LINGER).await;
            if hand.has_lived(&id).await {
                book.lock().unwrap_or_else(PoisonError::into_inner).proved.push(id.clone());
            }
        }
        let called = clock::now();
        match hand.remove(&id).await {
            Ok(()) => note(&book, &id, Act::Destroy, called),
            Err(error) => fault(&book, format!("a container could not be removed: {}", error.told())),
        }
    }
}

fn note(book: &Mutex<Book>, container: &str, act: Act, called: Stamp) {
    let truth = Truth { container: container.to_owned(), act, called, returned: clock::now() };
    book.lock().unwrap_or_else(PoisonError::into_inner).truths.push(truth);
}

fn fault(book: &Mutex<Book>, text: String) {
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if book.faults.len() < 10 && !book.faults.contains(&text) {
        book.faults.push(text);
    }
}

/// Removes what runs left whose process is gone; what there is to say about it.
async fn sweep(hand: &Hand) -> Vec<Warning> {
    // What cannot be listed is no obstacle here: whatever follows says more.
    let containers = hand.containers(OWNER).await.unwrap_or_default();
    let images = hand.images(OWNER).await.unwrap_or_default();
    let (mut gone, mut unknown, mut stuck) = (0_u64, 0_u64, None);
    for (one, is_image) in containers.iter().map(|one| (one, false)).chain(images.iter().map(|one| (one, true))) {
        let owner: Option<Owner> = one.label(OWNER).and_then(|mark| mark.parse().ok());
        match owner.map(|owner| owner.fate()) {
            Some(Fate::Runs) => {}
            Some(Fate::Gone) => {
                let removed = if is_image { hand.remove_image(&one.id).await } else { hand.remove(&one.id).await };
                match removed {
                    Ok(()) => gone += 1,
                    Err(error) => stuck = Some(with_causes(&error)),
                }
            }
            Some(Fate::Unknown) | None => unknown += 1,
        }
    }
    let warning = |text: String| Warning::new("leftover", text);
    let by_hand = format!("`docker ps -a --filter label={OWNER}` and `docker images --filter label={OWNER}` show them");
    let gone = (gone > 0)
        .then(|| warning(format!("{gone} containers and images were removed that a run left when it was killed")));
    let stuck = stuck.map(|why| warning(format!("what a killed run left cannot be removed ({why}); {by_hand}")));
    let unknown = (unknown > 0).then(|| {
        warning(format!(
            "{unknown} containers and images are of runs of another host or container, and are left; {by_hand}"
        ))
    });
    [gone, stuck, unknown].into_iter().flatten().collect()
}
