//! The WebSocket of one agent: its frames, and the answers that wait until they are durable.
//!
//! Separate from HTTP because frames have an order, and a frame is answered while earlier ones still wait for the store. A
//! heartbeat is answered at once.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Utf8Bytes};

use super::access::Caller;
use super::entries::{self, Read};
use super::http::LONGEST_BODY;
use super::rate::Kind;
use super::refusal::{Code, Refusal};
use super::remainder::drop_bytes;
use super::service::{Durable, Place, Service, now};
use crate::sync::message::{self, Answers, FromAgent, FromGateway};

/// Buffers of a connection: a heartbeat fits, and five thousand connections stay small.
const BUFFER: usize = 1024;

/// Answers that may wait for the store; an agent that sends more without waiting is not read further until then.
const MOST_PENDING: usize = 64;

/// One connection.
pub struct Socket<'a> {
    service: &'a Service,
    caller: Caller,
    node_id: String,
    /// The epoch that was taken on this connection.
    epoch: Option<u64>,
    pending: VecDeque<(Place, FromGateway)>,
}

/// What is to be done after a frame.
enum Then {
    Nothing,
    Send(FromGateway),
    Close(Option<FromGateway>),
}

impl<'a> Socket<'a> {
    /// The connection of a node's agent.
    #[must_use]
    pub fn new(service: &'a Service, node_id: String) -> Self {
        Self { service, caller: Caller::Node(node_id.clone()), node_id, epoch: None, pending: VecDeque::new() }
    }

    /// Serves it until either side ends it.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S, begun: Bytes) {
        let _agent = self.service.counters.agent();
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * LONGEST_BODY)
            .max_message_size(Some(LONGEST_BODY))
            .max_frame_size(Some(LONGEST_BODY));
        let mut stream = match begun.is_empty() {
            true => WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            false => WebSocketStream::from_partially_read(stream, begun.to_vec(), Role::Server, Some(config)).await,
        };
        let connected = self.service.decide(|machine, _| machine.connect(&self.node_id));
        match connected.and_then(|(connected, _)| connected) {
            Ok(()) => {
                let ended = self.frames(&mut stream).await;
                self.service.disconnect(&self.node_id);
                if let Err(Error::Capacity(_)) = ended {
                    return self.too_large(&mut stream).await;
                }
            }
            Err(refusal) => {
                let _ = send(&mut stream, &self.refuse(&refusal)).await;
            }
        }
        let _ = stream.close(None).await;
        // An agent that is still sending would hear of a reset, and not why it was refused.
        self.service.remainders.spend(async { while let Some(Ok(_)) = stream.next().await {} }).await;
    }

    /// A frame is longer than any that is taken: nothing after its head can be read as frames.
    async fn too_large<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut WebSocketStream<S>) {
        let refusal = Refusal::new(Code::TooLarge, format!("the frame is longer than {LONGEST_BODY} bytes"));
        let _ = send(stream, &self.refuse(&refusal)).await;
        let _ = stream.close(None).await;
        self.service.remainders.spend(drop_bytes(stream.get_mut())).await;
    }

    async fn frames<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut WebSocketStream<S>,
    ) -> Result<(), Error> {
        let mut durable = self.service.durable();
        loop {
            let frame = tokio::select! {
                biased;
                frame = stream.next(), if self.pending.len() < MOST_PENDING => frame,
                settled = durable.changed(), if !self.pending.is_empty() => {
                    if settled.is_err() {
                        return Ok(());
                    }
                    self.answer(stream, &mut durable).await?;
                    continue;
                }
            };
            let then = match frame.transpose()? {
                Some(Message::Text(text)) => self.frame(text.as_bytes()),
                Some(Message::Binary(bytes)) => self.frame(&bytes),
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => Then::Nothing,
            };
            match then {
                Then::Nothing => {}
                Then::Send(frame) => send(stream, &frame).await?,
                Then::Close(frame) => {
                    self.answer(stream, &mut durable).await?;
                    if let Some(frame) = frame {
                        send(stream, &frame).await?;
                    }
                    return Ok(());
                }
            }
            if !self.pending.is_empty() {
                self.answer(stream, &mut durable).await?;
            }
        }
    }

    /// Sends the answers that are durable; those of a store that failed are refusals.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut WebSocketStream<S>,
        durable: &mut watch::Receiver<Durable>,
    ) -> Result<(), Error> {
        let known = *durable.borrow_and_update();
        while let Some((place, frame)) = self.pending.front() {
            let is_lost = known.has_failed || known.generation != place.generation;
            if !is_lost && known.revision < place.revision {
                break;
            }
            if is_lost {
                let refusal = Refusal::new(Code::StoreUnavailable, "the store failed before this was durable");
                let frame = self.refuse(&refusal);
                send(stream, &frame).await?;
            } else {
                send(stream, frame).await?;
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    fn frame(&mut self, bytes: &[u8]) -> Then {
        let received = now();
        let Read { frame, odd } = match entries::frame(bytes) {
            Ok(read) => read,
            Err(refusal) => return Then::Send(self.refuse(&refusal)),
        };
        let (epoch, is_heartbeat) = (frame.epoch(), matches!(frame, FromAgent::Heartbeat(_)));
        match self.take(received, Read { frame, odd }) {
            Ok(then) => {
                if is_heartbeat {
                    self.service.counters.heartbeat_bytes(bytes.len());
                }
                then
            }
            // An epoch that was taken here before is the agent's own, and another agent has come; an older one is what it
            // sent before it knew better.
            Err(refusal) if matches!(refusal.code, Code::OldEpoch) && epoch.is_some() && epoch == self.epoch => {
                let refusal = Refusal { code: Code::Superseded, ..refusal };
                Then::Close(Some(self.refuse(&refusal)))
            }
            Err(refusal) if matches!(refusal.code, Code::Forbidden) => Then::Close(Some(self.refuse(&refusal))),
            Err(refusal) => Then::Send(self.refuse(&refusal)),
        }
    }

    fn take(&mut self, received: super::machine::Moment, read: Read<FromAgent>) -> Result<Then, Refusal> {
        let odd = read.odd;
        match read.frame {
            FromAgent::Heartbeat(heartbeat) => {
                self.caller.speaks_for(&heartbeat.node_id)?;
                self.service.allow(&self.node_id, Kind::Heartbeat, 1)?;
                let pulse = self.service.heartbeat(received, &heartbeat)?;
                self.epoch = Some(heartbeat.epoch);
                Ok(Then::Send(FromGateway::Pulse(pulse)))
            }
            FromAgent::Reports(batch) => {
                let (id, answers, place) = self.service.batch(&self.caller, Read { frame: batch, odd }, received.at)?;
                self.pending.push_back((place, FromGateway::Answers(Answers { id, answers })));
                Ok(Then::Nothing)
            }
            FromAgent::State(state) => {
                self.caller.speaks_for(&state.node_id)?;
                let epoch = state.epoch;
                let (id, answers, place) = self.service.state(Read { frame: state, odd })?;
                self.epoch = Some(epoch);
                self.pending.push_back((place, FromGateway::Answers(Answers { id, answers })));
                Ok(Then::Nothing)
            }
            FromAgent::Leave(leave) => {
                self.caller.speaks_for(&leave.node_id)?;
                self.service.allow(&self.node_id, Kind::Report, 1)?;
                let (left, _) = self.service.decide(|machine, now| machine.leave(now, &leave))?;
                left.map(|()| Then::Close(None))
            }
        }
    }

    fn refuse(&self, refusal: &Refusal) -> FromGateway {
        self.service.counters.refused(refusal.code);
        FromGateway::Error(refusal.text())
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    frame: &FromGateway,
) -> Result<(), Error> {
    // Invariant: our own frames always have a JSON text.
    let text = serde_json::to_string(frame).unwrap_or_default();
    stream.send(Message::Text(Utf8Bytes::from(text))).await
}

impl Service {
    /// One answer of several, counted.
    pub fn told(&self, answer: Result<message::Receipt, Refusal>) -> message::Answer {
        match answer {
            Ok(receipt) => {
                self.counters.report(receipt.outcome);
                message::Answer::Receipt(receipt)
            }
            Err(refusal) => {
                self.counters.refused(refusal.code);
                message::Answer::Refused(refusal.body())
            }
        }
    }
}
