//! What is refused, and how it is said: harm to the cluster, a wrong login, a certificate that is not to be trusted.

use std::fs;

use super::cluster::Cluster;
use super::series;
use crate::certificate::{Authority, Identity};
use crate::host::turn;
use crate::program::Ended;

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
