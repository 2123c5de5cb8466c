//! An agent whose gateway drains its connections: GOAWAY in the middle of a stream, as proxies send it before they restart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use h2::{Reason, server};
use hyper::Response;
use offloadctl::sys::clock;
use offloadctl::wire::grpc::{frame, next};
use offloadctl::wire::node::{FromNode, GatewayFrame, HeartbeatResponse, NodeFrame, ToNode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Authority;
use crate::support::program::{Scene, poll};

const PATIENCE: Duration = Duration::from_secs(30);

/// The longest wait of a first back-off step, and what a busy machine adds to it.
const STEP: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(2);

/// How the gateway says goodbye on its first connection, after three heartbeats.
#[derive(Clone, Copy, PartialEq)]
enum Goodbye {
    /// GOAWAY, and the stream goes on until it is closed.
    Drain,
    /// GOAWAY and the end of the connection.
    Abrupt(Reason),
}

/// What the played gateway has seen.
#[derive(Default)]
struct Seen {
    connections: AtomicU64,
    beats: Mutex<Vec<(u64, u64)>>,
}

/// Answers heartbeats on one connection, and says goodbye on the first.
async fn connection(stream: tokio::net::TcpStream, tls: TlsAcceptor, goodbye: Goodbye, seen: Arc<Seen>) {
    let number = seen.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let Ok(stream) = tls.accept(stream).await else { return };
    let mut connection = server::handshake(stream).await.unwrap();
    let Some(Ok((request, mut respond))) = connection.accept().await else { return };
    let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut answers = respond.send_response(response, false).unwrap();
    let (mut body, mut buffer, mut count) = (request.into_body(), BytesMut::new(), 0);
    let mut is_over = false;
    loop {
        let data = tokio::select! {
            data = body.data() => data,
            // It moves the bytes of the stream, and takes no other.
            _ = connection.accept(), if !is_over => { is_over = true; continue }
        };
        let Some(Ok(data)) = data else { return };
        let _ = body.flow_control().release_capacity(data.len());
        buffer.extend_from_slice(&data);
        while let Some(said) = next::<NodeFrame>(&mut buffer, 1 << 20).unwrap() {
            let Some(FromNode::Heartbeat(beat)) = said.frame else { continue };
            seen.beats.lock().unwrap().push((number, beat.seq));
            count += 1;
            let pulse = HeartbeatResponse { seq: beat.seq, t1: beat.t1, t2: 1, t3: 1, resync: false };
            let answer = frame(&GatewayFrame { frame: Some(ToNode::Heartbeat(pulse)) });
            answers.send_data(answer, false).unwrap();
        }
        match goodbye {
            Goodbye::Drain if number == 1 && count == 3 => connection.graceful_shutdown(),
            Goodbye::Drain if number == 1 && count >= 6 => return,
            Goodbye::Abrupt(reason) if number == 1 && count >= 3 => connection.abrupt_shutdown(reason),
            _ => {}
        }
    }
}

/// An agent beside a gateway that says goodbye so; what the gateway saw, and how long it was without the agent.
fn goodbye(goodbye: Goodbye) -> (Arc<Seen>, Duration) {
    let authority = Authority::new("draining");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    scene.write("token", "one 1111111111111111\n");
    scene.write("script", "{\"task_id\":\"web\",\"status\":\"running\"}\n");
    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = TlsAcceptor::from(authority.identity(&["localhost"]).server(&["h2"]));
    let told = Arc::clone(&seen);
    runtime.handle().spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, tls.clone(), goodbye, Arc::clone(&told)));
        }
    });
    let config = json!({ "server": format!("grpcs://localhost:{port}"), "interval": "200ms", "node_id": "one",
        "token_file": "token", "ca_file": "ca.pem", "sources": { "script": "script" } });
    scene.write("agent.conf", &config.to_string());
    let agent = scene.start("agent --config agent.conf");
    let of = |number: u64| seen.beats.lock().unwrap().iter().filter(|(connection, _)| *connection == number).count();
    let most = if goodbye == Goodbye::Drain { 6 } else { 3 };
    poll("the goodbye", PATIENCE, || (of(1) >= most).then_some(()));
    let began = clock::now();
    poll("another connection", PATIENCE, || (of(2) > 0).then_some(()));
    let took = clock::now().since(began);
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    agent.end();
    (seen, took)
}

#[test]
fn a_drained_connection_is_used_to_its_end_and_costs_one_step() {
    let (seen, took) = goodbye(Goodbye::Drain);
    let beats = seen.beats.lock().unwrap();
    assert!(beats.iter().filter(|(connection, _)| *connection == 1).count() >= 6, "after GOAWAY too: {beats:?}");
    assert!(took <= STEP + SLACK, "{took:?}");
}

#[test]
fn goaway_with_the_end_of_the_connection_costs_one_step() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM] {
        let (_, took) = goodbye(Goodbye::Abrupt(reason));
        assert!(took <= STEP + SLACK, "{reason}: {took:?}");
    }
}
