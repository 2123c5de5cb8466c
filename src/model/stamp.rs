//! Points in time: monotonic stamps for measuring, wall time for people.
//!
//! Two types, so that a wall clock can never slip into a latency: only [`Stamp`] can be subtracted. Neither knows
//! how to read a clock; that is `sys::clock`.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::span::nanos;

/// A point on the monotonic clock, in nanoseconds since an origin that only this boot knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// A stamp from nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The span from `earlier` to here; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }
}

impl Add<Duration> for Stamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// A stamp of the kernel on the wall clock of its host, in nanoseconds since the Unix epoch: how sockets are stamped.
///
/// Neither a [`Stamp`], for it can be stepped, nor a [`WallTime`], for it is compared to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallStamp(u64);

impl WallStamp {
    /// A stamp from nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to here; `None` if `earlier` is in fact later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

/// A stamp of a network card on a clock of its own, in nanoseconds since whatever that clock began with.
///
/// Not a [`WallStamp`]: the clock may be set to atomic time, to the card's own beginning or to anything, and need not run as
/// fast as the host's. Only two stamps of one card make a span. A card that stamped nothing says 0, which is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardStamp(NonZeroU64);

impl CardStamp {
    /// A stamp from nanoseconds of the card's clock; `None` of 0.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Option<Self> {
        NonZeroU64::new(nanos).map(Self)
    }

    /// Nanoseconds from `earlier` to here; `None` if `earlier` is in fact later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> Option<u64> {
        self.0.get().checked_sub(earlier.0.get())
    }
}

/// Whether the stamps of a network card can be had of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardState {
    /// There is none that stamps.
    Absent,
    /// It can, and has not been told to.
    Off,
    /// It stamps both ways.
    On,
    /// It can stamp what is sent, or what is received, and not both.
    OneWay,
    /// It can stamp what is sent, and of what is received only packets of a time protocol.
    TimeProtocolOnly,
}

/// A time of day, for display and for pairing hosts; serialised as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

impl WallTime {
    /// A time of day from nanoseconds since the Unix epoch; the epoch itself if out of range.
    #[must_use]
    pub fn from_unix_nanos(nanos: i128) -> Self {
        Self(OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_nanos(self) -> i128 {
        self.0.unix_timestamp_nanos()
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// The form for people, `2026-11-23 07:10:49`.
    #[must_use]
    pub fn short(self) -> String {
        let t = self.0;
        let (month, day) = (u8::from(t.month()), t.day());
        format!("{:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", t.year(), t.hour(), t.minute(), t.second())
    }

    /// The compact form `20261123T071049.123Z`, which sorts and is a legal file name.
    #[must_use]
    pub fn compact(self) -> String {
        let t = self.0;
        format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}.{:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        )
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.replace_nanosecond(0).unwrap_or(self.0);
        f.write_str(&whole.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}
