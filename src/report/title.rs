//! The lines above a run: whether it can be trusted at all, then what it was.
//!
//! Separate because an invalid or interrupted run must say so first, in every format for people.

use serde_json::Value;

use super::text::clean;
use super::unit;
use crate::model::Run;

/// What must be known before any figure is read.
pub fn alarms(run: &Run) -> Vec<String> {
    let invalid = (!run.validity.valid).then(|| {
        let reasons = clean(&run.validity.reasons.join("; "));
        format!("INVALID: {reasons}")
    });
    let incomplete = (!run.complete).then(|| match run.elapsed_ns {
        0 => "INCOMPLETE (interrupted): nothing was measured".to_owned(),
        elapsed => format!("INCOMPLETE (interrupted): the figures cover the {} until then", unit::duration(elapsed)),
    });
    let is_simulated = run.spec.get("mode").is_some_and(|mode| mode == "simulated");
    let simulated = is_simulated.then(|| "SIMULATION on a virtual clock: nothing was sent over a network".to_owned());
    simulated.into_iter().chain(invalid).chain(incomplete).collect()
}

/// What was run, when, for how long, with which load and seed.
pub fn title(run: &Run) -> String {
    let merged = run.merged_from.len();
    let parts = [
        Some(run.command.clone()),
        Some(run.started_at.to_string()),
        Some(unit::duration(run.elapsed_ns)),
        arrival(&run.spec),
        run.seed.map(|seed| format!("seed {seed}")),
        (merged > 0).then(|| format!("merged from {merged} runs")),
        labels(run),
    ];
    clean(&parts.into_iter().flatten().collect::<Vec<_>>().join(" · "))
}

fn arrival(spec: &Value) -> Option<String> {
    let arrival = spec.get("load")?.get("arrival")?;
    match arrival.get("loop")?.as_str()? {
        "open" => {
            let rate = arrival.get("rate")?.as_str()?;
            let is_poisson = arrival.get("spacing").and_then(Value::as_str) == Some("poisson");
            let spacing = if is_poisson { ", Poisson" } else { "" };
            Some(format!("open loop {rate} per target and channel{spacing}"))
        }
        _ => {
            let concurrency = arrival.get("concurrency")?.as_u64()?;
            Some(format!("closed loop, {concurrency} in flight per target and channel"))
        }
    }
}

fn labels(run: &Run) -> Option<String> {
    let pairs: Vec<String> = run.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    (!pairs.is_empty()).then(|| pairs.join(" "))
}
