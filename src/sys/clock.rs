//! The only place that asks what time it is.

use std::time::Duration;

use nix::time::{ClockId, clock_getres, clock_gettime};

use super::wall::Reading;
use crate::model::{Stamp, WallStamp, WallTime};

/// How often a reading is tried that was interrupted in its middle.
const READING_TRIES: usize = 3;

/// A bracket of three reads without a system call takes some 100 ns; a wider one was interrupted.
const READING_GOOD_NS: u64 = 300;

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

/// How long this machine has slept since it was started: `CLOCK_BOOTTIME` goes on then, and `CLOCK_MONOTONIC` does not.
#[must_use]
pub fn asleep() -> Duration {
    // Invariant: Linux always has CLOCK_BOOTTIME.
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| nanos(time) as u64);
    Duration::from_nanos(since_boot.saturating_sub(now().as_nanos()))
}

/// How much of the processor this thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    // Invariant: Linux always has CLOCK_THREAD_CPUTIME_ID, and it is positive.
    Duration::from_nanos(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| nanos(time) as u64))
}

/// The time of day, for display and for pairing hosts.
#[must_use]
pub fn wall_now() -> WallTime {
    WallTime::from_unix_nanos(clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, nanos))
}

/// The wall clock between two readings of the monotonic one: the narrowest of a few.
#[must_use]
pub fn reading() -> Reading {
    let mut narrowest = bracket();
    for _ in 1..READING_TRIES {
        if narrowest.width_ns() <= READING_GOOD_NS {
            break;
        }
        let next = bracket();
        if next.width_ns() < narrowest.width_ns() {
            narrowest = next;
        }
    }
    narrowest
}

fn bracket() -> Reading {
    let before = now();
    // Invariant: Linux always has CLOCK_REALTIME; before 1970 it is no clock that could be converted.
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| u64::try_from(nanos(time)).unwrap_or(0));
    Reading { before, wall: WallStamp::from_nanos(wall), after: now() }
}

/// The monotonic stamp of a kernel stamp on the wall clock that was taken a moment ago; `None` if the wall clock cannot be
/// trusted over that moment, because the stamp lies in its future.
#[must_use]
pub fn from_wall(stamp: WallStamp) -> Option<Stamp> {
    let reading = reading();
    let age = reading.wall.nanos_since(stamp)?;
    let middle = reading.before.as_nanos() + reading.width_ns() / 2;
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
