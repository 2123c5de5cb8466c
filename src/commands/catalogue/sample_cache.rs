//! A hand-made run of `probe api --cache`, beside the other samples.

use serde_json::json;

use super::sample::{delays, run, series};
use crate::model::{Labels, Role, Run, Scalar, Series};

const VIA: &str = "127.0.0.1:8443";

type Way = (&'static str, Option<&'static str>, u64, u64, f64, f64);

/// Ways to read with what one takes, how late its answers are at most, and requests and bytes an hour.
const WAYS: [Way; 6] = [
    ("quorum", None, 4_800_000, 0, 720.0, 57e6),
    ("watch_cache", None, 1_200_000, 31_000_000, 720.0, 57e6),
    ("informer", None, 2_100, 35_000_000, 8.0, 5.2e6),
    ("quorum", Some(VIA), 640_000, 1_040_000_000, 720.0, 57e6),
    ("watch_cache", Some(VIA), 610_000, 980_000_000, 720.0, 57e6),
    ("informer", Some(VIA), 2_100, 0, 8.0, 5.3e6),
];

/// A list that is read in every way, directly and through a proxy.
pub fn cached() -> Run {
    let none = Labels::new();
    let (mut all, mut scalars) = (Vec::new(), vec![Scalar::new("api.cache.changes", &none, "count", 41.0)]);
    for (read, via, ns, late, requests, bytes) in WAYS {
        let labels = Labels::new().with("read", read);
        let labels = via.map_or(labels.clone(), |via| labels.with("via", via));
        let of = |name: &str, values: &[u64], role| Series {
            labels: labels.clone(),
            role,
            timeout_ns: None,
            ..series(name, "", values, 0)
        };
        let took = delays(ns, 300, ns);
        all.push(of("api.cache", &took.iter().map(|took| took + 90_000).collect::<Vec<_>>(), Role::Response));
        all.push(of("api.cache.service", &took, Role::Service));
        let stale: Vec<u64> = (0..300).map(|at| if at % 60 == 0 { late } else { 0 }).collect();
        all.push(of("api.cache.staleness", &stale, Role::Phase));
        let mut scalar = |name: &str, unit: &str, value: f64| {
            scalars.push(Scalar::new(format!("api.cache.{name}"), &labels, unit, value));
        };
        scalar("requests_per_h", "per_h", requests);
        scalar("bytes_per_h", "bytes_per_h", bytes);
        match (read, via) {
            ("informer", _) => {
                scalar("untold", "count", 0.0);
                scalar("restarts", "count", 0.0);
                all.push(of("api.cache.lag", &delays(12_000_000, 41, 7), Role::Phase));
            }
            (_, Some(_)) => {
                scalar("hit_ratio", "ratio", 0.92);
                scalar("passed_on_per_h", "per_h", 2_880.0);
            }
            (_, None) => {}
        }
    }
    let load = json!({"arrival": {"loop": "open", "rate": "10/s", "spacing": "constant"}, "length": {"duration_ns": 30_000_000_000_u64}});
    let cache = json!({"interval_ns": 5_000_000_000_u64, "via": format!("https://{VIA}/")});
    let spec = json!({
        "server": {"url": "https://127.0.0.1:6443/"},
        "paths": ["/api/v1/nodes"],
        "cache": cache,
        "load": load,
    });
    Run { command: "probe api".to_owned(), spec, scalars, elapsed_ns: 30_000_000_000, ..run(all) }
}
