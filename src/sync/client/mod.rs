//! A client of a gateway: questions, reports, and the stream of changes, on connections that are kept.
//!
//! Every question has a limit in time and size; the stream has one in the size of its pieces only, because it may be silent for as
//! long as nothing changes. [`event`] takes the stream apart, and [`own`]
//! starts a gateway of our own to be asked.

pub mod event;
pub mod own;

use std::time::Duration;

use bytes::Bytes;

use crate::sync::message::ErrorBody;
use crate::wire::{FetchError, HttpClient, Place, Question, Streamed, Trust, Url};

/// How long a connection or an answer may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Longest answer.
const LONGEST_ANSWER: usize = 1 << 20;

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is none that can be read.
    #[error(transparent)]
    Ask(#[from] FetchError),
    /// It said no.
    #[error("it answered {status}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// No answer of a gateway.
    #[error("its answer is none of a gateway")]
    Foreign(#[from] serde_json::Error),
    /// It took too long.
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
}

/// Asks one gateway, with a token.
pub struct Client {
    http: HttpClient,
    headers: [(String, String); 1],
}

/// What a gateway tells as it happens.
pub struct Stream(Streamed);

impl Client {
    /// Of a gateway; nothing is connected yet.
    ///
    /// # Errors
    /// When there is no client.
    pub fn new(url: &Url, trust: &Trust, token: &str) -> Result<Self, ClientError> {
        let http = HttpClient::new(Place { url, address: None, server_name: None, trust })?;
        Ok(Self { http, headers: [("authorization".to_owned(), format!("Bearer {token}"))] })
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.ask(self.question(path, None)).await
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn post(&self, path: &str, json: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        self.ask(self.question(path, Some(json))).await
    }

    /// Asks for an answer that does not end.
    ///
    /// # Errors
    /// When there is none, or it is no.
    pub async fn stream(&self, path: &str) -> Result<Stream, ClientError> {
        let mut answer = self.http.open(self.question(path, None)).await.map_err(late)?;
        if (200..300).contains(&answer.status) {
            return Ok(Stream(answer));
        }
        let body = answer.rest(WITHIN, LONGEST_ANSWER).await.map_err(late)?;
        Err(refused(answer.status, &body))
    }

    fn question<'a>(&'a self, path: &'a str, json: Option<Vec<u8>>) -> Question<'a> {
        Question { path, headers: &self.headers, json, timeout: WITHIN, max_body: LONGEST_ANSWER }
    }

    async fn ask(&self, question: Question<'_>) -> Result<Vec<u8>, ClientError> {
        let answer = self.http.ask(question).await.map_err(late)?;
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(refused(answer.status, &answer.body)) }
    }
}

impl Stream {
    /// The next bytes; `None` when the gateway has ended the stream. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(self.0.next().await?)
    }
}

fn late(error: FetchError) -> ClientError {
    if matches!(error, FetchError::Timeout { .. }) { ClientError::Late } else { error.into() }
}

/// What a refusal says: the sentence of an error of ours; a page is somebody else's.
fn refused(status: u16, body: &[u8]) -> ClientError {
    let text = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error.message,
        Err(_) => "no gateway there".to_owned(),
    };
    ClientError::Refused { status, text }
}
