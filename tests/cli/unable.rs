//! What cannot be measured, read or written: exit 3, at once, with what, where and the next step.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use offloadctl::sys::clock;

use crate::snapshot::exact;
use crate::support::program::Scene;

/// Within so long a failure must be told that can be known beforehand; the runs asked for would take minutes. A busy
/// machine needs much of it to start the program.
const AT_ONCE: Duration = Duration::from_secs(10);

const CASES: [(&str, &str); 37] = [
    ("unable-agent-config", "agent --config nowhere.conf"),
    ("unable-agent-token", "agent --config token.conf"),
    ("unable-api-ca-file", "probe api https://127.0.0.1:1/ --ca-file missing.pem --duration 10m"),
    ("unable-api-ca-file-content", "probe api https://127.0.0.1:1/ --ca-file words.json --duration 10m"),
    (
        "unable-api-client-key-curve",
        "probe api https://127.0.0.1:1/ --client-cert p521.pem --client-key p521.key --duration 10m",
    ),
    ("unable-api-in-cluster", "probe api --in-cluster --duration 10m"),
    ("unable-api-kubeconfig", "probe api --kubeconfig complete.json --duration 10m"),
    ("unable-api-kubeconfig-missing", "probe api --kubeconfig nowhere --duration 10m"),
    ("unable-api-kubeconfig-yaml", "probe api --kubeconfig broken.yaml --duration 10m"),
    ("unable-api-token", "probe api http://127.0.0.1:1/ --token-file empty.json --duration 10m"),
    ("unable-api-unknown-host", "probe api https://nosuchhost.invalid/ --duration 10m"),
    ("unable-etcd-client-key-curve", "bench etcd --client-cert p521.pem --client-key p521.key --duration 10m"),
    (
        "unable-events-no-containerd",
        "probe events --watch --source containerd --containerd /nonexistent/containerd.sock",
    ),
    ("unable-events-no-engine", "probe events --docker-host /nonexistent/docker.sock"),
    ("unable-events-no-socket", "probe events --docker-host words.json --watch --duration 10m"),
    (
        "unable-gateway-key-curve",
        "gateway --listen 127.0.0.1:0 --data-dir data --token-file live.tokens --tls-cert p521.pem --tls-key p521.key",
    ),
    (
        "unable-live-target",
        "bench heartbeat --live --interval 2s --nodes 2 --target https://127.0.0.1:1 --token-file live.tokens",
    ),
    ("unable-live-token", "bench heartbeat --live --nodes 3 --target https://127.0.0.1:1 --token-file live.tokens"),
    ("unable-live-tokens", "bench heartbeat --live --nodes 2 --target https://127.0.0.1:1 --token-file nowhere"),
    ("unable-emulate-name", "topology emulate hybrid --listen 127.0.0.1:0 --to nosuchhost.invalid:1"),
    ("unable-output-folder", "probe rtt --emulate hybrid --duration 10m --output /nonexistent/run.json"),
    ("unable-output-is-a-folder", "probe rtt --emulate hybrid --duration 10m --output folder.json"),
    ("unable-report-contradiction", "report contradiction.json"),
    ("unable-report-cut-off", "report cut-off.json"),
    ("unable-report-empty", "report empty.json"),
    ("unable-report-foreign", "report foreign.json"),
    ("unable-report-folder", "report folder.json"),
    ("unable-report-histogram", "report histogram.json"),
    ("unable-report-future", "report future.json"),
    ("unable-report-missing", "report missing.json"),
    ("unable-report-no-runs", "report --runs-dir nothing"),
    ("unable-report-not-json", "report words.json"),
    ("unable-report-output", "report complete.json --output /nonexistent/report.md"),
    ("unable-runs-dir", "probe rtt --emulate hybrid --duration 10m --runs-dir empty.json"),
    ("unable-runs-dir-list", "report --list --runs-dir empty.json"),
    ("unable-topology-missing", "probe rtt --topology missing.toml"),
    ("unable-unknown-host", "probe rtt x=nosuchhost.invalid:7777 --duration 10m"),
];

#[test]
fn what_cannot_be_done_is_told_at_once() {
    let scene = scene();
    for (name, line) in CASES {
        let began = clock::now();
        let ended = scene.run(line);
        let took = clock::now().since(began);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{line}: {}", ended.stderr);
        exact(name, line, &ended);
        // How long an unknown name takes is the resolver's affair.
        assert!(took < AT_ONCE || line.contains("nosuchhost"), "{line} took {took:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("echo --listen {}", taken.local_addr().unwrap());
    let ended = scene.run(&line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""), "{}", ended.stderr);
    exact("unable-echo-port-taken", &line, &ended);
}

#[test]
fn an_address_that_is_not_of_this_host_cannot_be_measured_from() {
    let scene = Scene::new();
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = far.local_addr().unwrap();
    for bind in ["192.0.2.1", "::1"] {
        for channel in ["connect", "icmp", "echo", "udp"] {
            let ended = scene.run(&format!("probe rtt far={far} --channel {channel} --bind {bind} --count 3 --quiet"));
            assert_eq!(ended.code, Some(3), "--channel {channel} --bind {bind}: {}", ended.stdout);
        }
    }
}

#[test]
fn an_unreadable_run_is_listed_and_does_not_hide_the_others() {
    let scene = scene();
    fs::create_dir(scene.path("runs")).unwrap();
    for (name, second) in [("complete.json", 1), ("cut-off.json", 2), ("words.json", 3)] {
        let id = format!("20261123T07104{second}.000Z-probe-rtt-000{second}.json");
        fs::copy(scene.path(name), scene.path("runs").join(id)).unwrap();
    }
    fs::copy(scene.path("words.json"), scene.path("runs/package.json")).unwrap();
    let line = "report --list --runs-dir runs";
    let ended = scene.run(line);
    assert_eq!(ended.code, Some(0));
    exact("list-with-an-unreadable-run", line, &ended);
    // Those that can be read are shown, and one that cannot be is not passed over in silence.
    let ended = scene.run("report --last 3 --runs-dir runs");
    assert_eq!((ended.code, ended.stdout.contains("1,000")), (Some(3), true), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("0002.json") && ended.stderr.contains("0003.json"), "{}", ended.stderr);
    assert_eq!(scene.run("report --runs-dir runs").code, Some(3), "the newest is one of them");
    let pruned = scene.run("report --prune --keep 0 --runs-dir runs");
    assert_eq!(pruned.stdout, "deleted 3 runs, kept 0\n");
    assert!(scene.path("runs/package.json").exists(), "what is not named as runs are is not deleted");
}

/// An encoded histogram that claims to hold so much, and holds nothing.
fn four_gibibytes() -> String {
    use base64::Engine as _;
    use std::io::Write as _;
    let mut plain = [0x1c84_9313_u32, 0xffff_fff0, 0, 3].map(u32::to_be_bytes).concat();
    plain.extend([1_u64, 3_600_000_000_000, 1.0_f64.to_bits()].map(u64::to_be_bytes).concat());
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&plain).unwrap();
    let packed = packer.finish().unwrap();
    let header = [0x1c84_9314, u32::try_from(packed.len()).unwrap()].map(u32::to_be_bytes).concat();
    base64::prelude::BASE64_STANDARD.encode([header, packed].concat())
}

/// A folder with one good run and every way to break it.
fn scene() -> Scene {
    let scene = Scene::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run/complete.json");
    let complete = fs::read_to_string(fixture).unwrap();
    let changed = |from: &str, to: &str| {
        let text = complete.replacen(from, to, 1);
        assert_ne!(text, complete, "the fixture does not hold {from:?}");
        text
    };
    scene.write("complete.json", &complete);
    scene.write("contradiction.json", &changed("\"ok_count\": 996", "\"ok_count\": 997"));
    scene.write("cut-off.json", &complete[..complete.len() / 2]);
    scene.write("broken.yaml", "apiVersion: v1\nusers: [{name: a, user: {token: [secret]}}\n");
    scene.write("empty.json", "");
    scene.write("foreign.json", "{\"a\":1}\n");
    let first = complete.find("HISTFA").unwrap();
    let length = complete[first..].find('"').unwrap();
    scene.write("histogram.json", &complete.replacen(&complete[first..first + length], &four_gibibytes(), 1));
    for name in ["p521.pem", "p521.key"] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/certificate").join(name);
        fs::copy(fixture, scene.path(name)).unwrap();
    }
    scene.write("live.tokens", "live-1-1 0123456789abcdef\nlive-1-2 1123456789abcdef\n* 2123456789abcdef\n");
    scene.write("future.json", &changed("offloadctl.run/1", "offloadctl.run/2"));
    scene.write("words.json", "not a run\n");
    let agent = "{\"server\":\"wss://localhost\",\"interval\":\"5s\",\"node_id\":\"edge\",\"token_file\":\"tokens\",\"sources\":{}}\n";
    scene.write("token.conf", agent);
    scene.write("tokens", "other 0123456789abcdef\n* fedcba9876543210\n");
    fs::create_dir(scene.path("folder.json")).unwrap();
    scene
}
