//! `probe api` against servers that are odd and right: what curl and the official client take is taken, and timed as theirs.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offloadctl::model::{Run, Stamp};
use offloadctl::sys::clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::api::{api, of};
use crate::api_fault::finding;
use crate::certificate::{Authority, Identity};
use crate::support::program::Scene;

/// One connection of a client, in the clear or over TLS.
pub enum Caller {
    /// In the clear.
    Clear(TcpStream),
    /// Over TLS.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Caller {
    /// The head of the next request; nothing at the end.
    pub fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream().read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return None,
            }
        }
        String::from_utf8(head).ok()
    }

    /// Sends this text.
    pub fn say(&mut self, text: &str) {
        self.send(text.as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream();
        // A client that has gone away is no fault of the test.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.as_mut(),
        }
    }

    /// Ends the connection without a word of TLS.
    fn hang_up(self) {
        let socket = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.sock,
        };
        let _ = socket.shutdown(Shutdown::Both);
    }

    /// The certificate that the client has shown.
    fn certificate(&self) -> Option<Vec<u8>> {
        let Self::Tls(stream) = self else { return None };
        Some(stream.conn.peer_certificates()?.first()?.to_vec())
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A server at this address that does the same with every connection until the test ends.
pub fn serve(at: &str, tls: Option<Arc<ServerConfig>>, what: impl Fn(Caller) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    let what = Arc::new(what);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            let (tls, what) = (tls.clone(), Arc::clone(&what));
            std::thread::spawn(move || {
                what(match tls {
                    None => Caller::Clear(stream),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        Caller::Tls(Box::new(StreamOwned::new(connection, stream)))
                    }
                });
            });
        }
    });
    address
}

/// A server that answers each request with this text, its head and body.
fn answering(text: &'static str) -> SocketAddr {
    serve("127.0.0.1:0", None, move |mut caller| {
        while caller.head().is_some() {
            caller.say(text);
        }
    })
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const VERSION: &str = r#"{"gitVersion":"v1.30.0"}"#;
const METRICS: &str = "apiserver_request_duration_seconds_count{verb=\"LIST\"} 1\napiserver_request_duration_seconds_sum{verb=\"LIST\"} 1\n";

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "current-context: c\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}

#[track_caller]
fn all_served(run: &Run, path: &str, count: u64) {
    let series = of(run, "api.request", path);
    assert_eq!(series.counts.ok_count, count, "{:?} {:?}", series.counts, series.failure_kinds);
}

#[test]
fn every_request_lies_below_the_path_of_the_server() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let address = serve("127.0.0.1:0", None, move |mut caller| {
        while let Some(head) = caller.head() {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let body = match path.strip_prefix("/k8s/clusters/c1/") {
                Some("version") => answer(VERSION),
                Some("metrics") => answer(METRICS),
                Some(_) => answer("{}"),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            heard.lock().unwrap().push(path);
            caller.say(&body);
        }
    });
    let scene = Scene::new();
    for slash in ["", "/"] {
        let server = format!("server: 'http://{address}/k8s/clusters/c1{slash}'");
        scene.write("config", &kubeconfig(&server, "token: t"));
        let run = api(&scene, "--kubeconfig config --count 25 --rate 100/s");
        all_served(&run, "/api/v1/namespaces", 25);
        finding(&run, "quorum_read_cost");
        let run = api(&scene, &format!("http://{address}/k8s/clusters/c1{slash} --path /a?b=c --count 3 --rate 50/s"));
        all_served(&run, "/a?b=c", 3);
    }
    let asked = asked.lock().unwrap();
    assert!(asked.iter().all(|path| path.starts_with("/k8s/clusters/c1/") && !path.contains("//")), "{asked:?}");
    drop(asked);
    // Without --path, the path of a URL is the one that is asked for.
    let run = api(&scene, &format!("http://{address}/k8s/clusters/c1/x --count 2"));
    all_served(&run, "/k8s/clusters/c1/x", 2);
}

#[test]
fn the_name_of_a_certificate_stands_in_no_header() {
    let authority = Authority::new("tests");
    let hosts = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&hosts);
    let tls = authority.identity(&["api.internal"]).server(&["http/1.1"]);
    let address = serve("127.0.0.1:0", Some(tls), move |mut caller| {
        while let Some(head) = caller.head() {
            let host =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host: ").map(str::to_owned));
            heard.lock().unwrap().push(host.unwrap());
            caller.say(&answer(if head.starts_with("GET /metrics") { METRICS } else { VERSION }));
        }
    });
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let cluster = format!("server: 'https://{address}', tls-server-name: api.internal, certificate-authority: ca.pem");
    scene.write("config", &kubeconfig(&cluster, "token: t"));
    let run = api(&scene, "--kubeconfig config --count 2");
    all_served(&run, "/api/v1/namespaces", 2);
    let hosts = hosts.lock().unwrap();
    assert!(hosts.len() > 4 && hosts.iter().all(|host| *host == address.to_string()), "{hosts:?}");
}

#[test]
fn a_zone_is_for_the_socket_alone() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&heads);
    let address = serve("[::1]:0", None, move |mut caller| {
        while let Some(head) = caller.head() {
            heard.lock().unwrap().push(head);
            caller.say(&answer("{}"));
        }
    });
    for zone in ["%25lo", "%lo"] {
        let run = api(&Scene::new(), &format!("http://[::1{zone}]:{}/ --count 2", address.port()));
        all_served(&run, "/", 2);
    }
    let heads = heads.lock().unwrap();
    let host = format!("\r\nhost: [::1]:{}\r\n", address.port());
    assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains(&host) && !head.contains("lo]")), "{heads:?}");
    // The same for the other clients: an echo, and a server of HTTP/2 as etcd's clients find it.
    let echo = std::net::TcpListener::bind("[::1]:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    let run = crate::measure::probe(&format!("far=[::1%25lo]:{port} --channel connect --count 3 --rate 50/s"));
    assert_eq!(crate::measure::series(&run.series, "rtt.tcp_connect").counts.ok_count, 3);
    let authorities = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&authorities);
    let two = serve("[::1]:0", None, move |mut caller| {
        let mut bytes = vec![0; 4096];
        let length = caller.stream().read(&mut bytes).unwrap_or(0);
        seen.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    });
    let line = format!("bench etcd --endpoints http://[::1%25lo]:{} --count 1 --no-save", two.port());
    let ended = Scene::new().run(&line);
    assert!(ended.code == Some(3) && !ended.stderr.contains("has no address"), "{}", ended.stderr);
    assert!(authorities.lock().unwrap().iter().any(|text| text.starts_with("PRI * HTTP/2.0")), "it was dialled");
    let ended = Scene::new().run("probe api http://[fe80::1%25nowhere]:1/ --count 1 --no-save");
    assert!(ended.code == Some(3) && ended.stderr.contains("no network interface `nowhere`"), "{}", ended.stderr);
}

#[test]
fn a_head_has_as_many_fields_as_it_likes_up_to_its_bytes() {
    let serve_fields = |count: usize, length: usize| {
        serve("127.0.0.1:0", None, move |mut caller| {
            while caller.head().is_some() {
                let fields: String = (0..count).map(|n| format!("X-{n}: {}\r\n", "v".repeat(length))).collect();
                caller.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\n{{}}"));
            }
        })
    };
    for reuse in ["", "--reuse"] {
        let run = api(&Scene::new(), &format!("http://{}/ --count 3 {reuse}", serve_fields(500, 10)));
        all_served(&run, "/", 3);
    }
    let run = api(&Scene::new(), &format!("http://{}/ --count 3", serve_fields(400, 1000)));
    let kinds = &of(&run, "api.request", "/").failure_kinds;
    assert_eq!(kinds.get("head_too_long"), Some(&3), "{kinds:?}");
}

#[test]
fn a_head_over_http_2_has_the_same_limit() {
    for (fields, is_fine) in [(15, true), (20, false)] {
        let address = serve("127.0.0.1:0", None, move |mut caller| {
            let Some(stream) = requests(&mut caller).next() else { return };
            caller.send(&frame(1, 0, stream, OK));
            for field in 1..=fields {
                // A literal of a new name, `x`, and 16,000 bytes (RFC 7541 section 6.2.2).
                let value = [&[0, 1, b'x', 0x7f, 0x81, 0x7c][..], &[b'v'; 16_000]].concat();
                caller.send(&frame(9, if field == fields { END_HEADERS } else { 0 }, stream, &value));
            }
            caller.send(&frame(0, END_STREAM, stream, b"{}"));
            while caller.stream().read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
        });
        let run = api(&Scene::new(), &format!("http://{address}/ --http 2 --count 3"));
        let series = of(&run, "api.request", "/");
        let told = (series.counts.ok_count, series.failure_kinds.get("head_too_long").copied());
        assert_eq!(told, if is_fine { (3, None) } else { (0, Some(3)) }, "{:?}", series.failure_kinds);
    }
}

#[test]
fn a_field_over_two_lines_is_read() {
    let address = answering("HTTP/1.1 200 OK\r\nX-Long: first part,\r\n  second part\r\nContent-Length: 2\r\n\r\n{}");
    all_served(&api(&Scene::new(), &format!("http://{address}/ --count 3 --reuse")), "/", 3);
}

/// How long the final answer takes behind the interim one.
const WORK: Duration = Duration::from_millis(300);

#[track_caller]
fn waits_for_the_final_answer(arguments: &str) {
    let run = api(&Scene::new(), &format!("{arguments} --count 3 --rate 5/s"));
    all_served(&run, "/", 3);
    let least = |name: &str| Duration::from_nanos(of(&run, name, "/").summary.min_ns.unwrap());
    assert!(least("api.ttfb") >= WORK, "{:?}", least("api.ttfb"));
    assert!(least("api.transfer") < WORK / 2, "{:?}", least("api.transfer"));
    assert!(finding(&run, "interim_answers").text.contains("/: 3 interim answers"), "{:?}", run.findings);
}

#[test]
fn an_interim_answer_is_no_first_byte() {
    for interim in ["103 Early Hints\r\nLink: </a.css>; rel=preload", "100 Continue"] {
        let address = serve("127.0.0.1:0", None, move |mut caller| {
            while caller.head().is_some() {
                caller.say(&format!("HTTP/1.1 {interim}\r\n\r\n"));
                std::thread::sleep(WORK);
                caller.say(&answer("{}"));
            }
        });
        for reuse in ["", "--reuse"] {
            waits_for_the_final_answer(&format!("http://{address}/ {reuse}"));
        }
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
/// `:status: 200` of the static table, and `103` as a literal of its name (RFC 7541).
const OK: &[u8] = &[0x88];
const EARLY: &[u8] = &[0x08, 3, b'1', b'0', b'3'];

/// The streams of the requests that come, one after another.
fn requests(caller: &mut Caller) -> impl Iterator<Item = u32> {
    let mut preface = [0; 24];
    // Of a client that is gone nothing more is read below.
    let _ = caller.stream().read_exact(&mut preface);
    caller.send(&frame(SETTINGS, 0, 0, &[]));
    std::iter::from_fn(move || {
        loop {
            let mut header = [0; 9];
            caller.stream().read_exact(&mut header).ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
            caller.stream().read_exact(&mut payload).ok()?;
            if header[3] == 1 {
                return Some(u32::from_be_bytes([header[5], header[6], header[7], header[8]]));
            }
        }
    })
}

#[test]
fn an_interim_answer_is_no_first_byte_over_http_2() {
    let address = serve("127.0.0.1:0", None, |mut caller| {
        let Some(stream) = requests(&mut caller).next() else { return };
        caller.send(&frame(1, END_HEADERS, stream, EARLY));
        std::thread::sleep(WORK);
        caller.send(&frame(1, END_HEADERS, stream, OK));
        caller.send(&frame(0, END_STREAM, stream, b"{}"));
    });
    waits_for_the_final_answer(&format!("http://{address}/ --http 2"));
}

#[test]
fn what_a_server_answers_before_it_goes_away_is_an_answer() {
    // A GOAWAY with its last stream comes before the answer to that stream, as nginx sends it.
    let address = serve("127.0.0.1:0", None, |mut caller| {
        let Caller::Clear(socket) = &caller else { return };
        let mut socket = Caller::Clear(socket.try_clone().unwrap());
        for stream in requests(&mut caller).take(2) {
            if stream > 1 {
                socket.send(&frame(GOAWAY, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat()));
                std::thread::sleep(Duration::from_millis(20));
            }
            socket.send(&frame(1, END_HEADERS, stream, OK));
            socket.send(&frame(0, END_STREAM, stream, b"{}"));
        }
        // A client of one request each comes no second time, and one that was sent away leaves.
        while caller.stream().read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
    });
    for reuse in ["", "--reuse"] {
        let run = api(&Scene::new(), &format!("http://{address}/ --http 2 {reuse} --count 20 --rate 50/s"));
        all_served(&run, "/", 20);
    }
}

#[test]
fn a_request_that_was_not_looked_at_is_sent_on_another_connection() {
    let refused = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refused);
    let address = serve("127.0.0.1:0", None, move |mut caller| {
        let Caller::Clear(socket) = &caller else { return };
        let mut socket = Caller::Clear(socket.try_clone().unwrap());
        for stream in requests(&mut caller) {
            if stream > 1 {
                // It disowns this one, which has crossed it on the way.
                counted.fetch_add(1, Ordering::Relaxed);
                socket.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
                return;
            }
            socket.send(&frame(1, END_HEADERS, stream, OK));
            socket.send(&frame(0, END_STREAM, stream, b"{}"));
        }
    });
    let run = api(&Scene::new(), &format!("http://{address}/ --http 2 --reuse --count 20 --rate 50/s"));
    all_served(&run, "/", 20);
    assert!(refused.load(Ordering::Relaxed) >= 5);
}

#[test]
fn tls_that_ends_without_saying_so_is_told_and_a_whole_answer_is_whole() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789", true),
        ("HTTP/1.0 200 OK\r\n\r\n0123456789", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", false),
    ];
    for (text, is_whole) in cases {
        let tls = authority.identity(&["127.0.0.1"]).server(&["http/1.1"]);
        let address = serve("127.0.0.1:0", Some(tls), move |mut caller| {
            if caller.head().is_some() {
                caller.say(text);
            }
            caller.hang_up();
        });
        let run = api(&scene, &format!("https://{address}/ --ca-file ca.pem --count 4"));
        if is_whole {
            all_served(&run, "/", 4);
            continue;
        }
        let series = of(&run, "api.request", "/");
        assert_eq!(series.failure_kinds.get("tls_cut"), Some(&4), "{text:?}: {:?}", series.failure_kinds);
        assert!(finding(&run, "tls_cut").text.contains("no close_notify"), "{:?}", run.findings);
    }
}

#[test]
fn certificates_of_a_plugin_are_renewed_before_they_end() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    for number in 0..9 {
        let Identity { certificate, key } = authority.identity(&["somebody"]);
        let answer = serde_json::json!({ "status": {
            "clientCertificateData": certificate, "clientKeyData": key, "expirationTimestamp": "WHEN",
        }});
        scene.write(&format!("answer-{number}"), &answer.to_string());
    }
    scene.write("number", "0");
    let script = "n=$(cat number); echo $((n+1)) > number; sed s/WHEN/$(date -u -d +4seconds +%FT%TZ)/ answer-$n";
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let tls = authority.identity(&["127.0.0.1"]).server_asking(verifier, &["http/1.1"]);
    let seen: Arc<Mutex<HashMap<Vec<u8>, Stamp>>> = Arc::default();
    let first_seen = Arc::clone(&seen);
    let address = serve("127.0.0.1:0", Some(tls), move |mut caller| {
        while caller.head().is_some() {
            let shown = caller.certificate().unwrap();
            let first = first_seen.lock().unwrap().entry(shown).or_insert_with(clock::now).to_owned();
            // An API server refuses one that has ended, also on a connection that was made with it.
            let is_good = clock::now().since(first) < Duration::from_millis(4500);
            caller.say(&if is_good { answer("{}") } else { answer("").replace("200 OK", "401 Unauthorized") });
        }
    });
    let exec = format!("exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, '{script}']}}");
    let cluster = format!("server: 'https://{address}', certificate-authority: ca.pem");
    scene.write("config", &kubeconfig(&cluster, &exec));
    let line = "probe api --kubeconfig config --reuse --rate 20/s --duration 9s --json --no-save";
    let output = scene.command(line).env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", String::from_utf8_lossy(&output.stderr));
    let run = Run::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    all_served(&run, "/api/v1/namespaces", 180);
    let count = seen.lock().unwrap().len();
    assert!((3..=8).contains(&count), "{count} certificates were shown");
    finding(&run, "credentials_renewed");
}

#[test]
fn a_port_that_wants_tls_is_told_to_who_asks_in_the_clear() {
    let identity = Authority::new("tests").identity(&["127.0.0.1"]);
    // One that answers in the clear, as a Kubernetes does, and one that answers in TLS.
    let polite = serve("127.0.0.1:0", None, {
        let tls = identity.server(&["http/1.1"]);
        move |caller| {
            let Caller::Clear(socket) = caller else { return };
            let mut first = [0];
            if socket.peek(&mut first).is_ok_and(|length| length == 1) && first[0] == 0x16 {
                let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
                let _ = StreamOwned::new(connection, socket).read(&mut [0; 64]);
                return;
            }
            let mut clear = Caller::Clear(socket);
            if clear.head().is_some() {
                clear.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    let strict = serve("127.0.0.1:0", Some(identity.server(&["http/1.1"])), |mut caller| drop(caller.head()));
    for address in [polite, strict] {
        let run = api(&Scene::new(), &format!("http://{address}/ --count 2"));
        assert!(finding(&run, "speaks_tls").advice.as_ref().is_some_and(|advice| advice.text.contains("https://")));
    }
    // A bad request alone is none of it.
    let bad = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let run = api(&Scene::new(), &format!("http://{bad}/ --count 2"));
    assert!(run.findings.iter().all(|finding| finding.id != "speaks_tls"), "{:?}", run.findings);
}
