//! What an emulated link really did: the delay it applied to each exchange, after FIFO order and bandwidth.
//!
//! This is the known length against which the measurement is held; it stands next to what was measured.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Counts, Histogram, Labels, Moments, Outcome, Role, Series, Stamp, Summary, Variation};

/// The delays of one emulated link, recorded from a given moment on.
#[derive(Debug, Default)]
pub struct Applied {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Exchanges that set out before this are warm-up; `None` until recording begins.
    from: Option<Stamp>,
    number: u64,
    counts: Counts,
    histogram: Histogram,
    moments: Moments,
    variation: Variation,
}

impl Applied {
    /// Records the exchanges that set out from now on.
    pub fn record_from(&self, from: Stamp) {
        self.lock().from = Some(from);
    }

    /// The number of an exchange that sets out now; they count up in the order of setting out.
    pub fn set_out(&self) -> u64 {
        let mut inner = self.lock();
        inner.number += 1;
        inner.number
    }

    /// Takes the exchange of this number, which set out at `set_out`: its delay, or `None` if the link lost it.
    pub fn push(&self, number: u64, set_out: Stamp, delay_ns: Option<u64>) {
        let mut inner = self.lock();
        if inner.from.is_none_or(|from| set_out < from) {
            return;
        }
        inner.counts.add(if delay_ns.is_some() { Outcome::Ok } else { Outcome::Lost });
        if let Some(delay) = delay_ns {
            inner.histogram.record(delay);
            inner.moments.push(delay);
            inner.variation.push(number, delay);
        }
    }

    /// The delays as a series.
    #[must_use]
    pub fn series(&self, name: &str, labels: Labels) -> Series {
        let inner = self.lock();
        Series {
            name: name.to_owned(),
            role: Role::Programmed,
            labels,
            counts: inner.counts,
            saturated_count: inner.histogram.saturated(),
            summary: Summary::of(&inner.histogram, &inner.moments, &inner.counts, &inner.variation),
            histogram: inner.histogram.clone(),
            ..Series::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
