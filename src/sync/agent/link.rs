//! The connection of an agent to its gateway, as frames in both directions.
//!
//! Separate from the shell, which does not know what carries the frames. A frame that cannot be sent, or an end of the
//! connection, is an error here and a new attempt there.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::header::{self, HeaderValue};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::config::Mode;
use super::machine::shuffle;
use super::requests::Requests;
#[cfg(feature = "runtimes")]
use super::stream::Stream;
use crate::sync::message::{ErrorBody, FromAgent, FromGateway};
use crate::wire::dial::{self, ConnectError};
use crate::wire::{Dialer, TlsFailure, Url};

/// Longest time for a connection, its handshakes included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Longest time for handing a frame to the kernel: a peer that reads nothing for so long is gone.
pub const SEND_WITHIN: Duration = Duration::from_secs(10);

/// Buffer for reading: an answer to a heartbeat fits.
const BUFFER: usize = 1024;

/// Longest frame of a gateway: the answers to a whole state.
pub const LONGEST_FRAME: usize = 4 << 20;

/// A connection that could not be made, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not who it should be, or it refuses us.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// The gateway refuses.
    #[error("the gateway answered {status}: {text}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it said.
        text: String,
    },
    /// The gateway refuses, in a word of its own.
    #[error("the gateway answered {code}: {text}")]
    Denied {
        /// Its word.
        code: String,
        /// What it said.
        text: String,
    },
    /// Whoever is there does not speak what gRPC needs.
    #[error("no HTTP/2 is spoken there, which gRPC needs: a proxy, or a gateway that is older than gRPC")]
    NoHttp2,
    /// What came is no message of a gateway.
    #[cfg(feature = "runtimes")]
    #[error("the gateway sent what is no message of ours")]
    Message(#[source] crate::wire::grpc::FrameError),
    /// Whoever answers is no gateway: another server at this address, or a proxy whose gateway is away.
    #[error("no gateway there ({status})")]
    NoGateway {
        /// The status of its answer.
        status: u16,
    },
    /// It ended without a word: killed, or its network is gone.
    #[error("the gateway went away")]
    WentAway,
    /// It took too long.
    #[error("no connection within {} s", CONNECT_WITHIN.as_secs())]
    Late,
    /// Nothing can be sent any more.
    #[error("nothing could be sent for {} s", SEND_WITHIN.as_secs())]
    Stuck,
    /// The other side has closed.
    #[error("the gateway closed the connection")]
    Closed,
    /// What came is no frame of a gateway.
    #[error("the gateway sent what is no frame of ours")]
    Frame(#[source] serde_json::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    /// The same, in the words of HTTP.
    #[error("the request failed")]
    Request(#[source] hyper::Error),
}

impl From<hyper::Error> for LinkError {
    fn from(error: hyper::Error) -> Self {
        let ended = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
        match error.is_incomplete_message() || error.is_closed() || ended.is_some_and(went_away) {
            true => Self::WentAway,
            false => Self::Request(error),
        }
    }
}

/// Where a gateway is and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    /// Its address.
    pub url: Url,
    /// How it is spoken to.
    pub mode: Mode,
    /// Whom we trust and who we are.
    pub dialer: Dialer,
    /// `Bearer` and the token.
    pub authorization: Option<HeaderValue>,
    /// Of everything above: a connection is made anew only if this changes.
    pub digest: [u8; 32],
}

impl fmt::Debug for Endpoint {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.url)
    }
}

/// A connection to a gateway.
pub enum Wire {
    /// Frames of a WebSocket.
    Socket(Box<WebSocketStream<Box<TlsStream<TcpStream>>>>),
    /// Requests and their answers.
    Requests(Box<Requests>),
    /// Messages of gRPC.
    #[cfg(feature = "runtimes")]
    Stream(Box<Stream>),
}

impl Wire {
    /// Connects. `seed` is for the order of the addresses of its name.
    ///
    /// # Errors
    /// When it cannot, or not in time.
    pub async fn connect(endpoint: Arc<Endpoint>, seed: u64) -> Result<Self, LinkError> {
        let attempt = async {
            match endpoint.mode {
                Mode::Socket => Ok(Self::Socket(Box::new(socket(&endpoint, seed).await?))),
                Mode::Requests => Ok(Self::Requests(Box::new(Requests::connect(Arc::clone(&endpoint), seed).await?))),
                #[cfg(feature = "runtimes")]
                Mode::Stream => Ok(Self::Stream(Box::new(Stream::connect(&endpoint, seed).await?))),
                // The configuration of an agent without it is refused.
                #[cfg(not(feature = "runtimes"))]
                Mode::Stream => Err(LinkError::NoHttp2),
            }
        };
        timeout(CONNECT_WITHIN, attempt).await.unwrap_or(Err(LinkError::Late))
    }

    /// The next frame. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the connection has ended or carries something else.
    pub async fn next(&mut self) -> Result<FromGateway, LinkError> {
        let stream = match self {
            Self::Socket(stream) => stream,
            Self::Requests(requests) => return requests.next().await,
            #[cfg(feature = "runtimes")]
            Self::Stream(stream) => return stream.next().await,
        };
        loop {
            let bytes = match stream.next().await.transpose().map_err(broken)? {
                Some(Message::Text(text)) => text.into(),
                Some(Message::Binary(bytes)) => bytes,
                Some(Message::Close(_)) | None => return Err(LinkError::Closed),
                Some(_) => continue,
            };
            match serde_json::from_slice(&bytes) {
                // A later gateway may say more than we know; what it answers to us, we know.
                Err(error) if error.is_data() => {}
                frame => return frame.map_err(LinkError::Frame),
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection has ended, or takes nothing for too long.
    pub async fn send(&mut self, frame: FromAgent) -> Result<(), LinkError> {
        let stream = match self {
            Self::Socket(stream) => stream,
            Self::Requests(requests) => return requests.send(frame),
            #[cfg(feature = "runtimes")]
            Self::Stream(stream) => return stream.send(frame).await,
        };
        // Invariant: our own frames always have a JSON text.
        let text = serde_json::to_string(&frame).unwrap_or_default();
        let sent = timeout(SEND_WITHIN, stream.send(Message::Text(Utf8Bytes::from(text)))).await;
        sent.map_err(|_| LinkError::Stuck)?.map_err(broken)
    }
}

/// A connection over TLS: to any address of its name, in an order that `seed` gives.
///
/// # Errors
/// When nobody is there, or it is not who it should be.
pub async fn secure(endpoint: &Endpoint, seed: u64) -> Result<Box<TlsStream<TcpStream>>, LinkError> {
    let mut addresses = dial::addresses(&endpoint.url).await?;
    shuffle(&mut addresses, seed);
    // One that swallows everything leaves time for the others.
    let within = CONNECT_WITHIN / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
    let mut failed = LinkError::Late;
    for address in &addresses {
        let attempt = async {
            let stream = dial::connect(&endpoint.url, Some(*address)).await?;
            // A heartbeat is one small packet that must not wait for another; without this nothing is lost but time.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(endpoint.dialer.handshake(&endpoint.url.host, stream).await?))
        };
        if addresses.len() == 1 {
            return attempt.await;
        }
        match timeout(within, attempt).await.unwrap_or(Err(LinkError::Late)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn socket(endpoint: &Endpoint, seed: u64) -> Result<WebSocketStream<Box<TlsStream<TcpStream>>>, LinkError> {
    let stream = secure(endpoint, seed).await?;
    let address = format!("wss://{}{}", endpoint.url.authority(), endpoint.url.path());
    let mut request = address.into_client_request().map_err(broken)?;
    if let Some(authorization) = &endpoint.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(LONGEST_FRAME))
        .max_frame_size(Some(LONGEST_FRAME));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((stream, _)) => Ok(stream),
        Err(tungstenite::Error::Http(answer)) => {
            let status = answer.status().as_u16();
            Err(refusal_of(status, answer.body().as_deref().unwrap_or_default()))
        }
        Err(error) => Err(broken(error)),
    }
}

fn broken(error: tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => LinkError::Closed,
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkError::WentAway,
        tungstenite::Error::Io(error) if went_away(&error) => LinkError::WentAway,
        error => LinkError::Broken(Box::new(error)),
    }
}

/// Whether a connection ended from the other side. A bare end of TLS is one: who is killed says no goodbye.
pub fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// What an answer means that is not the one asked for: an error of ours is a gateway's, and a page is somebody else's.
pub fn refusal_of(status: u16, body: &[u8]) -> LinkError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => LinkError::Refused { status, text: body.error.message },
        Err(_) => LinkError::NoGateway { status },
    }
}
