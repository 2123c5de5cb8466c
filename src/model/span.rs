//! Spans as nanoseconds: in a number, and in documents.
//!
//! Separate because a document holds nanoseconds where the code holds a `Duration`, and every folder crosses that line.

use std::time::Duration;

use serde::{Serialize as _, Serializer};

/// The nanoseconds of a span; of one beyond 584 years the most that fits.
#[must_use]
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// For `serialize_with`: nanoseconds.
///
/// # Errors
/// As the serializer says.
pub fn as_nanos<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    nanos(*span).serialize(serializer)
}

/// For `serialize_with`: nanoseconds, or null.
///
/// # Errors
/// As the serializer says.
pub fn known_as_nanos<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(nanos).serialize(serializer)
}

/// For `serialize_with`: a list of nanoseconds.
///
/// # Errors
/// As the serializer says.
pub fn all_as_nanos<S: Serializer>(spans: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(spans.iter().copied().map(nanos))
}
