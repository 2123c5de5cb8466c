//! The client for what is not measured: whom it finds and by which name, through which proxy, and what it never does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use offloadctl::sys::thread::Background;
use offloadctl::wire::{FetchError, Fetched, HttpClient, Place, Question, Trust, TrustPem, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Authority;
use crate::support::program::Scene;

const PATIENCE: Duration = Duration::from_secs(5);

/// Answers each connection with this text, and tells what it was asked.
fn answering(answer: &'static str) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (teller, asked) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(length) if length > 0 => request.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
            if teller.send(String::from_utf8_lossy(&request).into_owned()).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

/// A server over TLS that answers with the name that it was asked for in the handshake, and the head of the request.
fn naming(config: std::sync::Arc<rustls::ServerConfig>) -> (SocketAddr, Background) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Background::spawn("naming", move || async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let acceptor = TlsAcceptor::from(config);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let body = format!("{name}\n{}", String::from_utf8_lossy(&request[..length]));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (address, server.unwrap())
}

fn ask(place: Place<'_>, path: &str, max_body: usize) -> Result<Fetched, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let headers = [("authorization".to_owned(), "Bearer secret".to_owned())];
        let client = HttpClient::new(place)?;
        client.ask(Question { path, headers: &headers, json: None, timeout: PATIENCE, max_body }).await
    })
}

/// What a plain server answers to a GET of this path.
fn ask_plainly(address: SocketAddr, path: &str, max_body: usize) -> Result<Fetched, FetchError> {
    let (url, trust) = (format!("http://{address}").parse::<Url>().unwrap(), anybody());
    ask(Place { url: &url, address: None, server_name: None, trust: &trust }, path, max_body)
}

fn anybody() -> Trust {
    Trust::from_pem(&TrustPem { insecure: true, ..TrustPem::default() }).unwrap()
}

#[test]
fn a_server_is_found_by_its_address_and_known_by_the_name_of_its_certificate() {
    let authority = Authority::new("tests");
    let (address, _server) = naming(authority.identity(&["api.test", "10.9.8.7"]).server(&[]));
    let port = address.port();
    let pem = TrustPem { ca: Some(authority.pem.clone().into_bytes()), ..TrustPem::default() };
    let trust = Trust::from_pem(&pem).unwrap();
    // The URL, the name that the certificate is for, the name of the handshake, and the one of the request.
    let cases = [
        (format!("https://10.1.1.1:{port}"), Some("api.test"), "api.test", format!("10.1.1.1:{port}")),
        (format!("https://proxy.test:{port}"), Some("10.9.8.7"), "nobody", format!("proxy.test:{port}")),
        (format!("https://10.9.8.7:{port}"), None, "nobody", format!("10.9.8.7:{port}")),
        (format!("https://[fe80::1%25lo]:{port}"), Some("api.test"), "api.test", format!("[fe80::1]:{port}")),
    ];
    for (url, server_name, shaken, host) in cases {
        let url: Url = url.parse().unwrap();
        let answer = ask(Place { url: &url, address: Some(address), server_name, trust: &trust }, "/a?b=c", 8192);
        let said = String::from_utf8(answer.unwrap().body).unwrap().to_lowercase();
        let (name, request) = said.split_once('\n').unwrap();
        assert_eq!(name, shaken, "{url}");
        assert!(request.starts_with("get /a?b=c http/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: {host}\r\n")), "{request}");
        assert!(request.contains("\r\nauthorization: bearer secret\r\n"), "{request}");
    }
    let url: Url = format!("https://10.1.1.1:{port}").parse().unwrap();
    for server_name in [None, Some("other.test"), Some("10.9.8.6")] {
        match ask(Place { url: &url, address: Some(address), server_name, trust: &trust }, "/", 8192) {
            Err(FetchError::Tls(failure)) => assert_eq!(failure.kind, "tls_wrong_name", "{failure}"),
            other => panic!("{server_name:?}: {other:?}"),
        }
    }
}

#[test]
fn an_address_of_an_interface_is_reached_with_its_zone() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..length]).to_lowercase()
    });
    let (url, trust) = (format!("http://[::1%25lo]:{port}").parse::<Url>().unwrap(), anybody());
    let answer = ask(Place { url: &url, address: None, server_name: None, trust: &trust }, "/", 10).unwrap();
    assert_eq!(answer.status, 204);
    assert!(server.join().unwrap().contains(&format!("\r\nhost: [::1]:{port}\r\n")));
}

#[test]
fn a_name_in_punycode_is_a_name() {
    let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let (url, trust) = (format!("http://xn--bcher-kva.test:{}", address.port()).parse::<Url>().unwrap(), anybody());
    let answer = ask(Place { url: &url, address: Some(address), server_name: None, trust: &trust }, "/", 10);
    assert_eq!(answer.unwrap().body, b"ok");
    assert!(asked.recv().unwrap().contains(&format!("\r\nhost: xn--bcher-kva.test:{}\r\n", address.port())));
}

#[test]
fn an_answer_is_taken_as_it_is_or_not_at_all() {
    let (address, _asked) =
        answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(ask_plainly(address, "/", 100).unwrap().status, 302, "no redirect is followed");
    let (address, _asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world");
    assert_eq!(ask_plainly(address, "/", 11).unwrap().body, b"hello world");
    assert!(matches!(ask_plainly(address, "/", 10), Err(FetchError::TooLong { limit: 10 })));
    let (address, _asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello");
    assert!(matches!(ask_plainly(address, "/", 100), Err(FetchError::Http(_))), "it was cut off");
    let (address, _asked) = answering("SSH-2.0-OpenSSH_9.2\r\n");
    let foreign = ask_plainly(address, "/secret", 100).unwrap_err();
    assert!(!format!("{foreign:?}").contains("/secret"), "{foreign:?}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let refused = ask_plainly(address, "/", 100).unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot connect to {address}"));
}

/// What a proxy hears of a question to a far end that has no address, and what the program says.
fn through(variables: &[(&str, &str)], target: &str) -> (Option<String>, String) {
    let (proxy, asked) = answering("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    let scene = Scene::new();
    let mut command = scene.command(&format!("bench protocol {target} --no-save --quiet"));
    for (name, value) in variables {
        command.env(name, value.replace("PROXY", &proxy.to_string()));
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    (asked.try_recv().ok(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_proxy_of_the_environment_is_asked_unless_the_list_names_the_server() {
    let proxy = ("HTTPS_PROXY", "http://user:secret@PROXY");
    let (heard, said) = through(&[proxy], "https://echo.invalid:7778");
    assert!(heard.unwrap().starts_with("CONNECT echo.invalid:7778 "), "{said}");
    assert!(!said.contains("secret"), "{said}");
    let (heard, said) = through(&[("ALL_PROXY", "http://PROXY")], "http://echo.invalid:7778");
    assert!(heard.unwrap().starts_with("GET http://echo.invalid:7778/protocols "), "{said}");
    let (heard, said) = through(&[proxy, ("NO_PROXY", "other.test,.invalid")], "https://echo.invalid:7778");
    assert_eq!(heard, None);
    assert!(said.contains("`echo.invalid` has no address"), "{said}");
    for target in ["https://127.0.0.1:9", "https://localhost:9", "https://[::1]:9"] {
        let (heard, said) = through(&[proxy], target);
        assert_eq!(heard, None, "{said}");
        assert!(said.contains("cannot connect to"), "{said}");
    }
}
