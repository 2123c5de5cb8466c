//! Certificates of a curve that the library does not know: refused by its name, wherever TLS is spoken.

use std::path::Path;

use crate::certificate::Identity;
use crate::support::program::Scene;
use crate::web::{Manner, Web};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/certificate").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn an_authority_on_p_521_is_refused_by_that_name() {
    let identity = Identity { certificate: fixture("p256-of-p521.pem"), key: fixture("p256-of-p521.key") };
    let scene = Scene::new();
    scene.write("ca.pem", &fixture("p521-authority.pem"));
    scene.write("agent.tokens", "0123456789abcdef\n");
    let web = Web::start(Manner { tls: Some(identity.server(&["h2", "http/1.1"])), ..Manner::default() });
    let url = web.url();
    let port = web.address().port();
    scene.write(
        "agent.conf",
        &format!(r#"{{"server":"https://127.0.0.1:{port}","interval":"1s","node_id":"one","token_file":"agent.tokens","ca_file":"ca.pem"}}"#),
    );
    for line in [
        format!("probe api {url}/ --ca-file ca.pem --count 2 --no-save"),
        format!("bench etcd --endpoints {url} --ca-file ca.pem --count 2 --no-save"),
    ] {
        let ended = scene.run(&line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{line}: {}", ended.stderr);
        let text = "`CN=authority-p521`, which vouches for it, has a key on the curve P-521; this program knows P-256";
        assert!(ended.stderr.contains(text), "{line}: {}", ended.stderr);
    }
    let agent = scene.start("agent --config agent.conf");
    crate::support::program::poll("a refusal", std::time::Duration::from_secs(20), || {
        agent.said().contains("on the curve P-521").then_some(())
    });
    // Whoever asks for nothing to be checked measures all the same.
    let ended = scene.run(&format!("probe api {url}/ --insecure --count 2 --no-save --quiet"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_server_that_has_nothing_in_common_is_told_with_the_likely_curve() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // As OpenSSL says it whose key is on P-521: a fatal alert, handshake_failure.
            let _ = stream.read(&mut [0; 2048]).and_then(|_| stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]));
        }
    });
    for line in [
        format!("probe api https://{address}/ --insecure --count 2 --no-save"),
        format!("bench etcd --endpoints https://{address} --insecure --count 2 --no-save"),
    ] {
        let ended = Scene::new().run(&line);
        assert!(ended.code == Some(3) && ended.stderr.contains("on the curve P-521"), "{line}: {}", ended.stderr);
    }
}

#[test]
fn keys_on_p_521_are_refused_where_they_are_given() {
    let scene = Scene::new();
    for name in ["p521.pem", "p521.key", "p521-authority.pem"] {
        scene.write(name, &fixture(name));
    }
    scene.write("tokens", "one 0123456789abcdef\n");
    scene.write(
        "agent.conf",
        r#"{"server":"https://127.0.0.1:1","interval":"1s","node_id":"one","client_cert":"p521.pem","client_key":"p521.key"}"#,
    );
    for line in [
        "gateway --listen 127.0.0.1:0 --token-file tokens --data-dir data --tls-cert p521.pem --tls-key p521.key",
        "gateway --listen 127.0.0.1:0 --token-file tokens --data-dir data --client-ca p521-authority.pem",
        "agent --config agent.conf --check",
    ] {
        let ended = scene.run(line);
        assert!(ended.code == Some(3) && ended.stderr.contains("on the curve P-521: this"), "{line}: {}", ended.stderr);
    }
}
