//! The only place that asks what time it is.

use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::model::{Stamp, WallTime};

/// Nanoseconds since the origin of whichever clock the time is of.
#[must_use]
pub fn nanos(time: nix::sys::time::TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}

/// Now, on `CLOCK_MONOTONIC`: the clock of timers and of the kernel's BPF helpers; NTP slews it but never steps it.
#[must_use]
pub fn now() -> Stamp {
    // Invariant: Linux always has CLOCK_MONOTONIC, and it is positive.
    Stamp::from_nanos(clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanos(time) as u64))
}

/// The time of day, for display and for pairing hosts.
#[must_use]
pub fn wall_now() -> WallTime {
    WallTime::from_unix_nanos(clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, nanos))
}

/// The monotonic stamp of a kernel stamp on the wall clock that was taken a moment ago; `None` if the wall clock cannot be
/// trusted over that moment, because the stamp lies in its future.
#[must_use]
pub fn from_wall_nanos(wall_ns: i128) -> Option<Stamp> {
    let before = now();
    let wall_now = clock_gettime(ClockId::CLOCK_REALTIME).map(nanos).ok()?;
    let after = now();
    let age = u64::try_from(wall_now - wall_ns).ok()?;
    let middle = before.as_nanos() + after.nanos_since(before) / 2;
    Some(Stamp::from_nanos(middle.checked_sub(age)?))
}

/// Resolution of the monotonic clock in nanoseconds.
#[must_use]
pub fn resolution_ns() -> Option<u64> {
    clock_getres(ClockId::CLOCK_MONOTONIC).ok().map(|time| nanos(time) as u64)
}

/// A number that differs from process to process and from call to call, for seeds and identifiers.
#[must_use]
pub fn entropy() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(now().as_nanos());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
