//! What is refused, and how it is said: harm to the cluster, a wrong login, a certificate that is not to be trusted.

use std::fs;

use super::cluster::Cluster;
use super::series;
use crate::certificate::{Authority, Identity};
use crate::host::turn;
use crate::program::{Ended, call};
use crate::server::Server;

#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(3), "{}\n{}", ended.stderr, ended.stdout);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
}

#[test]
fn a_kubernetes_is_loaded_only_if_that_is_said() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    cluster.etcdctl(&["put", "/registry/pods/default/a", "1"]);
    refused(&cluster.bench("--count 10").end(), &["serves a Kubernetes: 1 keys", "--yes"]);
    let run = cluster.bench("--count 10 --yes").end().run(0);
    assert_eq!(series(&run, "etcd.put", "").counts.ok_count, 10);
    assert_eq!(cluster.keys(), ["/registry/pods/default/a"]);
}

#[test]
fn a_full_database_is_left_alone() {
    let _turn = turn();
    let cluster = Cluster::start(1, &["--quota-backend-bytes", "134217728"]);
    // 300 values of 300 kB do not fit below 128 MiB with the room that is to stay free.
    let too_much = "--count 300 --value-size 300000";
    refused(&cluster.bench(too_much).end(), &["its quota of 128 MiB", "--count"]);
    assert_eq!(cluster.keys(), [""; 0]);

    // Without a count it is stopped on the way.
    let ended = cluster.bench("--duration 60s --value-size 500000 --clients 2").end();
    let run = ended.run(1);
    assert!(ended.stderr.contains("near to its quota"), "{}", ended.stderr);
    assert!(run.complete && run.warnings.iter().any(|warning| warning.id == "quota_near"), "{:?}", run.warnings);
    let put = series(&run, "etcd.put", "");
    assert_eq!(put.counts.attempt_count, put.counts.ok_count, "{:?}", put.failure_kinds);
    assert_eq!((cluster.keys(), cluster.etcdctl(&["alarm", "list"])), (Vec::new(), String::new()));

    // And where the alarm has been raised, nothing is written.
    let value = "v".repeat(1_000_000);
    while cluster.try_etcdctl(&["put", "theirs", &value[..100_000]]).status.success() {}
    refused(&cluster.bench("--count 1").end(), &["NOSPACE", "alarm disarm"]);
}

#[test]
fn where_the_quota_is_not_known_the_first_refusal_ends_the_load_and_no_alarm_stays() {
    let _turn = turn();
    let cluster = Cluster::start(1, &["--quota-backend-bytes", "33554432"]);
    // A proxy that passes gRPC alone: no `/metrics`, and before version 3.6 no member tells its quota.
    let proxy = Server::nginx_grpc(&cluster.endpoint(0), 1_000_000);
    let words = cluster.words("--duration 60s --value-size 100000 --clients 8");
    let words: Vec<String> = words
        .iter()
        .map(|word| word.replace(&cluster.endpoint(0), &format!("http://127.0.0.1:{}", proxy.port)))
        .collect();
    let ended = call(&words);
    if ended.code == Some(3) {
        // An etcd of 3.6 or later tells its quota there, too.
        return refused(&ended, &["its quota of 32 MiB"]);
    }
    let run = ended.run(1);
    let has = |id: &str| run.warnings.iter().any(|warning| warning.id == id);
    assert!(has("quota_unknown"), "{:?}", run.warnings);
    assert!(ended.stderr.contains("stopped at the first write that was refused"), "{}", ended.stderr);
    assert!(has("no_space") && has("room_made"), "{:?}", run.warnings);
    let put = series(&run, "etcd.put", "");
    assert!(put.counts.error_count <= 8, "{:?} {:?}", put.counts, put.failure_kinds);
    assert_eq!((cluster.keys(), cluster.etcdctl(&["alarm", "list"])), (Vec::new(), String::new()));
    cluster.etcdctl(&["put", "theirs", "1"]);
}

#[test]
fn what_a_cluster_never_takes_is_asked_once_and_its_flag_is_named() {
    let _turn = turn();
    let cluster = Cluster::start(1, &[]);
    let cases = [
        ("--value-size 2000000 --duration 60s", "--max-request-bytes"),
        ("--batch 1000 --duration 60s", "--max-txn-ops"),
        ("--value-size 2000000 --duration 60s --workload watch", "--max-request-bytes"),
    ];
    for (line, flag) in cases {
        let ended = cluster.bench(line).end();
        let run = ended.run(1);
        assert!(
            ended.stderr.contains("stopped at its first refusal") && ended.stderr.contains(flag),
            "{}",
            ended.stderr
        );
        let attempts: u64 = run.responses().map(|series| series.counts.attempt_count).sum();
        assert_eq!(attempts, 1, "{line}");
    }
    // The other measurements are made all the same.
    let run = cluster.bench("--value-size 2000000,64 --count 20").end().run(1);
    assert_eq!(series(&run, "etcd.put", "value_size=64").counts.ok_count, 20);
    assert_eq!(cluster.keys(), [""; 0]);
}

#[test]
fn a_login_is_needed_and_checked() {
    let _turn = turn();
    let cluster = Cluster::start(1, &["--auth-token-ttl", "1"]);
    let password = cluster.path("password");
    fs::write(&password, "secret-of-root\n").unwrap();
    let with_user = format!("--user root --password-file {password}");
    // Before authentication is on, a user is no hindrance.
    let run = cluster.bench(&format!("--count 10 {with_user}")).end().run(0);
    assert!(run.warnings.iter().any(|warning| warning.id == "auth_not_enabled"), "{:?}", run.warnings);

    cluster.etcdctl(&["user", "add", "root:secret-of-root"]);
    cluster.etcdctl(&["user", "grant-role", "root", "root"]);
    cluster.etcdctl(&["auth", "enable"]);
    refused(&cluster.bench("--count 10").end(), &["auth", "--user"]);
    let wrong = cluster.path("wrong");
    fs::write(&wrong, "guess").unwrap();
    let ended = cluster.bench(&format!("--count 10 --user root --password-file {wrong}")).end();
    refused(&ended, &["log in", "authentication failed", "--password-file"]);
    refused(&cluster.bench("--count 10 --user nobody --password-file /dev/null").end(), &["log in"]);

    // A token lives for a second and every attempt comes after two: each logs in anew, and none fails.
    let ended = cluster.bench(&format!("--rate 30/m --count 4 {with_user}")).end();
    let run = ended.run(0);
    assert_eq!(series(&run, "etcd.put", "").counts.ok_count, 4, "{:?}", series(&run, "etcd.put", "").failure_kinds);
    assert!(!ended.stdout.contains("secret-of-root") && ended.stdout.contains("password redacted"));
    let root = ["--user", "root:secret-of-root", "get", "", "--prefix", "--keys-only"];
    assert_eq!(cluster.etcdctl(&root), "");
}

#[test]
fn certificates_are_checked() {
    let _turn = turn();
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let cluster = Cluster::with_tls(&authority.identity(&["127.0.0.1"]), &[]);
    let [ours, theirs] = ["ours.pem", "theirs.pem"].map(|name| cluster.path(name));
    fs::write(&ours, &authority.pem).unwrap();
    fs::write(&theirs, &other.pem).unwrap();

    let run = cluster.bench(&format!("--count 20 --workload put,watch --ca-file {ours}")).end().run(0);
    assert_eq!(series(&run, "etcd.watch", "").counts.ok_count, 20);
    refused(&cluster.bench("--count 1").end(), &["https://127.0.0.1:", "--ca-file"]);
    refused(&cluster.bench(&format!("--count 1 --ca-file {theirs}")).end(), &["certificate"]);
    let run = cluster.bench("--count 5 --insecure").end().run(0);
    assert_eq!(run.spec.pointer("/tls/insecure"), Some(&serde_json::Value::Bool(true)));
    let plain = cluster.words("--count 1").iter().map(|word| word.replace("https:", "http:")).collect::<Vec<_>>();
    refused(&crate::program::call(&plain), &["https://"]);
}

#[test]
fn a_client_certificate_may_be_wanted() {
    let _turn = turn();
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let client: Identity = authority.identity(&["client"]);
    for (name, text) in [("ca", &authority.pem), ("client.crt", &client.certificate), ("client.key", &client.key)] {
        fs::write(path(name), text).unwrap();
    }
    let wants = ["--client-cert-auth", "--trusted-ca-file", &path("ca")];
    let cluster = Cluster::with_tls(&authority.identity(&["127.0.0.1"]), &wants);
    refused(&cluster.bench(&format!("--count 1 --ca-file {}", path("ca"))).end(), &["--client-cert"]);
    let shown = format!("--client-cert {} --client-key {}", path("client.crt"), path("client.key"));
    let run = cluster.bench(&format!("--count 20 --ca-file {} {shown}", path("ca"))).end().run(0);
    assert_eq!(series(&run, "etcd.put", "").counts.ok_count, 20);
}
