//! Leases of a run: granted one after another, kept alive on a stream for each connection, and revoked at the end.
//!
//! Separate because they are no keys. Whoever waits for a lease is told by the task that reads its stream; a stream that breaks
//! is opened again, and those who waited on it have failed.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::EtcdError;
use super::operation::Work;
use super::plan::Cell as PlanCell;
use super::stop::Stop;
use super::target::Target;
use crate::load::{Answer, LaneRecord, Length, Load, LoadSpec, Session};
use crate::model::{Labels, Outcome, Stamp};
use crate::sys::clock;
use crate::sys::shutdown::Shutdown;
use crate::wire::etcd::{CONNECTION_LOST, Fault, Kept, LeaseAnswers, LeaseAsker, Link, Links, NOT_CONNECTED};

/// Pause before a stream is opened again.
const PAUSE: Duration = Duration::from_millis(100);

/// Leases that are revoked at a time, and how long that may take.
const REVOKED_AT_A_TIME: usize = 32;
const REVOKED_WITHIN: Duration = Duration::from_secs(20);

/// The series of grants and of keepalives.
const GRANT: &str = "etcd.lease_grant";
const RENEW: &str = "etcd.lease_keepalive";

/// What a keepalive of a lease that has run out counts as.
pub const GONE: &str = "lease_gone";

/// The leases of a measurement.
pub struct Leases {
    ttl_s: i64,
    links: Rc<Links>,
    ids: RefCell<Vec<i64>>,
    streams: RefCell<Vec<Renewer>>,
    next: Cell<usize>,
}

/// One stream, and who waits on it.
struct Renewer {
    state: Arc<Mutex<State>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// `None` while the stream is being opened again.
    asker: Option<LeaseAsker>,
    waiting: HashMap<i64, VecDeque<oneshot::Sender<(Stamp, bool)>>>,
}

impl Leases {
    /// None yet; each is to live for so many seconds.
    #[must_use]
    pub fn new(links: &Rc<Links>, ttl: Duration) -> Self {
        let ttl_s = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        Self {
            ttl_s,
            links: Rc::clone(links),
            ids: RefCell::default(),
            streams: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Whether none was granted.
    pub fn is_empty(&self) -> bool {
        self.ids.borrow().is_empty()
    }

    /// Grants one more.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn grant(&self) -> Result<(), Fault> {
        let id = self.links.next().grant_untimed(self.ttl_s).await?;
        self.ids.borrow_mut().push(id);
        Ok(())
    }

    /// Opens a stream on each connection.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn open(&self) -> Result<(), Fault> {
        let Some(first) = self.ids.borrow().first().copied() else { return Ok(()) };
        let mut streams = Vec::new();
        for link in self.links.all() {
            let (asker, answers) = link.keep_alive_stream(first).await?;
            let state = Arc::new(Mutex::new(State { asker: Some(asker), ..State::default() }));
            let mut task = JoinSet::new();
            task.spawn(follow(Arc::clone(link), first, answers, Arc::clone(&state)));
            streams.push(Renewer { state, _task: task });
        }
        self.streams.replace(streams);
        Ok(())
    }

    /// Keeps the lease alive whose turn it is; each always on the same stream, as a node does.
    pub async fn renew(&self) -> Answer {
        let turn = self.next.get();
        self.next.set(turn + 1);
        let Some((id, state)) = self.turn(turn) else { return Answer::new(Outcome::Failed(NOT_CONNECTED)) };
        let (asker, told) = {
            let mut state = lock(&state);
            let Some(asker) = state.asker.clone() else { return Answer::new(Outcome::Failed(NOT_CONNECTED)) };
            let (teller, told) = oneshot::channel();
            state.waiting.entry(id).or_default().push_back(teller);
            (asker, told)
        };
        if asker.ask(id).await.is_err() {
            return Answer::new(Outcome::Failed(CONNECTION_LOST));
        }
        match told.await {
            Ok((at, true)) => Answer { ended: Some(at), ..Answer::new(Outcome::Ok) },
            Ok((at, false)) => Answer { ended: Some(at), ..Answer::new(Outcome::Error(GONE)) },
            Err(_) => Answer::new(Outcome::Failed(CONNECTION_LOST)),
        }
    }

    fn turn(&self, turn: usize) -> Option<(i64, Arc<Mutex<State>>)> {
        let (ids, streams) = (self.ids.borrow(), self.streams.borrow());
        let at = turn.checked_rem(ids.len())?;
        Some((ids[at], Arc::clone(&streams.get(at.checked_rem(streams.len())?)?.state)))
    }

    /// Ends them all; how many are left, which run out by themselves.
    pub async fn revoke(&self) -> usize {
        self.streams.borrow_mut().clear();
        let ids = self.ids.take();
        let count = ids.len();
        let revoked = Cell::new(0);
        let revoke = async |id| {
            let is_revoked = self.links.any().revoke(id).await.is_ok();
            revoked.set(revoked.get() + usize::from(is_revoked));
        };
        let all = stream::iter(ids).for_each_concurrent(REVOKED_AT_A_TIME, revoke);
        // Those that are left run out by themselves.
        let _ = tokio::time::timeout(REVOKED_WITHIN, all).await;
        count - revoked.get()
    }
}

impl Target<'_> {
    /// Grants leases, as many as are wanted, then keeps them alive as long as the load lasts, and revokes them.
    ///
    /// # Errors
    /// When no stream can be opened, or the driver cannot run.
    pub(super) async fn drive_leases(
        &self,
        (cell, labels, rounds): (PlanCell, &Labels, u32),
        records: Vec<LaneRecord>,
        (session, end, stop): (&mut Session<'_>, &Shutdown, &Rc<Stop>),
    ) -> Result<Load, EtcdError> {
        let leases = Rc::new(Leases::new(self.links(), self.lease_ttl()));
        let (mut earlier, kept_earlier): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.name() == GRANT);
        let lane = |name, work| [self.lane(name, cell.write_labels(labels), work, (cell, stop))];
        let spec = self.load(cell, rounds);
        let count = Length::Count(cell.leases.unwrap_or(0));
        let grants = LoadSpec { length: count, warmup: Duration::ZERO, ..spec.clone() };
        let grant = lane(GRANT, Work::Grant(Rc::clone(&leases)));
        let mut load = session.drive_on(&grant, std::mem::take(&mut earlier), &grants, end).await?;
        if !leases.is_empty() && !load.interrupted {
            leases.open().await.map_err(EtcdError::asking("open a stream that keeps leases alive"))?;
            let renew = lane(RENEW, Work::Renew(Rc::clone(&leases)));
            let kept = session.drive_on(&renew, kept_earlier, &spec, end).await?;
            load.lanes.extend(kept.lanes);
            load.elapsed += kept.elapsed;
            load.interrupted |= kept.interrupted;
            load.abandoned_count += kept.abandoned_count;
        }
        // What is left runs out by itself.
        leases.revoke().await;
        Ok(load)
    }
}

/// Tells whoever waits, for ever.
async fn follow(link: Arc<Link>, first: i64, mut answers: LeaseAnswers, state: Arc<Mutex<State>>) {
    loop {
        while let Ok(Kept { id, is_alive }) = answers.next().await {
            let at = clock::now();
            let mut state = lock(&state);
            if let Some(waiting) = state.waiting.get_mut(&id)
                && let Some(teller) = waiting.pop_front()
            {
                // Whoever no longer listens has given up, and was counted.
                let _ = teller.send((at, is_alive));
            }
        }
        *lock(&state) = State::default();
        let (asker, reopened) = reopen(&link, first).await;
        lock(&state).asker = Some(asker);
        answers = reopened;
    }
}

async fn reopen(link: &Link, first: i64) -> (LeaseAsker, LeaseAnswers) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if let Ok(opened) = link.keep_alive_stream(first).await {
            return opened;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
