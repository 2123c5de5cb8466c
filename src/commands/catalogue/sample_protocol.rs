//! A hand-made run of `bench protocol`, beside the other samples.

use serde_json::json;

use super::sample::{delays, run, series};
use crate::model::{Labels, Role, Run, Scalar, Series};

/// Protocols with what a heartbeat takes in microseconds, and heartbeats a second at most.
const PROTOCOLS: [(&str, u64, f64); 6] = [
    ("grpc", 210, 21_400.0),
    ("grpc-stream", 150, 61_200.0),
    ("websocket", 140, 63_900.0),
    ("http1", 170, 30_100.0),
    ("http2", 200, 22_800.0),
    ("raft", 190, 58_000.0),
];

/// A run of all protocols.
pub fn protocols() -> Run {
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    for (protocol, us, most) in PROTOCOLS {
        let labels = Labels::new().with("protocol", protocol);
        let of = |name: &str, labels: Labels, ns: u64, n: usize| Series {
            labels,
            role: Role::Response,
            ..series(name, "", &delays(ns, n, us), 0)
        };
        all.push(of("protocol.heartbeat", labels.clone(), us * 1_000, 1_200));
        for containers in [1, 10, 100] {
            let labels = labels.clone().with("containers", &containers.to_string());
            let commit = if protocol == "raft" { 2_500_000 } else { 0 };
            all.push(of("protocol.report", labels, us * 1_000 + containers * 4_000 + commit, 1_200));
        }
        all.push(of("protocol.cold", labels.clone(), 1_400_000 + us * 1_000, 60));
        all.push(of("protocol.busy", labels.clone(), us * 9_000, 5_000));
        scalars.push(Scalar::new("protocol.highest_rate", &labels, "per_s", most));
        scalars.push(Scalar::new("protocol.client_cpu", &labels, "ns", 0.5e9 / most));
        if protocol == "raft" {
            all.push(of("protocol.election", labels, 540_000_000, 5));
            continue;
        }
        scalars.push(Scalar::new("protocol.server_cpu", &labels, "ns", 0.4e9 / most));
        scalars.push(Scalar::new("protocol.heartbeat_bytes", &labels, "bytes", 230.0 + us as f64));
        let silent = if protocol == "http1" { 1_000 } else { 2_000 };
        all.push(of("protocol.silent_peer", labels.clone(), silent * 1_000_000, 3));
        all.push(of("protocol.cut", labels.clone(), 24_000_000, 3));
        scalars.push(Scalar::new("protocol.cut_gap", &labels, "ns", 26e6));
        scalars.push(Scalar::new("protocol.sent_again", &labels, "count", 18.0));
        scalars.push(Scalar::new("protocol.duplicated", &labels, "count", 5.0));
    }
    let load = json!({"arrival": {"loop": "open", "rate": "100/s", "spacing": "constant"}, "length": {"duration_ns": 12_000_000_000_u64}});
    let names: Vec<&str> = PROTOCOLS.iter().map(|(name, ..)| *name).collect();
    let spec = json!({"protocols": names, "target": null, "containers": [1, 10, 100], "keepalive_ns": 1_000_000_000_u64, "load": load});
    Run { command: "bench protocol".to_owned(), spec, scalars, ..run(all) }
}
