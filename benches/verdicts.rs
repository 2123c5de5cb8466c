//! How often a comparison is wrong, beside the rule of benchstat: a rank test of the runs' medians at 5 %, without a tolerance.
//!
//! Two sides of ten runs, a thousand pairs of each kind; every run is of 400 attempts or more.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and stops where it cannot go on"
)]

use offloadctl::model::{Counts, Histogram, Interval, Labels, Moments, Run, Series, Summary, Variation};
use offloadctl::model::{RUN_SCHEMA, Verdict};
use offloadctl::stats::{Gate, Policy, compare};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const RUNS: usize = 10;

/// One kind of pair: how much attempts depend on the one before, how runs differ, and what the second side is.
struct Kind {
    name: &'static str,
    memory: f64,
    between: f64,
    factor: f64,
    slow: f64,
    attempts: usize,
    gate: Option<&'static str>,
    tolerance: f64,
    pairs: u64,
}

const SAME: Kind = Kind {
    name: "identical",
    memory: 0.0,
    // With what the sampling of a median adds, two per cent of noise.
    between: 0.019,
    factor: 1.0,
    slow: 0.0,
    attempts: 400,
    gate: None,
    tolerance: 0.05,
    pairs: 1_000,
};

const KINDS: [Kind; 6] = [
    SAME,
    Kind { name: "identical, attempts depend on each other", memory: 0.95, ..SAME },
    Kind { name: "identical, p99", memory: 0.95, gate: Some("rtt.echo.p99 > 1s"), attempts: 500, pairs: 200, ..SAME },
    Kind { name: "10 % slower", factor: 1.1, ..SAME },
    Kind { name: "5 % slower, tolerance 2 %", factor: 1.05, tolerance: 0.02, ..SAME },
    Kind {
        name: "2 % of attempts ten times slower, p99",
        slow: 0.02,
        gate: Some("rtt.echo.p99 > 1s"),
        attempts: 500,
        pairs: 200,
        ..SAME
    },
];

fn main() {
    println!("{:<44} {:>6} {:>12} {:>12}", "pairs of ten runs a side", "pairs", "regression", "rank test");
    for kind in KINDS {
        let (mut ours, mut theirs) = (0, 0);
        for seed in 0..kind.pairs {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let baseline: Vec<Run> = (0..RUNS).map(|_| run(&kind, 1.0, 0.0, &mut random)).collect();
            let current: Vec<Run> = (0..RUNS).map(|_| run(&kind, kind.factor, kind.slow, &mut random)).collect();
            let gates: Vec<Gate> = kind.gate.iter().map(|gate| gate.parse().unwrap()).collect();
            let policy = Policy { tolerance: kind.tolerance, gates: &gates, seed };
            let verdict = compare(&baseline, &current, &policy, |_| None).all[0].verdict;
            ours += u64::from(verdict == Verdict::Regression);
            theirs += u64::from(is_higher_by_ranks(&medians(&baseline), &medians(&current)));
        }
        let share = |n: u64| format!("{:.1} %", n as f64 / kind.pairs as f64 * 100.0);
        println!("{:<44} {:>6} {:>12} {:>12}", kind.name, kind.pairs, share(ours), share(theirs));
    }
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}

fn run(kind: &Kind, factor: f64, slow: f64, random: &mut ChaCha8Rng) -> Run {
    let level = 1e6 * factor * (1.0 + kind.between * normal(random));
    let (mut deviation, fresh) = (0.0, (1.0 - kind.memory * kind.memory).sqrt());
    let (mut whole, mut moments, mut timeline) = (Histogram::new(), Moments::default(), Vec::new());
    for block in 0..kind.attempts / 50 {
        let mut histogram = Histogram::new();
        for _ in 0..50 {
            deviation = kind.memory * deviation + fresh * normal(random);
            let times = if random.random::<f64>() < slow { 10.0 } else { 1.0 };
            let ns = (level * (1.0 + 0.1 * deviation).max(0.1) * times) as u64;
            histogram.record(ns);
            whole.record(ns);
            moments.push(ns);
        }
        let counts = Counts { attempt_count: 50, ok_count: 50, ..Counts::default() };
        timeline.push(Interval { start_ns: block as u64 * 1_000_000_000, width_ns: 1_000_000_000, counts, histogram });
    }
    let n = whole.len();
    let counts = Counts { attempt_count: n, ok_count: n, ..Counts::default() };
    let series = Series {
        name: "rtt.echo".to_owned(),
        labels: Labels::new().with("target", "far"),
        counts,
        timeout_ns: Some(1_000_000_000),
        summary: Summary::of(&whole, &moments, &counts, &Variation::default()),
        histogram: whole,
        timeline,
        ..Series::default()
    };
    let empty = serde_json::json!({
        "schema": RUN_SCHEMA, "id": "a", "command": "probe rtt", "spec": null, "spec_hash": "", "seed": null, "version": "",
        "started_at": "2026-11-27T00:00:00Z", "elapsed_ns": 1, "complete": true, "validity": {"valid": true, "reasons": []},
        "environment": offloadctl::model::Environment::default(), "self_cost": offloadctl::model::SelfCost::default(),
        "warnings": [], "series": [], "scalars": [], "findings": []
    });
    Run { series: vec![series], ..serde_json::from_value(empty).unwrap() }
}

fn medians(runs: &[Run]) -> Vec<f64> {
    runs.iter()
        .map(|run| run.series[0].histogram.value_at_rank(run.series[0].counts.ok_count / 2).unwrap() as f64)
        .collect()
}

/// Mann and Whitney's test, two-sided at 5 % by its normal approximation, of which the upward half is a regression.
fn is_higher_by_ranks(baseline: &[f64], current: &[f64]) -> bool {
    let (n, m) = (baseline.len() as f64, current.len() as f64);
    let above = |a: &f64| {
        current
            .iter()
            .map(|b| {
                if b > a {
                    1.0
                } else if b == a {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>()
    };
    let u: f64 = baseline.iter().map(above).sum();
    (u - n * m / 2.0 - 0.5) / (n * m * (n + m + 1.0) / 12.0).sqrt() > 1.96
}
