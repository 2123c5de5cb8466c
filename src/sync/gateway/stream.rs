//! `Sync`, the gRPC stream of one agent: its frames, and the answers that wait until they are durable.
//!
//! Separate from calls because it lives as long as its agent. What is said on it is a [`Talk`], as on a WebSocket. What waits to be
//! sent is bounded: a client that does not read is not read either, and is given up after a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Frame, Incoming};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::body::{Answer, Frames};
use super::door::{Form, Heard, MOST_PENDING, Said, Talk, Then};
use super::entries::{self, Read};
use super::grpc::{Fault, Messages, begun, late, reports, trailers};
use super::http::Context;
use super::refusal::{Code, Refusal};
use super::service::{Durable, Service, now};
use crate::sync::message::{FromAgent, FromGateway};
use crate::sync::typed;
use crate::wire::grpc::frame;
use crate::wire::node::{FromNode, GatewayFrame, NodeFrame, StatusReport, ToNode};

/// Frames that may wait for a client to read them, beside what the connection itself holds.
const MOST_UNREAD: usize = 8;

/// A client that reads nothing for so long is given up.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What is left to be said of a connection that has ended.
const END_WITHIN: Duration = Duration::from_secs(1);

/// The streams of one connection.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<JoinSet<()>>>);

impl Streams {
    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }

    /// The connection has ended: so do its streams, each of which tells that its agent is gone.
    pub async fn end(&self) {
        let mut streams = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while streams.join_next().await.is_some() {} };
        let _ = timeout(END_WITHIN, all).await;
    }
}

/// Begins the stream of a node's agent.
pub fn begin(context: &Context, node_id: String, body: Incoming, deadline: Option<Duration>) -> Response<Answer> {
    let (answers, frames) = mpsc::channel(MOST_UNREAD);
    let (service, messages) = (Arc::clone(&context.service), Messages::new(body));
    context.streams.spawn(async move {
        let _agent = service.counters.agent();
        let stream = Stream { service: &service, talk: Talk::new(&service, node_id), messages, answers };
        stream.serve(deadline).await;
    });
    begun(Answer::Frames(Frames::from(frames)))
}

struct Stream<'a> {
    service: &'a Service,
    talk: Talk<'a>,
    messages: Messages,
    answers: mpsc::Sender<Frame<Bytes>>,
}

/// Why a stream ends.
enum Ended {
    /// Its client has said all, or the goodbye.
    Well,
    /// It is told why.
    Told(Fault),
    /// Nobody is there to be told.
    Gone,
}

impl Stream<'_> {
    async fn serve(mut self, deadline: Option<Duration>) {
        let ended = match self.talk.begin() {
            Ok(()) => {
                let frames = timeout(deadline.unwrap_or(Duration::MAX), self.frames());
                let ended = frames.await.unwrap_or_else(|_| {
                    self.service.counters.refused(Code::DeadlineExceeded);
                    Ended::Told(late())
                });
                self.talk.end();
                ended
            }
            Err(refusal) => {
                let _ = self.send(self.talk.refuse(&refusal)).await;
                Ended::Told(refusal.into())
            }
        };
        let trailers = match &ended {
            Ended::Well => trailers(None),
            Ended::Told(fault) => trailers(Some(fault)),
            Ended::Gone => return,
        };
        let _ = timeout(READ_WITHIN, self.answers.send(Frame::trailers(trailers))).await;
    }

    async fn frames(&mut self) -> Ended {
        let mut durable = self.service.durable();
        let answers = self.answers.clone();
        loop {
            let message = tokio::select! {
                biased;
                message = self.messages.next::<NodeFrame>(), if self.talk.pending() < MOST_PENDING => message,
                settled = durable.changed(), if self.talk.pending() > 0 => {
                    if settled.is_err() || self.answer(&mut durable).await.is_err() {
                        return Ended::Gone;
                    }
                    continue;
                }
                () = answers.closed() => return Ended::Gone,
                () = self.service.parting() => {
                    let text = "this gateway has lost its store, and another one may have it";
                    return Ended::Told(Refusal::new(Code::StoreUnavailable, text).into());
                }
            };
            let then = match message {
                Ok(Some(message)) => self.talk.frame(heard(message)),
                Ok(None) => return self.finish(&mut durable).await,
                // Nothing behind it can be told apart.
                Err(fault) => {
                    self.service.counters.refused(fault.refusal.code);
                    return Ended::Told(fault);
                }
            };
            let said = match then {
                Then::Nothing => Ok(()),
                Then::Send(said) => self.send(said).await,
                Then::Close(None) => return self.finish(&mut durable).await,
                Then::Close(Some((said, code))) => return self.close(said, code, &mut durable).await,
            };
            if said.is_err() || (self.talk.pending() > 0 && self.answer(&mut durable).await.is_err()) {
                return Ended::Gone;
            }
        }
    }

    /// The client says nothing more: it hears what still waits for the store.
    async fn finish(&mut self, durable: &mut watch::Receiver<Durable>) -> Ended {
        loop {
            if self.answer(durable).await.is_err() {
                return Ended::Gone;
            }
            if self.talk.pending() == 0 {
                return Ended::Well;
            }
            if durable.changed().await.is_err() {
                return Ended::Gone;
            }
        }
    }

    async fn close(&mut self, said: Said, code: Code, durable: &mut watch::Receiver<Durable>) -> Ended {
        let mut refusal = Refusal::new(code, "");
        if let FromGateway::Error(error) = &said.frame {
            (refusal.message, refusal.known_epoch) = (error.message.clone(), error.known_epoch);
        }
        if self.answer(durable).await.is_err() || self.send(said).await.is_err() {
            return Ended::Gone;
        }
        Ended::Told(refusal.into())
    }

    /// Sends the answers that are durable.
    async fn answer(&mut self, durable: &mut watch::Receiver<Durable>) -> Result<(), Unread> {
        let known = *durable.borrow_and_update();
        while let Some(said) = self.talk.settled(known) {
            self.send(said).await?;
        }
        Ok(())
    }

    async fn send(&self, said: Said) -> Result<(), Unread> {
        let sent = self.answers.send(Frame::data(frame(&spoken(said))));
        timeout(READ_WITHIN, sent).await.map_err(|_| Unread)?.map_err(|_| Unread)
    }
}

/// The client is gone, or does not read.
struct Unread;

/// A message as the frame that it is.
fn heard(message: NodeFrame) -> Heard {
    let (received, length) = (now(), message.encoded_len());
    let whole = |frame| Ok(Read { frame, odd: Vec::new() });
    let (form, frame) = match message.frame {
        Some(FromNode::Heartbeat(beat)) => {
            (Form::Typed(Vec::new()), whole(FromAgent::Heartbeat(typed::heartbeat_of(beat))))
        }
        Some(FromNode::Report(report)) => typed_report(report),
        Some(FromNode::Json(text)) => (Form::Json, entries::frame(text.as_bytes())),
        None => (Form::Json, Err(Refusal::new(Code::InvalidReport, "the frame holds nothing that is known"))),
    };
    Heard { received, length, form, frame }
}

fn typed_report(report: StatusReport) -> (Form, Result<Read<FromAgent>, Refusal>) {
    let form = Form::Typed(typed::names(&report));
    let read = reports(report).map(|Read { frame, odd }| Read { frame: FromAgent::Reports(frame), odd });
    (form, read)
}

/// A frame of the gateway as a message.
fn spoken(said: Said) -> GatewayFrame {
    let frame = match (said.frame, said.form) {
        (FromGateway::Pulse(pulse), Form::Typed(_)) => ToNode::Heartbeat(typed::pulse_to(&pulse)),
        (FromGateway::Answers(answers), Form::Typed(names)) => ToNode::Report(typed::answers_to(answers, names)),
        // Invariant: our own frames always have a JSON text.
        (frame, _) => ToNode::Json(serde_json::to_string(&frame).unwrap_or_default()),
    };
    GatewayFrame { frame: Some(frame) }
}
