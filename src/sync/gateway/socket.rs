//! The WebSocket of one agent: its frames, and the answers that wait until they are durable.
//!
//! Separate from HTTP because frames have an order, and a frame is answered while earlier ones still wait for the store. A
//! heartbeat is answered at once.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Utf8Bytes};

use super::door::{Form, Heard, MOST_PENDING, Said, Talk, Then};
use super::entries;
use super::http::LONGEST_BODY;
use super::refusal::{Code, Refusal};
use super::remainder::drop_bytes;
use super::service::{Durable, Service, now};
use crate::sync::message;

/// Buffers of a connection: a heartbeat fits, and five thousand connections stay small.
const BUFFER: usize = 1024;

/// One connection.
pub struct Socket<'a> {
    service: &'a Service,
    talk: Talk<'a>,
}

impl<'a> Socket<'a> {
    /// The connection of a node's agent.
    #[must_use]
    pub fn new(service: &'a Service, node_id: String) -> Self {
        Self { service, talk: Talk::new(service, node_id) }
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
        match self.talk.begin() {
            Ok(()) => {
                let ended = self.frames(&mut stream).await;
                self.talk.end();
                if let Err(Error::Capacity(_)) = ended {
                    return self.too_large(&mut stream).await;
                }
            }
            Err(refusal) => {
                let _ = send(&mut stream, &self.talk.refuse(&refusal)).await;
            }
        }
        let _ = stream.close(None).await;
        // An agent that is still sending would hear of a reset, and not why it was refused.
        self.service.remainders.spend(async { while let Some(Ok(_)) = stream.next().await {} }).await;
    }

    /// A frame is longer than any that is taken: nothing after its head can be read as frames.
    async fn too_large<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut WebSocketStream<S>) {
        let refusal = Refusal::new(Code::TooLarge, format!("the frame is longer than {LONGEST_BODY} bytes"));
        let _ = send(stream, &self.talk.refuse(&refusal)).await;
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
                frame = stream.next(), if self.talk.pending() < MOST_PENDING => frame,
                settled = durable.changed(), if self.talk.pending() > 0 => {
                    if settled.is_err() {
                        return Ok(());
                    }
                    self.answer(stream, &mut durable).await?;
                    continue;
                }
                () = self.service.parting() => return Ok(()),
            };
            let then = match frame.transpose()? {
                Some(Message::Text(text)) => self.frame(text.as_bytes()),
                Some(Message::Binary(bytes)) => self.frame(&bytes),
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => Then::Nothing,
            };
            match then {
                Then::Nothing => {}
                Then::Send(said) => send(stream, &said).await?,
                Then::Close(last) => {
                    self.answer(stream, &mut durable).await?;
                    if let Some((said, _)) = last {
                        send(stream, &said).await?;
                    }
                    return Ok(());
                }
            }
            if self.talk.pending() > 0 {
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
        while let Some(said) = self.talk.settled(known) {
            send(stream, &said).await?;
        }
        Ok(())
    }

    fn frame(&mut self, bytes: &[u8]) -> Then {
        let (received, length, frame) = (now(), bytes.len(), entries::frame(bytes));
        self.talk.frame(Heard { received, length, form: Form::Json, frame })
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut WebSocketStream<S>, said: &Said) -> Result<(), Error> {
    // Invariant: our own frames always have a JSON text.
    let text = serde_json::to_string(&said.frame).unwrap_or_default();
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
