//! Detection times against the closed formulas, which the simulation does not know.

use std::time::Duration;

use offloadctl::bench::heartbeat::{Goal, HeartbeatSpec, Measured, Network, simulate};
use offloadctl::model::{Labels, Series};

const SECOND: Duration = Duration::from_secs(1);

fn spec(detectors: &[&str], network: Network) -> HeartbeatSpec {
    HeartbeatSpec {
        mode: "simulated",
        intervals: vec![SECOND * 10],
        detectors: detectors.iter().map(|detector| detector.parse().unwrap()).collect(),
        networks: vec![network],
        trials: 20_000,
        mistake_beats: 20_000,
        heartbeat_bytes: 200,
        nodes: None,
        goal: Goal::default(),
        seed: 7,
    }
}

fn run(spec: &HeartbeatSpec) -> Measured {
    simulate(spec, 2, &|| {}, &|| false)
}

fn detections(measured: &Measured) -> impl Iterator<Item = &Series> {
    measured.series.iter().filter(|series| series.name == "heartbeat.detection")
}

fn scalar(measured: &Measured, labels: &Labels, name: &str) -> Option<f64> {
    let found = measured.scalars.iter().find(|scalar| scalar.name == name && scalar.labels == *labels);
    found.unwrap_or_else(|| panic!("no {name}{labels}")).value
}

#[test]
fn mean_and_worst_are_those_of_the_closed_formulas() {
    let all = [
        "missed:1",
        "missed:2",
        "missed:3",
        "missed:3/margin=200ms/check=2s",
        "overdue:3s",
        "phi:8",
        "phi-akka:8",
        "phi-exp:8",
        "chen:1s",
        "k8s-lease",
        "k8s-lease/grace=40s",
    ];
    let measured = run(&spec(&all, Network::ideal(None)));
    assert_eq!(detections(&measured).count(), all.len());
    for series in detections(&measured) {
        let of = |name| scalar(&measured, &series.labels, name).unwrap();
        let (mean, worst) = (series.summary.mean_ns.unwrap() as f64, series.summary.max_ns.unwrap() as f64);
        let formula = (of("heartbeat.formula_mean"), of("heartbeat.formula_worst"));
        assert!((mean / formula.0 - 1.0).abs() < 0.01, "{}: mean {mean} of {}", series.labels, formula.0);
        // At most the larger of the check period and 1 % of the interval below the worst, and never above it. The
        // exponential model rounds the mean silence down by up to a thousandth of its reach.
        let check = if series.labels.value("detector").unwrap().contains("k8s") { 5e9 } else { 2e9 };
        let slack = if series.labels.value("detector").unwrap().contains(['/', '8']) { check } else { 0.1e9 };
        assert!(worst <= formula.1 + 1.0 && worst >= formula.1 - slack, "{}: {worst} of {}", series.labels, formula.1);
    }
}

#[test]
fn kubernetes_takes_40_to_55_seconds_at_a_grace_of_50() {
    let measured = run(&spec(&["k8s-lease"], Network::ideal(None)));
    let summary = &detections(&measured).next().unwrap().summary;
    let seconds = |ns: Option<u64>| ns.unwrap() as f64 / 1e9;
    assert!((seconds(summary.mean_ns) - 47.5).abs() < 0.1);
    assert!((40.0..40.2).contains(&seconds(summary.min_ns)) && (54.8..=55.0).contains(&seconds(summary.max_ns)));
}

#[test]
fn a_rate_that_was_not_seen_has_an_upper_bound_and_no_value() {
    let measured = run(&spec(&["missed:3"], Network::ideal(None)));
    let labels = &detections(&measured).next().unwrap().labels;
    assert_eq!(scalar(&measured, labels, "heartbeat.mistakes_per_day"), None);
    assert_eq!(scalar(&measured, labels, "heartbeat.mistakes_per_day_low"), None);
    let days = 20.0 * 1000.0 * 10.0 / 86_400.0;
    let high = scalar(&measured, labels, "heartbeat.mistakes_per_day_high").unwrap();
    assert!((high * days / 2.9957 - 1.0).abs() < 0.001, "{high}");
}

#[test]
fn losses_make_mistakes_and_cost_nothing() {
    let measured = run(&spec(&["missed:1/margin=1s"], Network::ideal(Some(0.05))));
    let labels = &detections(&measured).next().unwrap().labels;
    let per_day = scalar(&measured, labels, "heartbeat.mistakes_per_day").unwrap();
    // Each loss after an arrival begins one: 8,640 beats a day, q (1 - q) of them.
    assert!((per_day / (8_640.0 * 0.05 * 0.95) - 1.0).abs() < 0.1, "{per_day}");
    assert_eq!(scalar(&measured, labels, "heartbeat.network_bytes_per_h"), Some(72_000.0));
    let accuracy = scalar(&measured, labels, "heartbeat.query_accuracy").unwrap();
    // A lost heartbeat is missed 11 s after the one before, and the next ends the mistake 9 s later.
    assert!((1.0 - accuracy) / (0.05 * 0.9) > 0.9 && (1.0 - accuracy) / (0.05 * 0.9) < 1.1, "{accuracy}");
}

#[test]
fn one_seed_gives_one_document_on_any_number_of_threads() {
    let mut spec = spec(&["missed:2", "phi:3/pause=0s"], Network::ideal(Some(0.02)));
    spec.trials = 2_000;
    let text = |threads, seed| {
        let measured = simulate(&HeartbeatSpec { seed, ..spec.clone() }, threads, &|| {}, &|| false);
        serde_json::to_string(&(measured.series, measured.scalars, measured.findings)).unwrap()
    };
    assert_eq!(text(1, 3), text(2, 3));
    assert_ne!(text(2, 3), text(2, 4));
}

#[test]
fn what_is_stopped_says_so_and_keeps_what_was_done() {
    let done = std::sync::atomic::AtomicUsize::new(0);
    let spec = spec(&["missed:1", "missed:2"], Network::ideal(None));
    let count = || done.load(std::sync::atomic::Ordering::Relaxed);
    let advance = || {
        done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let measured = simulate(&spec, 1, &advance, &|| count() == 1);
    assert!(measured.interrupted);
    assert_eq!(detections(&measured).count(), 1);
}
