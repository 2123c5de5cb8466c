//! A WebSocket of the echo: each binary frame is a message, and is answered by one.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::LONGEST_MESSAGE;
use super::answer::Receipts;
use crate::wire::node::NodeFrame;

/// Serves it until either side ends it, or the peer does not take its answers for `patience`.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    begun: Bytes,
    receipts: &Receipts,
    patience: Duration,
) {
    let config = WebSocketConfig::default()
        .max_write_buffer_size(4 * LONGEST_MESSAGE)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let mut stream = WebSocketStream::from_partially_read(stream, begun.to_vec(), Role::Server, Some(config)).await;
    // How it ended concerns the client alone.
    let _ = frames(&mut stream, receipts, patience).await;

    let _ = timeout(patience, stream.close(None)).await;
}

/// Answers that are ready together leave together.
async fn frames<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    receipts: &Receipts,
    patience: Duration,
) -> Result<(), Error> {
    let late = |_| Error::Io(io::ErrorKind::TimedOut.into());
    loop {
        let next = match stream.next().now_or_never() {
            Some(next) => next,
            None => {
                timeout(patience, stream.flush()).await.map_err(late)??;
                stream.next().await
            }
        };
        match next.transpose()? {
            Some(Message::Binary(bytes)) => {
                let Ok(frame) = NodeFrame::decode(bytes) else { return Ok(()) };
                let answer = Message::binary(receipts.of_frame(frame).encode_to_vec());
                timeout(patience, stream.feed(answer)).await.map_err(late)??;
            }
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            _ => return Ok(()),
        }
    }
}
