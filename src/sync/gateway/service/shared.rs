//! The service of a gateway whose store is shared: the desk beside the machine, and what the store tells.
//!
//! Separate because a gateway that is alone has none of it. The lock of the machine is always taken before that of the desk. Nothing
//! here waits: whoever speaks to the store does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::access::{Access, Caller};
use super::super::desk::{Desk, Flight};
use super::super::due::{Due, Slip, Standing};
use super::super::entries::Odd;
use super::super::machine::{Machine, Settings};
use super::super::refusal::{Code, Refusal};
use super::{Durable, MOST_WAITING, Service, Voice, lost, now};
use crate::model::Stamp;
use crate::sync::message::{FullState, Leave, Receipt, StatusReport};
use crate::sync::store::Snapshot;
use crate::sync::store::committer::Figures;
use crate::sync::store::shared::{Event, Loaded, revision_of};
use crate::sys::clock;

/// How long a position may be ahead of all that this gateway knows before it counts as made up: another gateway told of it.
const AHEAD: Duration = Duration::from_secs(3);

/// What a gateway has beside its machine where the store is shared.
#[derive(Debug, Default)]
pub struct Shared {
    desk: Mutex<Desk>,
    /// There is something to be sent.
    work: Notify,
    /// Agents are to go to another gateway.
    parting: Notify,
    /// The newest revision of the store that is known, be it told or not.
    newest: AtomicU64,
    figures: Mutex<Figures>,
}

impl Shared {
    /// Whether more may wait.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        let waiting = self.desk().waiting();
        if waiting >= MOST_WAITING {
            return Err(Refusal::new(Code::Overloaded, format!("{waiting} reports wait for the store")));
        }
        Ok(())
    }

    /// The machine may wish for something.
    pub(super) fn look(&self, machine: &Machine) {
        if machine.has_wishes() {
            self.work.notify_one();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Begins with what a store keeps that others have as well, as the gateway `me`.
    #[must_use]
    pub fn share(
        settings: Settings,
        (me, loaded): (&str, Loaded),
        access: Access,
        (node_rate, voice): (u32, Voice),
    ) -> Arc<Self> {
        let lineage = loaded.lineage.clone();
        let mut machine = Machine::new(settings, Snapshot::new(), now());
        machine.share(me, loaded, now());
        let service = Self::around(machine, &lineage, access, (node_rate, voice));
        Arc::new(Self { shared: Some(Shared::default()), ..service })
    }

    /// The lease has ended, and other gateways take our nodes over: agents that are connected here go and look for one of them. Whose
    /// only gateway this is comes back at once, and is heard. Whether there are others cannot be known from here.
    pub fn part(&self) {
        if let Some(shared) = &self.shared {
            (self.voice)("the lease has ended: connected agents are sent to look for other gateways".to_owned());
            shared.parting.notify_waiters();
        }
    }

    /// Returns when connected agents are to go to another gateway.
    pub(in crate::sync::gateway) async fn parting(&self) {
        match &self.shared {
            Some(shared) => shared.parting.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Returns when there may be something to be sent.
    pub async fn work(&self) {
        match &self.shared {
            Some(shared) => shared.work.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The next transaction; `None` if there is nothing to be sent, or nothing can be.
    pub fn next_flight(&self) -> Option<Flight> {
        if self.durable.borrow().has_failed {
            return None;
        }
        let flight = self.at_desk(|desk, machine| (desk.next(machine, now()), machine.next_deadline()));
        let (flight, next) = flight?;
        self.plan(next);
        // Answers that needed no transaction may be known by now.
        self.durable.send_modify(|_| ());
        flight
    }

    /// Takes what the store tells.
    pub fn tell(&self, events: Vec<Event>) {
        let told = self.at_desk(|desk, machine| {
            let now = now();
            events.into_iter().for_each(|event| desk.tell(machine, now, event));
            for traced in desk.take_traced() {
                self.traces.decided(traced.revision, traced.trace, traced.received, traced.decided);
            }
            (machine.revision(), machine.next_deadline())
        });
        let Some((revision, next)) = told else { return };
        self.traces.durable(revision, clock::now());
        self.durable.send_modify(|durable| durable.revision = revision);
        self.plan(next);
        self.wake();
    }

    /// A transaction of so many proposals was answered, and took so long.
    pub fn note_flight(&self, proposals: usize, took: Duration) {
        let Some(shared) = &self.shared else { return };
        let mut figures = shared.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        figures.batches += 1;
        figures.changes += proposals as u64;
        figures.total_ns += took_ns;
        figures.longest_ns = figures.longest_ns.max(Some(took_ns));
    }

    /// The store will not take these.
    pub fn refuse(&self, flight: &Flight, refusal: &Refusal) {
        self.at_desk(|desk, machine| desk.refuse(machine, now(), flight, refusal));
        self.durable.send_modify(|_| ());
    }

    /// The store is away: what waits is refused, and nobody is judged until it is back.
    pub fn store_is_away(&self, why: &str) {
        if self.durable.borrow().has_failed {
            return;
        }
        self.counters.store_failed();
        (self.voice)(format!("the store is away, and no reports are taken until it is back: {why}"));
        self.durable.send_modify(|durable| durable.has_failed = true);
        let text = "the store is away, and whether it has this is not known";
        self.at_desk(|desk, machine| desk.give_up(machine, now(), &Refusal::new(Code::StoreUnavailable, text)));
        self.durable.send_modify(|_| ());
    }

    /// The store is back.
    pub fn store_is_back(&self) {
        if !self.durable.borrow().has_failed {
            return;
        }
        let revision = self.with_machine(|machine| {
            machine.excuse(now());
            machine.wish_again(now());
            machine.revision()
        });
        (self.voice)(format!("the store is back, at revision {}: every node is watched anew", revision_of(revision)));
        self.durable.send_modify(|durable| durable.has_failed = false);
        self.replan.notify_one();
        self.wake();
    }

    /// Another store is in the place of the one before, or we have not heard all that it told.
    pub fn replace(&self, me: &str, loaded: Loaded) {
        let lineage: Arc<str> = Arc::from(loaded.lineage.as_str());
        let text = "the store was replaced, and whether it has this is not known";
        let revision = self.at_desk(|desk, machine| {
            desk.give_up(machine, now(), &Refusal::new(Code::StoreUnavailable, text));
            machine.share(me, loaded, now());
            machine.revision()
        });
        self.traces.forget();
        self.shared.iter().for_each(|shared| shared.newest.store(0, Ordering::Release));
        *self.lineage.write().unwrap_or_else(PoisonError::into_inner) = lineage;
        self.durable.send_modify(|durable| {
            let (revision, generation) = (revision.unwrap_or(durable.revision), durable.generation + 1);
            *durable = Durable { revision, generation, ..*durable };
        });
        self.replan.notify_one();
        self.wake();
    }

    /// The store is at this revision.
    pub fn note_newest(&self, revision: u64) {
        let Some(shared) = &self.shared else { return };
        if shared.newest.fetch_max(revision, Ordering::AcqRel) < revision {
            self.durable.send_modify(|_| ());
        }
    }

    /// Whether there is such a change, or one after it, as far as can be known: another gateway may have told of what we hear
    /// of in a moment.
    pub(in crate::sync::gateway) async fn has_made(&self, revision: u64) -> bool {
        let is_made = |known: &Durable| {
            let newest = self.shared.as_ref().map_or(0, |shared| shared.newest.load(Ordering::Acquire));
            known.revision >= revision || newest >= revision_of(revision)
        };
        let mut durable = self.durable.subscribe();
        let limit = if self.shared.is_some() { AHEAD } else { Duration::ZERO };
        tokio::time::timeout(limit, durable.wait_for(is_made)).await.is_ok_and(|known| known.is_ok())
    }

    /// Tells a person.
    pub fn say(&self, text: String) {
        (self.voice)(text);
    }

    /// Asks the machine.
    pub fn with_machine<R>(&self, question: impl FnOnce(&mut Machine) -> R) -> R {
        question(&mut self.machine())
    }

    /// What was sent, and how many reports wait, where the store is shared.
    pub(super) fn sent(&self) -> Option<(Figures, usize)> {
        let shared = self.shared.as_ref()?;
        Some((*shared.figures.lock().unwrap_or_else(PoisonError::into_inner), shared.desk().waiting()))
    }

    /// Takes reports in; each is checked against its caller first.
    pub(super) fn offer_reports(
        &self,
        caller: &Caller,
        (reports, odd): (Vec<StatusReport>, Odd),
        received: Stamp,
    ) -> Result<Due, Refusal> {
        self.check_store(0)?;
        let slip = Slip::new(reports.len(), 0);
        let mut allowed = Vec::with_capacity(reports.len());
        for (at, report) in reports.into_iter().enumerate() {
            match caller.speaks_for(&report.node_id) {
                Ok(()) => allowed.push((at, report)),
                Err(refusal) => slip.fill(at, Err(refusal)),
            }
        }
        self.at_desk(|desk, _| desk.reports(&slip, allowed, received));
        self.wake();
        Ok(Due::Slip(slip, odd))
    }

    /// One report whose caller was checked; `None` where this gateway is alone.
    pub(in crate::sync::gateway) fn offer_report(&self, report: &StatusReport) -> Result<Option<Due>, Refusal> {
        if self.shared.is_none() {
            return Ok(None);
        }
        self.check_store(0)?;
        let slip = Slip::new(1, 0);
        self.at_desk(|desk, _| desk.reports(&slip, [(0, report.clone())], clock::now()));
        self.wake();
        Ok(Some(Due::Slip(slip, Vec::new())))
    }

    /// Waits for the only answer.
    pub(in crate::sync::gateway) async fn receipt(&self, mut due: Due) -> Result<Receipt, Refusal> {
        let mut durable = self.durable.subscribe();
        loop {
            let known = *durable.borrow_and_update();
            match due.standing(known) {
                Standing::Open(open) => due = open,
                Standing::Filled(answers, _) => {
                    let receipt = answers.into_iter().next().unwrap_or_else(|| Err(lost()))?;
                    self.counters.report(receipt.outcome);
                    return Ok(receipt);
                }
                Standing::Lost(refusal) => return Err(refusal),
                Standing::Known(_) => return Err(lost()),
            }
            durable.changed().await.map_err(|_| lost())?;
        }
    }

    pub(super) fn offer_state(&self, state: FullState, odd: Odd) -> Result<Due, Refusal> {
        self.check_store(0)?;
        let begun = self.at_desk(|desk, machine| {
            let begun = machine.begin_state(state)?;
            let slip = Slip::new(begun.0.len(), 1);
            desk.state(&slip, begun, clock::now());
            Ok(slip)
        });
        self.wake();
        Ok(Due::Slip(begun.unwrap_or_else(|| Ok(Slip::new(0, 0)))?, odd))
    }

    pub(in crate::sync::gateway) fn offer_leave(&self, leave: &Leave) -> Result<Option<Due>, Refusal> {
        if self.shared.is_none() {
            return Ok(None);
        }
        self.check_store(0)?;
        let slip = Slip::new(1, 0);
        self.at_desk(|desk, machine| desk.leave(machine, now(), &slip, leave.clone()));
        self.wake();
        Ok(Some(Due::Slip(slip, Vec::new())))
    }

    fn at_desk<R>(&self, work: impl FnOnce(&mut Desk, &mut Machine) -> R) -> Option<R> {
        let shared = self.shared.as_ref()?;
        let mut machine = self.machine();
        Some(work(&mut shared.desk(), &mut machine))
    }

    /// There may be something to be sent.
    pub fn wake(&self) {
        self.shared.iter().for_each(|shared| shared.work.notify_one());
    }
}
