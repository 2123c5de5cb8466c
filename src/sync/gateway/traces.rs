//! The traced changes of late, with the stamps that were taken of them here.
//!
//! Separate because they are kept in memory alone and matter to nobody but the subscriber who is told of them: neither the machine
//! nor the store knows of any.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::Stamp;
use crate::sync::trace::{AgentTrace, GatewayTrace, MOST_OPEN, Trace, is_id, own_clock};

/// Traces by the revision of their change; nothing unless it was switched on.
#[derive(Debug, Default)]
pub struct Traces {
    is_on: AtomicBool,
    open: Mutex<BTreeMap<u64, Trace>>,
}

impl Traces {
    /// From now on, changes that carry an agent's stamps get ours.
    pub fn switch_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// A report that was received at one moment has led to the change of this revision, which the store gets now.
    pub fn decided(&self, revision: u64, agent: AgentTrace, received: Stamp, decided: Stamp) {
        if !self.is_on.load(Ordering::Relaxed) || !is_id(&agent.id) {
            return;
        }
        let mut open = self.open();
        if open.len() >= MOST_OPEN {
            open.pop_first();
        }
        let (received_ns, decided_ns) = (received.as_nanos(), decided.as_nanos());
        let gateway = GatewayTrace { clock: own_clock(), received_ns, decided_ns, durable_ns: None, told_ns: None };
        open.insert(revision, Trace { agent, gateway });
    }

    /// Every change up to this revision is durable.
    pub fn durable(&self, revision: u64, at: Stamp) {
        if self.is_on.load(Ordering::Relaxed) {
            for (_, trace) in self.open().range_mut(..=revision) {
                trace.gateway.durable_ns.get_or_insert(at.as_nanos());
            }
        }
    }

    /// The change of this revision is handed to a subscriber: its stamps, if it is traced.
    pub fn told(&self, revision: u64, at: Stamp) -> Option<Trace> {
        let mut trace = self.is_on.load(Ordering::Relaxed).then(|| self.open().get(&revision).cloned()).flatten()?;
        trace.gateway.told_ns = Some(at.as_nanos());
        Some(trace)
    }

    /// The store failed: what comes next has the same revisions and is something else.
    pub fn forget(&self) {
        self.open().clear();
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Trace>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str) -> AgentTrace {
        AgentTrace { id: id.to_owned(), clock: None, read_ns: 1, taken_ns: 2, sent_ns: 3 }
    }

    fn at(ns: u64) -> Stamp {
        Stamp::from_nanos(ns)
    }

    #[test]
    fn a_change_gets_its_stamps_once_it_is_switched_on() {
        let traces = Traces::default();
        traces.decided(1, agent("a"), at(4), at(5));
        assert_eq!(traces.told(1, at(7)), None);
        traces.switch_on();
        traces.decided(2, agent("b"), at(4), at(5));
        traces.decided(3, agent("no id"), at(4), at(5));
        traces.durable(2, at(6));
        traces.durable(3, at(9));
        let told = traces.told(2, at(7)).unwrap();
        assert_eq!((told.agent.id.as_str(), told.gateway.received_ns), ("b", 4));
        assert_eq!((told.gateway.durable_ns, told.gateway.told_ns), (Some(6), Some(7)));
        assert_eq!((traces.told(1, at(7)), traces.told(3, at(7))), (None, None));
        traces.forget();
        assert_eq!(traces.told(2, at(8)), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let traces = Traces::default();
        traces.switch_on();
        for revision in 0..=MOST_OPEN as u64 {
            traces.decided(revision, agent("a"), at(4), at(5));
        }
        assert!(traces.told(0, at(7)).is_none() && traces.told(1, at(7)).is_some());
    }
}
