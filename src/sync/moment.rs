//! A moment on both clocks, as every input of a machine carries one.
//!
//! Separate because the machines of agent and gateway share it. Pure: it is read by the shells.

use crate::model::{Stamp, WallTime};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic: what silences are measured on.
    pub at: Stamp,
    /// Time of day: what records carry.
    pub wall: WallTime,
}

impl Moment {
    /// The time of day as the stamps of heartbeats are: in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.wall.unix_nanos()).unwrap_or(0)
    }
}
