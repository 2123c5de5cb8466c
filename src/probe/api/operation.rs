//! One request as an attempt: on a connection of its own, or on one that is kept.
//!
//! Separate because here it is decided what belongs to the request that is measured. A kept connection that has to be
//! opened again is opened before the request begins: the attempt then starts later, which its slip shows, and no phase of
//! a kept connection holds any of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Uri};

use super::cache::Looking;
use super::connection::{Connection, OpenError, Opener};
use super::phases::{Opening, PHASES, Phase, details};
use super::request::{Question, Reading, Reply, Unanswered, ask};
use super::shown::Shown;
use super::spec::Version;
use super::stream::CUT;
use crate::load::{Answer, Operation, Settled};
use crate::model::Outcome;
use crate::sys::clock;
use crate::wire::credentials::Credentials;

/// What all paths of a server share.
pub struct Shared {
    /// How its connections are opened.
    pub opener: Opener,
    /// What goes with each request.
    pub credentials: Rc<Credentials>,
    /// Longest body that is read.
    pub max_body: u64,
    /// Statuses outside 200 to 399 that are no error.
    pub expected: Vec<u16>,
    /// Headers of every request, the credentials' own left out.
    pub headers: HeaderMap,
    /// Host and port, as HTTP/2 wants them.
    pub base: Uri,
    /// The certificate that we show.
    pub shown: Shown,
    /// The path of the server, below which all others lie; it ends without a slash.
    pub below: String,
}

impl Shared {
    /// Looks whether we are to say who we are in another way from now on.
    pub fn refresh(&self) {
        self.credentials.refresh(clock::now());
        if let Some((place, _)) = &self.opener.tls
            && let Some(dialer) = self.shown.renew(&self.credentials)
        {
            place.replace(dialer);
        }
    }
}

/// Requests of one path.
pub struct ApiOperation {
    shared: Rc<Shared>,
    /// Path and query.
    pub path: String,
    /// The connections that wait for a request; `None` where each request has its own.
    idle: Option<Idle>,
    /// The prepared request of the version and the credentials of then.
    prepared: RefCell<Option<(Version, u64, Question)>>,
    /// Whoever looks at what answers say; nobody where only their times count.
    pub looking: Option<Rc<Looking>>,
    /// What was noticed on the way.
    pub tally: Tally,
    /// Recorded answers by status.
    pub statuses: RefCell<BTreeMap<u16, u64>>,
}

/// Kept connections that wait for a request. The latest is taken first, so that only as many are in use as are needed.
#[derive(Default)]
struct Idle {
    #[expect(clippy::vec_box, reason = "it goes from hand to hand with every request, and is large")]
    waiting: RefCell<Vec<Box<Connection>>>,
    /// Which of our certificates they have seen.
    shown: Cell<u64>,
}

impl Idle {
    fn put(&self, connection: Box<Connection>) {
        self.waiting.borrow_mut().push(connection);
    }

    /// One that has seen this certificate of ours.
    fn take(&self, shown: u64) -> Option<Box<Connection>> {
        if self.shown.replace(shown) != shown {
            self.waiting.borrow_mut().clear();
        }
        self.waiting.borrow_mut().pop()
    }
}

/// What a path's attempts showed beside their times.
#[derive(Debug, Default)]
pub struct Tally {
    /// Attempts that did not end with an answer, by the phase in which they were.
    broken: [Cell<u64>; PHASES.len()],
    /// Status of the latest answer.
    status: Cell<u16>,
    /// Where the first redirect led.
    location: RefCell<Option<String>>,
    /// Kept connections that had to be opened again in the middle.
    pub reopened_count: Cell<u64>,
    /// Answers, those of the warm-up included.
    pub answer_count: Cell<u64>,
    /// Interim answers (1xx) that came before final ones.
    pub interim_count: Cell<u64>,
    /// Answers whose end was cut off, or may have been, because TLS ended without saying so.
    pub cut_count: Cell<u64>,
    /// Length of the latest body.
    pub body_bytes: Cell<u64>,
    /// Whether the latest problem was told by TLS, in its words.
    pub tls_text: RefCell<Option<String>>,
}

impl Tally {
    /// Status of the latest answer; of the attempt that ended last, while the driver settles it.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.get()
    }

    /// Where the first redirect led.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        self.location.borrow().clone()
    }

    /// Attempts that did not end with an answer, by the phase in which they were.
    #[must_use]
    pub fn broken(&self) -> Vec<(Phase, u64)> {
        PHASES.into_iter().zip(self.broken.iter().map(Cell::get)).filter(|(_, count)| *count > 0).collect()
    }

    fn note(&self, reply: &Reply) {
        self.status.set(reply.status);
        self.answer_count.set(self.answer_count.get() + 1);
        self.body_bytes.set(reply.body_bytes);
        self.interim_count.set(self.interim_count.get() + u64::from(reply.interim_count));
        if let Some(location) = &reply.location {
            self.location.borrow_mut().get_or_insert_with(|| location.clone());
        }
    }
}

/// Where an attempt is; counted there if it is dropped or breaks.
struct Progress<'a> {
    tally: &'a Tally,
    at: Cell<Phase>,
    is_answered: Cell<bool>,
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if !self.is_answered.get() {
            let count = &self.tally.broken[self.at.get() as usize];
            count.set(count.get() + 1);
        }
    }
}

impl ApiOperation {
    /// Requests of `path`, on kept connections or each on its own.
    #[must_use]
    pub fn new(shared: Rc<Shared>, path: &str, keeps: bool) -> Self {
        Self {
            shared,
            path: path.to_owned(),
            idle: keeps.then(Idle::default),
            prepared: RefCell::new(None),
            looking: None,
            tally: Tally::default(),
            statuses: RefCell::default(),
        }
    }

    /// Opens connections that are going to be kept. What cannot be opened is left to the attempts.
    pub async fn open_ahead(&self, count: usize) {
        let Some(idle) = &self.idle else { return };
        for _ in 0..count {
            let Ok((connection, _)) = self.shared.opener.open(&Cell::new(Phase::Tcp)).await else { return };
            idle.put(connection);
        }
    }

    /// Opens a connection and asks once, outside of any measurement.
    ///
    /// # Errors
    /// Why there was no answer.
    pub async fn try_once(&self) -> Result<Reply, OpenError> {
        let at = Cell::new(Phase::Dns);
        let (mut connection, _) = self.shared.opener.open(&at).await?;
        let question = self.question(connection.version).ok_or(OpenError::Outcome(NO_QUESTION))?;
        let answered = ask(&mut connection, question, self.reading(), &at).await;
        answered.map_err(|unanswered| OpenError::Outcome(counted(unanswered)))
    }

    async fn cold(&self, at: &Cell<Phase>) -> Result<Answer, Outcome> {
        let (mut connection, opening) = self.open(at).await?;
        let reply = self.exchange(&mut connection, at).await.map_err(counted)?;
        Ok(self.answer(&opening, &reply))
    }

    async fn reused(&self, idle: &Idle, at: &Cell<Phase>) -> Result<Answer, Outcome> {
        for _ in 0..MOST_TRIES {
            if let Some(answer) = self.reused_once(idle, at).await? {
                return Ok(answer);
            }
        }
        Err(GOAWAY)
    }

    /// Asks on a kept connection; nothing where the server had not looked at the request when it sent its clients away.
    async fn reused_once(&self, idle: &Idle, at: &Cell<Phase>) -> Result<Option<Answer>, Outcome> {
        let shown = self.shared.shown.generation();
        let mut connection = self.kept(idle, at).await?;
        at.set(Phase::Ttfb);
        let reply = match self.exchange(&mut connection, at).await {
            Err(Unanswered::Untouched) => return Ok(None),
            other => other.map_err(counted)?,
        };
        if reply.is_kept && shown == self.shared.shown.generation() {
            idle.put(connection);
        }
        Ok(Some(self.answer(&Opening::default(), &reply)))
    }

    /// A connection that waits for a request, or a new one.
    async fn kept(&self, idle: &Idle, at: &Cell<Phase>) -> Result<Box<Connection>, Outcome> {
        loop {
            let Some(mut connection) = idle.take(self.shared.shown.generation()) else { break };
            if poll_fn(|cx| connection.poll_ready(cx)).await {
                return Ok(connection);
            }
        }
        self.tally.reopened_count.set(self.tally.reopened_count.get() + 1);
        Ok(self.open(at).await?.0)
    }

    async fn open(&self, at: &Cell<Phase>) -> Result<(Box<Connection>, Opening), Outcome> {
        // On the heap, because the TLS handshake would make every attempt large, those on kept connections too.
        Box::pin(self.shared.opener.open(at)).await.map_err(|error| match error {
            OpenError::Outcome(outcome) => outcome,
            OpenError::Tls(failure) => {
                self.tally.tls_text.replace(Some(failure.text));
                Outcome::Failed(failure.kind)
            }
        })
    }

    fn answer(&self, opening: &Opening, reply: &Reply) -> Answer {
        Answer {
            outcome: outcome_of(reply.status, &self.shared.expected),
            started: Some(opening.began().unwrap_or(reply.exchange.began)),
            ended: Some(reply.exchange.ended),
            details: details(opening, &reply.exchange),
        }
    }

    async fn exchange(&self, connection: &mut Connection, at: &Cell<Phase>) -> Result<Reply, Unanswered> {
        let question = self.question(connection.version).ok_or(Unanswered::Outcome(NO_QUESTION))?;
        let reply = ask(connection, question, self.reading(), at).await?;
        self.tally.note(&reply);
        if reply.status == 401 {
            self.shared.credentials.rejected(reply.exchange.ended);
        }
        Ok(reply)
    }

    fn reading(&self) -> Reading {
        Reading { max_body: self.shared.max_body, looking: self.looking.clone() }
    }

    /// The request, made once for each version and each set of credentials.
    fn question(&self, version: Version) -> Option<Question> {
        let credentials = &self.shared.credentials;
        let mut prepared = self.prepared.borrow_mut();
        match &*prepared {
            Some((of, generation, question)) if *of == version && *generation == credentials.generation() => {
                Some(question.clone())
            }
            _ => {
                let question = make(&self.shared, &self.path, version)?;
                *prepared = Some((version, credentials.generation(), question.clone()));
                Some(question)
            }
        }
    }
}

impl Operation for ApiOperation {
    async fn attempt(&self) -> Answer {
        self.shared.refresh();
        let first = if self.shared.opener.looks_up { Phase::Dns } else { Phase::Tcp };
        let progress = Progress { tally: &self.tally, at: Cell::new(first), is_answered: Cell::new(false) };
        let ended = match &self.idle {
            None => self.cold(&progress.at).await,
            Some(idle) => self.reused(idle, &progress.at).await,
        };
        progress.is_answered.set(ended.is_ok());
        if ended == Err(Outcome::Failed(CUT)) {
            self.tally.cut_count.set(self.tally.cut_count.get() + 1);
        }
        ended.unwrap_or_else(Answer::new)
    }

    fn settled(&self, settled: &Settled) {
        if settled.answer.outcome.is_answered() {
            // No other attempt was looked at since this one ended, so the latest status is its own.
            *self.statuses.borrow_mut().entry(self.tally.status()).or_default() += 1;
        }
    }
}

/// A status outside 200 to 399 is an error, unless the user expects it.
fn outcome_of(status: u16, expected: &[u16]) -> Outcome {
    match status {
        200..400 => Outcome::Ok,
        status if expected.contains(&status) => Outcome::Ok,
        400..500 => Outcome::Error("http_4xx"),
        500..600 => Outcome::Error("http_5xx"),
        _ => Outcome::Error("http_status"),
    }
}

/// Connections that one request is tried on, where the server sends it away from each before it looks at it.
const MOST_TRIES: usize = 3;

/// A server that wants the request on another connection, again and again.
const GOAWAY: Outcome = Outcome::Failed("goaway");

const fn counted(unanswered: Unanswered) -> Outcome {
    match unanswered {
        Unanswered::Untouched => GOAWAY,
        Unanswered::Outcome(outcome) => outcome,
    }
}

/// A request that cannot be written; the spec has been checked, so there is none.
const NO_QUESTION: Outcome = Outcome::Failed("other");

/// A request as the version wants it: HTTP/1.1 has a path and a `Host`, HTTP/2 the whole address.
fn make(shared: &Shared, path: &str, version: Version) -> Option<Question> {
    let mut parts = shared.base.clone().into_parts();
    let authority = parts.authority.clone()?;
    parts.path_and_query = Some(format!("{}{path}", shared.below).parse().ok()?);
    let mut headers = shared.headers.clone();
    if version == Version::One {
        parts.scheme = None;
        parts.authority = None;
        headers.insert(header::HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    if let Some(header) = shared.credentials.header() {
        headers.insert(header::AUTHORIZATION, header);
    }
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.headers_mut() = headers;
    if version == Version::Two {
        *request.version_mut() = hyper::Version::HTTP_2;
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_small_enough_to_be_copied() {
        fn size_of_future<F: Future>(_: impl Fn(&'static ApiOperation) -> F) -> usize {
            size_of::<F>()
        }
        // A TLS handshake inline makes it 1.6 KB, and its copies the dearest part of a request.
        let size = size_of_future(|operation| operation.attempt());
        assert!(size <= 768, "{size} bytes");
    }
}
