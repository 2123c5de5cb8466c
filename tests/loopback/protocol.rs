//! The echo's protocols: each answers the same two questions with the same content, and bad peers cost nobody else.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use offloadctl::echo::protocol::{LONGEST_MESSAGE, Offer, Protocol, ProtocolLimits, ProtocolServer};
use offloadctl::sys::clock;
use offloadctl::wire::node::{
    ContainerStatus, FromNode, GatewayFrame, HeartbeatRequest, HeartbeatResponse, NodeFrame, Outcome, ReportResponse,
    Status, StatusReport, ToNode,
};
use offloadctl::wire::{Dialer, Trust, TrustPem, grpc};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite;

use crate::certificate::Authority;

/// Those of one connection to one port; Raft has members.
const ONE_PORT: [Protocol; 5] =
    [Protocol::Grpc, Protocol::GrpcStream, Protocol::Websocket, Protocol::Http1, Protocol::Http2];

const PROTO: &str = "application/x-protobuf";

struct Far {
    server: ProtocolServer,
    trust: Trust,
}

struct Got {
    status: u16,
    grpc: Option<String>,
    body: Bytes,
}

impl Far {
    fn new(protocols: &[Protocol], limits: ProtocolLimits) -> Self {
        let authority = Authority::new("protocol test");
        let tls = authority.identity(&["localhost"]).server(&["h2", "http/1.1"]);
        let pem = TrustPem { ca: Some(authority.pem.clone().into_bytes()), ..TrustPem::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let offer = Offer { protocols: protocols.to_vec(), ..Offer::default() };
        let server = ProtocolServer::start(listener, tls, offer, limits).unwrap();
        Self { server, trust: Trust::from_pem(&pem).unwrap() }
    }

    fn all() -> Self {
        Self::new(&ONE_PORT, ProtocolLimits::default())
    }

    async fn dial(&self, alpn: &str) -> TlsStream<TcpStream> {
        let dialer: Dialer = self.trust.dialer(&[alpn]);
        dialer.handshake("localhost", TcpStream::connect(self.server.address()).await.unwrap()).await.unwrap()
    }

    /// Asks over HTTP/2, or over HTTP/1.1, on a connection of its own.
    async fn ask(&self, version: Version, (path, kind): (&str, &str), body: Bytes) -> Got {
        let uri = format!("https://localhost{path}");
        let uri = if version == Version::HTTP_2 { &uri } else { path };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let asked = Request::builder().method(method).uri(uri).header("host", "localhost").header("content-type", kind);
        let asked = asked.body(Full::new(body)).unwrap();
        if version == Version::HTTP_2 {
            let stream = TokioIo::new(self.dial("h2").await);
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::select! {
                got = async { read(sender.send_request(asked).await.unwrap()).await } => got,
                ended = connection => panic!("the connection ended: {ended:?}"),
            }
        } else {
            let stream = TokioIo::new(self.dial("http/1.1").await);
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            let (got, _) = tokio::join!(
                async {
                    let got = read(sender.send_request(asked).await.unwrap()).await;
                    drop(sender);
                    got
                },
                connection
            );
            got
        }
    }

    /// Both questions over one protocol, and their answers.
    async fn both(&self, protocol: Protocol) -> (HeartbeatResponse, ReportResponse) {
        let call = |name: &str| format!("/offloadctl.v1.NodeService/{name}");
        let frames = [FromNode::Heartbeat(heartbeat()), FromNode::Report(report())];
        let frames = frames.map(|frame| NodeFrame { frame: Some(frame) });
        match protocol {
            Protocol::Grpc => {
                let beat = (call("Heartbeat"), grpc::frame(&heartbeat()));
                let told = (call("ReportStatus"), grpc::frame(&report()));
                let mut answers = Vec::new();
                for (path, body) in [beat, told] {
                    let got = self.ask(Version::HTTP_2, (&path, grpc::CONTENT_TYPE), body).await;
                    assert_eq!((got.status, got.grpc.as_deref()), (200, Some("0")));
                    answers.push(got.body);
                }
                (grpc::only(&answers[0]).unwrap(), grpc::only(&answers[1]).unwrap())
            }
            Protocol::GrpcStream => {
                let body = frames.iter().fold(BytesMut::new(), |mut all, frame| {
                    all.extend_from_slice(&grpc::frame(frame));
                    all
                });
                let got = self.ask(Version::HTTP_2, (&call("Sync"), grpc::CONTENT_TYPE), body.freeze()).await;
                assert_eq!((got.status, got.grpc.as_deref()), (200, Some("0")));
                let mut rest = BytesMut::from(&*got.body);
                pair([0, 1].map(|_| grpc::next(&mut rest, LONGEST_MESSAGE).unwrap().unwrap()))
            }
            Protocol::Websocket => {
                let stream = self.dial("http/1.1").await;
                let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/v1/sync", stream).await.unwrap();
                let mut answers = Vec::new();
                for frame in frames {
                    socket.send(tungstenite::Message::binary(frame.encode_to_vec())).await.unwrap();
                    let answer = socket.next().await.unwrap().unwrap();
                    answers.push(GatewayFrame::decode(answer.into_data()).unwrap());
                }
                pair(answers.try_into().unwrap())
            }
            Protocol::Http1 | Protocol::Http2 => {
                let version = if protocol == Protocol::Http2 { Version::HTTP_2 } else { Version::HTTP_11 };
                let beat = self.ask(version, ("/v1/heartbeat", PROTO), heartbeat().encode_to_vec().into()).await;
                let told = self.ask(version, ("/v1/status", PROTO), report().encode_to_vec().into()).await;
                assert_eq!((beat.status, told.status), (200, 200));
                (Message::decode(beat.body).unwrap(), Message::decode(told.body).unwrap())
            }
            Protocol::Raft => panic!("members of a cluster are asked elsewhere"),
        }
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Got {
    let (head, body) = response.into_parts();
    let whole = body.collect().await.unwrap();
    let of = |headers: &HeaderMap| Some(headers.get("grpc-status")?.to_str().unwrap().to_owned());
    let grpc = of(&head.headers).or_else(|| whole.trailers().and_then(of));
    Got { status: head.status.as_u16(), grpc, body: whole.to_bytes() }
}

fn pair(frames: [GatewayFrame; 2]) -> (HeartbeatResponse, ReportResponse) {
    match frames.map(|frame| frame.frame.unwrap()) {
        [ToNode::Heartbeat(beat), ToNode::Report(told)] => (beat, told),
        other => panic!("{other:?}"),
    }
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest { node_id: "edge-1".to_owned(), term: 7, seq: 42, t1: Some(99), ..HeartbeatRequest::default() }
}

fn report() -> StatusReport {
    let of = |version| ContainerStatus {
        status: Status::Running as i32,
        version: Some(version),
        ..ContainerStatus::default()
    };
    let containers = BTreeMap::from([("a".to_owned(), of(3)), ("b".to_owned(), of(4))]);
    StatusReport { node_id: "edge-1".to_owned(), containers, timestamp: 1, term: Some(7), id: 5 }
}

fn run<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await.expect("within 30 s") })
}

#[test]
fn each_protocol_answers_both_questions_with_the_same_content() {
    let far = Far::all();
    let before = clock::wall_now().unix_nanos();
    for protocol in ONE_PORT {
        let (beat, told) = run(far.both(protocol));
        assert_eq!((beat.seq, beat.t1, beat.resync), (42, Some(99), false), "{protocol}");
        let stamps = (before, i128::from(beat.t2), i128::from(beat.t3), clock::wall_now().unix_nanos());
        assert!(stamps.0 <= stamps.1 && stamps.1 <= stamps.2 && stamps.2 <= stamps.3, "{protocol}: {stamps:?}");
        let receipts: Vec<_> =
            told.receipts.iter().map(|(id, got)| (id.as_str(), got.outcome(), got.version)).collect();
        assert_eq!(told.id, 5, "{protocol}");
        assert_eq!(receipts, [("a", Outcome::Stored, 3), ("b", Outcome::Stored, 4)], "{protocol}");
    }
    assert_eq!(far.server.answered(), 10);
}

#[test]
fn it_says_what_it_offers_and_refuses_the_rest() {
    let far = Far::new(&[Protocol::Http2, Protocol::GrpcStream], ProtocolLimits::default());
    let ask = |version, path: &str, kind: &str, body: Bytes| run(far.ask(version, (path, kind), body));
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let list: serde_json::Value =
            serde_json::from_slice(&ask(version, "/protocols", "", Bytes::new()).body).unwrap();
        assert_eq!(list["protocols"], serde_json::json!(["http2", "grpc-stream"]));
    }
    let beat = || Bytes::from(heartbeat().encode_to_vec());
    assert_eq!(ask(Version::HTTP_11, "/v1/heartbeat", PROTO, beat()).status, 404);
    assert_eq!(ask(Version::HTTP_2, "/v1/heartbeat", PROTO, beat()).status, 200);
    assert_eq!(ask(Version::HTTP_11, "/v1/sync", "", Bytes::new()).status, 404);
    let call =
        ask(Version::HTTP_2, "/offloadctl.v1.NodeService/Heartbeat", grpc::CONTENT_TYPE, grpc::frame(&heartbeat()));
    assert_eq!((call.status, call.grpc.as_deref()), (200, Some("12")));
    let used: serde_json::Value =
        serde_json::from_slice(&ask(Version::HTTP_2, "/usage", "", Bytes::new()).body).unwrap();
    assert_eq!(used["answered_count"], 1);
    assert!(used["cpu_ns"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_no_message_or_too_long_a_one_is_refused() {
    let far = Far::all();
    let ask = |version, path: &str, kind: &str, body: Bytes| run(far.ask(version, (path, kind), body));
    let call = |name: &str, body: Bytes| {
        ask(Version::HTTP_2, &format!("/offloadctl.v1.NodeService/{name}"), grpc::CONTENT_TYPE, body)
    };
    let long = || Bytes::from(vec![0; LONGEST_MESSAGE + 1]);
    assert_eq!(ask(Version::HTTP_11, "/v1/status", PROTO, Bytes::from_static(b"\xff\xff")).status, 400);
    assert_eq!(ask(Version::HTTP_2, "/v1/status", PROTO, long()).status, 413);
    assert_eq!(ask(Version::HTTP_11, "/v1/elsewhere", PROTO, Bytes::from_static(b"x")).status, 404);
    assert_eq!(call("Heartbeat", Bytes::from_static(b"\x01\0\0\0\0")).grpc.as_deref(), Some("3"));
    assert_eq!(call("Heartbeat", long()).grpc.as_deref(), Some("8"));
    assert_eq!(call("Unknown", grpc::frame(&heartbeat())).grpc.as_deref(), Some("12"));
    assert_eq!(call("Sync", Bytes::from_static(b"\0\xff\0\0\0x")).grpc.as_deref(), Some("3"));
    assert_eq!(call("Sync", Bytes::from_static(b"\0\0\0\0\x09x")).grpc.as_deref(), Some("3"));
    assert_eq!(far.server.answered(), 0);
    run(far.both(Protocol::Websocket));
}

#[test]
fn a_silent_connection_is_closed_after_one_to_two_spans_and_the_others_are_served() {
    let idle = Duration::from_millis(200);
    let far = Far::new(&ONE_PORT, ProtocolLimits { idle, head: idle, ..ProtocolLimits::default() });
    run(async {
        let began = clock::now();
        let mut raw = TcpStream::connect(far.server.address()).await.unwrap();
        let mut silent = far.dial("h2").await;
        silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        far.both(Protocol::Grpc).await;
        let mut rest = Vec::new();
        // How it is closed, with or without a word of TLS, is the library's.
        let _ = silent.read_to_end(&mut rest).await;
        let took = clock::now().since(began);
        assert!(took >= idle && took < Duration::from_secs(5), "{took:?}");
        let _ = raw.read_to_end(&mut rest).await;
    });
    run(far.both(Protocol::Http1));
}

#[test]
fn a_peer_that_never_reads_its_answers_is_given_up() {
    let idle = Duration::from_millis(300);
    let far = Far::new(&ONE_PORT, ProtocolLimits { idle, ..ProtocolLimits::default() });
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(far.server.address()).await.unwrap();
        let mut greedy = far.trust.dialer(&["http/1.1"]).handshake("localhost", stream).await.unwrap();
        let questions = b"GET /protocols HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
        // Until nothing is taken any more: the far end waits for us to read.
        let asked = async {
            for _ in 0..10_000 {
                greedy.write_all(&questions).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it is given up");
        assert!(ended.is_err(), "it takes questions without end");
    });
    run(far.both(Protocol::Http1));
}
