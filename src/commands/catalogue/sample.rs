//! Hand-made runs of every command that every format is tried on.
//!
//! Separate because exact texts can be compared across formats only if they are told the same.

use serde_json::json;

use super::sample_cache::cached;
use super::sample_protocol::protocols;
use super::sample_way::{diagnosed, followed};
use crate::model::{
    Advice, Counts, Environment, Finding, Histogram, Labels, Moments, RUN_SCHEMA, Reference, Role, Run, Scalar,
    SelfCost, Series, Severity, Summary, Validity, Variation, WallTime,
};

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

/// A fixed sequence between 0 and 999: the texts must be the same on every machine.
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |state| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    })
    .skip(1)
    .map(|state| (state >> 33) % 1_000)
}

/// Delays around `typical` with a tail to the right; one in fifty is far out.
pub fn delays(typical: u64, n: usize, seed: u64) -> Vec<u64> {
    noise(seed)
        .take(n)
        .map(|u| typical * (700 + u * u / 1_250 + if u > 980 { 30 * (u - 980) } else { 0 }) / 1_000)
        .collect()
}

/// A series of these answers, and so many lost.
pub fn series(name: &str, target: &str, values: &[u64], lost: u64) -> Series {
    let (mut histogram, mut moments, mut variation) = (Histogram::new(), Moments::default(), Variation::default());
    for (number, value) in values.iter().enumerate() {
        histogram.record(*value);
        moments.push(*value);
        variation.push(number as u64, *value);
    }
    let ok_count = values.len() as u64;
    let counts = Counts { attempt_count: ok_count + lost, ok_count, lost_count: lost, ..Counts::default() };
    Series {
        name: name.to_owned(),
        role: Role::of_name(name, false),
        labels: Labels::new().with("target", target),
        counts,
        timeout_ns: Some(1_000 * MS),
        summary: Summary::of(&histogram, &moments, &counts, &variation),
        histogram,
        ..Series::default()
    }
}

fn spans(name: &str, labels: &Labels, values: &[u64]) -> Series {
    let (mut histogram, mut moments) = (Histogram::new(), Moments::default());
    for value in values {
        histogram.record(*value);
        moments.push(*value);
    }
    Series::of_spans(name, labels.clone(), histogram, &moments)
}

/// Two cells of `bench heartbeat --live`: one of an interval that nothing was published for, with nodes that were not noticed
/// and a kernel that does not tell of bytes.
pub fn live_heartbeats() -> Run {
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    for (interval, fault, mean, lost, sent) in
        [("2s", "kill", 5_200, 0, Some(747_000.0)), ("1m", "slow-link", 150_000, 2, None)]
    {
        let names = [("interval", interval), ("detector", "missed:3/margin=200ms")];
        let setting = names.iter().fold(Labels::new(), |labels, (name, value)| labels.with(name, value));
        let labels = setting.clone().with("network", "loopback").with("mode", "live").with("fault", fault);
        let detection = series("heartbeat.detection", "", &delays(mean * MS, 400 - lost, 3), lost as u64);
        all.push(Series { labels: labels.clone(), ..detection });
        let simulated = setting.with("network", "ideal").with("mode", "simulated");
        all.push(spans("heartbeat.detection", &simulated, &delays(mean * MS, 2_000, 4)));
        let ns = mean as f64 * 1e6;
        let published = (lost == 0).then_some(ns / 2.0);
        let figures = [
            ("mean_low", Some(ns * 0.98)),
            ("mean_high", Some(ns * 1.02)),
            ("formula_mean", Some(ns)),
            ("formula_worst", Some(ns * 1.2)),
            ("formula_holds", Some(if lost == 0 { 1.0 } else { 0.0 })),
            ("payload_bytes_per_h", Some(369_000.0)),
            ("sent_bytes_per_h", sent),
            ("received_bytes_per_h", sent.map(|sent: f64| sent / 2.0)),
            ("reference_mean", published),
            ("reference_bytes_per_h", published.map(|_| 360_000.0)),
        ];
        scalars.extend(figures.map(|(name, value)| Scalar::new(format!("heartbeat.{name}"), &labels, "", value)));
    }
    let target = Labels::new().with("network", "loopback").with("mode", "live");
    all.push(spans("heartbeat.change_stored", &target, &delays(2 * MS, 1_500, 5)));
    all.push(spans("heartbeat.change_seen", &target, &delays(3 * MS, 1_500, 6)));
    let spec = json!({"mode": "live", "nodes": 400});
    Run { command: "bench heartbeat".to_owned(), spec, scalars, ..run(all) }
}

/// A target whose stamps tell it all, and one that gives none of its own.
pub fn stamped() -> Run {
    let one = |name: &str, target: &str, labels: &[(&str, &str)], mean_ns: u64| {
        let plain = series(name, target, &delays(mean_ns, 1_000, 9), 0);
        let labels = labels.iter().fold(plain.labels.clone(), |all, (name, value)| all.with(name, value));
        Series { labels, ..plain }
    };
    let (kernel, echo) = ([("stamps", "software")], [("stamps", "software"), ("channel", "echo")]);
    let near = [("stamps", "software"), ("channel", "echo"), ("clock_bound", "one_host")];
    let all = vec![
        one("rtt.echo", "near", &[], 75_000),
        one("rtt.echo.service", "near", &[], 70_000),
        one("rtt.echo.kernel", "near", &kernel, 33_000),
        one("rtt.echo.kernel", "near", &[("stamps", "hardware")], 29_000),
        one("rtt.wakeup", "near", &echo, 37_000),
        one("rtt.network", "near", &echo, 3_000),
        one("rtt.oneway.forward", "near", &near, 1_600),
        one("rtt.oneway.backward", "near", &near, 1_400),
        one("rtt.echo", "old", &[], 2_400_000),
        one("rtt.echo.service", "old", &[], 2_300_000),
        one("rtt.echo.kernel", "old", &kernel, 2_200_000),
        one("rtt.wakeup", "old", &echo, 100_000),
        one("rtt.tcp_connect", "old", &[], 2_400_000),
        one("rtt.tcp_connect.kernel", "old", &[], 2_400_000),
    ];
    let labels = Labels::new().with("target", "near").with("channel", "echo");
    let scalar = |name: &str, unit: &str, value: f64| Scalar::new(format!("rtt.clock_{name}"), &labels, unit, value);
    let scalars = vec![
        scalar("offset", "ns", -310.0),
        scalar("offset_bound", "ns", 1_480.0),
        scalar("drift", "ppm", 0.013),
        scalar("drift_low", "ppm", -0.031),
        scalar("drift_high", "ppm", 0.057),
    ];
    Run { scalars, ..run(all) }
}

/// A run of these series as `probe rtt` makes it.
pub fn run(series: Vec<Series>) -> Run {
    Run {
        schema: RUN_SCHEMA.to_owned(),
        id: "20261123T071049Z-probe-rtt-7f3a".to_owned(),
        command: "probe rtt".to_owned(),
        spec: json!({"load": {"arrival": {"loop": "open", "rate": "50/s", "spacing": "constant"}}}),
        spec_hash: "0f5c".to_owned(),
        started_at: WallTime::from_unix_nanos(1_795_417_849_000_000_000),
        elapsed_ns: 25_000 * MS,
        complete: true,
        answer: None,
        validity: Validity::default(),
        seed: Some(42),
        version: "0.1.0".to_owned(),
        labels: std::collections::BTreeMap::new(),
        merged_from: Vec::new(),
        environment: Environment::default(),
        self_cost: SelfCost {
            cpu_user_ns: Some(210 * MS),
            cpu_system_ns: Some(100 * MS),
            memory_peak_bytes: Some(10_276_045),
            context_switch_voluntary_count: Some(3_000),
            context_switch_involuntary_count: Some(120),
        },
        warnings: Vec::new(),
        series,
        scalars: Vec::new(),
        findings: Vec::new(),
    }
}

/// The three emulated topologies: measured, programmed and published figures side by side, and the tool's own floor.
pub fn topologies() -> Run {
    let published = [
        ("local-dc", 1_200, 2_800, 500, 0),
        ("cross-region", 38_700, 62_100, 12_300, 3),
        ("hybrid", 25_400, 47_600, 9_800, 0),
    ];
    let mut all = Vec::new();
    for (at, (target, mean, p95, jitter, lost)) in published.into_iter().enumerate() {
        let reference = Reference { mean_ns: mean * US, p95_ns: p95 * US, jitter_ns: jitter * US };
        let programmed = delays(mean * US, 1_250, at as u64);
        let answered: Vec<u64> =
            programmed.iter().skip(lost).zip(noise(9)).map(|(ns, u)| ns + 40_000 + u * 20).collect();
        let response = series("rtt.echo", target, &answered, lost as u64);
        all.push(Series { reference: Some(reference.clone()), ..response });
        all.push(series("rtt.echo.slip", target, &delays((at as u64 + 1) * 8_000, 1_250, 5), 0));
        all.push(series("rtt.echo.programmed", target, &programmed, 0));
        let icmp: Vec<u64> = programmed.iter().map(|ns| ns + 25_000).collect();
        all.push(Series { reference: Some(reference), ..series("rtt.icmp", target, &icmp, 0) });
    }
    all.push(Series {
        floor: true,
        role: Role::Floor,
        ..series("rtt.floor.echo", "loopback", &delays(38 * US, 1_250, 4), 0)
    });
    run(all)
}

/// Four settings on a bursty network as `bench heartbeat` simulates them: one without mistakes, one without a formula, one
/// of an interval that nothing was published for.
pub fn heartbeats() -> Run {
    let settings = [
        ("2s", "missed:2", 3_033, Some(3_060), Some(90.7), 360_000.0, true),
        ("2s", "phi:8", 6_450, None, Some(0.64), 360_000.0, false),
        ("10s", "k8s-lease", 47_500, Some(47_520), None, 72_700.0, true),
        ("1m", "phi-exp:8", 1_081_000, Some(1_075_000), Some(0.000_21), 12_000.0, true),
    ];
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    for (interval, detector, mean, formula, mistakes, bytes, is_unbeaten) in settings {
        let labels = Labels::new().with("interval", interval).with("detector", detector).with("network", "hybrid");
        all.push(spans("heartbeat.detection", &labels, &delays(mean * MS, 2_000, 3)));
        all.push(spans("heartbeat.mistake_duration", &labels, &[]));
        let published = (interval != "1m").then_some((mean as f64 * 1e6, bytes));
        let figures = [
            ("network_bytes_per_h", Some(bytes)),
            ("mistakes_per_day", mistakes),
            ("mistakes_per_day_low", mistakes.map(|rate: f64| rate * 0.8)),
            ("mistakes_per_day_high", Some(mistakes.map_or(1.29, |rate| rate * 1.3))),
            ("formula_mean", formula.map(|ms| f64::from(ms) * 1e6)),
            ("formula_worst", formula.map(|ms| f64::from(ms) * 1.2e6)),
            ("reference_mean", published.map(|(mean, _)| mean)),
            ("reference_bytes_per_h", published.map(|(_, bytes)| bytes)),
            ("received", Some(bytes / 72.0)),
            ("lease_writes", Some(bytes / 72.0)),
            ("gateway_writes", Some(mistakes.unwrap_or(0.01) * 0.3)),
            ("unbeaten", Some(f64::from(u8::from(is_unbeaten)))),
        ];
        scalars.extend(figures.map(|(name, value)| Scalar::new(format!("heartbeat.{name}"), &labels, "", value)));
    }
    let network = json!({"name": "hybrid", "loss_ratio": 0.01, "loss_burst_count": 5.0, "in_order": true});
    let spec = json!({
        "mode": "simulated", "networks": [network], "trials": 2000, "mistake_beats": 1_000_000, "nodes": 10_000,
    });
    Run { command: "bench heartbeat".to_owned(), spec, scalars, ..run(all) }
}

/// A host that can do some things, all of one and nothing of another.
pub fn examined() -> Run {
    let seen = [
        ("clock", 1.0, Severity::Info, "tsc, a read takes 25 ns, steps of 20 ns", "clock: it works"),
        (
            "privileges",
            0.5,
            Severity::Notice,
            "CAP_NET_RAW",
            "privileges: without CAP_NET_ADMIN there are no links by the kernel",
        ),
        ("stored_runs", 0.0, Severity::Problem, "cannot be kept", "stored runs: cannot keep runs in `/nowhere`"),
    ];
    let finding = |(what, _, severity, figure, text): (&str, f64, Severity, &str, &str)| {
        let advice = Advice::new("give it more", "offloadctl doctor".to_owned());
        let finding = Finding::new(what, severity, text).with_evidence(vec![figure.to_owned()]);
        finding.with_advice((severity != Severity::Info).then_some(advice))
    };
    let able = |(what, value, ..): (&str, f64, Severity, &str, &str)| {
        Scalar::new("doctor.able", &Labels::new().with("what", what), "ratio", value)
    };
    Run {
        command: "doctor".to_owned(),
        scalars: seen.map(able).to_vec(),
        findings: seen.map(finding).to_vec(),
        seed: None,
        spec: json!({}),
        ..run(vec![series("timer.wakeup", "", &delays(60 * US, 100, 1), 0)])
    }
}

/// Three numbers of clients on one member, as `bench etcd` loads it.
pub fn writes() -> Run {
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    for (clients, mean_us, rate) in [("1", 400, 2_456.0), ("16", 1_150, 13_747.0), ("64", 2_500, 24_706.0)] {
        let labels = Labels::new().with("clients", clients).with("batch", "1").with("value_size", "256");
        for (name, values) in [
            ("etcd.put", delays(mean_us * US, 2_000, 7)),
            ("etcd.put.service", delays(mean_us * US, 2_000, 8)),
            ("etcd.put.slip", delays(90 * US, 2_000, 9)),
        ] {
            all.push(Series {
                labels: labels.clone(),
                role: Role::of_name(name, false),
                ..series(name, "", &values, 0)
            });
        }
        for (name, unit, value) in
            [("throughput", "per_s", rate), ("keys", "per_s", rate), ("floor", "ns", mean_us as f64 * 400.0)]
        {
            scalars.push(Scalar::new(format!("etcd.put.{name}"), &labels, unit, value));
        }
    }
    let member = Labels::new().with("endpoint", "127.0.0.1:2379");
    for (name, unit, value) in [
        ("wal_fsync_mean", "ns", 237e3),
        ("wal_fsync_p99_upper", "ns", 2e6),
        ("backend_commit_mean", "ns", 1.72e6),
        ("backend_commit_p99_upper", "ns", 8e6),
        ("leader_changes", "count", 0.0),
        ("slow_applies", "count", 0.0),
        ("db_size_bytes", "bytes", 76_546_048.0),
        ("quota_bytes", "bytes", 2_147_483_648.0),
        ("cpu_cores", "cores", 1.07),
    ] {
        scalars.push(Scalar::new(format!("etcd.server.{name}"), &member, unit, value));
    }
    let verdict = Finding::new(
        "etcd_verdict",
        Severity::Info,
        "batching decides: a put mostly waits until those before it are synced and applied",
    );
    let advice = Advice::new(
        "write keys that belong together in one transaction, and spread clients over connections",
        "offloadctl bench etcd --endpoints http://127.0.0.1:2379 --batch 1,10,64".to_owned(),
    );
    let load = json!({"arrival": {"loop": "closed", "concurrency": 1}, "length": {"duration_ns": 5_000_000_000_u64}});
    Run {
        command: "bench etcd".to_owned(),
        spec: json!({"endpoints": ["http://127.0.0.1:2379/"], "clients": [1, 16, 64], "load": load}),
        findings: vec![verdict.with_advice(advice)],
        scalars,
        ..run(all)
    }
}

/// One path of a Kubernetes, with the two reads that tell what etcd costs, as `probe api` asks for them.
pub fn requests() -> Run {
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    let paths = [
        ("/api/v1/namespaces", 1_850),
        ("/api/v1/namespaces/default", 2_100),
        ("/api/v1/namespaces/default?resourceVersion=0", 1_340),
    ];
    for (path, first_byte) in paths {
        let labels = Labels::new().with("path", path).with("address", "127.0.0.1:6443");
        let labels = labels.with("connection", "cold").with("http", "2");
        let phases = [("tcp", 87), ("tls", 2_500), ("ttfb", first_byte), ("transfer", 45), ("total", 4_700)];
        let phases = phases.map(|(name, us)| (format!("api.{name}"), us));
        let all_of = [("api.request".to_owned(), 4_800), ("api.request.slip".to_owned(), 86)].into_iter().chain(phases);
        all.extend(all_of.map(|(name, us)| Series {
            labels: labels.clone(),
            role: Role::of_name(&name, false),
            ..series(&name, "", &delays(us * US, 300, us), 0)
        }));
        let shares =
            [("tls", 0.55), ("work", 0.31), ("network", 0.09), ("tcp", 0.02), ("transfer", 0.01), ("etcd", 0.0)];
        let labels = Labels::new().with("path", path);
        let share = |(part, share)| Scalar::new("api.share", &labels.clone().with("part", part), "ratio", share);
        scalars.extend(shares.map(share));
    }
    scalars.push(Scalar::new("api.quorum_read_cost", &Labels::new(), "ns", 760e3));
    let advice = Advice::new(
        "keep connections: each new one pays for the handshake again",
        "offloadctl probe api https://127.0.0.1:6443 --reuse".to_owned(),
    );
    let text = "/api/v1/namespaces takes 4.700 ms in the mean: TLS handshake 55 %";
    let split = Finding::new("time_split", Severity::Notice, text).with_advice(advice);
    let cost = "a read of one object through etcd costs 0.760 ms more than from the server's cache";
    let load = json!({
        "arrival": {"loop": "open", "rate": "20/s", "spacing": "constant"},
        "length": {"duration_ns": 15_000_000_000_u64},
    });
    Run {
        command: "probe api".to_owned(),
        spec: json!({"server": {"url": "https://127.0.0.1:6443/"}, "paths": ["/api/v1/namespaces"], "load": load}),
        findings: vec![split, Finding::new("quorum_read_cost", Severity::Info, cost)],
        scalars,
        ..run(all)
    }
}

/// Three sources of one engine, one of which lists too rarely to see everything, as `probe events` lets them race.
pub fn raced() -> Run {
    let mut all = vec![
        series("events.launch", "", &delays(310 * MS, 100, 3), 0),
        Series { role: Role::Slip, ..series("events.launch.slip", "", &delays(200 * US, 100, 4), 0) },
    ];
    let mut scalars = Vec::new();
    for (source, late, lost, collapsed) in
        [("docker", 0, 0, 0.0), ("poll=100ms", 60, 0, 0.0), ("poll=5s", 2_400, 40, 31.0)]
    {
        for (event, mean) in [("create", 60), ("start", 250), ("exit", 90), ("destroy", 40)] {
            let labels = Labels::new().with("source", source).with("event", event);
            let told = |name: &str, ms: u64| Series {
                labels: labels.clone(),
                ..series(name, "", &delays((ms + 1) * MS, 100 - lost, ms), lost as u64)
            };
            all.push(told("events.since_act", mean + late));
            all.push(Series { role: Role::Phase, ..told("events.behind", late) });
            if source == "docker" {
                all.push(Series { role: Role::Phase, ..told("events.call", mean) });
                all.last_mut().iter_mut().for_each(|call| call.labels = Labels::new().with("event", event));
            }
        }
        let labels = Labels::new().with("source", source);
        let missed = lost as f64 * 4.0;
        let counts = [("missed", missed), ("duplicated", 0.0), ("reordered", 0.0), ("collapsed", collapsed)];
        scalars.extend(counts.map(|(name, n)| Scalar::new(format!("events.{name}"), &labels, "count", n)));
        scalars.push(Scalar::new("events.watcher_cpu", &labels, "cores", 0.0037));
    }
    let text = "poll=5s never told of 160 acts: 40 of create, 40 of start, 40 of exit, 40 of destroy";
    let load = json!({
        "arrival": {"loop": "open", "rate": "5/s", "spacing": "constant"}, "length": {"count": 100},
    });
    let sources = json!(["docker", "poll=100ms", "poll=5s"]);
    let spec = json!({
        "sources": sources, "docker_socket": "/var/run/docker.sock", "mode": "own", "load": load, "count": 100,
        "alive_ns": 2_000_000_000_u64, "burst": 1, "image": null,
    });
    let findings = vec![Finding::new("events_missed", Severity::Notice, text)];
    Run { command: "probe events".to_owned(), spec, findings, scalars, seed: None, ..run(all) }
}

/// A kubelet's relist beside a faster one and events, with few and many containers.
pub fn relisted() -> Run {
    let (mut all, mut scalars) = (Vec::new(), Vec::new());
    for (containers, list) in [("10", 1_200 * US), ("100", 2_900 * US)] {
        let level = Labels::new().with("containers", containers);
        let of_level = |one: Series, role| Series { role, labels: level.clone(), ..one };
        all.push(of_level(series("cri.launch", "", &delays(62 * MS, 30, 3), 0), Role::Response));
        all.push(of_level(series("cri.list", "", &delays(list, 1_200, 4), 0), Role::Phase));
        scalars.push(Scalar::new("cri.relist_cpu", &level, "ns", list as f64 / 3.0));
        for (watcher, every, mean, lost) in
            [("relist=100ms", Some(100), 51, 0), ("relist=1s", Some(1_000), 505, 1), ("events", None, 2, 0)]
        {
            let labels = level.clone().with("watcher", watcher);
            for event in ["start", "exit"] {
                let told = series("cri.detection", "", &delays(mean * MS, 30 - lost, mean), lost as u64);
                all.push(Series { labels: labels.clone().with("event", event), ..told });
            }
            let every = every.map(|every| f64::from(every) * 1e6);
            let formula = |worst: f64| every.map(|every| every / worst + list as f64);
            let figures = [
                ("predicted_mean", "ns", formula(2.0)),
                ("predicted_worst", "ns", formula(1.0)),
                ("relist_cores", "cores", every.map(|every| list as f64 / 3.0 / every)),
                ("missed", "count", Some(lost as f64 * 2.0)),
                ("watcher_cpu", "cores", Some(0.0031)),
            ];
            let known = figures.into_iter().filter_map(|(name, unit, value)| Some((name, unit, value?)));
            scalars.extend(known.map(|(name, unit, value)| Scalar::new(format!("cri.{name}"), &labels, unit, value)));
        }
    }
    let load = json!({
        "arrival": {"loop": "open", "rate": "1/s", "spacing": "poisson"}, "length": {"count": 30},
    });
    let spec = json!({
        "cri_socket": "/run/containerd/containerd.sock", "relists_ns": [100_000_000, 1_000_000_000], "events": true,
        "containers": [10, 100], "load": load, "alive_ns": 1_500_000_000, "image": null,
    });
    let findings = vec![Finding::new("cri_missed", Severity::Notice, "relist=1s never told of 2 starts and ends")];
    Run { command: "bench cri".to_owned(), spec, findings, scalars, ..run(all) }
}

/// One of each command.
pub fn all() -> Vec<Run> {
    let mut all = vec![topologies(), requests(), raced(), relisted(), writes(), heartbeats(), live_heartbeats()];
    all.extend([examined(), followed(1), diagnosed(), protocols(), cached()]);
    all
}
