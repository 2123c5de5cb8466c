//! HTTP as lenient as the clients that people compare with: how long the head of an answer may be, and how old-fashioned.
//!
//! Separate because every client of ours reads the same servers, and a limit that one of them has and another has not is a
//! fault that nobody finds.

use hyper::client::conn::http1;

/// Longest head of an answer, in bytes, as curl has it: a proxy may add a hundred fields, and some do.
pub const LONGEST_HEAD: usize = 300 << 10;

/// Most fields of a head. Room for them is taken for each answer, which costs 30 ns for 2,000 and 10 µs for 4,000: from there on
/// the memory goes back to the kernel each time.
pub const MOST_FIELDS: usize = 2_000;

/// A client of HTTP/1.1.
#[must_use]
pub fn one() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // A field that goes on in the next line is obsolete and still sent: to be read as if spaces stood there (RFC 9112
    // section 5.2).
    builder.max_headers(MOST_FIELDS).max_header_size(LONGEST_HEAD).allow_obsolete_multiline_headers_in_responses(true);
    builder
}

/// Whether an answer over HTTP/2 was refused by ourselves: its head is malformed, or too long.
#[cfg(feature = "toolkit")]
#[must_use]
pub fn is_refused_by_us(error: &hyper::Error) -> bool {
    let is_ours = |error: &h2::Error| error.is_library() && error.reason().is_some();
    of_two(error).is_some_and(is_ours)
}

#[cfg(feature = "toolkit")]
fn of_two(error: &hyper::Error) -> Option<&h2::Error> {
    use std::error::Error as _;
    error.source()?.downcast_ref()
}

/// Whether the server said that it had not looked at a request when it wanted no more of them (RFC 9113 section 6.8): it can
/// be sent again as if it had never been sent.
#[cfg(feature = "toolkit")]
#[must_use]
pub fn is_untouched(error: &hyper::Error) -> bool {
    // A stream that the last id covers goes on: only those above it end with the word.
    of_two(error)
        .is_some_and(|error| error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
}
