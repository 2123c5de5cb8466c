//! Why TLS fails: each wrong certificate is named for what it is, and a right one is accepted.

use std::time::Duration;

use offloadctl::sys::thread::Background;
use offloadctl::wire::{Fetch, FetchError, TlsFailure, Trust, TrustPem, Url, fetch};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificate::{Authority, Identity};

/// A server that answers every TLS connection with a short page.
fn serve(config: std::sync::Arc<ServerConfig>) -> (u16, Background) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Background::spawn("tls", move || async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let acceptor = TlsAcceptor::from(config);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _ = stream.shutdown().await;
        }
    });
    (port, server.unwrap())
}

fn get(host: &str, port: u16, pem: TrustPem, max_body: usize) -> Result<u16, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url: Url = format!("https://{host}:{port}/").parse().unwrap();
    let trust = Trust::from_pem(&pem).unwrap();
    let address = Some(([127, 0, 0, 1], port).into());
    let timeout = Duration::from_secs(5);
    let fetched = runtime.block_on(fetch(Fetch {
        url: &url,
        address,
        server_name: None,
        trust: &trust,
        headers: &[],
        timeout,
        max_body,
    }))?;
    assert_eq!(fetched.body, b"ok");
    Ok(fetched.status)
}

fn refusal(identity: &Identity, host: &str, authority: &Authority) -> TlsFailure {
    let (port, _server) = serve(identity.server(&[]));
    match get(host, port, trusting(authority), 100) {
        Err(FetchError::Tls(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn trusting(authority: &Authority) -> TrustPem {
    TrustPem { ca: Some(authority.pem.clone().into_bytes()), ..TrustPem::default() }
}

#[test]
fn a_certificate_of_a_trusted_authority_is_accepted_and_an_unknown_one_only_when_insecure() {
    let authority = Authority::new("tests");
    let (port, _server) = serve(authority.identity(&["api.test", "127.0.0.1"]).server(&["http/1.1"]));
    assert_eq!(get("api.test", port, trusting(&authority), 100).unwrap(), 200);
    assert_eq!(get("127.0.0.1", port, trusting(&authority), 100).unwrap(), 200);
    assert_eq!(get("other.test", port, TrustPem { insecure: true, ..TrustPem::default() }, 100).unwrap(), 200);
    assert!(matches!(get("api.test", port, trusting(&authority), 1), Err(FetchError::TooLong { limit: 1 })));
}

#[test]
fn a_wrong_certificate_is_named_for_what_it_is() {
    let (authority, stranger) = (Authority::new("tests"), Authority::new("a stranger"));
    let cases = [
        (authority.identity(&["api.test"]), "other.test", "tls_wrong_name", "it is for `api.test`"),
        (authority.identity_in(&["api.test"], (2019, 2020)), "api.test", "tls_expired", "expired at Jan  1"),
        (authority.identity_in(&["api.test"], (2090, 2091)), "api.test", "tls_not_yet_valid", "valid only from"),
        (stranger.identity(&["api.test"]), "api.test", "tls_untrusted", "signed by `CN=a stranger`"),
        (Identity::self_signed(&["api.test"]), "api.test", "tls_untrusted", "self-signed"),
    ];
    for (identity, host, kind, part) in cases {
        let failure = refusal(&identity, host, &authority);
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.text.contains(part), "{failure}");
        assert!(failure.hint.is_some(), "{failure}");
    }
}

#[test]
fn a_self_signed_certificate_is_trusted_where_it_was_given_itself() {
    let authority = Authority::new("api.test");
    let own = authority.own_identity();
    let (port, _server) = serve(own.server(&[]));
    let given = || TrustPem { ca: Some(own.certificate.clone().into_bytes()), ..TrustPem::default() };
    assert_eq!(get("api.test", port, given(), 100).unwrap(), 200);
    match get("other.test", port, given(), 100) {
        Err(FetchError::Tls(failure)) => assert_eq!(failure.kind, "tls_wrong_name", "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_that_speaks_no_tls_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let failed = get("api.test", port, trusting(&Authority::new("tests")), 100);
    server.join().unwrap();
    assert!(matches!(&failed, Err(FetchError::Tls(failure)) if failure.kind == "tls_not_spoken"), "{failed:?}");
}
