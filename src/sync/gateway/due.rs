//! Answers that wait until what they say is durable.
//!
//! Separate because a gateway that is alone knows its answers at once and waits for the disk, and one with a shared store learns
//! them one by one; whoever asked waits for either in the same way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entries::Odd;
use super::refusal::{Code, Refusal};
use super::service::{Durable, Place};
use crate::sync::message::{Answer, Receipt};

/// Answers that are filled in one after another.
#[derive(Debug)]
pub struct Slip(Mutex<Filled>);

#[derive(Debug)]
struct Filled {
    answers: Vec<Option<Result<Receipt, Refusal>>>,
    /// What is still waited for: answers, and what nobody is told of.
    open: usize,
}

impl Slip {
    /// With so many answers, and so much beside them.
    #[must_use]
    pub fn new(answers: usize, beside: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Filled { answers: vec![None; answers], open: answers + beside })))
    }

    /// One answer is known; behind the last, something beside them is done.
    pub fn fill(&self, at: usize, answer: Result<Receipt, Refusal>) {
        let mut filled = self.filled();
        if let Some(place) = filled.answers.get_mut(at) {
            *place = Some(answer);
        }
        filled.open = filled.open.saturating_sub(1);
    }

    /// So much more is waited for.
    pub fn add(&self, more: usize) {
        self.filled().open += more;
    }

    /// How much is waited for.
    #[must_use]
    pub fn open(&self) -> usize {
        self.filled().open
    }

    /// The answers, once all is done.
    #[must_use]
    pub fn take(&self) -> Option<Vec<Result<Receipt, Refusal>>> {
        let mut filled = self.filled();
        if filled.open > 0 {
            return None;
        }
        let missing = || Refusal::new(Code::StoreUnavailable, "the store failed before this was durable");
        Some(filled.answers.iter_mut().map(|answer| answer.take().unwrap_or_else(|| Err(missing()))).collect())
    }

    fn filled(&self) -> MutexGuard<'_, Filled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers, and what they wait for.
#[derive(Debug)]
pub enum Due {
    /// They are known, and may be told once this is durable.
    At(Place, Vec<Answer>),
    /// They come, with answers to what was not understood in their places.
    Slip(Arc<Slip>, Odd),
}

/// How it stands with answers.
#[derive(Debug)]
pub enum Standing {
    /// Not yet.
    Open(Due),
    /// These may be told.
    Known(Vec<Answer>),
    /// What each report came to, and answers to what was not understood.
    Filled(Vec<Result<Receipt, Refusal>>, Odd),
    /// They are lost: the store failed.
    Lost(Refusal),
}

impl Due {
    /// How it stands, as far as the store is.
    #[must_use]
    pub fn standing(self, known: Durable) -> Standing {
        match self {
            Self::At(place, _) if known.has_failed || known.generation != place.generation => {
                Standing::Lost(Refusal::new(Code::StoreUnavailable, "the store failed before this was durable"))
            }
            Self::At(place, answers) if known.revision >= place.revision => Standing::Known(answers),
            Self::At(..) => Standing::Open(self),
            Self::Slip(slip, odd) => match slip.take() {
                Some(answers) => Standing::Filled(answers, odd),
                None => Standing::Open(Self::Slip(slip, odd)),
            },
        }
    }
}
