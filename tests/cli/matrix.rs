//! Topologies by intervals and rates: each cell from its own source, what does not answer beside it, and what is kept.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use offloadctl::echo::Embedded;
use serde_json::Value;

use crate::support::program::Scene;
use crate::support::schema::valid;

const REPORT: &str = "docs/reference/report.schema.json";

/// A proxy that opens every way, and its address.
fn proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            std::thread::spawn(move || {
                let mut near = near.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    near.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let mut far = TcpStream::connect(head.split(' ').nth(1).unwrap()).unwrap();
                near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from_near, &mut to_far));
                let _ = std::io::copy(&mut far, &mut near);
            });
        }
    });
    address
}

fn cell<'a>(document: &'a Value, topology: &str, column: &str) -> &'a Value {
    let cells = document["matrix"]["cells"].as_array().unwrap();
    cells.iter().find(|cell| cell["topology"] == topology && cell["column"] == column).unwrap()
}

#[test]
fn rates_by_topologies_direct_emulated_proxied_and_gone() {
    let scene = Scene::new();
    let far = Embedded::start().unwrap();
    let (far, proxy) = (far.address().to_string(), proxy());
    let topologies = format!(
        "[topology.direct]\naddress = '{far}'\n[topology.gone]\naddress = '127.0.0.1:1'\n\
         [topology.hybrid]\nemulate = 'hybrid'\n[topology.proxied]\naddress = '{far}'\nvia = 'http://{proxy}'\n\
         [topology.shut]\naddress = '{far}'\nvia = 'http://127.0.0.1:1'\n"
    );
    let file = |rates: &str| {
        format!("rates = [{rates}]\nprobe_options = '--duration 2s'\n{topologies}[goal]\np95 = '900ms'\n")
    };
    scene.write("matrix.toml", &file("'100/s', '200/s'"));
    let ended = scene.run("topology run matrix.toml --json --quiet -o matrix.html -o matrix.md");
    assert_eq!(ended.code, Some(1), "two topologies do not answer: {}", ended.stderr);
    let document = valid(REPORT, &ended.stdout);
    for (topology, least, most) in
        [("direct", 0, 800_000_000), ("proxied", 0, 800_000_000), ("hybrid", 25_000_000, 900_000_000)]
    {
        let p95 = cell(&document, topology, "200/s")["rtt_p95_ns"].as_u64().unwrap();
        assert!((least..most).contains(&p95), "{topology}: {p95}");
    }
    assert_eq!(cell(&document, "gone", "100/s")["error"], "nothing was answered");
    assert!(
        cell(&document, "shut", "100/s")["error"].as_str().unwrap().starts_with("no way through http://127.0.0.1:1: ")
    );
    let best: Vec<&Value> =
        document["matrix"]["cells"].as_array().unwrap().iter().filter(|cell| cell["is_best"] == true).collect();
    assert_eq!((best.len(), &best[0]["column"]), (1, &"200/s".into()), "the highest rate within the goal");

    // What is there is kept, a new column is measured, and what changed is measured again.
    scene.write("matrix.toml", &file("'100/s', '200/s', '50/s'"));
    let again = valid(REPORT, &scene.run("topology run matrix.toml --json --quiet").stdout);
    assert_eq!(cell(&again, "direct", "200/s")["run_id"], cell(&document, "direct", "200/s")["run_id"]);
    assert!(cell(&again, "direct", "50/s")["run_id"].is_string());
    scene.write("matrix.toml", &file("'100/s'").replace("2s", "1s"));
    let changed = valid(REPORT, &scene.run("topology run matrix.toml --json --quiet").stdout);
    assert_ne!(cell(&changed, "direct", "100/s")["run_id"], cell(&document, "direct", "100/s")["run_id"]);
}

#[test]
fn heartbeats_by_topologies_have_the_published_figures_below_and_go_on_where_they_were_cut_off() {
    let scene = Scene::new();
    let options = "probe_options = '--duration 2s'\nheartbeat_options = '--trials 500 --mistake-beats 2000'\n";
    let topologies = "[topology.a-local]\nemulate = 'local-dc'\n[topology.b-cloud]\nemulate = 'cross-region'\n[goal]\ndetection = '9s'\n";
    scene.write("matrix.toml", &format!("intervals = ['2s', '5s']\n{options}{topologies}"));
    let cut = scene.start("topology run matrix.toml --quiet");
    std::thread::sleep(Duration::from_secs(4));
    cut.signal(Signal::SIGINT);
    let cut = cut.end();
    assert_eq!(cut.code, Some(130), "{}", cut.stderr);
    assert!(cut.stdout.contains("a-local"), "{}", cut.stdout);
    let ended = scene.run("topology run matrix.toml --quiet");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains(" at 2s notices a crash in ") && ended.stdout.contains(" for 360 KB an hour and node."),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("published, not measured") && ended.stdout.contains("360 KB/h"), "{}", ended.stdout);
    let document = valid(REPORT, &scene.run("topology run matrix.toml --quiet --json").stdout);
    let mean = cell(&document, "b-cloud", "5s")["detection_mean_ns"].as_f64().unwrap();
    assert!((11.5e9..13.5e9).contains(&mean), "{mean}");
    // A goal that nothing meets is bad, and a file that cannot be meant is told at once.
    scene.write("matrix.toml", &format!("intervals = ['2s']\n{options}{}", topologies.replace("9s", "1s")));
    let ended = scene.run("topology run matrix.toml --quiet");
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("No cell meets the goal of 1.00 s."), "{}", ended.stdout);
    scene.write("wrong.toml", "intervals = ['2']\n[topology.a]\nemulate = 'hybrid'\n");
    let ended = scene.run("topology run wrong.toml");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
}
