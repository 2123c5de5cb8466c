//! What a client still sends after its answer: read and dropped, so that it gets to read the answer.
//!
//! Separate because it concerns no request any more. A server that stops reading resets the stream, or the connection, and a client
//! that is still sending then hears of the reset and not of the answer (RFC 9110 9.3, RFC 9112 9.6). Bounded in bytes, in time,
//! and in how many clients may do so at once, because nobody gains anything by what is read here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most bytes of one body, and the longest time.
const MOST_BYTES: usize = 32 << 20;
const LONGEST: Duration = Duration::from_secs(5);

/// Most remainders of the whole gateway at a time.
const MOST: usize = 256;

/// How many more may be read, of the whole gateway.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Room {
    /// Does this with what is left to be read, if there is room, and for the longest time at most.
    pub async fn spend(&self, reading: impl Future<Output = ()>) {
        if let Ok(_ours) = self.0.try_acquire() {
            let _ = timeout(LONGEST, reading).await;
        }
    }
}

/// The remainders of one connection; they end with it.
#[derive(Clone, Debug, Default)]
pub struct Remainders(Arc<Mutex<JoinSet<()>>>);

impl Remainders {
    /// Reads what is left of the body of a request that is answered.
    pub fn read(&self, room: &Room, body: Incoming) {
        if body.is_end_stream() {
            return;
        }
        let room = room.clone();
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while reading.try_join_next().is_some() {}
        reading.spawn(async move { room.spend(drop_all(body)).await });
    }
}

/// Reads what is left of a connection on which nothing can be told apart any more.
pub async fn drop_bytes(stream: &mut (impl AsyncRead + Unpin)) {
    let mut piece = vec![0; 16 << 10];
    let mut left = MOST_BYTES;
    while let Ok(1..) = stream.read(&mut piece).await.inspect(|length| left = left.saturating_sub(*length))
        && left > 0
    {}
}

async fn drop_all(mut body: Incoming) {
    let mut left = MOST_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
