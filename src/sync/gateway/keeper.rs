//! What a gateway does with a store on etcd: sends its proposals, follows the watch, and holds its lease.
//!
//! A thin shell between the [`Service`] and the [`EtcdStore`]: what a change means is decided by the machine and its desk. A
//! transaction whose answer was lost is sent again, which its conditions make harmless. When nothing is stored or told for
//! `PATIENCE`, the store is away: reports are refused until a write succeeds again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::desk::Flight;
use super::refusal::{Code, Refusal};
use super::service::Service;
use crate::model::{Stamp, with_causes};
use crate::sync::store::etcd::layout::Ranks;
use crate::sync::store::etcd::{EtcdStore, EtcdStoreError, Seen, ended};
use crate::sync::store::shared::{Event, Loaded};
use crate::sys::clock;
use crate::wire::etcd::{Fault, NO_SPACE, PERMISSION_DENIED, TOO_LARGE, Told};

/// Transactions at a time. etcd writes what is there at once to its log as one, so that several cost one flush.
const MOST_FLIGHTS: usize = 4;

/// How long nothing may be stored or told before the store counts as away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Pause before a transaction is sent again, or a watch opened again.
const PAUSE: Duration = Duration::from_millis(50);

/// How often the cluster is asked how far it is, and how long it may take; also, whether it is back.
const LOOK: Duration = Duration::from_secs(1);

/// How often what nobody may ask for any more is forgotten.
const COMPACT: Duration = Duration::from_secs(60);

/// A gateway on a store.
pub struct Keeper {
    service: Arc<Service>,
    store: Arc<EtcdStore>,
    me: String,
    ttl_s: u64,
    lease: AtomicI64,
    /// The last revision that was told.
    told: AtomicU64,
    /// The cluster of the last watch; 0 before the first.
    cluster_id: AtomicU64,
    /// Whether a watch is open.
    follows: AtomicBool,
    /// The member of the watch does not answer: it is to be opened at another.
    turned: Notify,
}

/// A gateway's name on its store: what owners are called.
#[must_use]
pub fn name() -> String {
    format!("{:016x}", clock::entropy())
}

impl Keeper {
    /// For a service that has begun with what the store keeps at this revision, with a lease of so many seconds.
    #[must_use]
    pub fn new(service: Arc<Service>, store: Arc<EtcdStore>, (me, ttl_s): (String, u64), revision: u64) -> Self {
        Self {
            service,
            store,
            me,
            ttl_s,
            lease: AtomicI64::new(0),
            told: AtomicU64::new(revision),
            cluster_id: AtomicU64::new(0),
            follows: AtomicBool::new(false),
            turned: Notify::new(),
        }
    }

    /// Serves; never ends.
    pub async fn run(&self) {
        tokio::join!(self.send(), self.follow(), self.hold_lease(), self.look(), self.compact());
    }

    /// Gives back what this gateway owns, so that others need not wait for the end of its lease.
    pub async fn leave(&self) {
        let lease = self.lease.swap(0, Ordering::Relaxed);
        if lease != 0 {
            // Without it the lease ends by itself.
            let _ = timeout(LOOK, self.store.link().revoke(lease)).await;
        }
    }

    /// Sends what the desk has, several transactions at a time.
    async fn send(&self) {
        let mut flights = FuturesUnordered::new();
        loop {
            while flights.len() < MOST_FLIGHTS
                && self.lease.load(Ordering::Relaxed) != 0
                && let Some(flight) = self.service.next_flight()
            {
                flights.push(self.fly(flight));
            }
            tokio::select! {
                Some(()) = flights.next() => {}
                () = self.service.work() => {}
            }
        }
    }

    /// Sends one until it is answered, refused, or given up.
    async fn fly(&self, flight: Flight) {
        let mut began = None;
        loop {
            let lease = self.lease.load(Ordering::Relaxed);
            // A claim without a lease would never end.
            if lease == 0 && !self.has_failed() {
                sleep(PAUSE).await;
                continue;
            }
            let sent = clock::now();
            let Err(fault) = self.store.propose(&flight.proposals, (&self.me, lease)).await else {
                return self.service.note_flight(flight.proposals.len(), clock::now().since(sent));
            };
            if self.has_failed() {
                return;
            }
            if matches!(fault.kind, TOO_LARGE | "encode") {
                let text = format!("the store does not take it: {fault}");
                return self.service.refuse(&flight, &Refusal::new(Code::TooLarge, text));
            }
            let now = clock::now();
            let since = *began.get_or_insert(now);
            if matches!(fault.kind, NO_SPACE | PERMISSION_DENIED) || now.since(since) >= PATIENCE {
                return self.service.store_is_away(&fault.to_string());
            }
            self.store.turn_away();
            sleep(PAUSE).await;
        }
    }

    /// Follows the watch, and opens it again wherever it can be.
    async fn follow(&self) {
        let mut since: Option<Stamp> = None;
        loop {
            let ended = self.follow_once(&mut since).await;
            self.follows.store(false, Ordering::Relaxed);
            let Err(why) = ended else { continue };
            let now = clock::now();
            if now.since(*since.get_or_insert(now)) >= PATIENCE {
                self.service.store_is_away(&with_causes(&why));
            }
            self.store.turn_away();
            sleep(PAUSE).await;
        }
    }

    /// Opens the watch behind what was told, and follows it to its end; a store that is another one is loaded anew.
    async fn follow_once(&self, since: &mut Option<Stamp>) -> Result<(), EtcdStoreError> {
        let Seen { lineage, revision, cluster_id } = self.store.open().await?;
        let told = self.told.load(Ordering::Relaxed);
        let is_other = *lineage != *self.service.lineage();
        // The same name, and less or something else behind it: somebody has put an older copy in its place.
        let before = self.cluster_id.load(Ordering::Relaxed);
        let is_older = revision < told || (before != 0 && before != cluster_id);
        if is_older && !is_other {
            self.store.begin_lineage(&lineage).await?;
        }
        self.cluster_id.store(cluster_id, Ordering::Relaxed);
        if is_other || is_older {
            return self.replace("the store was replaced: positions from before mean nothing in it").await;
        }
        let mut watch = self.store.watch(told + 1).await?;
        let mut ranks = Ranks::default();
        self.follows.store(true, Ordering::Relaxed);
        *since = None;
        loop {
            let heard = tokio::select! {
                heard = watch.told() => heard,
                () = self.turned.notified() => return Ok(()),
            };
            match heard.map_err(|source| asked(&self.store, source))? {
                Told::Canceled => return Err(asked(&self.store, ended())),
                Told::Compacted(_) => {
                    return self.replace("changes were compacted before they were told here").await;
                }
                Told::Events(events) => {
                    let mut known = Vec::with_capacity(events.len());
                    for event in &events {
                        known.extend(self.store.layout().event(event, &mut ranks)?);
                    }
                    let is_replaced = known.contains(&Event::Replaced);
                    if let Some(last) = events.last() {
                        let last = u64::try_from(last.revision).unwrap_or(0);
                        self.told.store(last, Ordering::Relaxed);
                        self.service.note_newest(last);
                    }
                    self.service.tell(known);
                    if is_replaced {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Loads everything anew.
    async fn replace(&self, why: &str) -> Result<(), EtcdStoreError> {
        let loaded = begin(&self.store).await?;
        self.told.store(loaded.revision, Ordering::Relaxed);
        self.service.say(why.to_owned());
        self.service.replace(&self.me, loaded);
        Ok(())
    }

    /// Holds the lease that everything we own is bound to; one that has ended is replaced.
    async fn hold_lease(&self) {
        let pause = Duration::from_secs(self.ttl_s) / 3;
        let mut kept = clock::now();
        let mut has_parted = false;
        loop {
            let lease = self.lease.load(Ordering::Relaxed);
            if lease == 0 {
                match self.store.grant(self.ttl_s).await {
                    Ok(granted) => {
                        (kept, has_parted) = (clock::now(), false);
                        self.lease.store(granted.id, Ordering::Relaxed);
                        self.service.wake();
                    }
                    Err(_) => sleep(PAUSE).await,
                }
                continue;
            }
            sleep(pause).await;
            while !self.keep(lease, pause).await {
                // Others own our nodes by now, and wait for their heartbeats.
                if !has_parted && clock::now().since(kept) >= Duration::from_secs(self.ttl_s) {
                    self.service.part();
                    has_parted = true;
                }
            }
            (kept, has_parted) = (clock::now(), false);
        }
    }

    /// Begins the time of the lease anew; true where that is known to have been done, or cannot be any more.
    async fn keep(&self, lease: i64, limit: Duration) -> bool {
        match timeout(limit, self.store.link().keep_alive(lease)).await {
            Ok(Ok(true)) => true,
            Ok(Ok(false)) => {
                self.lease.store(0, Ordering::Relaxed);
                true
            }
            Ok(Err(_)) | Err(_) => {
                self.store.turn_away();
                sleep(PAUSE).await;
                false
            }
        }
    }

    /// Looks how far the cluster is, whether its member answers, and after it was away, whether it takes writes again.
    async fn look(&self) {
        loop {
            sleep(LOOK).await;
            match timeout(LOOK, self.store.meta()).await {
                Ok(Ok(Some(seen))) => self.service.note_newest(seen.revision),
                // There is no store any more: the watch finds out what is there instead.
                Ok(Ok(None)) => self.turned.notify_one(),
                Ok(Err(_)) | Err(_) => {
                    self.store.turn_away();
                    self.turned.notify_one();
                    continue;
                }
            }
            if self.has_failed() && self.follows.load(Ordering::Relaxed) {
                let mark = self.store.layout().mark();
                if let Ok(Ok(_)) = timeout(LOOK, self.store.link().set(mark, Bytes::new())).await {
                    self.service.store_is_back();
                }
            }
        }
    }

    /// Forgets in etcd what no subscriber can ask for any more, if that is our part.
    async fn compact(&self) {
        let mut done = 0;
        loop {
            sleep(COMPACT).await;
            let oldest = self.service.with_machine(|machine| machine.is_janitor().then(|| machine.oldest_told()));
            let Some(oldest) = oldest.map(|oldest| oldest.saturating_sub(1)).filter(|oldest| *oldest > done) else {
                continue;
            };
            let revision = i64::try_from(oldest).unwrap_or(0);
            // One that is forgotten already is as good.
            if !self.has_failed() && self.store.link().compact_to(revision).await.is_ok() {
                done = oldest;
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.service.durable().borrow().has_failed
    }
}

/// Opens a store and everything that it keeps.
///
/// # Errors
/// When it cannot be opened or read.
pub async fn begin(store: &EtcdStore) -> Result<Loaded, EtcdStoreError> {
    let seen = store.open().await?;
    store.load(&seen.lineage).await
}

fn asked(store: &EtcdStore, source: Fault) -> EtcdStoreError {
    EtcdStoreError::Asked { action: "watch", prefix: store.layout().prefix().to_owned(), source }
}
