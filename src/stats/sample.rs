//! Hand-made series and runs for the tests of this folder.
//!
//! Separate because gates and merging are tried on the same ones.

use crate::model::{
    Counts, Environment, Histogram, Labels, Moments, RUN_SCHEMA, Run, SelfCost, Series, Summary, Validity, Variation,
    WallTime,
};

/// A series of these answers and so many lost attempts.
pub fn series(name: &str, target: &str, values: &[u64], lost: u64) -> Series {
    let (mut histogram, mut moments) = (Histogram::new(), Moments::default());
    for value in values {
        histogram.record(*value);
        moments.push(*value);
    }
    let ok_count = values.len() as u64;
    let counts = Counts { attempt_count: ok_count + lost, ok_count, lost_count: lost, ..Counts::default() };
    Series {
        name: name.to_owned(),
        labels: Labels::new().with("target", target),
        counts,
        timeout_ns: Some(1_000_000_000),
        summary: Summary::of(&histogram, &moments, &counts, &Variation::default()),
        histogram,
        ..Series::default()
    }
}

/// A valid and complete run of these series.
pub fn run(id: &str, series: Vec<Series>) -> Run {
    Run {
        schema: RUN_SCHEMA.to_owned(),
        id: id.to_owned(),
        command: "probe rtt".to_owned(),
        spec: serde_json::Value::Null,
        spec_hash: "same".to_owned(),
        started_at: WallTime::from_unix_nanos(1_790_000_000_000_000_000),
        elapsed_ns: 1_000_000_000,
        complete: true,
        answer: None,
        validity: Validity::default(),
        seed: Some(1),
        version: "0.1.0".to_owned(),
        labels: std::collections::BTreeMap::new(),
        merged_from: Vec::new(),
        environment: Environment::default(),
        self_cost: SelfCost::default(),
        warnings: Vec::new(),
        series,
        scalars: Vec::new(),
        findings: Vec::new(),
    }
}
