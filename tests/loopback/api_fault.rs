//! `probe api` against servers that do wrong, and with credentials that do: each fault is told for what it is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offloadctl::model::{Finding, Run};

use crate::api::{api, of};
use crate::certificate::{Authority, Identity};
use crate::support::code_of;
use crate::support::program::{Ended, Scene, poll};
use crate::web::{Manner, Web};

/// Until then something must have happened that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that does the same to every connection until the test ends.
fn misbehave(what: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || what(stream));
        }
    });
    address
}

/// Reads what has been sent so far.
fn hear(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(length);
    bytes
}

/// The finding of this kind.
#[track_caller]
pub fn finding<'a>(run: &'a Run, id: &str) -> &'a Finding {
    let found = run.findings.iter().find(|finding| finding.id == id);
    found.unwrap_or_else(|| panic!("no {id}: {:#?}", run.findings))
}

#[track_caller]
fn refused(ended: &Ended, texts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "no {text:?} in: {}", ended.stderr);
    }
}

#[test]
fn half_a_header_and_silence_is_loss_before_the_first_whole_head() {
    let address = misbehave(|mut stream| {
        hear(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Half").unwrap();
        // Until the client has given up.
        while !hear(&mut stream).is_empty() {}
    });
    let ended = Scene::new().run(&format!("probe api http://{address}/ --count 5 --timeout 300ms --json --no-save"));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let run = crate::measure::read(&ended);
    assert_eq!(of(&run, "api.request", "/").counts.lost_count, 5);
    let found = finding(&run, "ended_in_phase");
    assert!(found.text.contains("no whole head of an answer came"), "{}", found.text);
    assert_eq!(found.evidence, ["5 in api.ttfb"]);
}

#[test]
fn a_server_that_is_silent_in_the_tls_handshake_loses_there() {
    let address = misbehave(|mut stream| while !hear(&mut stream).is_empty() {});
    let run = api(&Scene::new(), &format!("https://{address}/ --insecure --count 4 --timeout 200ms"));
    assert_eq!(of(&run, "api.request", "/").counts.lost_count, 4);
    assert_eq!(finding(&run, "ended_in_phase").evidence, ["4 in api.tls"]);
    assert!(run.warnings.iter().any(|warning| warning.id == "insecure"), "{:?}", run.warnings);
    assert_eq!(run.spec["tls"]["insecure"], true);
    // Nothing was negotiated, so nothing is said about it.
    assert_eq!(of(&run, "api.request", "/").labels.value("http"), None);
}

#[test]
fn an_endless_body_ends_at_its_limit() {
    for (speaks_two, option) in [(false, "1.1"), (true, "2")] {
        let web = Web::start(Manner { speaks_two, ..Manner::default() });
        let arguments = format!("{}/endless --http {option} --max-body 100KiB --count 3 --timeout 20s", web.url());
        let run = api(&Scene::new(), &arguments);
        let series = of(&run, "api.request", "/endless");
        assert_eq!(series.failure_kinds.get("body_too_long"), Some(&3), "{:?}", series.failure_kinds);
        assert_eq!(finding(&run, "ended_in_phase").evidence, ["3 in api.transfer"]);
    }
}

#[test]
fn answers_that_are_no_success_are_answers_and_are_told() {
    let web = Web::start(Manner::default());
    let arguments = format!(
        "{} --path /moved --path /forbidden --path /busy --expect-status 403,503 --count 5 --rate 100/s",
        web.url()
    );
    let run = api(&Scene::new(), &arguments);
    for path in ["/moved", "/forbidden", "/busy"] {
        assert_eq!(of(&run, "api.request", path).counts.ok_count, 5);
    }
    assert!(finding(&run, "redirected").text.contains("`https://elsewhere.example/there`"));
    assert_eq!(finding(&run, "forbidden").evidence, ["5 of 5 are 403"]);
    assert_eq!(finding(&run, "server_errors").evidence, ["5 of 5 are 503"]);
    let codes: Vec<_> = run.scalars.iter().filter_map(|scalar| scalar.labels.value("code")).collect();
    assert_eq!(codes, ["302", "403", "503"]);
}

#[test]
fn a_goaway_cuts_the_request_and_is_counted_as_such() {
    let address = misbehave(|mut stream| {
        hear(&mut stream);
        // SETTINGS, then a GOAWAY that disowns every stream (RFC 9113 section 6.8).
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        stream.write_all(&settings).unwrap();
        while !hear(&mut stream).is_empty() {
            if stream.write_all(&goaway).is_err() {
                return;
            }
        }
    });
    for reuse in ["", "--reuse"] {
        let run = api(&Scene::new(), &format!("http://{address}/ --http 2 {reuse} --count 4 --timeout 2s"));
        let series = of(&run, "api.request", "/");
        assert_eq!(
            series.failure_kinds.get("goaway"),
            Some(&4),
            "{reuse} {:?} {:?}",
            series.failure_kinds,
            series.counts
        );
    }
}

#[test]
fn a_server_that_speaks_something_else_or_hangs_up_fails_by_kind() {
    let garbage = misbehave(|mut stream| {
        hear(&mut stream);
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    });
    let closing = misbehave(|mut stream| drop(hear(&mut stream)));
    for (address, kind) in [(garbage, "not_http"), (closing, "closed")] {
        let run = api(&Scene::new(), &format!("http://{address}/ --count 4"));
        let series = of(&run, "api.request", "/");
        assert_eq!(series.failure_kinds.get(kind), Some(&4), "{:?}", series.failure_kinds);
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let run = api(&Scene::new(), &format!("http://{nobody}/ --count 4"));
    assert_eq!(of(&run, "api.request", "/").counts.refused_count, 4);
}

#[test]
fn a_connection_that_is_closed_after_each_answer_cannot_be_kept() {
    let closing = misbehave(|mut stream| {
        hear(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
    });
    let ended = Scene::new().run(&format!("probe api http://{closing}/ --reuse --count 4 --no-save"));
    refused(&ended, &["closes its connection after each answer", "leave out --reuse"]);
    let run = api(&Scene::new(), &format!("http://{closing}/ --count 4"));
    assert_eq!(of(&run, "api.request", "/").counts.ok_count, 4);
}

#[test]
fn a_connection_that_ends_now_and_then_is_opened_again_before_the_request() {
    // Three answers to a connection, then it is closed without a word.
    let closing = misbehave(|mut stream| {
        for _ in 0..3 {
            hear(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let run = api(&Scene::new(), &format!("http://{closing}/ --reuse --count 30 --rate 100/s"));
    let series = of(&run, "api.request", "/");
    assert_eq!(series.counts.ok_count, 30, "{:?}", series.failure_kinds);
    assert!(!run.series.iter().any(|series| series.name == "api.tcp"));
}

#[test]
fn wrong_certificates_are_told_at_once_with_the_option_that_helps() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let cases: [(Identity, &str, &[&str]); 4] = [
        (authority.identity(&["elsewhere.test"]), "--ca-file ca.pem", &["elsewhere.test", "--resolve"]),
        (authority.identity_in(&["127.0.0.1"], (2001, 2002)), "--ca-file ca.pem", &["expired"]),
        (authority.identity(&["127.0.0.1"]), "", &["--ca-file"]),
        (Identity::self_signed(&["127.0.0.1"]), "", &["self-signed", "--ca-file", "--insecure"]),
    ];
    for (identity, options, texts) in cases {
        let web = Web::start(Manner { tls: Some(identity.server(&["h2"])), ..Manner::default() });
        let line = format!("probe api {}/ {options} --count 3 --no-save", web.url());
        refused(&scene.run(&line), texts);
        let run = api(&scene, &format!("{}/ --insecure --count 3", web.url()));
        assert_eq!(of(&run, "api.request", "/").counts.ok_count, 3);
    }
    let clear = Web::start(Manner::default());
    let line = format!("probe api https://{}/ --count 3 --no-save", clear.address());
    refused(&scene.run(&line), &["does not speak TLS on this port", "http://"]);
}

#[test]
fn a_token_that_expires_in_the_middle_is_read_again() {
    let scene = Scene::new();
    let token = Arc::new(Mutex::new("first".to_owned()));
    let web = Web::start(Manner { token: Some(Arc::clone(&token)), ..Manner::default() });
    scene.write("token", "first\n");
    let started = scene.start(&format!(
        "probe api {}/ --token-file token --reuse --rate 20/s --duration 3s --json --no-save",
        web.url()
    ));
    poll("a second of answers", PATIENCE, || (web.answered(200) >= 20).then_some(()));
    *token.lock().unwrap() = "second".to_owned();
    poll("refusals", PATIENCE, || (web.answered(401) >= 8).then_some(()));
    // As tools replace a token: at once, so that nobody reads a part of it.
    scene.write("new", "the second token\n");
    std::fs::rename(scene.path("new"), scene.path("token")).unwrap();
    *token.lock().unwrap() = "the second token".to_owned();
    let run = crate::measure::read(&started.end());
    let count = |code: &str| {
        let found = run.scalars.iter().find(|scalar| scalar.labels.value("code") == Some(code));
        found.and_then(|scalar| scalar.value).unwrap_or(0.0)
    };
    assert_eq!(count("200") + count("401"), 60.0);
    assert!(count("401") >= 5.0 && count("401") <= 30.0, "{} were refused", count("401"));
    assert!(finding(&run, "credentials_renewed").text.contains("renewed 1 times"));
    assert!(finding(&run, "unauthorized").text.contains("not logged in"));
    let spec = run.spec.to_string();
    assert!(!spec.contains("first") && !spec.contains("second"), "{spec}");
}

const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: here
clusters:
- {name: c, cluster: {server: 'SERVER', certificate-authority: ca.pem}}
contexts:
- {name: here, context: {cluster: c, user: exec}}
users:
- {name: exec, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'SCRIPT'], installHint: get it there}}}
";

#[test]
fn a_kubeconfig_and_its_plugin_lead_to_the_server() {
    let authority = Authority::new("tests");
    let scene = Scene::new();
    scene.write("ca.pem", &authority.pem);
    let token = Some(Arc::new(Mutex::new("of-the-plugin".to_owned())));
    let tls = Some(authority.identity(&["127.0.0.1"]).server(&["h2", "http/1.1"]));
    let web = Web::start(Manner { tls, token, is_kubernetes: true, ..Manner::default() });
    let script = r#"echo "{\"status\":{\"token\":\"of-the-plugin\"}}""#;
    let config = KUBECONFIG.replace("SERVER", &web.url());
    scene.write("config", &config.replace("SCRIPT", script));
    let line = "probe api --kubeconfig config --count 25 --rate 50/s --json --no-save";
    // The plugin needs a path to find its programs on.
    let output = scene.command(line).env("PATH", "/usr/bin:/bin").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let run = Run::parse(&text).unwrap();
    assert_eq!(output.status.code(), code_of(run.validity.valid), "{}", String::from_utf8_lossy(&output.stderr));
    let series = of(&run, "api.request", "/api/v1/namespaces");
    assert_eq!(series.counts.ok_count, 25);
    assert!(run.scalars.iter().all(|scalar| scalar.labels.value("code").is_none_or(|code| code == "200")));
    assert!(!text.contains("of-the-plugin"), "the token is in the run");
    finding(&run, "quorum_read_cost");

    // In a list of files, a context alone leads there too.
    scene.write("other", "current-context: nowhere\nusers: [nonsense]\n");
    let list = "probe api --context here --count 1 --no-save --quiet";
    let output = scene.command(list).env("PATH", "/usr/bin:/bin").env("KUBECONFIG", "other:config").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    for (script, texts) in [
        ("echo no user >&2; exit 1", ["`sh` gave no credentials", "no user", "get it there"]),
        ("sleep 600", ["`sh` gave no credentials", "did not end within 10 s", "get it there"]),
    ] {
        scene.write("config", &config.replace("SCRIPT", script));
        let output = scene.command(line).env("PATH", "/usr/bin:/bin").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        texts.iter().for_each(|text| assert!(stderr.contains(text), "no {text:?} in: {stderr}"));
    }
}
