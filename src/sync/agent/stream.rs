//! The frames of an agent on a gRPC stream over HTTP/2.
//!
//! Separate from the WebSocket because frames have types here: heartbeats and reports are messages, and whatever a message cannot
//! hold goes as the JSON text that it would be there.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::link::{Endpoint, LONGEST_FRAME, LinkError, SEND_WITHIN, refusal_of, secure, went_away};
use crate::sync::message::{FromAgent, FromGateway};
use crate::sync::typed;
use crate::wire::alpn_of;
use crate::wire::grpc::{CONTENT_TYPE, frame, next};
use crate::wire::node::{FromNode, GatewayFrame, NodeFrame, SERVICE, ToNode};

/// Frames that may wait for the connection to take them.
const MOST_UNSENT: usize = 4;

/// Longest body of an answer that is none of gRPC.
const LONGEST_PAGE: usize = 64 << 10;

/// A stream to a gateway.
pub struct Stream {
    frames: mpsc::Sender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    /// The containers of reports that are not answered, by the number of the report.
    asked: VecDeque<(u64, Vec<String>)>,
    /// The connection lives as long as this.
    _sender: SendRequest<Frames>,
    _tasks: Tasks,
}

/// What moves the bytes of one connection; it ends with it.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(async move { _ = task.await });
    }
}

/// The body of the one request.
struct Frames(mpsc::Receiver<Bytes>);

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.get_mut().0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Stream {
    /// Connects. `seed` is for the order of the addresses of its name.
    ///
    /// # Errors
    /// When it cannot, or the gateway refuses.
    pub async fn connect(endpoint: &Endpoint, seed: u64) -> Result<Self, LinkError> {
        let stream = secure(endpoint, seed).await?;
        if alpn_of(&stream) != Some("h2") {
            return Err(LinkError::NoHttp2);
        }
        let tasks = Tasks::default();
        let (mut sender, connection) = Builder::new(tasks.clone()).handshake(TokioIo::new(stream)).await?;
        hyper::rt::Executor::execute(&tasks, connection);
        let (frames, sent) = mpsc::channel(MOST_UNSENT);
        sender.ready().await?;
        let answer = sender.send_request(request(endpoint, Frames(sent))?).await?;
        let body = accepted(answer).await?;
        let (buffer, asked) = (BytesMut::new(), VecDeque::new());
        Ok(Self { frames, body, buffer, asked, _sender: sender, _tasks: tasks })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the stream has ended, or takes nothing for too long.
    pub async fn send(&mut self, said: FromAgent) -> Result<(), LinkError> {
        let message = match &said {
            FromAgent::Heartbeat(heartbeat) => Some(FromNode::Heartbeat(typed::heartbeat_to(heartbeat))),
            FromAgent::Reports(batch) => typed::reports_to(batch).map(FromNode::Report),
            FromAgent::State(_) | FromAgent::Leave(_) => None,
        };
        if let (Some(FromNode::Report(report)), FromAgent::Reports(batch)) = (&message, &said) {
            // The answers are in the order in which the machine has its reports.
            let asked = batch.reports.iter().map(|report| report.task_id.clone()).collect();
            self.asked.push_back((report.id, asked));
        }
        // Invariant: our own frames always have a JSON text.
        let message = message.unwrap_or_else(|| FromNode::Json(serde_json::to_string(&said).unwrap_or_default()));
        let sent = self.frames.send(frame(&NodeFrame { frame: Some(message) }));
        timeout(SEND_WITHIN, sent).await.map_err(|_| LinkError::Stuck)?.map_err(|_| LinkError::Closed)
    }

    /// The next frame. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the stream has ended or carries something else.
    pub async fn next(&mut self) -> Result<FromGateway, LinkError> {
        loop {
            let message = next::<GatewayFrame>(&mut self.buffer, LONGEST_FRAME).map_err(LinkError::Message)?;
            if let Some(said) = message {
                match self.heard(said)? {
                    Some(frame) => return Ok(frame),
                    None => continue,
                }
            }
            match self.body.frame().await.transpose().map_err(lost)?.map(Frame::into_data) {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(frame)) => {
                    let denied = frame.into_trailers().ok().and_then(|trailers| denied(&trailers));
                    return Err(denied.unwrap_or(LinkError::Closed));
                }
                None => return Err(LinkError::Closed),
            }
        }
    }

    /// A message as the frame that it is; `None` of what a later gateway may say.
    fn heard(&mut self, said: GatewayFrame) -> Result<Option<FromGateway>, LinkError> {
        Ok(match said.frame {
            Some(ToNode::Heartbeat(pulse)) => Some(FromGateway::Pulse(typed::pulse_of(&pulse))),
            Some(ToNode::Report(response)) => {
                let at = self.asked.iter().position(|(id, _)| *id == response.id);
                let asked = at.and_then(|at| self.asked.drain(..=at).next_back());
                asked.and_then(|(_, names)| typed::answers_of(response, &names)).map(FromGateway::Answers)
            }
            Some(ToNode::Json(text)) => match serde_json::from_str(&text) {
                Err(error) if error.is_data() => None,
                frame => Some(frame.map_err(LinkError::Frame)?),
            },
            None => None,
        })
    }
}

fn request(endpoint: &Endpoint, body: Frames) -> Result<Request<Frames>, LinkError> {
    let mut request = Request::post(format!("https://{}/{SERVICE}/Sync", endpoint.url.authority()))
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("offloadctl/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, CONTENT_TYPE);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(header::AUTHORIZATION, authorization.clone());
    }
    // Invariant: these headers are headers.
    request.body(body).map_err(|_| LinkError::Closed)
}

/// The body of an answer that is a stream.
async fn accepted(answer: Response<Incoming>) -> Result<Incoming, LinkError> {
    let status = answer.status().as_u16();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    if status == 200 && kind.is_some_and(|kind| kind.as_bytes().starts_with(CONTENT_TYPE.as_bytes())) {
        return match denied(answer.headers()) {
            Some(error) => Err(error),
            None => Ok(answer.into_body()),
        };
    }
    let body = Limited::new(answer.into_body(), LONGEST_PAGE).collect().await;
    Err(refusal_of(status, &body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
}

/// How a stream ended that was there.
fn lost(error: hyper::Error) -> LinkError {
    let of_two = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
    match of_two.is_some_and(|error| error.get_io().is_some_and(went_away)) {
        true => LinkError::WentAway,
        false => error.into(),
    }
}

/// Why a call was refused; `None` where it was not.
fn denied(fields: &HeaderMap) -> Option<LinkError> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").filter(|code| *code != "0")?;
    let message = text("grpc-message").unwrap_or_default();
    let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy().into_owned();
    Some(LinkError::Denied { code: text("offloadctl-code").unwrap_or(code).to_owned(), text: message })
}
