//! From an HTTP request to an agent's WebSocket (RFC 6455), on the same connection.
//!
//! Separate because the request is answered in one place and the connection goes on in another: what is agreed waits here.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::access::Caller;
use super::body::Answer;
use super::refusal::{Code, Refusal};

/// What a connection goes on with after its last request.
#[derive(Clone, Default)]
pub struct Upgrade(Arc<Mutex<Option<Agreed>>>);

/// A WebSocket that was agreed on.
pub struct Agreed {
    /// Gives the connection once the answer is sent.
    pub connection: OnUpgrade,
    /// Whose agent it is.
    pub node_id: String,
}

impl Upgrade {
    /// What was agreed on, if anything was.
    pub fn take(&self) -> Option<Agreed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Agrees to a WebSocket with the agent of a node.
///
/// # Errors
/// When it is no WebSocket that is asked for, or no agent that asks.
pub fn accept(slot: &Upgrade, caller: &Caller, mut request: Request<()>) -> Result<Response<Answer>, Refusal> {
    let Caller::Node(node_id) = caller else {
        return Err(Refusal::new(Code::Forbidden, "a reader's token speaks for no node"));
    };
    let key = websocket_key(request.headers())
        .ok_or_else(|| Refusal::new(Code::UpgradeRequired, "agents speak WebSocket (RFC 6455) over HTTP/1.1 here"))?;
    // Invariant: the key that is derived is base64.
    let accept = HeaderValue::from_str(&derive_accept_key(&key)).unwrap_or(HeaderValue::from_static(""));
    let connection = hyper::upgrade::on(&mut request);
    *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Agreed { connection, node_id: node_id.clone() });
    let mut answer = Response::new(Answer::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

fn websocket_key(headers: &HeaderMap) -> Option<Vec<u8>> {
    let is_asked = headers.get(header::UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket");
    let is_spoken = headers.get(header::SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    (is_asked && is_spoken).then(|| key.to_vec())
}
