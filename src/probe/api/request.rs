//! One request on an open connection: written, first byte, last byte, each with its stamp.
//!
//! Separate from the operation because the discovery before the run asks in the same way. The body is read and counted,
//! and kept nowhere, unless somebody looks at what it says.

use std::cell::Cell;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, header};

use super::cache::Looking;
use super::connection::{CLOSED, Connection, Response};
use super::phases::{Exchange, Phase};
use super::spec::Version;
use crate::model::{Outcome, Stamp};
use crate::sys::clock;
use crate::wire::http::{LONGEST_HEAD, is_refused_by_us, is_untouched};

/// The prepared text of a request; cheap to clone.
pub type Question = Request<Empty<Bytes>>;

/// How an answer is read.
pub struct Reading {
    /// Longest body that is read.
    pub max_body: u64,
    /// Whoever looks at what it says.
    pub looking: Option<Rc<Looking>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// When.
    pub exchange: Exchange,
    /// Status code.
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Whether the connection can be asked again.
    pub is_kept: bool,
    /// Length of the body.
    pub body_bytes: u64,
    /// Interim answers (1xx) before it.
    pub interim_count: u32,
}

/// Why an attempt has no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The server did not look at the request and wants it on another connection.
    Untouched,
    /// It counts so.
    Outcome(Outcome),
}

/// Asks, and reads the whole answer; `at` always says which phase it is in.
///
/// # Errors
/// How the attempt ended without a whole answer.
pub fn ask<'a>(
    connection: &'a mut Connection,
    question: Question,
    reading: Reading,
    at: &'a Cell<Phase>,
) -> impl Future<Output = Result<Reply, Unanswered>> + use<'a> {
    connection.marks.arm();
    let began = clock::now();
    // Handed over before the future is made: one that held the request would be the larger for it.
    let response = connection.send(question);
    finish(connection, response, began, reading, at)
}

async fn finish(
    connection: &mut Connection,
    mut response: Response,
    began: Stamp,
    reading: Reading,
    at: &Cell<Phase>,
) -> Result<Reply, Unanswered> {
    let response = poll_fn(|cx| {
        connection.drive(cx);
        match response.as_mut().poll(&mut asleep()) {
            Poll::Pending if connection.is_over() => Poll::Ready(Err(None)),
            polled => polled.map_err(Some),
        }
    });
    let response = response.await.map_err(|error| match &error {
        Some(error) if is_untouched(error) => Unanswered::Untouched,
        error => Unanswered::Outcome(outcome_of(connection, error.as_ref())),
    })?;
    at.set(Phase::Transfer);
    let (head, body) = response.into_parts();
    let mut pieces = reading.looking.is_some().then(Vec::new);
    let body_bytes = read(connection, body, reading.max_body, pieces.as_mut()).await.map_err(Unanswered::Outcome)?;
    let ended = clock::now();
    if let Some((looking, pieces)) = reading.looking.zip(pieces) {
        looking.note((began, ended), &head, pieces);
    }
    // An answer that came before the request had left has its first byte at the same moment; hyper sends no such.
    let (written, first) = connection.marks.span().unwrap_or((began, ended));
    let closes = connection.version == Version::One && says_close(&head);
    Ok(Reply {
        exchange: Exchange { began, written, first, ended },
        status: head.status.as_u16(),
        location: head.status.is_redirection().then(|| text(&head, &header::LOCATION)).flatten(),
        is_kept: !closes && !connection.is_over() && !connection.marks.is_going_away(),
        body_bytes,
        interim_count: connection.marks.interim_count(),
    })
}

/// Reads the body to its end: how long it was. Its pieces are kept where somebody looks at them.
async fn read(
    connection: &mut Connection,
    mut body: Incoming,
    max_body: u64,
    mut pieces: Option<&mut Vec<Bytes>>,
) -> Result<u64, Outcome> {
    let mut length = 0;
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| {
            // What has arrived with the head is there without another look at the socket.
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(&mut asleep()) {
                return Poll::Ready(Ok(frame));
            }
            connection.drive(cx);
            match Pin::new(&mut body).poll_frame(&mut asleep()) {
                Poll::Pending if connection.is_over() => Poll::Ready(Err(outcome_of(connection, None))),
                polled => polled.map(Ok),
            }
        });
        let Some(frame) = frame.await? else { break };
        let frame = frame.map_err(|error| outcome_of(connection, Some(&error)))?;
        length += frame.data_ref().map_or(0, |data| data.len() as u64);
        if length > max_body {
            return Err(Outcome::Failed("body_too_long"));
        }
        if let (Some(pieces), Ok(data)) = (&mut pieces, frame.into_data()) {
            pieces.push(data);
        }
    }
    Ok(length)
}

/// Answers move only when their connection is driven, and are looked at right after: nobody needs to be woken by them.
const fn asleep() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Whether the server is going to close the connection after this answer (RFC 9112 section 9.3).
fn says_close(head: &hyper::http::response::Parts) -> bool {
    let options = head.headers.get(header::CONNECTION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let says = |wanted: &str| options.split(',').any(|option| option.trim().eq_ignore_ascii_case(wanted));
    says("close") || (head.version == hyper::Version::HTTP_10 && !says("keep-alive"))
}

fn text(head: &hyper::http::response::Parts, name: &header::HeaderName) -> Option<String> {
    head.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// More than anybody reads.
const HEAD_TOO_LONG: Outcome = Outcome::Failed("head_too_long");

/// How an attempt counts whose connection broke.
fn outcome_of(connection: &Connection, error: Option<&hyper::Error>) -> Outcome {
    if let Some(kind) = connection.marks.tls_failure() {
        return Outcome::Failed(kind);
    }
    if connection.marks.is_going_away() {
        return Outcome::Failed("goaway");
    }
    match error {
        None => CLOSED,
        Some(error) if error.is_parse_too_large() => HEAD_TOO_LONG,
        // The library does not say which: heads pack to no less than half, but for what they repeat.
        Some(error) if is_refused_by_us(error) => match connection.marks.head_length() > LONGEST_HEAD / 2 {
            true => HEAD_TOO_LONG,
            false => Outcome::Failed("not_http"),
        },
        Some(error) if error.is_parse() => Outcome::Failed("not_http"),
        Some(error) => match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(error) if error.kind() == io::ErrorKind::ConnectionReset => Outcome::Failed("reset"),
            _ => CLOSED,
        },
    }
}
