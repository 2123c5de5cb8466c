//! A refusal reaches curl, however early the gateway knows it: over either version of HTTP, with a body that is still being sent.

use std::process::Command;

use serde_json::Value;

use crate::certificate::Authority;
use crate::gateway::{Gateway, ONE};
use crate::host::path_of;
use crate::server::Server;
use crate::support::program::{Scene, poll};

/// Requests of each kind: what is reset now and then is reset in one of these.
const TIMES: usize = 20;

/// Bytes of a body: more than any window and any socket holds, and less than the gateway reads on.
const LONG: usize = 8 << 20;

struct Case {
    status: &'static str,
    path: &'static str,
    token: &'static str,
    kind: &'static str,
    more: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case { status: "401", path: "/v1/status", token: "Bearer wrong-wrong-wrong", kind: "application/json", more: &[] },
    Case { status: "404", path: "/v1/nothing", token: ONE, kind: "application/json", more: &[] },
    Case { status: "413", path: "/v1/status", token: ONE, kind: "application/json", more: &[] },
    Case { status: "415", path: "/v1/status", token: ONE, kind: "text/plain", more: &[] },
    // Without a question whether it may send, which curl asks over HTTP/1.1.
    Case { status: "413", path: "/v1/status", token: ONE, kind: "application/json", more: &["-H", "Expect:"] },
];

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let gateway = Gateway::start("");
    gateway.scene.write("body", &" ".repeat(LONG));
    for version in ["--http2", "--http1.1"] {
        for case in &CASES {
            for round in 0..TIMES {
                let port = gateway.address.rsplit_once(':').unwrap().1;
                let mut curl = Command::new(path_of("curl", "curl"));
                curl.current_dir(gateway.scene.path("")).args(["--silent", "--show-error", version]);
                curl.args(["--cacert", "data/certificate.pem", "--data-binary", "@body", "--max-time", "30"]);
                curl.args(["-H", &format!("Content-Type: {}", case.kind)]);
                curl.args(["-H", &format!("Authorization: {}", case.token), "-w", "\n%{http_code}"]).args(case.more);
                let done = curl.arg(format!("https://localhost:{port}{}", case.path)).output().unwrap();
                let said = String::from_utf8_lossy(&done.stderr);
                let text = String::from_utf8(done.stdout).unwrap();
                let (body, status) = text.rsplit_once('\n').unwrap();
                assert_eq!(status, case.status, "{version} {round}: {said}");
                assert!(done.status.success(), "{version} {status} {round}: {said}");
                let body: Value = serde_json::from_str(body).unwrap();
                assert!(body["error"]["code"].is_string(), "{body}");
            }
        }
    }
    assert_eq!(gateway.read("/v1/view")["revision"], 0);
}

#[test]
fn an_agent_that_finds_a_web_server_says_so_in_plain_words() {
    let authority = Authority::new("tests");
    let nginx = Server::nginx_tls(&authority.identity(&["localhost"]), false);
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    for scheme in ["wss", "https"] {
        let config = format!(
            r#"{{"server":"{scheme}://localhost:{}","interval":"200ms","node_id":"one","ca_file":"ca.pem","sources":{{}}}}"#,
            nginx.port
        );
        scene.write("agent.conf", &config);
        let agent = scene.start("agent --config agent.conf");
        let said = poll("a word on it", std::time::Duration::from_secs(20), || {
            Some(agent.said()).filter(|said| said.contains("trying again"))
        });
        assert!(said.contains("no gateway there (40") && !said.contains('<'), "{said}");
        agent.signal(nix::sys::signal::Signal::SIGTERM);
        assert_eq!(agent.end().code, Some(0));
    }
}
