//! Hand-made runs of `trace` and `diagnose`, beside the other samples.
//!
//! Separate because both tell of the way of a change, whose parts add up.

use serde_json::json;

use super::sample::{delays, run, series};
use crate::detect::DetectorSpec;
use crate::diagnose::facts::{Detection, Facts, Host, Way};
use crate::diagnose::{assemble, rank};
use crate::model::{Labels, Role, Run, Scalar, Series};

/// The hops of a change with what each takes in microseconds, less and more than others by the same sequence.
const HOPS: [(&str, u64); 8] = [
    ("event", 320),
    ("agent", 6_100),
    ("wire", 480),
    ("gateway", 210),
    ("store", 1_400),
    ("publish", 330),
    ("subscriber", 450),
    ("unexplained", 90),
];

fn of(name: &str, labels: Labels, values: &[u64], role: Role) -> Series {
    Series { labels, role, timeout_ns: None, ..series(name, "", values, 0) }
}

/// A run of `trace`, with a store that is so many times slower.
pub fn followed(slower: u64) -> Run {
    let none = Labels::new();
    let hop = |name: &str| Labels::new().with("hop", name);
    let each: Vec<(&str, Vec<u64>)> = HOPS
        .into_iter()
        .map(|(name, us)| (name, delays(us * 1_000 * if name == "store" { slower } else { 1 }, 250, us)))
        .collect();
    let totals: Vec<u64> = (0..250).map(|at| each.iter().map(|(_, values)| values[at]).sum()).collect();
    let mean = |values: &[u64]| values.iter().sum::<u64>() as f64 / values.len() as f64;
    let total = mean(&totals);
    let mut all = vec![
        of("trace.total", none.clone(), &totals, Role::Response),
        of("trace.total.service", none.clone(), &totals, Role::Service),
    ];
    let mut scalars = vec![Scalar::new("trace.mean", &hop("total"), "ns", total)];
    for (name, values) in &each {
        let series = match *name {
            "unexplained" => of("trace.unexplained", none.clone(), values, Role::Phase),
            name => of("trace.hop", hop(name), values, Role::Phase),
        };
        all.push(series);
        scalars.push(Scalar::new("trace.mean", &hop(name), "ns", mean(values)));
        scalars.push(Scalar::new("trace.slowest", &hop(name), "ns", values[7] as f64));
    }
    scalars.push(Scalar::new("trace.slowest", &hop("total"), "ns", totals[7] as f64));
    let unexplained = each.last().map_or(0.0, |(_, values)| mean(values));
    scalars.push(Scalar::new("trace.unexplained_ratio", &none, "ratio", unexplained / total));
    let load = json!({"length": {"count": 250}, "arrival": {"loop": "open", "rate": "20/s", "spacing": "constant"}});
    let spec = json!({"settings": [{"source": "script", "store": "embedded"}], "load": load});
    Run { command: "trace".to_owned(), spec, scalars, ..run(all) }
}

/// A run of `diagnose` on a system whose store is slow.
pub fn diagnosed() -> Run {
    let trace = followed(30);
    let facts = Facts {
        way: Way::of(&trace),
        links: Vec::new(),
        events: Vec::new(),
        servers: Vec::new(),
        members: Vec::new(),
        detection: Detection::usual(detector()),
        host: Host { clock_steps: 0, slip_p95_ns: Some(300_000), load: Some(0.4) },
    };
    let spec = json!({
        "looked_at": ["our own agent and gateway", "etcd at http://127.0.0.1:2379"],
        "commands": ["offloadctl trace --count 50 --rate 10/s"],
        "left": ["Docker at /var/run/docker.sock: containers would have to be started there: `source = \"docker\"` in [diagnose] allows that"],
        "detection": {"interval_ns": 5_000_000_000_u64, "detector": "missed:3", "is_assumed": true},
        "etcd": ["http://127.0.0.1:2379"],
    });
    let scalars = trace.scalars.iter().cloned().chain(assemble::scalars(&facts)).collect();
    let findings = rank::findings(&facts);
    Run { command: "diagnose".to_owned(), spec, scalars, findings, ..trace }
}

fn detector() -> DetectorSpec {
    // A sample is made by tests alone.
    let detector: DetectorSpec = "missed:3".parse().unwrap();
    detector.with_margin(std::time::Duration::from_millis(200))
}
