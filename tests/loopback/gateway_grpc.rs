//! The gateway over gRPC: what is taken, what is refused with which code, and what bad clients cost.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use offloadctl::wire::grpc::{frame, next};
use offloadctl::wire::node::{
    ContainerStatus, FromNode, GatewayFrame, HeartbeatRequest, HeartbeatResponse, NodeFrame, Outcome, ReportResponse,
    SERVICE, Status, StatusReport, ToNode,
};
use offloadctl::wire::{Trust, TrustPem};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::certificate::{Authority, Identity};
use crate::gateway::{Gateway, ONE, READER, TWO};
use crate::support::program::poll;

const PATIENCE: Duration = Duration::from_secs(30);

/// A body that somebody sends piece by piece.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.get_mut().0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A client on one connection.
struct Client {
    sender: SendRequest<Pieces>,
    _connection: JoinSet<()>,
}

/// An answer to the end.
#[derive(Debug)]
struct Answered {
    body: BytesMut,
    fields: HeaderMap,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        Self::connect_as(gateway, None).await
    }

    /// The same with a certificate.
    async fn connect_as(gateway: &Gateway, identity: Option<&Identity>) -> Self {
        let ca = std::fs::read(gateway.scene.path("data/certificate.pem")).unwrap();
        let part = |of: fn(&Identity) -> &String| identity.map(|one| of(one).clone().into_bytes());
        let (client_cert, client_key) = (part(|one| &one.certificate), part(|one| &one.key));
        let trust =
            Trust::from_pem(&TrustPem { ca: Some(ca), client_cert, client_key, ..TrustPem::default() }).unwrap();
        let stream = tokio::net::TcpStream::connect(&gateway.address).await.unwrap();
        let stream = trust.dialer(&["h2"]).handshake("localhost", stream).await.unwrap();
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { _ = connection.await });
        Self { sender, _connection: tasks }
    }

    /// Begins a call with these further fields; what is sent by the sender goes to the gateway.
    async fn begin(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (mpsc::UnboundedSender<Bytes>, Response<Incoming>) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let response = self.send(path, fields, pieces).await;
        (sender, response.unwrap())
    }

    async fn send(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        pieces: mpsc::UnboundedReceiver<Bytes>,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::post(format!("https://localhost/{path}")).header("te", "trailers");
        for (name, value) in [("content-type", "application/grpc")].iter().chain(fields) {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        timeout(PATIENCE, self.sender.send_request(request.body(Pieces(pieces)).unwrap())).await.unwrap()
    }

    /// A call with one message.
    async fn call(&mut self, method: &str, fields: &[(&str, &str)], message: Bytes) -> Answered {
        let (sender, pieces) = mpsc::unbounded_channel();
        sender.send(message).unwrap();
        drop(sender);
        let response = self.send(&format!("{SERVICE}/{method}"), fields, pieces).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        Answered::read(response).await
    }
}

impl Answered {
    async fn read(response: Response<Incoming>) -> Self {
        let mut fields = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(Ok(frame)) = timeout(PATIENCE, body.frame()).await.unwrap() {
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => fields.extend(frame.into_trailers().unwrap()),
            }
        }
        Self { body: bytes, fields }
    }

    fn message<M: Message + Default>(mut self) -> M {
        assert_eq!(self.fields["grpc-status"], "0", "{self:?}");
        next(&mut self.body, 1 << 20).unwrap().unwrap()
    }

    /// The code of gRPC and the word of the refusal.
    fn refusal(&self) -> (&str, &str) {
        let text = |name: &str| self.fields.get(name).map_or("", |value| value.to_str().unwrap());
        (text("grpc-status"), text("offloadctl-code"))
    }
}

/// A stream of an agent.
struct Sync {
    sender: mpsc::UnboundedSender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    fields: HeaderMap,
}

impl Sync {
    async fn begin(client: &mut Client, fields: &[(&str, &str)]) -> Self {
        let (sender, response) = client.begin(&format!("{SERVICE}/Sync"), fields).await;
        let fields = response.headers().clone();
        Self { sender, body: response.into_body(), buffer: BytesMut::new(), fields }
    }

    fn say(&self, said: FromNode) {
        self.sender.send(frame(&NodeFrame { frame: Some(said) })).unwrap();
    }

    /// What the gateway says next; `None` once it has said all.
    async fn hear(&mut self) -> Option<ToNode> {
        loop {
            if let Some(frame) = next::<GatewayFrame>(&mut self.buffer, 1 << 20).unwrap() {
                return Some(frame.frame.unwrap());
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.unwrap()?;
            match frame.ok()?.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => self.fields.extend(frame.into_trailers().unwrap()),
            }
        }
    }
}

fn run<R>(work: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn beat(node: &str, term: u64, seq: u64) -> HeartbeatRequest {
    HeartbeatRequest {
        node_id: node.to_owned(),
        term,
        seq,
        next_interval_ms: 60_000,
        t1: Some(7),
        ..Default::default()
    }
}

fn report(node: &str, tasks: &[(&str, Status)], id: u64) -> StatusReport {
    let container = |status: Status| ContainerStatus { status: status as i32, cpu: Some(0.25), ..Default::default() };
    StatusReport {
        node_id: node.to_owned(),
        containers: tasks.iter().map(|(task, status)| ((*task).to_owned(), container(*status))).collect(),
        timestamp: 1_767_323_045_123,
        term: Some(1),
        id,
    }
}

#[test]
fn calls_are_answered_and_stored_as_over_http() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let token = [("authorization", ONE)];
        let pulse: HeartbeatResponse = client.call("Heartbeat", &token, frame(&beat("one", 1, 4))).await.message();
        assert_eq!((pulse.seq, pulse.t1, pulse.resync), (4, Some(7), false));
        assert!(pulse.t2 > 0 && pulse.t3 >= pulse.t2);
        let both = report("one", &[("a", Status::Running), ("b", Status::Unspecified)], 9);
        let answer: ReportResponse = client.call("ReportStatus", &token, frame(&both)).await.message();
        assert_eq!((answer.id, answer.receipts["a"].outcome()), (9, Outcome::Stored));
        assert_eq!(answer.receipts["b"].refused, "invalid_report");
        let again: ReportResponse = client.call("ReportStatus", &token, frame(&both)).await.message();
        assert_eq!(again.receipts["a"].outcome(), Outcome::Duplicate);
    });
    let tasks = gateway.read("/v1/tasks");
    assert_eq!(tasks["items"].as_array().unwrap().len(), 1, "{tasks}");
    assert_eq!(tasks["items"][0]["payload"], serde_json::json!({ "cpu": 0.25 }));
    assert!(tasks["items"][0]["timestamp"].as_str().unwrap().contains("05.123"), "{tasks}");
    assert_eq!(gateway.read("/v1/nodes/one")["state"], "alive");
    assert!(gateway.text("/node.proto").contains("service NodeService"));
}

/// A method, its metadata, its body, and the code and word of the refusal.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Bytes, (&'a str, &'a str));

#[test]
fn a_refusal_is_a_code_of_grpc_with_its_word() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let heartbeat = frame(&beat("one", 1, 1));
        let own = ("authorization", ONE);
        let cases: [Case; 12] = [
            ("Heartbeat", vec![], heartbeat.clone(), ("16", "unauthorized")),
            (
                "Heartbeat",
                vec![("authorization", "Bearer wrong-wrong-wrong")],
                heartbeat.clone(),
                ("16", "unauthorized"),
            ),
            ("Heartbeat", vec![("authorization", TWO)], heartbeat.clone(), ("7", "forbidden")),
            ("Sync", vec![("authorization", READER)], heartbeat.clone(), ("7", "forbidden")),
            ("Dance", vec![own], heartbeat.clone(), ("12", "not_found")),
            ("Heartbeat", vec![own, ("grpc-encoding", "gzip")], heartbeat.clone(), ("12", "unsupported_media_type")),
            ("Heartbeat", vec![own], Bytes::from_static(b"\x01\0\0\0\x02ab"), ("12", "unsupported_media_type")),
            ("Heartbeat", vec![own], Bytes::from_static(b"\0\0\x10\0\x01"), ("8", "too_large")),
            ("Heartbeat", vec![own], Bytes::from_static(b"\0\0\0\0\x02\xff\xff"), ("3", "invalid_report")),
            ("Heartbeat", vec![own], Bytes::new(), ("3", "invalid_report")),
            ("Heartbeat", vec![own], frame(&beat("", 1, 1)), ("7", "forbidden")),
            ("Heartbeat", vec![own, ("grpc-timeout", "soon")], heartbeat.clone(), ("3", "invalid_report")),
        ];
        for (method, fields, message, expected) in cases {
            let answer = client.call(method, &fields, message).await;
            assert_eq!(answer.refusal(), expected, "{method} {fields:?}");
            assert_eq!(answer.fields["grpc-accept-encoding"], "identity");
        }
        let old: Answered = {
            let _: HeartbeatResponse = client.call("Heartbeat", &[own], frame(&beat("one", 5, 1))).await.message();
            client.call("Heartbeat", &[own], heartbeat).await
        };
        assert_eq!((old.refusal(), &old.fields["offloadctl-known-term"]), (("10", "old_epoch"), &"5".parse().unwrap()));
    });
}

#[test]
fn a_client_certificate_speaks_for_its_node_and_no_other() {
    let authority = Authority::new("agents");
    let scene = crate::support::program::Scene::new();
    scene.write("tokens", "* rrrrrrrrrrrrrrrr");
    scene.write("ca.pem", &authority.pem);
    let gateway = Gateway::start_in(scene, "--client-ca ca.pem");
    let one = authority.identity(&["one"]);
    let certified = |identity: Option<&Identity>, node: &str| {
        let beat = frame(&beat(node, 1, 1));
        run(async {
            let mut client = Client::connect_as(&gateway, identity).await;
            client.call("Heartbeat", &[], beat).await.fields["grpc-status"].to_str().unwrap().to_owned()
        })
    };
    // OK, PERMISSION_DENIED and UNAUTHENTICATED.
    assert_eq!(certified(Some(&one), "one"), "0");
    assert_eq!(certified(Some(&one), "two"), "7");
    assert_eq!(certified(None, "one"), "16");
}

#[test]
fn http_1_is_told_that_grpc_is_not_spoken_there() {
    let gateway = Gateway::start("");
    let fields = [("content-type", "application/grpc"), ("authorization", ONE)];
    let path = format!("/{SERVICE}/Heartbeat");
    let answer = gateway.ask_with(gateway.connect(None), &fields, ("POST", &path, b"\0\0\0\0\0"));
    assert_eq!((answer.status, &answer.body["error"]["code"]), (426, &"upgrade_required".into()), "{answer:?}");
}

#[test]
fn on_a_stream_heartbeats_are_answered_at_once_and_reports_in_order() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let mut sync = Sync::begin(&mut client, &[("authorization", ONE)]).await;
        sync.say(FromNode::Heartbeat(beat("one", 1, 1)));
        assert!(matches!(sync.hear().await, Some(ToNode::Heartbeat(pulse)) if pulse.seq == 1));
        for id in 1..=100_u64 {
            sync.say(FromNode::Report(report("one", &[(&format!("t{id}"), Status::Running)], id)));
        }
        for id in 1..=100 {
            let Some(ToNode::Report(answer)) = sync.hear().await else { panic!("no receipt {id}") };
            assert_eq!((answer.id, answer.receipts.values().next().unwrap().outcome()), (id, Outcome::Stored));
        }
        let json = r#"{"reports":{"id":7,"reports":[]}}"#;
        sync.say(FromNode::Json(json.to_owned()));
        assert_eq!(sync.hear().await, Some(ToNode::Json(r#"{"answers":{"id":7,"answers":[]}}"#.to_owned())));
        sync.say(FromNode::Json("{".to_owned()));
        assert!(matches!(sync.hear().await, Some(ToNode::Json(text)) if text.contains("invalid_json")));
        assert_eq!(gateway.read("/v1/nodes/one")["connection_count"], 1);
        sync.say(FromNode::Json(r#"{"leave":{"node_id":"one","epoch":1}}"#.to_owned()));
        assert_eq!(sync.hear().await, None);
        assert_eq!(sync.fields["grpc-status"], "0");
    });
    assert_eq!(gateway.read("/v1/nodes/one")["state"], "left");
}

#[test]
fn who_lies_or_is_superseded_is_told_and_the_stream_ends() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let lie = FromNode::Report(report("two", &[("t", Status::Running)], 1));
        for said in [FromNode::Heartbeat(beat("two", 1, 1)), lie] {
            let mut sync = Sync::begin(&mut client, &[("authorization", ONE)]).await;
            sync.say(said);
            assert!(matches!(sync.hear().await, Some(ToNode::Json(text)) if text.contains("forbidden")));
            assert_eq!(sync.hear().await, None);
            assert_eq!(
                (&sync.fields["grpc-status"], &sync.fields["offloadctl-code"]),
                (&"7".parse().unwrap(), &"forbidden".parse().unwrap())
            );
        }
        let mut first = Sync::begin(&mut client, &[("authorization", ONE)]).await;
        first.say(FromNode::Heartbeat(beat("one", 1, 1)));
        assert!(matches!(first.hear().await, Some(ToNode::Heartbeat(_))));
        let mut second = Sync::begin(&mut client, &[("authorization", ONE)]).await;
        second.say(FromNode::Heartbeat(beat("one", 2, 1)));
        assert!(matches!(second.hear().await, Some(ToNode::Heartbeat(_))));
        first.say(FromNode::Heartbeat(beat("one", 1, 2)));
        assert!(matches!(first.hear().await, Some(ToNode::Json(text)) if text.contains("superseded")));
        assert_eq!(first.hear().await, None);
        assert_eq!(first.fields["grpc-status"], "10");
    });
}

#[test]
fn a_deadline_ends_a_call_and_a_reset_stream_is_a_lost_connection() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let fields = [("authorization", ONE), ("grpc-timeout", "200m")];
        let mut sync = Sync::begin(&mut client, &fields).await;
        assert_eq!(sync.hear().await, None);
        assert_eq!(
            (&sync.fields["grpc-status"], &sync.fields["offloadctl-code"]),
            (&"4".parse().unwrap(), &"deadline_exceeded".parse().unwrap())
        );
        // A message that does not come.
        let (_sender, pieces) = mpsc::unbounded_channel();
        let response = client.send(&format!("{SERVICE}/Heartbeat"), &fields, pieces).await.unwrap();
        assert_eq!(Answered::read(response).await.fields["grpc-status"], "4");
        let mut sync = Sync::begin(&mut client, &fields[..1]).await;
        sync.say(FromNode::Heartbeat(beat("one", 1, 1)));
        sync.hear().await.unwrap();
        drop(sync);
    });
    crate::agent::until_node(&gateway, "one", "suspect");
}

#[test]
fn metadata_without_end_and_a_stream_that_nobody_reads_are_given_up() {
    let gateway = Gateway::start("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let long = "x".repeat(40 << 10);
        let (_sender, pieces) = mpsc::unbounded_channel();
        let fields = [("authorization", ONE), ("x-long", long.as_str())];
        let refused = client.send(&format!("{SERVICE}/Sync"), &fields, pieces).await;
        assert!(refused.as_ref().map_or(true, |answer| answer.status() == 431), "{refused:?}");

        let mut reader = Client::connect(&gateway).await;
        let sync = Sync::begin(&mut reader, &[("authorization", ONE)]).await;
        let said = frame(&NodeFrame { frame: Some(FromNode::Heartbeat(beat("one", 1, 1))) });
        let agents = |count: u32| {
            let line = format!("offloadctl_gateway_agents {count}\n");
            poll(&line, PATIENCE, || gateway.text("/metrics").contains(&line).then_some(()));
        };
        agents(1);
        // Their answers would be ten megabytes: more than a window and the buffers hold.
        for _ in 0..100_000 {
            sync.sender.send(Bytes::clone(&said)).unwrap();
        }
        // What the client does goes on while the gateway is asked.
        tokio::time::sleep(Duration::from_secs(15)).await;
        agents(0);
        let mut client = Client::connect(&gateway).await;
        let call = client.call("Heartbeat", &[("authorization", TWO)], frame(&beat("two", 1, 1))).await;
        let _: HeartbeatResponse = call.message();
        drop(sync);
    });
}

#[test]
fn a_quiet_stream_is_not_taken_for_an_idle_connection() {
    let gateway = Gateway::start("");
    run(async {
        let (mut quiet, mut idle) = (Client::connect(&gateway).await, Client::connect(&gateway).await);
        let mut sync = Sync::begin(&mut quiet, &[("authorization", ONE)]).await;
        let other = frame(&beat("two", 1, 1));
        let _: HeartbeatResponse = idle.call("Heartbeat", &[("authorization", TWO)], other).await.message();
        // A connection on which nothing is asked is closed after 20 s.
        tokio::time::sleep(Duration::from_secs(23)).await;
        assert!(idle.sender.is_closed());
        sync.say(FromNode::Heartbeat(beat("one", 1, 1)));
        assert!(matches!(sync.hear().await, Some(ToNode::Heartbeat(pulse)) if pulse.seq == 1));
    });
}
