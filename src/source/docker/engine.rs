//! The API of a Docker Engine on its Unix socket: questions with a bound on time and length, and the stream of events.
//!
//! Separate so that no type of HTTP leaves this file. It is our own client because those of others read a whole list into
//! strict types: one container in a state that they do not know, and there is no list. Each question has a connection of its
//! own, which on a Unix socket costs next to nothing.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::model::{WallTime, with_causes};

/// Longest time that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long the head of the events is waited for, so that nothing is missed meanwhile.
const HEAD_WITHIN: Duration = Duration::from_secs(1);

/// Longest answer: ten thousand containers with long labels.
const LONGEST_ANSWER: usize = 64 << 20;

/// Longest event: labels of a container are in it.
const LONGEST_EVENT: usize = 4 << 20;

/// The highest version of the API that we know to mean what we read.
const KNOWN: Version = Version(1, 51);

/// `{"type":["container"]}`, as it stands in a query.
const OF_CONTAINERS: &str = "%7B%22type%22%3A%5B%22container%22%5D%7D";

/// What keeps an engine from answering.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody there, or not for us.
    #[error("no connection to its socket")]
    Connect(#[source] std::io::Error),
    /// What lies at its path is no socket.
    #[error("`{}` is no socket", .0.display())]
    NoSocket(PathBuf),
    /// What answers speaks no HTTP, or stopped in the middle.
    #[error("the request failed")]
    Request(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    /// It refuses.
    #[error("it answers {status} to `{path}`: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// What was asked.
        path: String,
        /// What it said.
        text: String,
    },
    /// The answer is cut off, or longer than can be meant.
    #[error("its answer to `{path}` is cut off, or longer than {} MiB", LONGEST_ANSWER >> 20)]
    Length {
        /// What was asked.
        path: String,
    },
    /// An event is longer than can be meant.
    #[error("one of its events is longer than {} MiB", LONGEST_EVENT >> 20)]
    LongEvent,
    /// What it answers to a question is no JSON.
    #[error("its answer is not the JSON that it should be")]
    Json(#[from] serde_json::Error),
    /// It has ended the stream.
    #[error("it ended the events")]
    Ended,
}

impl EngineError {
    /// With its causes, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        with_causes(self)
    }

    /// The next step, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let kind = match self {
            Self::Connect(error) => error.kind(),
            Self::NoSocket(_) => ErrorKind::ConnectionRefused,
            _ => return None,
        };
        match kind {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Some("start the engine, name its socket in `sources`, or give `\"sources\": {}` to watch nothing")
            }
            ErrorKind::PermissionDenied => Some("let the user of the agent use the socket: it has a group of its own"),
            _ => None,
        }
    }
}

/// An engine whose version is known.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
    /// `/v1.41`, or nothing where it does not say.
    prefix: String,
}

/// What happens, as it comes.
pub struct Events {
    stream: Stream,
    buffer: Buffer,
}

/// What an engine is asked.
pub(super) struct Question<'a> {
    /// What to do.
    pub method: Method,
    /// With what, without the version.
    pub path: &'a str,
    /// Type of the body; nothing where there is none.
    pub kind: &'static str,
    /// What is sent along.
    pub body: Bytes,
}

impl<'a> Question<'a> {
    /// A question that changes nothing.
    pub(super) const fn of(path: &'a str) -> Self {
        Self { method: Method::GET, path, kind: "", body: Bytes::new() }
    }
}

/// An answer, with the connection that it comes on.
type Answer = (Response<Incoming>, JoinSet<()>);

/// The stream of events. An engine may send nothing, not even the head of its answer, before something happens.
enum Stream {
    Asked(Pin<Box<dyn Future<Output = Result<Answer, EngineError>> + Send>>),
    Open { body: Incoming, _connection: JoinSet<()> },
}

impl Engine {
    /// Asks an engine which version it speaks.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn open(socket: &Path) -> Result<Self, EngineError> {
        let mut engine = Self { socket: socket.to_owned(), prefix: String::new() };
        let version: Value = serde_json::from_slice(&engine.get("/version").await?)?;
        let word = |key: &str| value_version(value_at(&version, key));
        if let Some(own) = word("ApiVersion") {
            let Version(major, minor) = own.min(KNOWN.max(word("MinAPIVersion").unwrap_or(KNOWN)));
            engine.prefix = format!("/v{major}.{minor}");
        }
        Ok(engine)
    }

    /// All containers, whatever they do.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn list(&self) -> Result<Bytes, EngineError> {
        self.get("/containers/json?all=true").await
    }

    /// The list with this container alone, or with none; an engine that knows no filter gives them all.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn list_one(&self, id: &str) -> Result<Bytes, EngineError> {
        self.get(&format!("/containers/json?all=true&filters=%7B%22id%22%3A%5B%22{id}%22%5D%7D")).await
    }

    /// Everything about one container.
    ///
    /// # Errors
    /// When it does not answer, or does not know it.
    pub async fn inspect(&self, id: &str) -> Result<Bytes, EngineError> {
        self.get(&format!("/containers/{id}/json")).await
    }

    /// What happens to containers from a moment on.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn events(&self, since: WallTime) -> Result<Events, EngineError> {
        let path = format!("/events?since={}&filters={OF_CONTAINERS}", seconds(since));
        let engine = self.clone();
        let mut asked: Pin<Box<_>> = Box::pin(async move { engine.ask(Question::of(&path)).await });
        let stream = match timeout(HEAD_WITHIN, &mut asked).await {
            Ok(answer) => Stream::of(answer?),
            Err(_) => Stream::Asked(asked),
        };
        Ok(Events { stream, buffer: Buffer::default() })
    }

    async fn get(&self, path: &str) -> Result<Bytes, EngineError> {
        self.send(Question::of(path)).await
    }

    /// Asks this, and reads the whole answer.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub(super) async fn send(&self, question: Question<'_>) -> Result<Bytes, EngineError> {
        let path = question.path;
        let read = async {
            let (answer, _connection) = self.ask(question).await?;
            body_of(answer, path).await
        };
        timeout(ANSWER_WITHIN, read).await.map_err(|_| EngineError::Late)?
    }

    /// Asks; the connection lives as long as what comes with the answer.
    async fn ask(&self, question: Question<'_>) -> Result<Answer, EngineError> {
        let Question { method, path, kind, body } = question;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unconnected(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // How it ends is told by the answer.
        driver.spawn(async move { drop(connection.await) });
        let request = Request::builder().method(method).uri(format!("{}{path}", self.prefix));
        let request = if kind.is_empty() { request } else { request.header(header::CONTENT_TYPE, kind) };
        let request = request
            .header(header::HOST, "docker")
            .header(header::USER_AGENT, concat!("offloadctl/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|_| EngineError::Length { path: path.to_owned() })?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok((answer, driver));
        }
        let text = message_of(&body_of(answer, path).await.unwrap_or_default());
        Err(EngineError::Refused { status, path: path.to_owned(), text })
    }

    /// A file and an engine that has ended refuse alike.
    fn unconnected(&self, error: std::io::Error) -> EngineError {
        let found = std::fs::metadata(&self.socket);
        if found.is_ok_and(|found| !found.file_type().is_socket()) {
            return EngineError::NoSocket(self.socket.clone());
        }
        EngineError::Connect(error)
    }
}

impl Events {
    /// The next one. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn next(&mut self) -> Result<Value, EngineError> {
        loop {
            if let Some(event) = self.buffer.take()? {
                return Ok(event);
            }
            match &mut self.stream {
                Stream::Asked(asked) => self.stream = Stream::of(asked.await?),
                Stream::Open { body, .. } => match body.frame().await {
                    Some(Ok(frame)) => self.buffer.put(frame.data_ref().map_or(&[], |data| &data[..])),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(EngineError::Ended),
                },
            }
        }
    }
}

impl Stream {
    fn of((answer, connection): Answer) -> Self {
        Self::Open { body: answer.into_body(), _connection: connection }
    }
}

/// Values of a stream in which each follows the other, with or without a line end between them, however they are cut.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    ready: VecDeque<Value>,
}

impl Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // A value that is whole ends with its brace: before that, nothing has to be read once more for each piece.
        if self.bytes.trim_ascii_end().last() == Some(&b'}') || self.bytes.contains(&b'\n') {
            self.read();
        }
    }

    fn read(&mut self) {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<Value>();
            let mut is_broken = false;
            for value in values.by_ref() {
                match value {
                    Ok(value) => self.ready.push_back(value),
                    Err(error) => {
                        is_broken = !error.is_eof();
                        break;
                    }
                }
            }
            let read = values.byte_offset();
            self.bytes.drain(..read);
            if !is_broken {
                return;
            }
            // What is no JSON ends with its line; the next one is read again.
            match self.bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => drop(self.bytes.drain(..=end)),
                None => return,
            }
        }
    }

    fn take(&mut self) -> Result<Option<Value>, EngineError> {
        let next = self.ready.pop_front();
        if next.is_none() && self.bytes.len() > LONGEST_EVENT {
            return Err(EngineError::LongEvent);
        }
        Ok(next)
    }
}

/// A version of the API, as `1.41`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

fn value_at<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn value_version(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    Some(Version(major.parse().ok()?, minor.parse().ok()?))
}

async fn body_of(answer: Response<Incoming>, path: &str) -> Result<Bytes, EngineError> {
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    Ok(body.map_err(|_| EngineError::Length { path: path.to_owned() })?.to_bytes())
}

/// What a refusal says: its message, or its first words.
fn message_of(body: &[u8]) -> String {
    const FIRST_WORDS: usize = 200;
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = match value_at(&told, "message") {
        "" => String::from_utf8_lossy(body).into_owned(),
        message => message.to_owned(),
    };
    text.chars().filter(|c| !c.is_control()).take(FIRST_WORDS).collect()
}

/// A moment as the engine reads it: seconds with nine decimals.
fn seconds(at: WallTime) -> String {
    let nanos = at.unix_nanos().max(0);
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&str]) -> Vec<String> {
        let mut buffer = Buffer::default();
        let mut all = Vec::new();
        for piece in pieces {
            buffer.put(piece.as_bytes());
            while let Some(value) = buffer.take().unwrap() {
                all.push(value.to_string());
            }
        }
        all
    }

    #[test]
    fn events_are_read_however_they_are_cut_and_what_is_none_ends_with_its_line() {
        assert_eq!(taken(&["{\"a\":1}\n{\"b\"", ":{\"c\":2}}", "\n"]), ["{\"a\":1}", "{\"b\":{\"c\":2}}"]);
        assert_eq!(taken(&["{\"a\":1}{\"b\":2}"]), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(taken(&["{\"a\":1}\nno event {}\n{\"b\":2}\n"]), ["{\"a\":1}", "{\"b\":2}"]);
        assert_eq!(taken(&["no ", "event", "}\n", "\n{\"b\":2}\n"]), ["{\"b\":2}"]);
        let bytes: Vec<String> = "{\"a\":\"\u{e4}}\"}\n{\"b\":2}\n".chars().map(|c| c.to_string()).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(taken(&bytes).len(), 2);
    }

    #[test]
    fn an_event_without_an_end_is_no_reason_to_keep_everything() {
        let mut buffer = Buffer::default();
        buffer.put(&vec![b'{'; LONGEST_EVENT + 1]);
        assert!(matches!(buffer.take(), Err(EngineError::LongEvent)));
    }

    #[test]
    fn the_version_is_the_highest_that_both_know() {
        let version = |own, least| {
            let least = value_version(least).unwrap_or(KNOWN);
            value_version(own).map(|own| own.min(KNOWN.max(least)))
        };
        assert_eq!(version("1.41", "1.12"), Some(Version(1, 41)));
        assert_eq!(version("1.99", "1.44"), Some(KNOWN));
        assert_eq!(version("1.99", "1.60"), Some(Version(1, 60)));
        assert_eq!(version("x/../1", ""), None);
    }

    #[test]
    fn a_moment_is_written_as_engines_read_it() {
        assert_eq!(seconds(WallTime::from_unix_nanos(1_700_000_000_000_000_001)), "1700000000.000000001");
        assert_eq!(seconds(WallTime::from_unix_nanos(-1)), "0.000000000");
    }
}
