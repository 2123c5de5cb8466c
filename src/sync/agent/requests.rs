//! The frames of an agent as requests over HTTP/1.1, one after the other on a connection that is kept.
//!
//! Separate from the WebSocket because an answer belongs to its request here. A connection that the gateway closed while it
//! was idle is made anew for the next request: with long intervals that is the rule and no failure. A request that may have
//! been heard is asked once more; epoch, version and sequence make that harmless.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::link::{Endpoint, LONGEST_FRAME, LinkError, refusal_of, secure};
use crate::sync::message::{ErrorBody, FromAgent, FromGateway};

/// Frames that may wait for their turn; a machine has a heartbeat and a batch at a time, and all that is new at the end.
const MOST_WAITING: usize = 512;

type Io = TokioIo<Box<TlsStream<TcpStream>>>;

/// A gateway that is spoken to in requests.
pub struct Requests {
    endpoint: Arc<Endpoint>,
    seed: u64,
    idle: Option<Open>,
    waiting: VecDeque<FromAgent>,
    asked: Option<Asked>,
}

/// A connection between two requests.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<Io, Full<Bytes>>>,
}

type Asked = Pin<Box<dyn Future<Output = Result<(Open, Option<FromGateway>), LinkError>> + Send>>;

impl Requests {
    /// Connects. `seed` is for the order of the addresses of its name.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn connect(endpoint: Arc<Endpoint>, seed: u64) -> Result<Self, LinkError> {
        let idle = Some(Open::dial(&endpoint, seed).await?);
        Ok(Self { endpoint, seed, idle, waiting: VecDeque::new(), asked: None })
    }

    /// Takes a frame to be sent in its turn.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn send(&mut self, frame: FromAgent) -> Result<(), LinkError> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(LinkError::Stuck);
        }
        self.waiting.push_back(frame);
        Ok(())
    }

    /// The next answer. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When a request cannot be sent, its answer is none of ours, or the goodbye was said.
    pub async fn next(&mut self) -> Result<FromGateway, LinkError> {
        if self.asked.is_none()
            && let Some(frame) = self.waiting.pop_front()
        {
            let (endpoint, seed, idle) = (Arc::clone(&self.endpoint), self.seed, self.idle.take());
            self.asked = Some(Box::pin(async move { ask(&endpoint, seed, idle, &frame).await }));
        }
        let Some(asked) = &mut self.asked else { return pending().await };
        let answer = asked.await;
        self.asked = None;
        let (open, frame) = answer?;
        self.idle = Some(open);
        frame.ok_or(LinkError::Closed)
    }
}

/// Sends one frame as a request; `None` is the answer to a goodbye.
async fn ask(
    endpoint: &Endpoint,
    seed: u64,
    idle: Option<Open>,
    frame: &FromAgent,
) -> Result<(Open, Option<FromGateway>), LinkError> {
    if let Some(mut open) = idle
        && let Ok(answer) = open.exchange(endpoint, frame).await
    {
        return Ok((open, answer));
    }
    let mut open = Open::dial(endpoint, seed).await?;
    let answer = open.exchange(endpoint, frame).await?;
    Ok((open, answer))
}

impl Open {
    async fn dial(endpoint: &Endpoint, seed: u64) -> Result<Self, LinkError> {
        let stream = TokioIo::new(secure(endpoint, seed).await?);
        let (sender, connection) = http1::handshake(stream).await?;
        Ok(Self { sender, connection: Some(connection) })
    }

    async fn exchange(&mut self, endpoint: &Endpoint, frame: &FromAgent) -> Result<Option<FromGateway>, LinkError> {
        let request = request(endpoint, frame)?;
        let Some(connection) = &mut self.connection else { return Err(LinkError::Closed) };
        let mut answer = std::pin::pin!(answer(&mut self.sender, request));
        // The connection moves the bytes; it is polled beside the answer.
        let (status, body) = tokio::select! {
            biased;
            answer = &mut answer => answer?,
            ended = connection => {
                self.connection = None;
                ended?;
                answer.await?
            }
        };
        frame_of(frame, status, &body)
    }
}

async fn answer(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Bytes), LinkError> {
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST_FRAME).collect().await;
    Ok((status, body.map_err(|_| LinkError::Closed)?.to_bytes()))
}

fn request(endpoint: &Endpoint, frame: &FromAgent) -> Result<Request<Full<Bytes>>, LinkError> {
    let (path, body) = match frame {
        FromAgent::Heartbeat(heartbeat) => ("/v1/heartbeat", serde_json::to_vec(heartbeat)),
        FromAgent::Reports(batch) => ("/v1/status/batch", serde_json::to_vec(batch)),
        FromAgent::Leave(leave) => ("/v1/leave", serde_json::to_vec(leave)),
        FromAgent::State(state) => ("/v1/state", serde_json::to_vec(state)),
    };
    let mut request = Request::post(path)
        .header(header::HOST, endpoint.url.authority())
        .header(header::USER_AGENT, concat!("offloadctl/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(header::AUTHORIZATION, authorization.clone());
    }
    // Invariant: our own frames always have a JSON text, and these headers are headers.
    request.body(Full::from(body.unwrap_or_default())).map_err(|_| LinkError::Closed)
}

/// An answer as the frame that it would have been.
fn frame_of(frame: &FromAgent, status: u16, body: &[u8]) -> Result<Option<FromGateway>, LinkError> {
    if status == 200 {
        return Ok(match frame {
            FromAgent::Heartbeat(_) => Some(FromGateway::Pulse(parse(body)?)),
            FromAgent::Reports(_) | FromAgent::State(_) => Some(FromGateway::Answers(parse(body)?)),
            FromAgent::Leave(_) => None,
        });
    }
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => Ok(Some(FromGateway::Error(body.error))),
        Err(_) => Err(refusal_of(status, body)),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(body).map_err(LinkError::Frame)
}
