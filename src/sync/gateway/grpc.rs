//! The gateway's gRPC: which method is called, its one message and its answer, and refusals as codes.
//!
//! Separate from HTTP because an answer is a message with trailers here, and a refusal is a code of gRPC. What a message means is
//! the business of the [`Door`](super::door::Door). The frames are those of [`wire::grpc`](crate::wire::grpc) on the connection that
//! is there (decision 0032).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, Version};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use tokio::time::timeout;

use super::body::{Answer, Frames};
use super::door::Door;
use super::entries::Read;
use super::http::{BODY_WITHIN, Context, LONGEST_BODY};
use super::refusal::{Code, Refusal, grpc};
use super::service::now;
use super::stream;
use crate::sync::message::{Batch, MOST_REPORTS};
use crate::sync::typed;
use crate::wire::grpc::{self as wire, FrameError};
use crate::wire::node;

/// Where the outcome of a call stands.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const WORD: HeaderName = HeaderName::from_static("offloadctl-code");
const KNOWN_TERM: HeaderName = HeaderName::from_static("offloadctl-known-term");

/// Everything that a `grpc-message` does not hold as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// A call that did not succeed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The code of gRPC.
    pub status: u8,
    /// What was refused, and why.
    pub refusal: Refusal,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.code.grpc_status(), refusal }
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::Compressed => Code::UnsupportedMediaType,
            FrameError::TooLong(_) => Code::TooLarge,
            FrameError::Prefix | FrameError::Length { .. } | FrameError::Decode(_) => Code::InvalidReport,
        };
        Refusal::new(code, error.to_string()).into()
    }
}

/// Whether a request is one of gRPC.
///
/// # Errors
/// When it is, and cannot be answered as one: gRPC is spoken over HTTP/2 only, and with POST.
pub fn is_grpc(head: &Parts) -> Result<bool, Refusal> {
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != wire::CONTENT_TYPE && kind != "application/grpc+proto" {
        return Ok(false);
    }
    if head.version != Version::HTTP_2 {
        return Err(Refusal::new(Code::UpgradeRequired, "gRPC is spoken over HTTP/2 (ALPN h2), and not over HTTP/1.1"));
    }
    if head.method != Method::POST {
        return Err(Refusal::new(Code::MethodNotAllowed, "a call of gRPC is a POST"));
    }
    Ok(true)
}

impl Context {
    /// Answers a call. The body is given back where something of it may be left.
    pub async fn call(&self, head: &Parts, body: Incoming) -> (Response<Answer>, Option<Incoming>) {
        let deadline = match deadline(&head.headers) {
            Ok(deadline) => deadline,
            Err(refusal) => return (self.fault(&refusal.into()), Some(body)),
        };
        let method = match self.admit(head) {
            Ok(method) => method,
            Err(fault) => return (self.fault(&fault), Some(body)),
        };
        if let Call::Sync(node_id) = method {
            return (stream::begin(self, node_id, body, deadline), None);
        }
        let mut messages = Messages::new(body);
        let answered = timeout(deadline.unwrap_or(Duration::MAX), self.unary(method, &mut messages)).await;
        let answer = match answered.unwrap_or_else(|_| Err(late())) {
            Ok(message) => success(message),
            Err(fault) => self.fault(&fault),
        };
        (answer, Some(messages.body))
    }

    /// Which method is called, and by whom.
    fn admit(&self, head: &Parts) -> Result<Call, Fault> {
        if head.headers.get(ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(FrameError::Compressed.into());
        }
        let path = head.uri.path();
        let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(node::SERVICE)?.strip_prefix('/'));
        let method = method.filter(|method| matches!(*method, "Heartbeat" | "ReportStatus" | "Sync"));
        let Some(method) = method else {
            let refusal = Refusal::new(Code::NotFound, format!("there is no method `{path}`"));
            return Err(Fault { status: grpc::UNIMPLEMENTED, refusal });
        };
        let caller = self.caller(&head.headers)?;
        Ok(match method {
            "Heartbeat" => Call::Heartbeat(caller),
            "ReportStatus" => Call::Report(caller),
            _ => match caller {
                super::access::Caller::Node(node_id) => Call::Sync(node_id),
                super::access::Caller::Reader(_) => {
                    return Err(Refusal::new(Code::Forbidden, "a reader's token speaks for no node").into());
                }
            },
        })
    }

    async fn unary(&self, method: Call, messages: &mut Messages) -> Result<Bytes, Fault> {
        match method {
            Call::Report(caller) => {
                let report: node::StatusReport = messages.only().await?;
                let received = now();
                caller.speaks_for(&report.node_id)?;
                let names = typed::names(&report);
                let answers = Door::new(&self.service, &caller).batch(reports(report)?, received.at).await?;
                Ok(wire::frame(&typed::answers_to(answers, names)))
            }
            Call::Heartbeat(caller) => {
                let beat: node::HeartbeatRequest = messages.only().await?;
                let (received, length) = (now(), beat.encoded_len());
                let beat = typed::heartbeat_of(beat);
                let pulse = Door::new(&self.service, &caller).heartbeat(received, &beat, length)?;
                Ok(wire::frame(&typed::pulse_to(&pulse)))
            }
            Call::Sync(_) => Err(Refusal::new(Code::MethodNotAllowed, "`Sync` is a stream").into()),
        }
    }

    /// A call that did not succeed, counted: all of its answer is its head.
    pub fn fault(&self, fault: &Fault) -> Response<Answer> {
        self.service.counters.refused(fault.refusal.code);
        let mut answer = begun(Answer::empty());
        answer.headers_mut().extend(trailers(Some(fault)));
        answer
    }
}

/// A method with who calls it.
enum Call {
    Heartbeat(super::access::Caller),
    Report(super::access::Caller),
    Sync(String),
}

/// The reports of a message, and what of it means nothing.
pub fn reports(message: node::StatusReport) -> Result<Read<Batch>, Refusal> {
    if message.containers.len() > MOST_REPORTS {
        let count = message.containers.len();
        let text = format!("{count} containers in one report, at most {MOST_REPORTS} are taken");
        return Err(Refusal::new(Code::InvalidReport, text));
    }
    let mut read = Read { frame: Batch { id: message.id, reports: Vec::new() }, odd: Vec::new() };
    for (at, report) in typed::reports_of(message).enumerate() {
        match report {
            Ok(report) => read.frame.reports.push(report),
            Err(sentence) => read.odd.push((at, Refusal::new(Code::InvalidReport, sentence))),
        }
    }
    Ok(read)
}

/// The messages of a body as they come.
pub struct Messages {
    body: Incoming,
    buffer: BytesMut,
}

impl Messages {
    /// Of this body.
    #[must_use]
    pub fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; `None` behind the last. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When what comes is no message of this type, is longer than any that is taken, or ends early.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Fault> {
        loop {
            if let Some(message) = wire::next(&mut self.buffer, LONGEST_BODY)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None | Some(Err(_)) => return Err(Refusal::new(Code::InvalidReport, "the message ended early").into()),
            }
        }
    }

    /// The one message of a call, within the time that a body may take.
    async fn only<M: Message + Default>(&mut self) -> Result<M, Fault> {
        let wrong = |text: &str| Fault::from(Refusal::new(Code::InvalidReport, text));
        let both = async {
            let first = self.next().await?.ok_or_else(|| wrong("the call has no message"))?;
            match self.next::<M>().await? {
                None => Ok(first),
                Some(_) => Err(wrong("the call has more than one message")),
            }
        };
        let slow = || wrong(&format!("the message took longer than {} s", BODY_WITHIN.as_secs()));
        timeout(BODY_WITHIN, both).await.unwrap_or_else(|_| Err(slow()))
    }
}

/// How long the client waits for the end of its call; `None` is for ever.
fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(text) = headers.get(TIMEOUT) else { return Ok(None) };
    let wrong =
        || Refusal::new(Code::InvalidReport, "`grpc-timeout` is no time: at most eight digits and one of HMSmun");
    let text = text.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(wrong()),
    }))
}

/// The time of `grpc-timeout` is over.
pub fn late() -> Fault {
    Refusal::new(Code::DeadlineExceeded, "the time that the client gave the call is over").into()
}

/// An answer that begins, with its type.
pub fn begun(body: Answer) -> Response<Answer> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wire::CONTENT_TYPE));
    headers.insert(ACCEPTED, HeaderValue::from_static("identity"));
    answer
}

fn success(message: Bytes) -> Response<Answer> {
    begun(Answer::Frames(Frames::of([Frame::data(message), Frame::trailers(trailers(None))])))
}

/// What stands behind the messages of a call.
pub fn trailers(fault: Option<&Fault>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let Some(Fault { status, refusal }) = fault else {
        trailers.insert(STATUS, HeaderValue::from(grpc::OK));
        return trailers;
    };
    let text = utf8_percent_encode(&refusal.message, ENCODED).to_string();
    trailers.insert(STATUS, HeaderValue::from(u16::from(*status)));
    trailers.insert(WORD, HeaderValue::from_static(refusal.code.word()));
    // Invariant: nothing but printable ASCII is left.
    trailers.insert(MESSAGE, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")));
    if let Some(seconds) = refusal.code.retry_after_s() {
        trailers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(epoch) = refusal.known_epoch {
        trailers.insert(KNOWN_TERM, HeaderValue::from(epoch));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_its_unit_and_nothing_else_is_one() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_str(text).unwrap());
            deadline(&headers)
        };
        assert_eq!(of("250m").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(deadline(&HeaderMap::new()).unwrap(), None);
        for wrong in ["", "m", "5", "-1S", "123456789S", "1h", "1.5S"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_refusal_in_any_words_is_a_trailer() {
        let refusal = Refusal { known_epoch: Some(9), ..Refusal::new(Code::StoreUnavailable, "50 % voll: süß\n") };
        let trailers = trailers(Some(&refusal.into()));
        assert_eq!(trailers[STATUS], "14");
        assert_eq!(trailers[MESSAGE], "50 %25 voll: s%C3%BC%C3%9F%0A");
        assert_eq!(
            (&trailers[WORD], &trailers["retry-after"]),
            (&"store_unavailable".parse().unwrap(), &"5".parse().unwrap())
        );
    }
}
