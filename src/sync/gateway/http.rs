//! Every request and its answer.
//!
//! Separate from the connections that carry them. What a request means is decided by the machine; here it is read, limited,
//! given to a caller, and answered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::access::Caller;
use super::body::Answer;
use super::door::Door;
use super::entries;
use super::grpc;
use super::machine::{Counts, View};
use super::position::{self, Position};
use super::rate::Kind;
use super::refusal::{Code, Refusal};
use super::remainder::Remainders;
use super::service::{Service, now};
use super::stream::Streams;
use super::upgrade::{self, Upgrade};
use super::watch::Changes;
use crate::wire::node;

/// Longest body of a request: a thousand reports with payloads of a kilobyte.
pub const LONGEST_BODY: usize = 1 << 20;

/// Longest time that a body may take.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Items of a page, unless another number is asked for, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;

/// The share of all who show no token; no node has such a name.
const ANYBODY: &str = "* anybody";

/// The type of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a path is, with what is variable in it.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Status,
    StatusBatch,
    Heartbeat,
    FullState,
    Leave,
    Tasks,
    Task(String),
    Nodes,
    Node(String),
    View,
    Watch,
    State,
    Metrics,
    Healthz,
    Readyz,
    Openapi,
    NodeProto,
}

/// Everything that answers of one connection need.
#[derive(Clone)]
pub struct Context {
    /// What all connections share.
    pub service: Arc<Service>,
    /// Who the client certificate is for.
    pub certified: Option<Caller>,
    /// Where an agent's WebSocket is put for the connection to go on with.
    pub upgrade: Upgrade,
    /// What clients still send after their answers.
    pub remainders: Remainders,
    /// The streams of agents over gRPC.
    pub streams: Streams,
}

impl Context {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let (head, mut body) = request.into_parts();
        match grpc::is_grpc(&head) {
            Ok(false) => {}
            Ok(true) => {
                let (answer, rest) = self.call(&head, body).await;
                if let Some(body) = rest {
                    self.remainders.read(&self.service.remainders, body);
                }
                return answer;
            }
            Err(refusal) => {
                self.remainders.read(&self.service.remainders, body);
                self.service.counters.refused(refusal.code);
                return refused(&refusal);
            }
        }
        let answered = self.route(Request::from_parts(head, ()), &mut body).await;
        self.remainders.read(&self.service.remainders, body);
        answered.unwrap_or_else(|refusal| {
            self.service.counters.refused(refusal.code);
            refused(&refusal)
        })
    }

    async fn route(&self, request: Request<()>, body: &mut Incoming) -> Result<Response<Answer>, Refusal> {
        let Some(route) = Route::of(request.uri().path()) else {
            return Err(Refusal::new(Code::NotFound, format!("there is no path `{}`", request.uri().path())));
        };
        if *request.method() != route.method() {
            let message = format!("`{}` takes {} only", request.uri().path(), route.method());
            let mut answer = refused(&Refusal::new(Code::MethodNotAllowed, message));
            // Invariant: the names of methods are header values.
            let allowed = HeaderValue::from_str(route.method().as_str()).unwrap_or(HeaderValue::from_static("GET"));
            answer.headers_mut().insert(header::ALLOW, allowed);
            return Ok(answer);
        }
        match route {
            Route::Healthz => Ok(json_answer(StatusCode::OK, &json!({ "status": "ok" }))),
            Route::Readyz => self.ready(),
            Route::Openapi => Ok(text_answer("application/json", super::OPENAPI)),
            Route::NodeProto => Ok(text_answer("text/plain; charset=utf-8", node::PUBLISHED)),
            Route::Metrics => self.metrics(&request),
            route => {
                let caller = self.caller(request.headers())?;
                match route {
                    Route::Status | Route::StatusBatch | Route::Heartbeat | Route::FullState | Route::Leave => {
                        let body = read_body(&request, body).await?;
                        self.write(route, &caller, &body).await
                    }
                    Route::State => upgrade::accept(&self.upgrade, &caller, request),
                    route => self.read(route, &caller, request.uri().query().unwrap_or_default(), &request).await,
                }
            }
        }
    }

    /// Who asks.
    ///
    /// # Errors
    /// When nobody knows.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let unreadable = || Refusal::new(Code::Unauthorized, "the Authorization header is not text");
        let header = headers.get(header::AUTHORIZATION);
        let header = header.map(|value| value.to_str().map_err(|_| unreadable())).transpose()?;
        self.service.access().caller(header, self.certified.as_ref())
    }

    /// Counts and no names, so that nobody has to know a token; whoever shows one has a share of their own.
    fn metrics(&self, request: &Request<()>) -> Result<Response<Answer>, Refusal> {
        let is_somebody = request.headers().contains_key(header::AUTHORIZATION) || self.certified.is_some();
        let caller = is_somebody.then(|| self.caller(request.headers())).transpose()?;
        self.service.allow(caller.as_ref().map_or(ANYBODY, Caller::share), Kind::Read, 1)?;
        Ok(text_answer(OPENMETRICS, self.service.metrics()))
    }

    fn ready(&self) -> Result<Response<Answer>, Refusal> {
        if self.service.durable().borrow().has_failed {
            return Err(Refusal::new(Code::StoreUnavailable, "the store takes no changes at present"));
        }
        Ok(json_answer(StatusCode::OK, &json!({ "status": "ready" })))
    }

    async fn write(&self, route: Route, caller: &Caller, body: &[u8]) -> Result<Response<Answer>, Refusal> {
        let (received, door) = (now(), Door::new(&self.service, caller));
        match route {
            Route::Status => Ok(json_answer(StatusCode::OK, &door.report(parse(body)?).await?)),
            Route::StatusBatch => {
                Ok(json_answer(StatusCode::OK, &door.batch(entries::batch(body)?, received.at).await?))
            }
            Route::FullState => Ok(json_answer(StatusCode::OK, &door.state(entries::state(body)?).await?)),
            Route::Leave => {
                let revision = door.leave(&parse(body)?).await?;
                Ok(json_answer(StatusCode::OK, &json!({ "state": "left", "revision": revision })))
            }
            _ => Ok(json_answer(StatusCode::OK, &door.heartbeat(received, &parse(body)?, body.len())?)),
        }
    }

    async fn read(
        &self,
        route: Route,
        caller: &Caller,
        query: &str,
        request: &Request<()>,
    ) -> Result<Response<Answer>, Refusal> {
        let query = Query::of(query)?;
        let service = &self.service;
        service.allow(caller.share(), Kind::Read, query.limit.div_ceil(PAGE) as u64)?;
        let missing = |what: &str, id: &str| Refusal::new(Code::NotFound, format!("there is no {what} `{id}`"));
        let (answer, place) = match route {
            Route::Task(id) => {
                let (task, place) = service.read(|machine, _| machine.task(&id));
                caller.reads(task.as_ref().map(|task| task.node_id.as_str()))?;
                (json_answer(StatusCode::OK, &task.ok_or_else(|| missing("task", &id))?), place)
            }
            Route::Node(id) => {
                caller.reads(Some(&id))?;
                let (node, place) = service.read(|machine, now| machine.node(now, &id));
                (json_answer(StatusCode::OK, &node.ok_or_else(|| missing("node", &id))?), place)
            }
            Route::Tasks => {
                caller.reads(query.node.as_deref())?;
                let list = |machine: &super::machine::Machine| {
                    machine.tasks(query.after.as_deref(), query.limit, query.node.as_deref())
                };
                let (tasks, place) = service.read(|machine, _| list(machine));
                (self.page(&tasks), place)
            }
            Route::Nodes => {
                caller.reads(None)?;
                let (nodes, place) =
                    service.read(|machine, now| machine.nodes(now, query.after.as_deref(), query.limit));
                (self.page(&nodes), place)
            }
            Route::Watch => {
                caller.reads(None)?;
                return Ok(self.watch(last_event_id(request)?.or(query.from)));
            }
            _ => {
                caller.reads(None)?;
                let (counts, place) = service.read(|machine, _| machine.counts());
                (json_answer(StatusCode::OK, &view(&service.lineage(), place.revision, &counts)), place)
            }
        };
        service.settled(place).await?;
        Ok(answer)
    }

    /// A part of a list, with the position that it rests on.
    fn page<T: Serialize>(&self, view: &View<T>) -> Response<Answer> {
        let position = position::text(&self.service.lineage(), view.revision);
        json_answer(StatusCode::OK, &Page { view, position })
    }

    /// From a position on, or from now on.
    fn watch(&self, from: Option<Position>) -> Response<Answer> {
        let newest = || Position { lineage: None, revision: self.service.durable().borrow().revision };
        let changes = Changes::after(&self.service, &from.unwrap_or_else(newest));
        let mut answer = Response::new(Answer::Changes(Box::new(changes)));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/status" => Self::Status,
            "/v1/status/batch" => Self::StatusBatch,
            "/v1/heartbeat" => Self::Heartbeat,
            "/v1/leave" => Self::Leave,
            "/v1/state" => Self::FullState,
            "/v1/tasks" => Self::Tasks,
            "/v1/nodes" => Self::Nodes,
            "/v1/view" => Self::View,
            "/v1/watch" => Self::Watch,
            "/state" => Self::State,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/openapi.json" => Self::Openapi,
            "/node.proto" => Self::NodeProto,
            _ => {
                let (id, is_task) = match path.strip_prefix("/v1/tasks/") {
                    Some(id) => (id, true),
                    None => (path.strip_prefix("/v1/nodes/")?, false),
                };
                let id = percent_encoding::percent_decode_str(id).decode_utf8().ok()?.into_owned();
                if id.is_empty() {
                    return None;
                }
                if is_task { Self::Task(id) } else { Self::Node(id) }
            }
        })
    }

    const fn method(&self) -> Method {
        match self {
            Self::Status | Self::StatusBatch | Self::Heartbeat | Self::FullState | Self::Leave => Method::POST,
            _ => Method::GET,
        }
    }
}

/// A part of a list as it is sent.
#[derive(Serialize)]
struct Page<'a, T> {
    #[serde(flatten)]
    view: &'a View<T>,
    /// From where a subscriber goes on.
    position: String,
}

/// What stands after the question mark.
struct Query {
    after: Option<String>,
    from: Option<Position>,
    limit: usize,
    node: Option<String>,
}

impl Query {
    fn of(text: &str) -> Result<Self, Refusal> {
        let pairs: HashMap<Cow<'_, str>, Cow<'_, str>> = form_urlencoded::parse(text.as_bytes()).collect();
        let word = |key: &str| pairs.get(key).map(|value| value.clone().into_owned());
        let wrong = |key: &str, wanted: &str| Refusal::new(Code::InvalidReport, format!("`{key}` is not {wanted}"));
        let number =
            |key: &str| word(key).map(|value| value.parse().map_err(|_| wrong(key, "a whole number"))).transpose();
        let limit = number("limit")?.unwrap_or(PAGE as u64);
        if limit == 0 || limit > LONGEST_PAGE as u64 {
            return Err(wrong("limit", "1 to 1000"));
        }
        let from = word("from").map(|from| from.parse().map_err(|_| wrong("from", "a revision, or LINEAGE-REVISION")));
        Ok(Self { after: word("after"), from: from.transpose()?, limit: limit as usize, node: word("node") })
    }
}

/// Where a subscriber that lost its connection goes on, by the rules of Server-Sent Events.
fn last_event_id(request: &Request<()>) -> Result<Option<Position>, Refusal> {
    // A client that has not seen an event yet may send an empty one: as if there were none.
    let header = request.headers().get("last-event-id").filter(|header| !header.as_bytes().trim_ascii().is_empty());
    let Some(header) = header else { return Ok(None) };
    let position = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Refusal::new(Code::InvalidReport, "`Last-Event-ID` is not a revision, or LINEAGE-REVISION");
    position.map(Some).ok_or_else(wrong)
}

fn view(lineage: &str, revision: u64, counts: &Counts) -> serde_json::Value {
    let tasks: serde_json::Map<_, _> = counts.tasks.iter().map(|(of, n)| (of.name().to_owned(), json!(n))).collect();
    let nodes: serde_json::Map<_, _> = counts.nodes.iter().map(|(of, n)| (of.name().to_owned(), json!(n))).collect();
    let position = position::text(lineage, revision);
    json!({ "lineage": lineage, "revision": revision, "position": position, "task_count": tasks, "node_count": nodes })
}

/// Reads a body as far as it may be long; what follows is left.
async fn read_body(request: &Request<()>, body: &mut Incoming) -> Result<Bytes, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::new(Code::UnsupportedMediaType, format!("`{kind}` is not JSON")));
    }
    let too_large = || Refusal::new(Code::TooLarge, format!("the body is longer than {LONGEST_BODY} bytes"));
    // Who says beforehand how much is coming is answered before it comes.
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_large());
    }
    let body = Limited::new(body, LONGEST_BODY).collect();
    match tokio::time::timeout(BODY_WITHIN, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(Code::InvalidJson, "the body ended early")),
        Err(_) => {
            Err(Refusal::new(Code::InvalidJson, format!("the body took longer than {} s", BODY_WITHIN.as_secs())))
        }
    }
}

/// Reads JSON: what is no JSON is another fault than JSON that means nothing.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { Code::InvalidReport } else { Code::InvalidJson };
        Refusal::new(code, error.to_string())
    })
}

fn json_answer(status: StatusCode, value: &impl Serialize) -> Response<Answer> {
    // Invariant: our own records always have a JSON text.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut answer = text_answer("application/json", text);
    *answer.status_mut() = status;
    answer
}

fn text_answer(kind: &'static str, text: impl Into<Bytes>) -> Response<Answer> {
    let mut answer = Response::new(Answer::Whole(Full::new(text.into())));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let status = StatusCode::from_u16(refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_answer(status, &refusal.body());
    if let Some(seconds) = refusal.code.retry_after_s() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.code == Code::Unauthorized {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}
