//! Fixed rules on the silence since the last receipt: so many intervals, or so long beyond the promised one.
//!
//! - `missed:K`: suspicion at `last receipt + K * promised interval + margin`. A monitor that polls, as Kubernetes or a
//!   hand-written loop does, adds its check period. The rule of the mission (three in a row) is `missed:3`.
//! - `overdue:T`: suspicion at `last receipt + promised interval + T`. The mission's "answer awaited for 3 s" is
//!   `overdue:3s`; a common health check of a load balancer is of this kind.
//!
//! Detection after a crash at a random phase (measurement.md section 6): mean `(K - 1/2) I + margin + C/2 + E[D]`, worst
//! `K I + margin + C + D_max`; for the other, mean `T + I/2`. Without a margin any jitter makes every second beat late.

use std::time::Duration;

use super::Beat;
use crate::model::Stamp;

/// The last receipt and what may follow it; small, because a simulation has a million of them.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    last: Beat,
    count: u32,
    margin: Duration,
}

impl Silence {
    /// So many promised intervals and a margin.
    pub const fn missed(first: Beat, count: u32, margin: Duration) -> Self {
        Self { last: first, count, margin }
    }

    /// One promised interval and a timeout.
    pub const fn overdue(first: Beat, timeout: Duration) -> Self {
        Self { last: first, count: 1, margin: timeout }
    }

    /// Takes a heartbeat.
    pub const fn heartbeat(&mut self, beat: Beat) {
        if beat.sequence > self.last.sequence {
            self.last = beat;
        }
    }

    /// The moment of suspicion.
    pub fn deadline(&self) -> Stamp {
        self.last.at + self.last.promised * self.count + self.margin
    }
}
