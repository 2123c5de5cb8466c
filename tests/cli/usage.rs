//! Arguments that cannot be meant: exit 2, the reason on stderr, and nothing on stdout.

use crate::snapshot::exact;
use crate::support::program::Scene;

const CASES: [(&str, &str); 114] = [
    ("usage-agent-interval", "agent --config interval.conf --check"),
    ("usage-agent-key", "agent --config key.conf --check"),
    ("usage-agent-no-config", "agent"),
    ("usage-agent-script", "agent --config script.conf --check"),
    ("usage-agent-server", "agent --config server.conf --check"),
    ("usage-api-context", "probe api https://127.0.0.1:1/ --context a"),
    ("usage-api-gate", "probe api https://127.0.0.1:1/ --fail-if api.connect.p95>10ms"),
    ("usage-api-half-identity", "probe api https://127.0.0.1:1/ --client-cert a.pem"),
    ("usage-api-insecure-clear", "probe api http://127.0.0.1:1/ --insecure"),
    ("usage-api-max-body", "probe api http://127.0.0.1:1/ --max-body 1TiB"),
    ("usage-api-no-server", "probe api"),
    ("usage-api-path", "probe api http://127.0.0.1:1/ --path healthz"),
    ("usage-api-secret", "probe api https://user:secret@127.0.0.1:1/"),
    ("usage-api-two-servers", "probe api https://127.0.0.1:1/ --kubeconfig config"),
    ("usage-api-url", "probe api 127.0.0.1:6443"),
    ("usage-api-query", "probe api http://127.0.0.1:1/a?b --path /c"),
    ("usage-bad-gate", "probe rtt --emulate hybrid --fail-if rtt.echo.p95"),
    ("usage-bad-gate-limit", "probe rtt --emulate hybrid --fail-if rtt.echo.p95>10"),
    ("usage-bad-gate-name", "probe rtt --emulate hybrid --fail-if rtt.connect.p95>10ms"),
    ("usage-bad-gate-target", "probe rtt --emulate hybrid --fail-if rtt.echo{target=hybird}.p95>10ms"),
    ("usage-bad-gate-statistic", "probe rtt --emulate hybrid --fail-if rtt.echo.p42x>10ms"),
    ("usage-bad-label", "probe rtt --emulate hybrid --label site"),
    ("usage-bench-etcd-batch", "bench etcd --batch 200 --key-space 100"),
    ("usage-bench-etcd-lease", "bench etcd --workload lease --leases 5000 --rate 100/s --lease-ttl 30s"),
    ("usage-bench-etcd-endpoint", "bench etcd --endpoints 10.0.0.1:2379"),
    ("usage-bench-etcd-gate", "bench etcd --fail-if etcd.get.p95>10ms"),
    ("usage-bench-etcd-members", "bench etcd --spawn --members 20"),
    ("usage-bench-etcd-shard", "bench etcd --spawn --shard 2 --workload watch"),
    ("usage-bench-etcd-spawn", "bench etcd --spawn name=a,b"),
    ("usage-bench-etcd-key-size", "bench etcd --key-size 12"),
    ("usage-bench-etcd-watch", "bench etcd --workload watch --value-size 4"),
    ("usage-bench-heartbeat-burst", "bench heartbeat --loss 1%/bursts=5"),
    ("usage-bench-heartbeat-burst-length", "bench heartbeat --loss 1%/burst=0.5"),
    ("usage-bench-heartbeat-burst-short", "bench heartbeat --loss 90%/burst=5"),
    ("usage-bench-heartbeat-cost", "bench heartbeat --max-cost 200"),
    ("usage-bench-heartbeat-detector", "bench heartbeat --detector missed:3,ping:3"),
    ("usage-bench-heartbeat-dump", "bench heartbeat --interval 2s,5s --detector missed:3 --dump-trial 1 a.csv"),
    ("usage-bench-heartbeat-dump-number", "bench heartbeat --interval 2s --detector missed:3 --dump-trial 0 a.csv"),
    ("usage-bench-heartbeat-dump-suffix", "bench heartbeat --interval 2s --detector missed:3 --dump-trial 1 a.json"),
    (
        "usage-bench-heartbeat-dump-trial",
        "bench heartbeat --interval 2s --detector missed:3 --trials 9 --dump-trial 10 a.csv",
    ),
    ("usage-bench-heartbeat-for-ever", "bench heartbeat --interval 24h --mistake-beats 1000000000"),
    ("usage-bench-heartbeat-gate", "bench heartbeat --fail-if heartbeat.delay.p95>10ms"),
    ("usage-bench-heartbeat-interval", "bench heartbeat --interval 5"),
    ("usage-bench-heartbeat-interval-zero", "bench heartbeat --interval 0s"),
    ("usage-bench-heartbeat-interval-short", "bench heartbeat --interval 1us"),
    ("usage-bench-heartbeat-lease", "bench heartbeat --interval 1m --detector k8s-lease"),
    ("usage-bench-heartbeat-live-agents", "bench heartbeat --live --nodes 5000"),
    ("usage-bench-heartbeat-live-clear", "bench heartbeat --live --target http://127.0.0.1:1 --token-file a"),
    ("usage-bench-heartbeat-live-detectors", "bench heartbeat --live --detector missed:2,missed:3"),
    ("usage-bench-heartbeat-live-fault", "bench heartbeat --live --fault kill,reboot"),
    ("usage-bench-heartbeat-live-gate", "bench heartbeat --live --fail-if heartbeat.mistake_duration.p50>1s"),
    ("usage-bench-heartbeat-live-interval", "bench heartbeat --live --interval 10ms"),
    ("usage-bench-heartbeat-live-loss", "bench heartbeat --live --loss 1%"),
    (
        "usage-bench-heartbeat-live-relay",
        "bench heartbeat --live --fault partition --target https://hub.example --token-file a",
    ),
    ("usage-bench-heartbeat-live-tokens", "bench heartbeat --live --target https://127.0.0.1:1"),
    ("usage-bench-heartbeat-loss", "bench heartbeat --loss 100%"),
    ("usage-bench-heartbeat-loss-share", "bench heartbeat --loss 0.01"),
    ("usage-bench-heartbeat-network", "bench heartbeat --network nowhere"),
    ("usage-bench-heartbeat-phi", "bench heartbeat --detector phi-exp:0.4"),
    ("usage-bench-heartbeat-phi-normal", "bench heartbeat --detector phi:0.3/pause=0s"),
    ("usage-bench-heartbeat-phi-pause", "bench heartbeat --detector phi:0.1"),
    ("usage-bench-heartbeat-silence", "bench heartbeat --detector missed:4000000000"),
    ("usage-concurrency-and-rate", "probe rtt --emulate hybrid --concurrency 2 --rate 10/s"),
    ("usage-connect-emulated", "probe rtt --emulate hybrid --channel connect"),
    ("usage-count-zero", "probe rtt --emulate hybrid --count 0"),
    ("usage-duration-without-unit", "probe rtt --emulate hybrid --duration 5"),
    ("usage-doctor-gate", "doctor --fail-if rtt.echo.p95>10ms"),
    ("usage-echo-listen", "echo --listen localhost"),
    ("usage-echo-protocol", "echo --protocols grpc,telepathy"),
    ("usage-emulate-both", "topology emulate hybrid --listen 127.0.0.1:0 --to 127.0.0.1:1 --tcp --udp"),
    ("usage-emulate-circle", "topology emulate hybrid --listen 127.0.0.1:17 --to 127.0.0.1:17"),
    ("usage-emulate-circle-any", "topology emulate hybrid --listen 0.0.0.0:17 --to 127.0.0.2:17"),
    ("usage-emulate-circle-any-v6", "topology emulate hybrid --listen [::]:17 --to 127.0.0.1:17"),
    ("usage-emulate-command", "topology emulate hybrid --listen 127.0.0.1:0 --to 127.0.0.1:1 -- true"),
    ("usage-emulate-kernel-alone", "topology emulate hybrid --kernel"),
    ("usage-emulate-kernel-seed", "topology emulate hybrid --kernel --seed 1 -- true"),
    ("usage-emulate-nothing", "topology emulate hybrid"),
    ("usage-emulate-port", "topology emulate hybrid --listen 127.0.0.1:0 --to localhost"),
    ("usage-emulate-port-alone", "topology emulate hybrid --listen 127.0.0.1:0 --to :7000"),
    ("usage-emulate-port-bracket", "topology emulate hybrid --listen 127.0.0.1:0 --to [::1"),
    ("usage-emulate-port-zero", "topology emulate hybrid --listen 127.0.0.1:0 --to 127.0.0.1:0"),
    ("usage-emulate-profile", "topology emulate moon --listen 127.0.0.1:0 --to 127.0.0.1:1"),
    ("usage-cri-address", "bench cri --cri tcp://127.0.0.1:1"),
    ("usage-cri-relist", "bench cri --relist 1ms"),
    ("usage-protocol-name", "bench protocol --protocols grpc,carrier-pigeon"),
    ("usage-events-act", "probe events --act cgroup --source docker,ebpf"),
    ("usage-events-act-image", "probe events --act cgroup --source ebpf --image busybox"),
    ("usage-events-address", "probe events --docker-host tcp://127.0.0.1:2375"),
    ("usage-events-gate", "probe events --source docker --fail-if events.since_act{source=poll=1s}.p95>1s"),
    ("usage-events-poll", "probe events --source docker,poll=1"),
    ("usage-events-source", "probe events --source dockre"),
    ("usage-events-watch", "probe events --watch --count 3"),
    ("usage-man-unknown", "man probe nothing"),
    ("usage-max-loss", "probe rtt --emulate hybrid --max-loss 2"),
    ("usage-no-command", "probe nothing"),
    ("usage-no-port", "probe rtt dc=127.0.0.1 --channel echo"),
    ("usage-no-target", "probe rtt"),
    ("usage-rate-without-unit", "probe rtt --emulate hybrid --rate 10"),
    ("usage-rate-zero", "probe rtt --emulate hybrid --rate 0/s"),
    ("usage-report-files-and-last", "report a.json --last 2"),
    ("usage-rate-negative", "probe rtt --emulate hybrid --rate -1/s"),
    ("usage-duration-negative", "probe rtt --emulate hybrid --duration -1s"),
    ("usage-count-negative", "probe rtt --emulate hybrid --count -1"),
    ("usage-output-format", "probe rtt --emulate hybrid --output csv"),
    ("usage-target-bracket", "probe rtt dc=[::1"),
    ("usage-same-name", "probe rtt a=127.0.0.1:1 a=127.0.0.1:2"),
    ("usage-slack-and-concurrency", "probe rtt --emulate hybrid --concurrency 2 --timer-slack 4ms"),
    ("usage-slack-and-timeout", "probe rtt --emulate hybrid --timeout 100ms --timer-slack 60ms"),
    ("usage-suffix", "probe rtt --emulate hybrid --output run.docx"),
    ("usage-topology-endless", "topology list --topology /dev/zero"),
    ("usage-topology-key", "probe rtt --topology key.toml"),
    ("usage-topology-long", "topology list --topology long.toml"),
    ("usage-topology-value", "probe rtt --topology value.toml"),
    ("usage-unknown-profile", "probe rtt --emulate moon"),
];

#[test]
fn what_cannot_be_meant_is_refused_with_its_reason() {
    let scene = Scene::new();
    let profile = "[profile.edge]\nrtt_mean = \"45ms\"\nrtt_p95 = \"90ms\"\njitter = \"12ms\"\n";
    scene.write("key.toml", &profile.replace("jitter", "jiter"));
    scene.write("long.toml", &"# one line more\n".repeat(1 << 17));
    scene.write("value.toml", &profile.replace("45ms", "45"));
    let agent =
        "{\n  \"server\": \"wss://localhost\",\n  \"interval\": \"5s\", \"sources\": {\"script\": \"steps\"}\n}\n";
    scene.write("interval.conf", &agent.replace("5s", "5"));
    scene.write("key.conf", &agent.replace("interval", "intervall"));
    scene.write("script.conf", agent);
    scene.write("server.conf", &agent.replace("wss", "ws"));
    scene.write("steps", "{\"task_id\": \"a\", \"status\": \"done\"}\n");
    for (name, line) in CASES {
        let ended = scene.run(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{line}: {}", ended.stderr);
        exact(name, line, &ended);
    }
    assert!(!scene.path("state").exists(), "a usage error left a folder for runs behind");
}

#[test]
fn a_series_that_the_run_could_have_had_and_has_not_decides_nothing() {
    let scene = Scene::new();
    let ended = scene
        .run("probe rtt --emulate local-dc --channel echo --concurrency 1 --count 5 --quiet --fail-if rtt.icmp.p50>1s");
    assert_eq!(ended.code, Some(4));
    assert!(ended.stdout.contains("local-dc"), "{}", ended.stdout);
    assert!(
        ended.stderr.starts_with("gate inconclusive: rtt.icmp.p50>1s on rtt.icmp: the run has none"),
        "{}",
        ended.stderr
    );
}
