//! Why a load ends before its time: the user's wish, a quota that comes near, or a refusal that every later attempt would meet.
//!
//! Separate because going on would be of no use to anybody: the cluster says what it is set to, and that flag is the answer.

use std::cell::Cell;
use std::sync::Arc;

use super::plan;
use crate::model::Warning;
use crate::sys::shutdown::Shutdown;
use crate::wire::etcd::{NO_SPACE, TOO_LARGE, TOO_MANY_OPERATIONS};

/// A refusal that does not depend on the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The quota of the database is used up.
    NoSpace,
    /// A request has more bytes than the cluster takes.
    TooLarge,
    /// A transaction has more puts than the cluster takes.
    TooManyOperations,
}

/// Why a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The user wished so.
    Wish,
    /// The database came near to its quota.
    Quota,
    /// The cluster refused.
    Refused(Refused),
}

/// Ends a load at the first such refusal.
pub struct Stop {
    end: Arc<Shutdown>,
    met: Cell<Option<Refused>>,
}

impl Stop {
    /// Of the load that ends with `end`.
    #[must_use]
    pub const fn new(end: Arc<Shutdown>) -> Self {
        Self { end, met: Cell::new(None) }
    }

    /// An attempt failed so.
    pub fn note(&self, kind: &str) {
        let refused = match kind {
            NO_SPACE => Refused::NoSpace,
            TOO_LARGE => Refused::TooLarge,
            TOO_MANY_OPERATIONS => Refused::TooManyOperations,
            _ => return,
        };
        if self.met.get().is_none() {
            self.met.set(Some(refused));
            self.end.request();
        }
    }

    /// What was met.
    #[must_use]
    pub const fn met(&self) -> Option<Refused> {
        self.met.get()
    }
}

impl Stopped {
    /// Whether no further measurement is to be made on this cluster.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Refused(Refused::TooLarge | Refused::TooManyOperations))
    }

    /// What went wrong with this measurement, and the name of the warning; nothing where the user wished it.
    #[must_use]
    pub fn warning(self, cell: &plan::Cell) -> Option<Warning> {
        let what = cell.labels_text();
        Some(match self {
            Self::Wish => return None,
            Self::Quota => Warning::new(
                "quota_near",
                "the load was stopped: the database came near to its quota; compact and defragment the cluster, or measure for less",
            ),
            Self::Refused(Refused::NoSpace) => Warning::new(
                "no_space",
                "the load was stopped at the first write that was refused: the quota of the database is used up; raise the cluster's --quota-backend-bytes, or measure for less with --count",
            ),
            Self::Refused(Refused::TooLarge) => Warning::new(
                "refused",
                format!(
                    "{what} was stopped at its first refusal: a request is larger than the cluster takes; lower --value-size or --batch, or raise the cluster's --max-request-bytes"
                ),
            ),
            Self::Refused(Refused::TooManyOperations) => Warning::new(
                "refused",
                format!(
                    "{what} was stopped at its first refusal: a transaction has more puts than the cluster takes; lower --batch, or raise the cluster's --max-txn-ops"
                ),
            ),
        })
    }
}
