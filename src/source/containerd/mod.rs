//! The events of containerd as sights: what the tasks of some namespaces go through, told over its Unix socket by gRPC.
//!
//! Separate because what containerd calls things stays in this folder. Docker makes the container of containerd when it starts
//! its own, and deletes it when that has ended: in its namespace those two are neither the making nor the removal of anything
//! that its users know.

mod interface;

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::http::uri::PathAndQuery;
use hyper::http::{Request as HttpRequest, Response as HttpResponse};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use self::interface::{Envelope, SUBSCRIBE, Subject, SubscribeRequest, TaskExit, VERSION, VersionResponse};
use super::watch::{Act, OwnTime, Sight, Teller, Told};
use crate::model::{Stamp, WallTime, with_causes};
use crate::sys::clock;

/// Longest time that an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The head of a subscription comes with its first event; until then it is taken for accepted after this.
const HEAD_WITHIN: Duration = Duration::from_millis(300);

/// Wait before a subscription that broke is asked for again.
const WAIT: Duration = Duration::from_millis(200);

/// Longest event that is read.
const LONGEST_EVENT: usize = 4 << 20;

/// The namespace of Docker.
const DOCKER: &str = "moby";

/// What keeps containerd from telling.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// Nobody there, or not for us.
    #[error("no connection to its socket")]
    Connect(#[source] io::Error),
    /// What lies at its path is no socket.
    #[error("`{}` is no socket", .0.display())]
    NoSocket(PathBuf),
    /// What answers speaks no HTTP/2, or stopped in the middle.
    #[error("the connection broke off")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    /// It refuses.
    #[error("it answers {}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// It has ended the stream.
    #[error("it ended the events")]
    Ended,
}

impl From<Status> for ContainerdError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A watcher of the events of some namespaces.
pub struct ContainerdWatcher {
    socket: PathBuf,
    filters: Vec<String>,
}

/// A connection; it lives as long as this.
struct Line {
    grpc: Grpc<Pipe>,
    _driver: JoinSet<()>,
}

impl ContainerdWatcher {
    /// Of these namespaces of the containerd behind this socket.
    ///
    /// # Errors
    /// When it does not answer, or not to us.
    pub async fn open(socket: &Path, namespaces: &[String]) -> Result<Self, ContainerdError> {
        let mut line = Line::open(socket).await?;
        let method = PathAndQuery::from_static(VERSION);
        let asked = line.grpc.unary(Request::new(()), method, ProstCodec::<(), VersionResponse>::default());
        timeout(ANSWER_WITHIN, asked).await.map_err(|_| ContainerdError::Late)??;
        let filters = namespaces.iter().map(|name| format!("namespace=={name:?}")).collect();
        Ok(Self { socket: socket.to_owned(), filters })
    }

    /// Tells every act until nobody listens. What happens in a gap is not told: containerd keeps no events.
    pub async fn watch(self, teller: Teller) {
        let mut time = OwnTime::default();
        loop {
            let Err(why) = self.pass_on(&teller, &mut time).await else { return };
            let trouble = Told::Trouble(format!("the events of containerd broke off: {}", with_causes(&why)));
            if teller.send(trouble).await.is_err() {
                return;
            }
            tokio::time::sleep(WAIT).await;
        }
    }

    /// Tells what happens from now on; ends well when nobody listens.
    async fn pass_on(&self, teller: &Teller, time: &mut OwnTime) -> Result<(), ContainerdError> {
        let mut line = Line::open(&self.socket).await?;
        let request = Request::new(SubscribeRequest { filters: self.filters.clone() });
        let method = PathAndQuery::from_static(SUBSCRIBE);
        let asked = line.grpc.server_streaming(request, method, ProstCodec::<_, Envelope>::default());
        let mut asked = std::pin::pin!(asked);
        let early = timeout(HEAD_WITHIN, &mut asked).await;
        if teller.send(Told::Watching).await.is_err() {
            return Ok(());
        }
        let answer = match early {
            Ok(answer) => answer,
            Err(_) => asked.await,
        };
        let mut events = answer?.into_inner();
        loop {
            let event = events.message().await?.ok_or(ContainerdError::Ended)?;
            let seen = clock::now();
            let Some(told) = told(&event, seen, time) else { continue };
            if teller.send(told).await.is_err() {
                return Ok(());
            }
        }
    }
}

impl Line {
    async fn open(socket: &Path) -> Result<Self, ContainerdError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            let found = std::fs::metadata(socket);
            match found.is_ok_and(|found| !found.file_type().is_socket()) {
                true => ContainerdError::NoSocket(socket.to_owned()),
                false => ContainerdError::Connect(error),
            }
        })?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // How it ends is told by what was asked.
        driver.spawn(async move { drop(connection.await) });
        let grpc = Grpc::with_origin(Pipe(sender), Uri::from_static("http://containerd"));
        Ok(Self { grpc: grpc.max_decoding_message_size(LONGEST_EVENT), _driver: driver })
    }
}

/// A connection's sender as gRPC wants it.
#[derive(Clone)]
struct Pipe(SendRequest<Body>);

impl GrpcService<Body> for Pipe {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        // HTTP/2 is ready until it is closed, and then the call itself says so.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What is told of an event, which arrived at this time; `None` of what is none of the acts that are watched.
fn told(event: &Envelope, seen: Stamp, time: &mut OwnTime) -> Option<Told> {
    let (container, act) = match act_of(event)? {
        Ok(found) => found,
        Err(what) => return Some(Told::Odd(what)),
    };
    let at = event.timestamp.map(|at| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos));
    let stamped = at.and_then(|at| time.stamp(WallTime::from_unix_nanos(at)));
    Some(Told::Saw(Sight { container, act, seen, stamped, kernel: false, implied: false }))
}

/// Which container and which act an event is of, or what is odd about it.
fn act_of(event: &Envelope) -> Option<Result<(String, Act), String>> {
    let act = match event.topic.as_str() {
        "/containers/create" | "/containers/delete" if event.namespace == DOCKER => return None,
        "/containers/create" => Act::Create,
        "/containers/delete" => Act::Destroy,
        "/tasks/start" => Act::Start,
        "/tasks/exit" => Act::Exit,
        "/tasks/oom" => Act::Oom,
        _ => return None,
    };
    let bytes = event.event.as_ref().map_or(&[][..], |any| &any.value);
    let odd = || format!("containerd tells of `{}` in a way that we do not understand", event.topic);
    if act == Act::Exit {
        let Ok(exit) = TaskExit::decode(bytes) else { return Some(Err(odd())) };
        // Another process in the container, started beside its own.
        if exit.process != exit.container {
            return None;
        }
    }
    Some(match Subject::decode(bytes) {
        Ok(subject) if !subject.container.is_empty() => Ok((subject.container, act)),
        _ => Err(odd()),
    })
}

#[cfg(test)]
mod tests {
    use super::interface::Any;
    use super::*;

    fn event(namespace: &str, topic: &str, value: Vec<u8>) -> Envelope {
        Envelope {
            timestamp: None,
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            event: Some(Any { value }),
        }
    }

    fn subject(container: &str) -> Vec<u8> {
        Subject { container: container.to_owned() }.encode_to_vec()
    }

    fn exit(container: &str, process: &str) -> Vec<u8> {
        TaskExit { container: container.to_owned(), process: process.to_owned() }.encode_to_vec()
    }

    #[test]
    fn the_acts_are_those_of_the_container_and_not_of_another_process_in_it() {
        let act = |namespace: &str, topic: &str, value: Vec<u8>| {
            act_of(&event(namespace, topic, value)).map(|found| found.map(|(_, act)| act))
        };
        assert_eq!(act("moby", "/tasks/start", subject("a")), Some(Ok(Act::Start)));
        assert_eq!(act("moby", "/tasks/exit", exit("a", "a")), Some(Ok(Act::Exit)));
        assert_eq!(act("moby", "/tasks/exit", exit("a", "exec-1")), None);
        assert_eq!(act("moby", "/tasks/oom", subject("a")), Some(Ok(Act::Oom)));
        assert_eq!(act("k8s.io", "/containers/create", subject("a")), Some(Ok(Act::Create)));
        assert_eq!(act("k8s.io", "/containers/delete", subject("a")), Some(Ok(Act::Destroy)));
        assert_eq!(act("moby", "/snapshot/prepare", subject("a")), None);
    }

    #[test]
    fn docker_makes_a_container_of_containerd_only_when_it_starts_its_own() {
        for topic in ["/containers/create", "/containers/delete"] {
            assert_eq!(act_of(&event("moby", topic, subject("a"))), None);
        }
    }

    #[test]
    fn what_is_not_understood_is_odd_and_hides_nothing() {
        for value in [vec![0xff, 0xff], Vec::new()] {
            let found = act_of(&event("moby", "/tasks/start", value));
            assert!(matches!(&found, Some(Err(what)) if what.contains("`/tasks/start`")), "{found:?}");
        }
    }
}
