//! Parsers of what comes from outside: nearly right bytes are refused or read, and never more than that. `tests/fuzz` runs this
//! many times over and within a limit of memory.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use offloadctl::detect::DetectorSpec;
use offloadctl::echo::{FRAME_LENGTH, Frame};
use offloadctl::model::{Histogram, Run};
use offloadctl::probe::rtt::Target;
use offloadctl::source::scripted::Script;
use offloadctl::stats::Gate;
use offloadctl::sync::agent::config::AgentConfig;
use offloadctl::sync::message::{Batch, FromAgent, FromGateway};
use offloadctl::sync::typed;
use offloadctl::topo::TopologyFile;
use offloadctl::wire::grpc;
use offloadctl::wire::node::{ContainerStatus, FromNode, NodeFrame, StatusReport};
use offloadctl::wire::{Exposition, Rule, Trust, TrustPem, Url, kube, unknown_curve_of};
use proptest::prelude::*;

/// One change of a text.
#[derive(Clone, Debug)]
enum Edit {
    Put(u8),
    Insert(u8),
    Remove(u16),
    Repeat(u16),
    /// In the place of the next number.
    Number(u64),
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Edit)>> {
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(b"[]{}\":,&*!|>%#\\\n\0-=/@".to_vec())];
    let numbers = prop::sample::select(vec![0, 1, 255, 65_536, 0xffff_fff0, i64::MAX as u64, u64::MAX]);
    let edit = prop_oneof![
        byte().prop_map(Edit::Put),
        byte().prop_map(Edit::Insert),
        (0u16..200).prop_map(Edit::Remove),
        (0u16..200).prop_map(Edit::Repeat),
        numbers.prop_map(Edit::Number),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), edit), 0..6)
}

fn edited(sample: &[u8], edits: &[(prop::sample::Index, Edit)]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for (place, edit) in edits {
        let at = if bytes.is_empty() { 0 } else { place.index(bytes.len()) };
        let end = |length: u16| (at + usize::from(length)).min(bytes.len());
        match edit {
            Edit::Put(byte) => bytes.splice(at..end(1), [*byte]).for_each(drop),
            Edit::Insert(byte) => bytes.insert(at, *byte),
            Edit::Remove(length) => drop(bytes.drain(at..end(*length))),
            Edit::Repeat(length) => {
                let part = bytes[at..end(*length)].to_vec();
                bytes.splice(at..at, part.repeat(3)).for_each(drop);
            }
            Edit::Number(number) => {
                let from = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()).unwrap_or(at);
                let to = (from..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
                bytes.splice(from..to, number.to_string().bytes()).for_each(drop);
            }
        }
    }
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// Without a plugin: what it names would be run.
const KUBECONFIG: &[u8] = b"apiVersion: v1\ncurrent-context: a\nclusters:\n- name: c\n  cluster: &c\n    server: https://[fe80::1%25lo]:6443/base\n    certificate-authority-data: |\n      YWJj\ncontexts:\n- {name: a, context: {cluster: c, user: u}}\nusers:\n- name: u\n  user: {token: x, as: b, as-groups: [g], as-user-extra: {a/b: [c]}}\nmore: {<<: *c, list: [*c, *c]}\n";
const METRICS: &[u8] = b"# TYPE a histogram\na_bucket{le=\"+Inf\",path=\"a \\\"b\\\\c\\n\"} 3 1700000000000\na_sum{verb=\"LIST\"} 2.5e1\na_count 3\n";
const TOPOLOGY: &[u8] = b"[profile.edge]\nrtt_mean = \"45ms\"\nrtt_p95 = \"90ms\"\njitter = \"12ms\"\nloss = \"1%\"\n";
const MESSAGES: [&[u8]; 4] = [
    br#"{"type":"status","task_id":"a","status":"running","timestamp":"2026-01-01T00:00:00Z","sequence":1,"epoch":1}"#,
    br#"{"type":"heartbeat","node_id":"n","sequence":7,"interval_ms":1000,"usage":{"cpu":0.5}}"#,
    br#"{"type":"full_state","tasks":[{"task_id":"a","status":"running"}]}"#,
    br#"{"reports":[{"node_id":"n","task_id":"a","status":"failed"}]}"#,
];
const CONFIG: &[u8] = br#"{"server":"wss://[fe80::1%25lo]:7443","interval":"5s","metrics":["cpu"],"node_id":"one","token_file":"t","adaptive":{"shortest":"1s","longest":"60s"},"sources":{"script":"s"}}"#;
const SCRIPT: &[u8] =
    b"{\"task_id\":\"{node}-a\",\"status\":\"pending\"}\n{\"after\":\"300ms\",\"task_id\":\"b\",\"status\":\"running\"}\n";
const WORDS: [&[u8]; 6] = [
    b"https://api.example:6443/a/b?c=d",
    b"http://[fe80::1%25lo]:9001/",
    b"dc=[fe80::1%eth0]:7777",
    b"two.test:80:[::1],127.0.0.1",
    b"missed:3/margin=200ms/check=1s",
    b"rtt.echo{target=dc}.p95 > 10ms",
];

#[test]
fn parser_of_runs_and_their_histograms() {
    let run = fixture("run/complete.json");
    let histogram = Run::parse(std::str::from_utf8(&run).unwrap()).unwrap().series[0].histogram.encode();
    proptest!(ProptestConfig::default(), |(edits in edits())| {
        let _ = Run::parse(&String::from_utf8_lossy(&edited(&run, &edits)));
        let _ = Histogram::decode(&String::from_utf8_lossy(&edited(histogram.as_bytes(), &edits)));
    });
}

#[test]
fn parser_of_files_that_a_user_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    proptest!(ProptestConfig::default(), |(edits in edits())| {
        let written = |sample: &[u8]| fs::write(&path, edited(sample, &edits)).unwrap();
        written(KUBECONFIG);
        let _ = runtime.block_on(kube::from_file(&path, None));
        written(CONFIG);
        let _ = AgentConfig::read(&path);
        written(SCRIPT);
        let _ = Script::read(&path);
        let _ = TopologyFile::parse(&String::from_utf8_lossy(&edited(TOPOLOGY, &edits)));
    });
}

#[test]
fn parser_of_what_servers_and_peers_send() {
    let certificate = fixture("certificate/p521.pem");
    let list = fixture("docker/list.json");
    let frame: Vec<u8> = (0..FRAME_LENGTH as u8).collect();
    proptest!(ProptestConfig::default(), |(edits in edits())| {
        let _ = Exposition::parse(&String::from_utf8_lossy(&edited(METRICS, &edits)));
        for sample in MESSAGES {
            let bytes = edited(sample, &edits);
            let _ = serde_json::from_slice::<FromAgent>(&bytes);
            let _ = serde_json::from_slice::<FromGateway>(&bytes);
            let _ = serde_json::from_slice::<Batch>(&bytes);
        }
        let _ = serde_json::from_slice::<serde_json::Value>(&edited(&list, &edits));
        let _ = Frame::decode(&edited(&frame, &edits));
        let bytes = edited(&certificate, &edits);
        let _ = unknown_curve_of(&bytes);
        let _ = Trust::from_pem(&TrustPem { ca: Some(bytes), ..TrustPem::default() });
    });
}

/// What is read as reports can be told again.
fn expect_the_same(report: StatusReport) -> Result<(), TestCaseError> {
    let batch = Batch { id: 1, reports: typed::reports_of(report).flatten().collect() };
    if let Some(again) = typed::reports_to(&batch) {
        prop_assert_eq!(typed::reports_of(again).flatten().collect::<Vec<_>>(), batch.reports);
    }
    Ok(())
}

#[test]
fn parser_of_messages_of_grpc() {
    let container = |payload: &str| ContainerStatus {
        status: 2,
        cpu: Some(0.25),
        version: Some(7),
        changed_ns: Some(1_700_000_000_000_000_000),
        payload: Some(payload.to_owned()),
        ..ContainerStatus::default()
    };
    let containers = [("web".to_owned(), container(r#"{"a":[1.50]}"#)), ("job".to_owned(), container("[]"))].into();
    let report = StatusReport { node_id: "n".to_owned(), containers, timestamp: 1, term: Some(1), id: 3 };
    let json = r#"{"heartbeat":{"node_id":"n","epoch":1,"seq":1,"next_interval_ms":5}}"#.to_owned();
    let said = [FromNode::Report(report), FromNode::Json(json)].map(|frame| NodeFrame { frame: Some(frame) });
    let sample: Vec<u8> = said.iter().flat_map(|said| grpc::frame(said).to_vec()).collect();
    proptest!(ProptestConfig::default(), |(edits in edits(), pieces in 1usize..64)| {
        let bytes = edited(&sample, &edits);
        let mut buffer = BytesMut::new();
        'all: for piece in bytes.chunks(pieces) {
            buffer.extend_from_slice(piece);
            loop {
                match grpc::next::<NodeFrame>(&mut buffer, 1 << 20) {
                    Ok(Some(NodeFrame { frame: Some(FromNode::Report(report)) })) => expect_the_same(report)?,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
        }
    });
}

#[test]
fn parser_of_words_on_a_command_line() {
    proptest!(ProptestConfig::default(), |(edits in edits())| {
        for sample in WORDS {
            let bytes = edited(sample, &edits);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (text.parse::<Url>(), text.parse::<Rule>(), text.parse::<Target>());
            let _ = (text.parse::<DetectorSpec>(), text.parse::<Gate>());
        }
    });
}
