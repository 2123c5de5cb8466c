//! A client of a gateway: questions, reports, and the stream of changes, on one connection that is kept.
//!
//! Separate because vendor types of HTTP stay here. Every question has a limit in time and size; the stream has one in the
//! size of its pieces only, because it may be silent for as long as nothing changes. [`event`] takes the stream apart, and [`own`]
//! starts a gateway of our own to be asked.

pub mod event;
pub mod own;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sync::message::ErrorBody;
use crate::wire::dial::{ConnectError, connect};
use crate::wire::{TlsFailure, Trust, Url};

/// How long a connection or an answer may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Longest answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody there.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not who it should be.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// Cut off, or not HTTP.
    #[error("the answer cannot be read")]
    Http(#[from] hyper::Error),
    /// A token that is no header, most likely.
    #[error("the request cannot be made")]
    Request(#[from] hyper::http::Error),
    /// It said no.
    #[error("it answered {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// More than any answer of a gateway.
    #[error("its answer is longer than {LONGEST_ANSWER} bytes, or was cut off")]
    Body,
    /// It took too long.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
}

/// A connection with a token.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    authorization: String,
    connection: JoinSet<()>,
}

/// What a gateway tells as it happens.
pub struct Stream {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When the gateway is not there, or is not trusted.
    pub async fn connect(url: &Url, trust: &Trust, token: &str) -> Result<Self, ClientError> {
        let opened = async {
            let stream = connect(url, None).await?;
            // Small requests must not wait for an acknowledgement; without it nothing is lost but speed.
            let _ = stream.set_nodelay(true);
            let stream = trust.dialer(&["http/1.1"]).handshake(&url.host, stream).await?;
            Ok::<_, ClientError>(http1::handshake(TokioIo::new(stream)).await?)
        };
        let (sender, driver) = timeout(WITHIN, opened).await.map_err(|_| ClientError::Late)??;
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            // How it ended is told to whoever waits for an answer.
            let _ = driver.await;
        });
        Ok(Self { sender, authority: url.authority(), authorization: format!("Bearer {token}"), connection })
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn get(&mut self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn post(&mut self, path: &str, json: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        self.ask(Method::POST, path, json.into()).await
    }

    /// Asks for an answer that does not end.
    ///
    /// # Errors
    /// When there is none, or it is no.
    pub async fn stream(mut self, path: &str) -> Result<Stream, ClientError> {
        let response = timeout(WITHIN, self.send(Method::GET, path, Bytes::new()));
        let response = response.await.map_err(|_| ClientError::Late)??;
        if response.status().is_success() {
            return Ok(Stream { body: response.into_body(), _connection: self.connection });
        }
        Err(refused(response.status().as_u16(), &read(response).await?))
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Vec<u8>, ClientError> {
        let answered = async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            let body = read(response).await?;
            if status.is_success() { Ok(body) } else { Err(refused(status.as_u16(), &body)) }
        };
        timeout(WITHIN, answered).await.map_err(|_| ClientError::Late)?
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

impl Stream {
    /// The next bytes; `None` when the gateway has ended the stream. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Vec<u8>, ClientError> {
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    body.map(|body| body.to_bytes().to_vec()).map_err(|_| ClientError::Body)
}

/// What a refusal says: the sentence of an error of ours; a page is somebody else's.
fn refused(status: u16, body: &[u8]) -> ClientError {
    let text = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error.message,
        Err(_) => "no gateway there".to_owned(),
    };
    ClientError::Refused { status, text }
}
