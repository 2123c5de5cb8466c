//! Fixed rules on the silence since the last receipt: so many intervals, or so long beyond the promised one.
//!
//! - `missed:K`: suspicion at `last receipt + K * promised interval + margin`. A monitor that polls, as Kubernetes or a
//!   hand-written loop does, adds its check period. Three in a row is `missed:3`.
//! - `overdue:T`: suspicion at `last receipt + promised interval + T`. An answer awaited for 3 s is
//!   `overdue:3s`; a common health check of a load balancer is of this kind.
//!
//! Detection after a crash at a random phase of the interval `I`, with a delay `D` and a check period `C`: mean `(K - 1/2) I + margin + C/2 + E[D]`, worst
//! `K I + margin + C + D_max`; for the other, mean `T + I/2`. Without a margin any jitter makes every second beat late.

use std::time::Duration;

use super::Beat;
use crate::model::Stamp;
use crate::model::span::nanos;

/// When the silence is too long, and by which rule; small, because a simulation has a million of them.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    deadline: Stamp,
    margin_ns: u64,
    count: u32,
}

impl Silence {
    /// So many promised intervals and a margin.
    pub fn missed(first: Beat, count: u32, margin: Duration) -> Self {
        let margin_ns = nanos(margin);
        let mut silence = Self { deadline: first.at, margin_ns, count };
        silence.heartbeat(first);
        silence
    }

    /// One promised interval and a timeout.
    pub fn overdue(first: Beat, timeout: Duration) -> Self {
        Self::missed(first, 1, timeout)
    }

    /// The moment of suspicion.
    pub const fn deadline(&self) -> Stamp {
        self.deadline
    }

    /// Takes a heartbeat that is newer than the last.
    pub fn heartbeat(&mut self, beat: Beat) {
        let promised_ns = nanos(beat.promised);
        let allowed_ns = promised_ns.saturating_mul(u64::from(self.count)).saturating_add(self.margin_ns);
        self.deadline = Stamp::from_nanos(beat.at.as_nanos().saturating_add(allowed_ns));
    }
}
