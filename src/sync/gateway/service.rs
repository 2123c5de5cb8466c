//! The machine with its store, its clock and its counters: what every connection of the gateway shares.
//!
//! A thin shell. A message is decided under one short lock; whatever that changed is handed to the store in the same order,
//! and the answer waits for [`Service::settled`]. If the store fails, the machine is set back to what is durable, and until
//! the store has been opened again everything is answered with `store_unavailable`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

mod inbox;
mod shared;

use super::access::Access;
use super::counters::Counters;
use super::machine::{Machine, Moment, Settings};
use super::rate::{Kind, Shares};
use super::refusal::{Code, Refusal};
use super::remainder::Room;
use super::traces::Traces;
use crate::model::Stamp;
use crate::sync::message::{Heartbeat, Pulse};
use crate::sync::store::committer::Committer;
use crate::sync::store::{MetadataStore, StoreError};
use crate::sys::clock;
use crate::sys::presence::Presence;
pub use shared::Shared;

/// Changes that may wait for the store: some seconds of its work. Beyond it, agents are told to come back.
const MOST_WAITING: usize = 65_536;

/// Room that a message needs at most: a whole state and the tasks that vanish with it.
const ROOM_FOR_ONE: u64 = 20_000;

/// How often a store that failed is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(2);

/// Pause after a poll that the store could not take.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// Longest time without a poll: what is forgotten is not urgent.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Who stood still for so long has missed what agents said: nobody is judged by that time.
const AWAY: Duration = Duration::from_secs(1);

/// A shorter delay of our own is waited for once more, so that what waits in the sockets is heard before anybody is judged.
const LATE: Duration = Duration::from_millis(20);

/// How a store is opened, at the start and after it failed.
pub type OpenStore = Box<dyn Fn() -> Result<Box<dyn MetadataStore>, StoreError> + Send + Sync>;

/// A gateway that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread of the store cannot be made.
    #[error("the thread of the store cannot be made")]
    Thread(#[from] std::io::Error),
}

impl ServiceError {
    /// The next step, where there is one.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Thread(_) => None,
        }
    }
}

/// Tells a person.
pub type Voice = Arc<dyn Fn(String) + Send + Sync>;

/// How far the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Everything up to here is safe.
    pub revision: u64,
    /// How often the machine was set back: revisions of different generations are different changes.
    pub generation: u64,
    /// Whether the store takes nothing at present.
    pub has_failed: bool,
}

/// What all connections share.
pub struct Service {
    machine: Mutex<Machine>,
    committer: RwLock<Option<Committer>>,
    /// How the store is opened; `None` where it is shared.
    open: Option<OpenStore>,
    /// What waits for a store that others have as well; `None` where this gateway is alone.
    shared: Option<Shared>,
    voice: Voice,
    durable: watch::Sender<Durable>,
    access: RwLock<Arc<Access>>,
    shares: Mutex<Shares>,
    /// The moment of the next poll, as the timer has it.
    planned: AtomicU64,
    replan: Notify,
    /// What is counted.
    pub counters: Counters,
    /// Room for what clients still send after their answers.
    pub remainders: Room,
    /// The stamps of changes that are traced.
    pub traces: Arc<Traces>,
    /// Names the row of revisions.
    lineage: RwLock<Arc<str>>,
}

/// Where an answer rests: it may be told once this is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The revision.
    pub revision: u64,
    /// Of which row.
    pub generation: u64,
}

impl Service {
    /// Opens the store and begins where it ended.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn start(
        settings: Settings,
        open: OpenStore,
        access: Access,
        node_rate: u32,
        voice: Voice,
    ) -> Result<Arc<Self>, ServiceError> {
        let mut store = open()?;
        let snapshot = store.load()?;
        let lineage = snapshot.lineage.clone();
        let machine = Machine::new(settings, snapshot, now());
        let service = Self { open: Some(open), ..Self::around(machine, &lineage, access, (node_rate, voice)) };
        service.attach(store)?;
        Ok(Arc::new(service))
    }

    fn around(machine: Machine, lineage: &str, access: Access, (node_rate, voice): (u32, Voice)) -> Self {
        let revision = machine.revision();
        let (durable, _) = watch::channel(Durable { revision, generation: 0, has_failed: false });
        Self {
            machine: Mutex::new(machine),
            committer: RwLock::new(None),
            open: None,
            shared: None,
            voice,
            durable,
            access: RwLock::new(Arc::new(access)),
            shares: Mutex::new(Shares::new(node_rate)),
            planned: AtomicU64::new(u64::MAX),
            replan: Notify::new(),
            counters: Counters::default(),
            remainders: Room::default(),
            traces: Arc::default(),
            lineage: RwLock::new(Arc::from(lineage)),
        }
    }

    /// Names the row of revisions.
    pub fn lineage(&self) -> Arc<str> {
        Arc::clone(&self.lineage.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a message be decided and hands what it changed to the store.
    ///
    /// # Errors
    /// When the store takes nothing, or cannot keep up.
    pub fn decide<R>(&self, message: impl FnOnce(&mut Machine, Moment) -> R) -> Result<(R, Place), Refusal> {
        let mut machine = self.machine();
        let generation = self.check_store(machine.revision())?;
        let answer = message(&mut machine, now());
        let place = Place { revision: machine.revision(), generation };
        self.hand_over(&mut machine);
        self.plan(machine.next_deadline());
        Ok((answer, place))
    }

    /// A connection of an agent is open.
    ///
    /// # Errors
    /// When the machine refuses it, or a store of our own takes nothing.
    pub fn connect(&self, node_id: &str) -> Result<(), Refusal> {
        if self.shared.is_none() {
            return self.decide(|machine, _| machine.connect(node_id)).and_then(|(connected, _)| connected);
        }
        // Heard while a shared store is away: its heartbeats are what the node is not accused by then.
        let mut machine = self.machine();
        let connected = machine.connect(node_id);
        self.hand_over(&mut machine);
        connected
    }

    /// A connection of an agent is closed: that is so whether the store can take word of it or not.
    pub fn disconnect(&self, node_id: &str) {
        let mut machine = self.machine();
        machine.disconnect(now(), node_id);
        self.hand_over(&mut machine);
    }

    /// Reads; the answer rests on the present revision.
    pub fn read<R>(&self, question: impl FnOnce(&Machine, Moment) -> R) -> (R, Place) {
        let machine = self.machine();
        let place = Place { revision: machine.revision(), generation: self.durable.borrow().generation };
        (question(&machine, now()), place)
    }

    /// Waits until everything up to a revision is durable.
    ///
    /// # Errors
    /// When the store failed before that.
    pub async fn settled(&self, place: Place) -> Result<(), Refusal> {
        let mut durable = self.durable.subscribe();
        let known = durable.wait_for(|durable| {
            durable.has_failed || durable.generation != place.generation || durable.revision >= place.revision
        });
        let known = *known.await.map_err(|_| lost())?;
        if known.has_failed || known.generation != place.generation { Err(lost()) } else { Ok(()) }
    }

    /// Takes a heartbeat that was received at this moment.
    ///
    /// # Errors
    /// When the machine refuses it.
    pub fn heartbeat(&self, received: Moment, heartbeat: &Heartbeat) -> Result<Pulse, Refusal> {
        // Heard even while much waits for the store: a heartbeat writes one record at most, and nobody may be accused because
        // others report more than a disk takes.
        let mut machine = self.machine();
        if self.shared.is_none() {
            self.check_failed()?;
        }
        let resync = machine.heartbeat(now(), heartbeat);
        self.hand_over(&mut machine);
        self.plan(machine.next_deadline());
        drop(machine);
        let (seq, t1, resync) = (heartbeat.seq, heartbeat.t1, resync?);
        self.counters.heartbeat();
        Ok(Pulse { seq, t1, t2: received.unix_nanos(), t3: now().unix_nanos(), resync })
    }

    /// Whether somebody may send or ask so much now.
    ///
    /// # Errors
    /// When they have had their share.
    pub fn allow(&self, share: &str, kind: Kind, messages: u64) -> Result<(), Refusal> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.take(clock::now(), share, kind, messages) {
            return Ok(());
        }
        let message = match kind {
            Kind::Heartbeat => format!("node `{share}` sends more than {} heartbeats a second", shares.per_s()),
            Kind::Report => format!("node `{share}` sends more than {} messages a second", shares.per_s()),
            Kind::Read => format!("more than {} requests or pages a second with one token", shares.per_s()),
        };
        Err(Refusal::new(Code::RateLimited, message))
    }

    /// The counters as OpenMetrics text.
    pub fn metrics(&self) -> String {
        let durable = self.durable.borrow().revision;
        let figures = {
            let committer = self.committer.read().unwrap_or_else(PoisonError::into_inner);
            committer.as_ref().map(Committer::figures).unwrap_or_default()
        };
        let sent = self.sent();
        let machine = self.machine();
        let behind = machine.revision().saturating_sub(durable) as usize;
        let (figures, waiting) = sent.unwrap_or((figures, behind));
        let owned = machine.owned_count().unwrap_or_else(|| machine.node_count());
        let store = [
            ("store_batches", "Commits of the store since it was opened.", figures.batches as f64),
            ("store_changes", "Changes in them.", figures.changes as f64),
            ("store_longest_commit_seconds", "The longest of them.", figures.longest_ns.unwrap_or(0) as f64 / 1e9),
            ("store_waiting", "Changes that wait for the store.", waiting as f64),
            ("owned_nodes", "Nodes whose silence this gateway judges.", owned as f64),
        ];
        self.counters.text(&machine, durable, &store)
    }

    /// How far the store is, and word of every step.
    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// Who may do what at present.
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the tokens.
    pub fn set_access(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    /// Polls the machine whenever it is due, and opens the store again when it failed; never ends.
    pub async fn keep_time(&self) {
        let mut presence = Presence::begin();
        loop {
            if self.durable.borrow().has_failed {
                tokio::time::sleep(if self.shared.is_some() { AFTER_REFUSAL } else { REOPEN_AFTER }).await;
                self.reopen();
                continue;
            }
            let next = self.machine().next_deadline();
            let wait = next.map_or(LONGEST_SLEEP, |next| next.since(clock::now())).min(LONGEST_SLEEP);
            let due = clock::now() + wait;
            self.planned.store(due.as_nanos(), Ordering::Release);
            let is_due = tokio::select! {
                () = tokio::time::sleep(wait) => true,
                () = self.replan.notified() => false,
            };
            self.account_for(presence.missed(due)).await;
            if !is_due {
                continue;
            }
            if self.decide(|machine, now| machine.poll(now)).is_err() {
                // What cannot be written now is found again by a later poll; the store needs the time until then.
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
    }

    /// We were away for so long.
    async fn account_for(&self, missed: Duration) {
        if missed >= AWAY {
            self.machine().excuse(now());
            (self.voice)(format!("stood still for {} s: every node is watched anew from now on", missed.as_secs()));
        } else if missed >= LATE {
            tokio::time::sleep(missed).await;
        }
    }

    /// Hands the store everything that is left, and closes it.
    pub fn close(&self) {
        let committer = self.committer.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(committer.map(Committer::close));
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation of the store, if it takes changes and keeps up.
    fn check_store(&self, revision: u64) -> Result<u64, Refusal> {
        self.check_failed()?;
        let durable = *self.durable.borrow();
        if let Some(shared) = &self.shared {
            return shared.check_room().map(|()| durable.generation);
        }
        let waiting = revision - durable.revision;
        if waiting + ROOM_FOR_ONE > MOST_WAITING as u64 {
            return Err(Refusal::new(Code::Overloaded, format!("{waiting} changes wait for the store")));
        }
        Ok(durable.generation)
    }

    fn check_failed(&self) -> Result<(), Refusal> {
        if self.durable.borrow().has_failed {
            return Err(Refusal::new(Code::StoreUnavailable, "the store takes no changes at present"));
        }
        Ok(())
    }

    /// In the order of their revisions, because the lock of the machine is held.
    fn hand_over(&self, machine: &mut MutexGuard<'_, Machine>) {
        if let Some(shared) = &self.shared {
            return shared.look(machine);
        }
        let changes = machine.take_unwritten();
        if changes.is_empty() {
            return;
        }
        let committer = self.committer.read().unwrap_or_else(PoisonError::into_inner);
        let taken = committer
            .as_ref()
            .is_some_and(|committer| changes.into_iter().all(|change| committer.submit(change).is_ok()));
        if !taken {
            self.durable.send_modify(|durable| durable.has_failed = true);
        }
    }

    fn plan(&self, next: Option<Stamp>) {
        if next.is_some_and(|next| next.as_nanos() < self.planned.load(Ordering::Acquire)) {
            self.planned.store(0, Ordering::Release);
            self.replan.notify_one();
        }
    }

    fn attach(&self, store: Box<dyn MetadataStore>) -> Result<(), ServiceError> {
        let (durable, voice, traces) = (self.durable.clone(), Arc::clone(&self.voice), Arc::clone(&self.traces));
        let listener = move |written: Result<u64, StoreError>| {
            if let Ok(revision) = written {
                traces.durable(revision, clock::now());
            }
            durable.send_modify(|durable| match written {
                Ok(revision) => durable.revision = revision,
                Err(error) => {
                    voice(said("the store failed, and nothing is taken until it is open again", &error));
                    durable.has_failed = true;
                }
            });
        };
        let committer = Committer::start(store, MOST_WAITING, Box::new(listener))?;
        *self.committer.write().unwrap_or_else(PoisonError::into_inner) = Some(committer);
        Ok(())
    }

    /// Opens a store that failed, and sets the machine back to what it knows. One that is not the store from before is not
    /// taken: what was acknowledged is not in it.
    fn reopen(&self) {
        let Some(open) = &self.open else { return };
        let before = self.committer.write().unwrap_or_else(PoisonError::into_inner).take().and_then(Committer::close);
        // One that was only too slow is still good; any other has to be opened anew, which its lock allows once it is gone.
        let good = before.and_then(|mut store| Some((store.load().ok()?, store)));
        let opened = match good {
            Some(good) => Ok(good),
            None => open().and_then(|mut store| Ok((store.load()?, store))),
        };
        match opened {
            Ok((snapshot, _)) if *snapshot.lineage != *self.lineage() => {
                (self.voice)("another store is in the place of the one that failed: bring that one back".to_owned());
            }
            Ok((snapshot, store)) => {
                let revision = snapshot.revision;
                self.traces.forget();
                self.machine().restore(snapshot, now());
                if self.attach(store).is_ok() {
                    (self.voice)(format!("the store is open again, at revision {revision}"));
                    self.durable.send_modify(|durable| {
                        *durable = Durable { revision, generation: durable.generation + 1, has_failed: false };
                    });
                }
            }
            Err(error) => {
                self.counters.store_failed();
                (self.voice)(said("the store cannot be opened again", &error));
            }
        }
    }
}

/// What was decided is not known to be durable.
fn lost() -> Refusal {
    Refusal::new(Code::StoreUnavailable, "the store failed before this was durable")
}

/// An error of the store with its next step.
fn said(what: &str, error: &StoreError) -> String {
    let hint = error.hint().map(|hint| format!("\n hint: {hint}")).unwrap_or_default();
    format!("{what}: {error}{hint}")
}

/// Now, on both clocks.
#[must_use]
pub fn now() -> Moment {
    Moment { at: clock::now(), wall: clock::wall_now() }
}
