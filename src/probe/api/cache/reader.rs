//! One read of a list as an attempt: of the server, or of a store of our own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::informer::Door;
use super::looking::Looking;
use super::store::Store;
use crate::load::{Answer, Operation, Settled};
use crate::model::Outcome;
use crate::probe::api::operation::{ApiOperation, Shared};
use crate::sys::clock;

/// A way to read.
pub enum Reader {
    /// Asks the server, or the proxy in front of it.
    Remote {
        /// The request.
        operation: Box<ApiOperation>,
        /// Who tells informers of new credentials.
        doorkeeper: Rc<Doorkeeper>,
    },
    /// Reads what an informer holds.
    Own {
        /// What it holds.
        store: Arc<Store>,
        /// Who looks at it.
        looking: Rc<Looking>,
    },
}

impl Operation for Reader {
    async fn attempt(&self) -> Answer {
        match self {
            Self::Remote { operation, doorkeeper } => {
                let mut answer = operation.attempt().await;
                doorkeeper.look();
                // Phases are for `probe api` without --cache.
                answer.details.clear();
                answer
            }
            Self::Own { store, looking } => {
                let began = clock::now();
                let view = store.read();
                let ended = clock::now();
                looking.note_own(began, view);
                Answer { started: Some(began), ended: Some(ended), ..Answer::new(Outcome::Ok) }
            }
        }
    }

    fn settled(&self, settled: &Settled) {
        if let Self::Remote { operation, .. } = self {
            operation.settled(settled);
        }
    }
}

/// Tells informers, which are elsewhere, of credentials that were renewed.
pub struct Doorkeeper {
    shared: Rc<Shared>,
    door: Arc<Mutex<Door>>,
    seen: Cell<(u64, u64)>,
}

impl Doorkeeper {
    /// With the credentials of now.
    #[must_use]
    pub fn new(shared: &Rc<Shared>) -> Self {
        let door = Door { trust: shared.shown.trust(), authorization: authorization(shared), generation: 0 };
        Self { shared: Rc::clone(shared), door: Arc::new(Mutex::new(door)), seen: Cell::new(generations(shared)) }
    }

    /// What informers go in by.
    #[must_use]
    pub fn door(&self) -> Arc<Mutex<Door>> {
        Arc::clone(&self.door)
    }

    fn look(&self) {
        let now = generations(&self.shared);
        if self.seen.replace(now) != now {
            let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
            door.trust = self.shared.shown.trust();
            door.authorization = authorization(&self.shared);
            door.generation += 1;
        }
    }
}

fn generations(shared: &Shared) -> (u64, u64) {
    (shared.credentials.generation(), shared.shown.generation())
}

fn authorization(shared: &Shared) -> Option<String> {
    shared.credentials.header().and_then(|value| value.to_str().ok().map(str::to_owned))
}
