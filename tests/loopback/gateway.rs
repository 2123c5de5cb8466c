//! A gateway of the program, and a client that says exactly what a test wants it to say.

use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::certificate::Identity;
use crate::support::program::{Ended, Scene, Started, poll};

/// Tokens of the tests: of two nodes and of a reader.
pub const ONE: &str = "Bearer 1111111111111111";
pub const TWO: &str = "Bearer 2222222222222222";
pub const READER: &str = "Bearer rrrrrrrrrrrrrrrr";

const TOKENS: &str = "one 1111111111111111\ntwo 2222222222222222\n* rrrrrrrrrrrrrrrr\n";

/// A gateway that runs.
pub struct Gateway {
    pub scene: Scene,
    pub address: String,
    running: Option<Started>,
}

/// A connection to it.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Gateway {
    /// A gateway with an empty store and these further arguments.
    pub fn start(arguments: &str) -> Self {
        Self::start_in(Self::scene(), arguments)
    }

    /// A folder with the tokens of the tests.
    pub fn scene() -> Scene {
        let scene = Scene::new();
        scene.write("tokens", TOKENS);
        scene
    }

    /// A gateway in a folder that is there.
    pub fn start_in(scene: Scene, arguments: &str) -> Self {
        Self::start_at(scene, "127.0.0.1:0", arguments)
    }

    /// A gateway at this address in a folder that is there.
    pub fn start_at(scene: Scene, address: &str, arguments: &str) -> Self {
        Self::start_with(scene, (address, arguments), &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(scene: Scene, (address, arguments): (&str, &str), environment: &[(&str, &str)]) -> Self {
        let line = format!("gateway --listen {address} --data-dir data --token-file tokens {arguments}");
        let running = scene.start_with(&line, environment);
        let address = poll("the address of the gateway", Duration::from_secs(20), || {
            let said = running.said();
            Some(said.lines().next()?.split_once("https://")?.1.split_once(',')?.0.to_owned())
        });
        Self { scene, address, running: Some(running) }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().unwrap().signal(signal);
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.running.as_ref().unwrap().said()
    }

    /// Ends it with a signal, and gives its folder back.
    pub fn end(mut self, signal: Signal) -> (Scene, Ended) {
        self.signal(signal);
        let ended = self.running.take().unwrap().end();
        (self.scene, ended)
    }

    /// A TLS connection, with a client certificate if one is given.
    pub fn connect(&self, identity: Option<&Identity>) -> Connection {
        self.connect_speaking(identity, &[])
    }

    /// The same, on which one of these protocols is spoken.
    pub fn connect_speaking(&self, identity: Option<&Identity>, protocols: &[&str]) -> Connection {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.scene.path("data/certificate.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        self.ask_with(
            self.connect(None),
            &[("content-type", "application/json"), ("authorization", token)],
            (method, path, body.as_bytes()),
        )
    }

    /// One request with these headers.
    pub fn ask_with(
        &self,
        mut connection: Connection,
        headers: &[(&str, &str)],
        (method, path, body): (&str, &str, &[u8]),
    ) -> Answer {
        let headers: String = headers.iter().map(|(key, value)| format!("{key}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        // A gateway that has heard enough may close before it has read everything.
        let _ = connection.write_all(body);
        answer(&read_all(&mut connection))
    }

    /// Reports the status of a task.
    pub fn report(&self, node: &str, task: &str, status: &str, version: u64) -> Answer {
        let token = if node == "one" { ONE } else { TWO };
        let body = format!(
            r#"{{"task_id":"{task}","status":"{status}","node_id":"{node}","timestamp":"2026-01-02T03:04:05Z","version":{version}}}"#
        );
        self.ask("POST", "/v1/status", token, &body)
    }

    /// Sends a heartbeat that promises the next one after so long.
    pub fn heartbeat(&self, node: &str, seq: u64, interval_ms: u64) -> Answer {
        let token = if node == "one" { ONE } else { TWO };
        let body = format!(r#"{{"node_id":"{node}","epoch":1,"seq":{seq},"next_interval_ms":{interval_ms}}}"#);
        self.ask("POST", "/v1/heartbeat", token, &body)
    }

    /// Reads something.
    pub fn read(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, READER, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Reads something that is no JSON.
    pub fn text(&self, path: &str) -> String {
        let mut connection = self.connect(None);
        let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        String::from_utf8(read_all(&mut connection)).unwrap()
    }

    /// The changes after a position, until the stream has told of this one; each as its event and its data.
    pub fn watch(&self, from: impl Display, until: u64) -> Vec<(String, Value)> {
        let mut connection = self.connect(None);
        let request = format!("GET /v1/watch?from={from} HTTP/1.1\r\nhost: gateway\r\nauthorization: {READER}\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        let last = format!("-{until}\nevent: ");
        let is_over = |text: &str, begin: &str| text.find(begin).is_some_and(|at| text[at..].contains("\n\n"));
        while !is_over(&text, &last) && !is_over(&text, "event: gap") {
            let length = connection.read(&mut piece).unwrap();
            assert!(length > 0, "the stream ended: {text}");
            text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
        let field = |event: &str, key: &str| event.lines().find_map(|line| Some(line.strip_prefix(key)?.to_owned()));
        let events = text
            .split("\n\n")
            .filter_map(|event| Some((field(event, "event: ")?, serde_json::from_str(&field(event, "data: ")?).ok()?)));
        events.collect()
    }
}

/// Everything until the other side closes; some close without saying so.
pub fn read_all(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length) = connection.read(&mut piece) {
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..length]);
    }
    bytes
}

fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    Answer { status, head: head.to_ascii_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}
