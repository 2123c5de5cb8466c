//! Planted faults in a real system: the diagnosis names each first, advises its setting, and predicts what the change brings.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::program::{Ended, Scene, poll};
use crate::trace::{Slow, System};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The document of a diagnosis by this file.
#[track_caller]
fn diagnosed(scene: &Scene, toml: &str, more: &str) -> (Value, Ended) {
    scene.write("offload.toml", toml);
    let ended = scene.run(&format!("diagnose --json --no-save {more}"));
    let document = serde_json::from_str(&ended.stdout);
    (document.unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr)), ended)
}

/// The findings, the most important first; a busy machine is no fault of the system.
fn findings(document: &Value) -> Vec<&Value> {
    let all = document["findings"].as_array().unwrap();
    all.iter().filter(|finding| finding["id"] != "busy_host" && finding["id"] != "total_fine").collect()
}

/// This fault is named first, with a setting; its prediction is of this figure.
#[track_caller]
fn named_first(document: &Value, id: &str, setting: &str, predicted: Option<&str>) {
    let found = findings(document);
    let first = found.first().unwrap_or_else(|| panic!("nothing was found: {document:#}"));
    assert_eq!(first["id"], id, "{found:#?}");
    let advice = &first["advice"];
    assert_eq!(advice["setting"], setting, "{advice:#}");
    assert!(
        advice["new"].is_string() && advice["verify"].is_string() && !first["evidence"].as_array().unwrap().is_empty()
    );
    assert_eq!(advice["predicted"]["name"].as_str(), predicted, "{advice:#}");
}

#[track_caller]
fn planted(slow: Slow, id: &str, setting: &str, predicted: Option<&str>) {
    let system = System::start(slow);
    let (document, ended) = diagnosed(&Scene::new(), &system.described("5s"), "");
    named_first(&document, id, setting, predicted);
    assert!([Some(0), Some(4)].contains(&ended.code), "{}", ended.stderr);
}

const TOTAL: Option<&str> = Some("trace.mean{hop=total}");

#[test]
fn a_store_on_a_slow_disk_is_named() {
    planted(Slow::Store, "slow_store", "--data-dir", TOTAL);
}

#[test]
fn an_agent_that_holds_changes_is_named() {
    planted(Slow::Agent, "agent_holds", "CPUQuota or resources.limits.cpu", TOTAL);
}

#[test]
fn a_slow_link_to_the_gateway_is_named() {
    planted(Slow::Wire, "slow_wire", "server", TOTAL);
}

#[test]
fn time_that_nobody_claims_is_named() {
    planted(Slow::BetweenSourceAndAgent, "unexplained", "trace", None);
}

#[test]
fn a_long_interval_is_named_with_its_line_and_the_change_is_verified() {
    let (system, scene) = (System::start(Slow::Nowhere), Scene::new());
    scene.write("offload.toml", &system.described("60s"));
    let before = scene.run("diagnose --json --no-save --output before.json");
    let document: Value = serde_json::from_str(&before.stdout).unwrap();
    named_first(&document, "late_detection", "interval", Some("diagnose.detection{part=mean}"));
    let advice = &findings(&document)[0]["advice"];
    assert!(advice["where"].as_str().unwrap().ends_with("agent.conf:1"), "{advice:#}");
    assert_eq!((&advice["old"], &advice["new"]), (&"1m".into(), &"10s".into()));
    // As advised; then once more as it was, which is not as predicted.
    let (after, _) = diagnosed(&scene, &system.described("10s"), "--verify before.json");
    let verdict = |document: &Value| findings(document).last().map(|one| one["id"].as_str().unwrap().to_owned());
    assert_eq!(verdict(&after).as_deref(), Some("prediction_held"), "{after:#}");
    let (same, _) = diagnosed(&scene, &system.described("60s"), "--verify before.json");
    assert_eq!(verdict(&same).as_deref(), Some("prediction_failed"), "{same:#}");
}

#[test]
fn a_link_that_loses_and_one_that_is_far_are_named() {
    let scene = Scene::new();
    let (_echo, address) = scene.echo();
    scene.write(
        "own.toml",
        "[profile.lossy]\nrtt_mean = \"2ms\"\nrtt_p95 = \"2ms\"\njitter = \"0ms\"\nloss = \"25%\"\n\
         [profile.far]\nrtt_mean = \"150ms\"\nrtt_p95 = \"150ms\"\njitter = \"0ms\"\n",
    );
    let link = |profile: &str| {
        let line = format!("topology emulate {profile} --topology own.toml --listen 127.0.0.1:0 --to {address}");
        let program = scene.start(&line);
        let address = poll("the address of the link", PATIENCE, || {
            let said = program.said();
            Some(said.split_once(" from ")?.1.split_once(" to ")?.0.to_owned())
        });
        (program, address)
    };
    let ((lossy, to_lossy), (far, to_far)) = (link("lossy"), link("far"));
    let toml = format!("[targets]\nlossy = \"{to_lossy}\"\nfar = \"{to_far}\"\n");
    let (document, _) = diagnosed(&scene, &toml, "");
    let found = findings(&document);
    let of = |id: &str| found.iter().find(|finding| finding["id"] == id).map(|finding| finding["text"].to_string());
    assert!(of("lossy_link").is_some_and(|text| text.contains("`lossy`")), "{found:#?}");
    assert!(of("far_link").is_some_and(|text| text.contains("`far`")), "{found:#?}");
    let of_links = found.iter().filter(|finding| ["lossy_link", "far_link"].iter().any(|id| finding["id"] == *id));
    assert_eq!(of_links.count(), 2, "each fault once: {found:#?}");
    for program in [lossy, far] {
        program.signal(Signal::SIGTERM);
        program.end();
    }
}

/// A member of etcd as its metrics tell it; what is behind them is not there.
const SLOW_ETCD: &str = "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.008\"} 10\n\
    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.016\"} 20\n\
    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.032\"} 900\n\
    etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 1000\n\
    etcd_disk_wal_fsync_duration_seconds_sum 30\netcd_disk_wal_fsync_duration_seconds_count 1000\n";

#[test]
fn an_etcd_whose_own_metrics_tell_of_a_slow_disk_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        // One scrape before, one after; whoever speaks anything else, as the reads do, is sent away.
        let mut served = 0;
        while served < 2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).unwrap_or_default();
            if !asked[..length].starts_with(b"GET /metrics") {
                continue;
            }
            served += 1;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", SLOW_ETCD.len());
            stream.write_all(format!("{head}{SLOW_ETCD}").as_bytes()).unwrap();
        }
    });
    let (document, _) = diagnosed(&Scene::new(), &format!("[diagnose]\netcd = [\"http://{address}\"]\n"), "");
    named_first(&document, "etcd_disk", "--wal-dir", None);
    server.join().unwrap();
}

#[test]
fn a_server_that_is_dialled_anew_for_each_request_is_named() {
    // Any server of TLS will do: connecting is most of a request for its readiness.
    let gateway = crate::gateway::Gateway::start("");
    let port = gateway.address.rsplit_once(':').unwrap().1;
    let certificate = gateway.scene.path("data/certificate.pem").display().to_string();
    let scene = Scene::new();
    scene.write("offload.toml", &format!("[targets]\napi = \"https://localhost:{port}/healthz\"\n"));
    let started = scene.start_with("diagnose --json --no-save", &[("SSL_CERT_FILE", &certificate)]);
    let ended = started.end();
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    named_first(&document, "connections_not_kept", "keep-alive", Some("diagnose.api{phase=kept,target=api}"));
}

#[test]
fn a_bare_host_is_diagnosed_within_a_minute_and_says_what_it_leaves_alone() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path(".kube")).unwrap();
    scene.write(".kube/config", "exec: this must not be run\n");
    let began = offloadctl::sys::clock::now();
    let ended = scene.run("diagnose --no-save");
    assert!(offloadctl::sys::clock::now().since(began) < Duration::from_secs(60));
    assert!([Some(0), Some(4)].contains(&ended.code), "{}", ended.stderr);
    assert!(ended.stdout.contains("mean way of a change"), "{}", ended.stdout);
    assert!(ended.stderr.contains("--include kube asks it"), "{}", ended.stderr);
    assert!(ended.stdout.contains("missed:3, a heartbeat each 5.00 s"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_measured() {
    let scene = Scene::new();
    let refused = |toml: &str, more: &str| {
        scene.write("offload.toml", toml);
        let ended = scene.run(&format!("diagnose --no-save {more}"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{toml}{more}: {}", ended.stderr);
        ended.stderr
    };
    assert!(refused("[diagnose]\ngatway = \"x\"\n", "").contains("unknown field `gatway`"));
    assert!(refused("[diagnose]\ndetector = \"magic\"\n", "").contains("`detector` in [diagnose]"));
    assert!(refused("", "--include mars").contains("mars"));
    assert!(refused("", "--fail-if 'trace.hup.p95>1s'").contains("trace.hup"));
    assert!(refused("[diagnose]\nagent_conf = \"absent.conf\"\n", "").contains("absent.conf"));
    scene.write("offload.toml", "");
    let ended = scene.run("diagnose --verify absent.json --no-save");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
}
