//! Single calls: one message there, one back, with as little between as HTTP/2 allows.
//!
//! Written here instead of generated: the layers of a generated client hold several kilobytes for each call in flight,
//! and moving and freeing those was a fifth of the processor time of a put. What a request and an answer look like is
//! fixed by the protocol of gRPC over HTTP/2 and takes a page.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::SendRequest;
use hyper::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::http::{Method, Request, Uri, Version};
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::fault::{CONNECTION_LOST, Fault, UNTOUCHED, kind_of};
use crate::wire::grpc;
use crate::wire::http::is_untouched;

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 16 << 20;

/// One server as calls need it: what is the same in each of them.
pub struct Server {
    origin: Uri,
    methods: [Uri; METHODS.len()],
    headers: HeaderMap,
}

/// A method that is called with one message and answers with one.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Writes a key.
    Put,
    /// Writes several.
    Txn,
    /// Reads a key, or counts them.
    Range,
    /// Removes keys.
    DeleteRange,
    /// Logs in.
    Authenticate,
    /// Asks for alarms.
    Alarm,
    /// Asks a member how it is.
    Status,
    /// Asks who the members are.
    MemberList,
    /// Forgets what was before a revision.
    Compact,
    /// Gives back the room that a member does not use.
    Defragment,
    /// Grants a lease.
    LeaseGrant,
    /// Ends one.
    LeaseRevoke,
}

/// Their names in the protocol, in the order of [`Call`].
const METHODS: [&str; 12] = [
    "KV/Put",
    "KV/Txn",
    "KV/Range",
    "KV/DeleteRange",
    "Auth/Authenticate",
    "Maintenance/Alarm",
    "Maintenance/Status",
    "Cluster/MemberList",
    "KV/Compact",
    "Maintenance/Defragment",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
];

impl Server {
    /// The server at `origin`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        // An origin that came from a parsed URL makes a URI; without one the calls would fail and say so.
        let uri = |path: &str| format!("{origin}{path}").parse().unwrap_or_default();
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
        // A member that has lost its leader then says so at once, instead of holding the request for seconds.
        headers.insert(HeaderName::from_static("hasleader"), HeaderValue::from_static("true"));
        Self { origin: uri(""), methods: METHODS.map(|method| uri(&format!("etcdserverpb.{method}"))), headers }
    }

    /// Where it is.
    #[must_use]
    pub const fn origin(&self) -> &Uri {
        &self.origin
    }

    /// What stands above a request of somebody who has this token.
    #[must_use]
    pub fn headers(&self, token: Option<Bytes>) -> HeaderMap {
        let mut headers = self.headers.clone();
        // A token that cannot stand in a header is left out: the server then says that it wants one.
        if let Some(token) = token.and_then(|token| HeaderValue::from_maybe_shared(token).ok()) {
            headers.insert(HeaderName::from_static("token"), token);
        }
        headers
    }

    /// Makes the call and decodes its answer.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn call<R: Message + Default>(
        &self,
        call: Call,
        framed: Bytes,
        token: Option<Bytes>,
        mut sender: SendRequest<Body>,
    ) -> Result<R, Fault> {
        // Made within the expression: what lives across a wait is held, and moved, by every attempt.
        let response = sender.try_send_request(self.request(call, framed, token)).await.map_err(unsent)?;
        // An error that is known at once comes without a body, its status among the headers.
        if let Some(status) = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok) {
            return Err(fault_of(&status));
        }
        if response.status() != 200 {
            let text = format!("the server answered with the HTTP status {}", response.status());
            return Err(Fault { kind: "unavailable", text });
        }
        decode(&read(response.into_body()).await?)
    }

    fn request(&self, call: Call, framed: Bytes, token: Option<Bytes>) -> Request<Body> {
        let mut request = Request::new(Body::new(Full::new(framed)));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.methods[call as usize].clone();
        *request.headers_mut() = self.headers(token);
        request
    }
}

/// The whole body of an answer whose trailers say that all is well.
async fn read(mut body: Incoming) -> Result<Bytes, Fault> {
    let broken = |text: &str| Fault { kind: "other", text: text.to_owned() };
    let (mut whole, mut status) = (Bytes::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| lost(&error))?.into_data() {
            Ok(data) if whole.is_empty() => whole = data,
            Ok(data) if whole.len() + data.len() <= LONGEST_ANSWER => whole = [&whole[..], &data[..]].concat().into(),
            Ok(_) => return Err(broken("the answer is longer than any of ours")),
            Err(trailers) => status = trailers.trailers_ref().and_then(Status::from_header_map),
        }
    }
    match status {
        Some(status) if status.code() == Code::Ok => Ok(whole),
        Some(status) => Err(fault_of(&status)),
        None => Err(broken("the answer ended without a status")),
    }
}

fn decode<R: Message + Default>(framed: &Bytes) -> Result<R, Fault> {
    grpc::only(framed).map_err(|error| Fault { kind: "other", text: error.to_string() })
}

/// The word for what a call met.
pub(super) fn fault_of(status: &Status) -> Fault {
    let mut source = std::error::Error::source(status);
    let (mut is_lost, mut deepest) = (false, String::new());
    while let Some(error) = source {
        is_lost |= error.is::<hyper::Error>();
        deepest = error.to_string();
        source = error.source();
    }
    if is_lost {
        return Fault { kind: CONNECTION_LOST, text: deepest };
    }
    Fault { kind: kind_of(status.code() as i32, status.message()), text: status.message().to_owned() }
}

/// What never left, or was not looked at, can be sent again on another connection as if for the first time.
fn unsent(mut error: TrySendError<Request<Body>>) -> Fault {
    if error.take_message().is_some() || is_untouched(error.error()) {
        let text = "the server sent us away before it looked at the request".to_owned();
        return Fault { kind: UNTOUCHED, text };
    }
    lost(error.error())
}

fn lost(error: &hyper::Error) -> Fault {
    let deepest = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Fault { kind: CONNECTION_LOST, text: deepest }
}

#[cfg(test)]
mod tests {
    use super::super::interface::{PutRequest, RangeResponse};
    use super::*;

    #[test]
    fn each_call_has_its_method() {
        let server = Server::new("http://a:1/");
        let path = |call: Call| server.methods[call as usize].to_string();
        assert_eq!(path(Call::Put), "http://a:1/etcdserverpb.KV/Put");
        assert_eq!(path(Call::Authenticate), "http://a:1/etcdserverpb.Auth/Authenticate");
        assert_eq!(path(Call::Defragment), "http://a:1/etcdserverpb.Maintenance/Defragment");
        assert_eq!(path(Call::MemberList), "http://a:1/etcdserverpb.Cluster/MemberList");
    }

    #[test]
    fn a_message_is_framed_and_read_back() {
        let put = PutRequest { key: "k".into(), value: "v".into() };
        let framed = grpc::frame(&put);
        assert_eq!(&framed[..], b"\0\0\0\0\x06\x0a\x01k\x12\x01v");
        assert_eq!(decode::<PutRequest>(&framed).unwrap(), put);
        assert_eq!(decode::<RangeResponse>(&grpc::frame(&RangeResponse::default())).unwrap(), RangeResponse::default());
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        for bytes in [&b""[..], b"\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x02\xff\xff"] {
            assert_eq!(decode::<PutRequest>(&Bytes::copy_from_slice(bytes)).unwrap_err().kind, "other", "{bytes:?}");
        }
    }
}
