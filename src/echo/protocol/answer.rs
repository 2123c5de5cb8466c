//! What is answered: a receipt for each heartbeat and each report, whatever carried it, and what this end can do.
//!
//! Separate from the connections, because the content is the same over all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use prost::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::body::{Answer, Conversation, GRPC_STATUS};
use super::{LONGEST_MESSAGE, Protocol};
use crate::sys::clock;
use crate::wire::grpc;
use crate::wire::node::{
    FromNode, GatewayFrame, HeartbeatRequest, HeartbeatResponse, NodeFrame, Outcome, Receipt, ReportResponse,
    StatusReport, ToNode,
};

/// Paths of the unary calls and of the stream.
const GRPC_HEARTBEAT: &str = "/offloadctl.v1.NodeService/Heartbeat";
const GRPC_REPORT: &str = "/offloadctl.v1.NodeService/ReportStatus";
const GRPC_SYNC: &str = "/offloadctl.v1.NodeService/Sync";

/// Codes of gRPC for what is not answered.
const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;

/// What an echo says that it speaks.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Each protocol once.
    pub protocols: Vec<Protocol>,
    /// Ports of the members of its Raft cluster.
    pub raft_ports: Vec<u16>,
}

/// Writes receipts, and counts them.
#[derive(Debug)]
pub struct Receipts {
    offer: Offer,
    answered: AtomicU64,
}

/// A WebSocket that was agreed on, until the connection goes on with it.
pub type Agreed = Arc<Mutex<Option<OnUpgrade>>>;

/// Why a question is not answered: a code of gRPC, a status of HTTP, and a sentence.
struct Refusal(u8, StatusCode, &'static str);

impl Receipts {
    /// Answers over these protocols.
    #[must_use]
    pub const fn new(offer: Offer) -> Self {
        Self { offer, answered: AtomicU64::new(0) }
    }

    /// Heartbeats and reports that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The answer to a frame; one that carries neither is answered by an empty one.
    #[must_use]
    pub fn of_frame(&self, frame: NodeFrame) -> GatewayFrame {
        let frame = match frame.frame {
            Some(FromNode::Heartbeat(heartbeat)) => Some(ToNode::Heartbeat(self.of_heartbeat(&heartbeat))),
            Some(FromNode::Report(report)) => Some(ToNode::Report(self.of_report(report))),
            Some(FromNode::Json(_)) | None => None,
        };
        GatewayFrame { frame }
    }

    fn of_heartbeat(&self, heartbeat: &HeartbeatRequest) -> HeartbeatResponse {
        self.answered.fetch_add(1, Ordering::Relaxed);
        // The two stamps of one moment: nothing happens between them.
        let now = u64::try_from(clock::wall_now().unix_nanos()).unwrap_or_default();
        HeartbeatResponse { seq: heartbeat.seq, t1: heartbeat.t1, t2: now, t3: now, resync: false }
    }

    fn of_report(&self, report: StatusReport) -> ReportResponse {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let receipt = |version| Receipt { outcome: Outcome::Stored as i32, version, ..Receipt::default() };
        let receipts: BTreeMap<_, _> = report
            .containers
            .into_iter()
            .map(|(id, container)| (id, receipt(container.version.unwrap_or_default())))
            .collect();
        ReportResponse { id: report.id, receipts }
    }

    fn offers(&self, protocol: Protocol) -> Result<(), Refusal> {
        match self.offer.protocols.contains(&protocol) {
            true => Ok(()),
            false => Err(Refusal(UNIMPLEMENTED, StatusCode::NOT_FOUND, "this echo does not offer the protocol")),
        }
    }

    /// Answers a request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, agreed: &Agreed) -> Response<Answer> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(grpc::CONTENT_TYPE.as_bytes())) {
            return self.call(request).await.unwrap_or_else(|Refusal(code, ..)| refused_call(code));
        }
        self.exchange(request, agreed).await.unwrap_or_else(|Refusal(_, status, text)| {
            let mut response = whole(Bytes::from_static(text.as_bytes()), "text/plain");
            *response.status_mut() = status;
            response
        })
    }

    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Refusal> {
        let (head, body) = request.into_parts();
        let invalid = |_| Refusal(INVALID_ARGUMENT, StatusCode::BAD_REQUEST, "the body is no message");
        let message = match head.uri.path() {
            GRPC_SYNC => {
                self.offers(Protocol::GrpcStream)?;
                return Ok(of_grpc(Answer::Stream(Box::new(Conversation::new(body, self)))));
            }
            GRPC_HEARTBEAT => {
                self.offers(Protocol::Grpc)?;
                grpc::frame(&self.of_heartbeat(&grpc::only(&collect(body).await?).map_err(invalid)?))
            }
            GRPC_REPORT => {
                self.offers(Protocol::Grpc)?;
                grpc::frame(&self.of_report(grpc::only(&collect(body).await?).map_err(invalid)?))
            }
            _ => return Err(Refusal(UNIMPLEMENTED, StatusCode::NOT_FOUND, "there is no such call")),
        };
        Ok(of_grpc(Answer::Whole(Some(message), true)))
    }

    async fn exchange(
        self: Arc<Self>,
        request: Request<Incoming>,
        agreed: &Agreed,
    ) -> Result<Response<Answer>, Refusal> {
        let plain = if request.version() == Version::HTTP_2 { Protocol::Http2 } else { Protocol::Http1 };
        let invalid = |_| Refusal(INVALID_ARGUMENT, StatusCode::BAD_REQUEST, "the body is no message of node.proto");
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/protocols") => Ok(whole(self.list(), "application/json")),
            (&Method::GET, "/usage") => Ok(whole(self.usage(), "application/json")),
            (&Method::GET, "/v1/sync") => {
                self.offers(Protocol::Websocket)?;
                upgrade(request, agreed)
            }
            (&Method::POST, "/v1/heartbeat") => {
                self.offers(plain)?;
                let asked = Message::decode(collect(request.into_body()).await?).map_err(invalid)?;
                Ok(whole(self.of_heartbeat(&asked).encode_to_vec().into(), "application/x-protobuf"))
            }
            (&Method::POST, "/v1/status") => {
                self.offers(plain)?;
                let asked = Message::decode(collect(request.into_body()).await?).map_err(invalid)?;
                Ok(whole(self.of_report(asked).encode_to_vec().into(), "application/x-protobuf"))
            }
            _ => Err(Refusal(UNIMPLEMENTED, StatusCode::NOT_FOUND, "there is nothing at this path")),
        }
    }

    fn list(&self) -> Bytes {
        let mut text = r#"{"schema":"offloadctl.protocols/1","protocols":["#.to_owned();
        for (index, protocol) in self.offer.protocols.iter().enumerate() {
            // Writing to a text cannot fail.
            let _ = write!(text, "{}\"{protocol}\"", if index == 0 { "" } else { "," });
        }
        let ports: Vec<String> = self.offer.raft_ports.iter().map(u16::to_string).collect();
        let _ = writeln!(text, "],\"raft_ports\":[{}]}}", ports.join(","));
        text.into()
    }

    /// What the one thread that serves has used. It is that of the caller.
    fn usage(&self) -> Bytes {
        format!("{{\"cpu_ns\":{},\"answered_count\":{}}}\n", clock::thread_cpu().as_nanos(), self.answered()).into()
    }
}

/// The whole body of a question.
async fn collect(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, LONGEST_MESSAGE).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal(RESOURCE_EXHAUSTED, StatusCode::PAYLOAD_TOO_LARGE, "the message is longer than 1 MiB"))
        }
        Err(_) => Err(Refusal(INVALID_ARGUMENT, StatusCode::BAD_REQUEST, "the body ended early")),
    }
}

fn upgrade(mut request: Request<Incoming>, agreed: &Agreed) -> Result<Response<Answer>, Refusal> {
    let headers = request.headers();
    let is = |name, wanted: &[u8]| {
        headers.get(name).is_some_and(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(wanted))
    };
    let is_asked = is(header::UPGRADE, b"websocket") && is(header::SEC_WEBSOCKET_VERSION, b"13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_asked);
    let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let accept = accept.ok_or(Refusal(
        UNIMPLEMENTED,
        StatusCode::UPGRADE_REQUIRED,
        "a WebSocket (RFC 6455) over HTTP/1.1 is spoken here",
    ))?;
    *agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
    let mut response = Response::new(Answer::Whole(None, false));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn whole(bytes: Bytes, kind: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()), false));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn of_grpc(body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}

fn refused_call(code: u8) -> Response<Answer> {
    let mut response = of_grpc(Answer::Whole(None, false));
    response.headers_mut().insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    response
}
