//! Hand-made runs: one that is whole, one that was interrupted, one whose target never answered.
//!
//! Separate from the tests because `fixtures/run` holds the same three runs as files; see the note on their origin there.

use std::time::Duration;

use offloadctl::model::{
    Advice, Clock, Counts, Environment, Finding, Histogram, Labels, Moments, Outcome, RUN_SCHEMA, Reference, Role, Run,
    Scalar, SelfCost, Series, Severity, Stamp, Summary, Timeline, Unit, Validity, Variation, WallTime, Warning,
};
use serde_json::json;

const MILLISECOND: u64 = 1_000_000;

/// The gap of the plan: ten starts a second.
const GAP: Duration = Duration::from_millis(100);

/// The three runs by the name of their file.
pub fn all() -> [(&'static str, Run); 3] {
    [("complete", complete()), ("incomplete", incomplete()), ("total-silence", total_silence())]
}

/// A run to its planned end: 1000 attempts, four of them lost in a row, and each kind of entry once.
pub fn complete() -> Run {
    let outcome = |n: u64| if (500..504).contains(&n) { Outcome::Lost } else { Outcome::Ok };
    let response = series("rtt.echo", 1000, outcome, 0);
    let service = Series {
        timeline: Vec::new(),
        outages: Vec::new(),
        outage_count: 0,
        ..series("rtt.echo.service", 1000, outcome, 40_000)
    };
    let advice = Advice::new(
        "raise `--timeout` to 500 ms to tell a late answer from none",
        "offloadctl probe rtt dc --timeout 500ms".to_owned(),
    );
    let finding = Finding::new("outage", Severity::Problem, "the target was silent for 400 ms")
        .with_evidence(vec!["4 attempts in a row were lost".to_owned()])
        .with_advice(advice);
    Run {
        series: vec![response, service],
        scalars: vec![Scalar {
            name: "rtt.echo.throughput".to_owned(),
            labels: target(),
            unit: "per_s".to_owned(),
            value: Some(9.96),
        }],
        findings: vec![finding],
        warnings: vec![Warning::new("debug_build", "this is a debug build: it measures itself as much as the target")],
        ..run("complete", 0, 1000)
    }
}

/// A run that was stopped in its third second, with an attempt of every outcome and one that was never started.
pub fn incomplete() -> Run {
    let outcome = |n: u64| match n {
        7 => Outcome::Refused,
        11 | 12 => Outcome::Failed("reset"),
        19 => Outcome::Lost,
        _ => Outcome::Ok,
    };
    let mut response = Series { reference: None, ..series("rtt.echo", 25, outcome, 0) };
    response.counts.skipped_count = 1;
    response.timeline[2].counts.skipped_count = 1;
    Run {
        complete: false,
        validity: Validity { valid: false, reasons: vec!["96.2 % of the planned attempts were started".to_owned()] },
        series: vec![response],
        seed: None,
        ..run("incomplete", 300, 25)
    }
}

/// A run whose target never answered.
pub fn total_silence() -> Run {
    Run { series: vec![series("rtt.echo", 50, |_| Outcome::Lost, 0)], ..run("silence", 900, 50) }
}

fn target() -> Labels {
    Labels::new().with("target", "dc")
}

/// A run without series that began so many seconds after a quarter past nine.
fn run(name: &str, second: i128, attempts: u64) -> Run {
    let started_at = WallTime::from_unix_nanos((1_773_479_700 + second) * 1_000_000_000 + 250_000_000);
    Run {
        schema: RUN_SCHEMA.to_owned(),
        id: format!("{}-{name}", started_at.compact()),
        command: "probe rtt".to_owned(),
        spec: json!({ "targets": [{ "name": "dc", "address": "192.0.2.10:7007" }], "load": { "timeout_ns": 200 * MILLISECOND } }),
        spec_hash: "6b1f0c6f6f0f4f54".to_owned(),
        started_at,
        elapsed_ns: attempts * 100 * MILLISECOND,
        complete: true,
        answer: None,
        validity: Validity::default(),
        seed: Some(7),
        version: "0.1.0".to_owned(),
        labels: [("site".to_owned(), "lab".to_owned())].into(),
        merged_from: Vec::new(),
        environment: environment(),
        self_cost: SelfCost {
            cpu_user_ns: Some(81 * MILLISECOND),
            cpu_system_ns: Some(64 * MILLISECOND),
            ..SelfCost::default()
        },
        warnings: Vec::new(),
        series: Vec::new(),
        scalars: Vec::new(),
        findings: Vec::new(),
    }
}

fn environment() -> Environment {
    Environment {
        hostname: Some("lab".to_owned()),
        platform: "linux x86_64".to_owned(),
        kernel: Some("6.12.0".to_owned()),
        cpu_model: Some("a processor".to_owned()),
        cpu_count: Some(2),
        cpu_governor: None,
        memory_bytes: Some(4 << 30),
        clocksource: Some("tsc".to_owned()),
        clock_resolution_ns: Some(1),
        virtualised: Some(true),
        load_average: Some(0.25),
        build: "debug".to_owned(),
    }
}

/// A series of attempts whose latency walks between 1.2 and 2.2 ms, less `saved_ns`.
fn series(name: &str, attempts: u64, outcome: impl Fn(u64) -> Outcome, saved_ns: u64) -> Series {
    let mut series = Series {
        name: name.to_owned(),
        role: Role::of_name(name, false),
        labels: target(),
        unit: Unit::Ns,
        clock: Clock::User,
        timeout_ns: Some(200 * MILLISECOND),
        reference: Some(Reference { mean_ns: 1_200_000, p95_ns: 2_800_000, jitter_ns: 500_000 }),
        ..Series::default()
    };
    let (mut counts, mut moments, mut variation) = (Counts::default(), Moments::default(), Variation::default());
    let (mut histogram, mut timeline) = (Histogram::new(), Timeline::new(Stamp::from_nanos(0), 16));
    let mut planned = Stamp::from_nanos(0);
    for n in 0..attempts {
        let outcome = outcome(n);
        let latency_ns = (outcome == Outcome::Ok).then_some(1_200_000 + (n * 7919) % 1000 * 1000 - saved_ns);
        counts.add(outcome);
        timeline.push(planned, outcome, latency_ns);
        if let Outcome::Failed(kind) = outcome {
            *series.failure_kinds.entry(kind.to_owned()).or_default() += 1;
        }
        if let Some(latency_ns) = latency_ns {
            histogram.record(latency_ns);
            moments.push(latency_ns);
            variation.push(n, latency_ns);
        }
        planned = planned + GAP;
    }
    series.summary = Summary::of(&histogram, &moments, &counts, &variation);
    (series.timeline, series.outages, series.outage_count) = timeline.into_parts();
    Series { counts, histogram, ..series }
}
