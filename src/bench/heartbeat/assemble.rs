//! From the outcomes of the trials to series, scalars and findings.

use super::choice::{Loosen, Offer, is_unbeaten};
use super::spec::{Cell, HeartbeatSpec};
use super::trial::{Outcome, Spans};
use super::{formula, poisson, reference};
use crate::detect::Rule;
use crate::model::shell::word;
use crate::model::{Advice, Finding, Labels, Measured, Scalar, Series, Severity, Warning};

const NANOS_PER_HOUR: f64 = 3.6e12;
const NANOS_PER_DAY: f64 = 8.64e13;

/// Settings named in a sentence.
const NAMED: usize = 4;

/// Everything that the outcomes say.
pub fn measured(spec: &HeartbeatSpec, results: &[(&Cell, Outcome)]) -> Measured {
    let mut measured = Measured::default();
    for (cell, outcome) in results {
        let labels = labels(cell);
        measured.series.push(series("heartbeat.detection", &labels, &outcome.detection));
        measured.series.push(series("heartbeat.mistake_duration", &labels, &outcome.mistakes));
        measured.scalars.extend(scalars(spec, cell, outcome, &labels));
    }
    measured.scalars.extend(unbeaten_flags(spec, results));
    measured.findings = findings(spec, results);
    measured.warnings = warnings(spec, results);
    let beat_count: u64 = results.iter().map(|(_, outcome)| outcome.beat_count).sum();
    measured.scalars.push(Scalar::new("heartbeat.simulated_beats", &Labels::new(), "count", beat_count as f64));
    measured
}

fn labels(cell: &Cell) -> Labels {
    Labels::new()
        .with("interval", &humantime::format_duration(cell.interval).to_string())
        .with("detector", &cell.detector.to_string())
        .with("network", &cell.network.name)
        .with("mode", "simulated")
}

fn series(name: &str, labels: &Labels, spans: &Spans) -> Series {
    Series::of_spans(name, labels.clone(), spans.histogram.clone(), &spans.moments)
}

fn scalars(spec: &HeartbeatSpec, cell: &Cell, outcome: &Outcome, labels: &Labels) -> Vec<Scalar> {
    let scalar =
        |name: &str, unit: &str, value: Option<f64>| Scalar::new(format!("heartbeat.{name}"), labels, unit, value);
    let formula = formula::of(cell);
    let rate = MistakeRate::of(outcome);
    let published = reference::of(cell.interval);
    let mut all = vec![
        scalar("messages_per_h", "per_h", messages_per_h(outcome)),
        scalar("network_bytes_per_h", "bytes_per_h", bytes_per_h(spec, outcome)),
        scalar("mistakes_per_day", "per_day", rate.seen),
        scalar("mistakes_per_day_low", "per_day", rate.low),
        scalar("mistakes_per_day_high", "per_day", rate.high),
        scalar("query_accuracy", "ratio", accuracy(outcome)),
        scalar("formula_mean", "ns", formula.map(|formula| formula.mean_ns)),
        scalar("formula_worst", "ns", formula.map(|formula| formula.worst_ns)),
        scalar("reference_mean", "ns", published.map(|published| published.mean_ns)),
        scalar("reference_bytes_per_h", "bytes_per_h", published.map(|published| published.bytes_per_h)),
    ];
    if outcome.already_count > 0 {
        let share = outcome.already_count as f64 / outcome.detection.histogram.len() as f64;
        all.push(scalar("already_suspected_ratio", "ratio", Some(share)));
    }
    if let Some(nodes) = spec.nodes {
        let per_s = messages_per_h(outcome).map(|per_h| per_h / 3600.0 * nodes as f64);
        // A lease is an object of the store, written with every renewal; our gateway writes a transition only, of which
        // each mistake makes two.
        let gateway = rate.high.map(|high| 2.0 * high * nodes as f64 / 86_400.0);
        all.push(scalar("received", "per_s", per_s));
        all.push(scalar("lease_writes", "per_s", per_s));
        all.push(scalar("gateway_writes", "per_s", gateway));
    }
    all
}

fn messages_per_h(outcome: &Outcome) -> Option<f64> {
    (outcome.watched_ns > 0).then(|| outcome.watched_beats as f64 * NANOS_PER_HOUR / outcome.watched_ns as f64)
}

fn bytes_per_h(spec: &HeartbeatSpec, outcome: &Outcome) -> Option<f64> {
    messages_per_h(outcome).map(|messages| messages * spec.heartbeat_bytes as f64)
}

fn accuracy(outcome: &Outcome) -> Option<f64> {
    (outcome.watched_ns > 0).then(|| 1.0 - outcome.mistaken_ns as f64 / outcome.watched_ns as f64)
}

/// Mistakes a day and node: none seen is no rate, but it has an upper bound.
struct MistakeRate {
    seen: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

impl MistakeRate {
    fn of(outcome: &Outcome) -> Self {
        let days = outcome.watched_ns as f64 / NANOS_PER_DAY;
        let (low, high) = poisson::interval(outcome.mistake_count);
        let a_day = |count: f64| (days > 0.0).then(|| count / days);
        let seen = (outcome.mistake_count > 0).then_some(outcome.mistake_count as f64);
        Self { seen: seen.and_then(a_day), low: low.and_then(a_day), high: high.and_then(a_day) }
    }
}

fn offer(spec: &HeartbeatSpec, outcome: &Outcome) -> Option<Offer> {
    let rate = MistakeRate::of(outcome);
    Some(Offer {
        detection_ns: outcome.detection.moments.mean(),
        mistakes_per_day: rate.seen.unwrap_or(0.0),
        mistakes_upper: rate.high?,
        bytes_per_h: bytes_per_h(spec, outcome)?,
    })
}

/// What the settings offer, one network at a time: settings of different networks are no choice.
fn offers_by_network<'a>(
    spec: &'a HeartbeatSpec,
    results: &'a [(&Cell, Outcome)],
) -> impl Iterator<Item = (&'a str, Vec<(&'a Cell, Offer)>)> {
    spec.networks.iter().map(move |network| {
        let here = results.iter().filter(|(cell, _)| cell.network.name == network.name);
        (network.name.as_str(), here.filter_map(|(cell, outcome)| Some((*cell, offer(spec, outcome)?))).collect())
    })
}

/// 1 for settings that no other beats, so that reports need not work it out.
fn unbeaten_flags(spec: &HeartbeatSpec, results: &[(&Cell, Outcome)]) -> Vec<Scalar> {
    let mut all = Vec::new();
    for (_, here) in offers_by_network(spec, results) {
        let offers: Vec<Offer> = here.iter().map(|(_, offer)| *offer).collect();
        all.extend(here.iter().enumerate().map(|(at, (cell, _))| {
            let is_unbeaten = f64::from(u8::from(is_unbeaten(at, &offers)));
            Scalar::new("heartbeat.unbeaten", &labels(cell), "count", is_unbeaten)
        }));
    }
    all
}

fn findings(spec: &HeartbeatSpec, results: &[(&Cell, Outcome)]) -> Vec<Finding> {
    let mut all = Vec::new();
    for (network, here) in offers_by_network(spec, results) {
        let offers: Vec<Offer> = here.iter().map(|(_, offer)| *offer).collect();
        all.extend(unbeaten(network, &here, &offers));
        if spec.goal.is_set() && !here.is_empty() {
            all.push(chosen(spec, network, &here, &offers));
        }
    }
    all.push(law());
    all
}

fn unbeaten(network: &str, here: &[(&Cell, Offer)], offers: &[Offer]) -> Option<Finding> {
    let best: Vec<usize> = (0..offers.len()).filter(|at| is_unbeaten(*at, offers)).collect();
    let evidence = best.iter().map(|at| describe(&here[*at])).collect();
    let text = format!(
        "on {network} {} of {} settings are beaten by no other in detection, mistakes and cost together",
        best.len(),
        here.len()
    );
    (here.len() > 1).then(|| Finding::new("pareto_set", Severity::Info, text).with_evidence(evidence))
}

fn chosen(spec: &HeartbeatSpec, network: &str, here: &[(&Cell, Offer)], offers: &[Offer]) -> Finding {
    let HeartbeatSpec { goal, condition, .. } = spec;
    match goal.cheapest(offers) {
        Some(at) => {
            let (cell, _) = &here[at];
            let interval = humantime::format_duration(cell.interval);
            let text = format!(
                "on {network} the cheapest setting that meets all is an interval of {interval} with {}",
                cell.detector
            );
            let verify = format!(
                "offloadctl bench heartbeat --interval {} --detector {} --network {}{condition}",
                word(&interval),
                word(&cell.detector),
                word(network)
            );
            let advice = format!("set the interval to {interval} and the detector to {}", cell.detector);
            Finding::new("cheapest_setting", Severity::Info, text)
                .with_evidence(vec![describe(&here[at])])
                .with_advice(Advice::new(advice, verify))
        }
        None => {
            let ways: Vec<String> = goal.loosen(offers).iter().take(NAMED).map(loosen_text).collect();
            let advice = match ways.as_slice() {
                [] => "no single bound is enough to loosen: add shorter intervals or other detectors".to_owned(),
                ways => ways.join(", or "),
            };
            let text = format!("on {network} no setting meets all that was asked for");
            Finding::new("no_setting", Severity::Notice, text).with_advice(Advice::new(advice, None))
        }
    }
}

fn loosen_text(loosen: &Loosen) -> String {
    match loosen {
        Loosen::Detection(span) => format!("loosen --target-detection to {:.2}s", span.as_secs_f64()),
        Loosen::Mistakes(rate) => format!(
            "loosen --max-mistakes to {}/day (or watch longer with --mistake-beats: it is an upper bound)",
            // Rounded up: the bound that is named must do.
            rare(if *rate < 0.01 { rate * 1.05 } else { rate + 0.0005 })
        ),
        Loosen::Cost(bytes) => format!("loosen --max-cost to {:.0}KB/h", bytes / 1000.0),
    }
}

fn describe((cell, offer): &(&Cell, Offer)) -> String {
    let mistakes = match offer.mistakes_per_day {
        0.0 => format!("below {} mistakes a day", rare(offer.mistakes_upper)),
        rate => format!("{} mistakes a day", rare(rate)),
    };
    let interval = humantime::format_duration(cell.interval);
    let (detection, cost) = (offer.detection_ns / 1e9, offer.bytes_per_h / 1000.0);
    format!("{interval} {}: detected after {detection:.2} s, {mistakes}, {cost:.0} KB/h", cell.detector)
}

/// A rate that may be far below one, and is not nothing for that.
fn rare(rate: f64) -> String {
    if rate < 0.01 { format!("{rate:.1e}") } else { format!("{rate:.3}") }
}

fn law() -> Finding {
    let text = "the reference figures follow two laws: detection of 1.5 intervals, which is two missed in a row, and 200 bytes a heartbeat; three missed in a row give 2.5 intervals";
    Finding::new("reference_law", Severity::Info, text)
}

fn warnings(spec: &HeartbeatSpec, results: &[(&Cell, Outcome)]) -> Vec<Warning> {
    let assumed =
        format!("a heartbeat is assumed to be {} bytes on the wire; it was not measured", spec.heartbeat_bytes);
    let mut all = vec![Warning::new("assumed_bytes", assumed)];
    all.extend(unfinished(spec, results));
    let margins: Vec<String> = spec
        .networks
        .iter()
        .filter(|network| !network.margin.is_zero())
        .map(|network| format!("{:.3} ms on {}", network.margin.as_secs_f64() * 1e3, network.name))
        .collect();
    let takes_margin =
        spec.detectors.iter().any(|detector| matches!(detector.rule, Rule::Missed { .. }) && !detector.has_margin);
    if takes_margin && !margins.is_empty() {
        let text = format!(
            "missed detectors without a margin of their own have the network's p99.9 above its minimum: {}",
            margins.join(", ")
        );
        all.push(Warning::new("margin_of_network", text));
    }
    if results.iter().any(|(_, outcome)| outcome.mistake_count == 0) {
        let text = "where no mistake was seen, its rate is unknown and only an upper bound is given; --mistake-beats watches longer".to_owned();
        all.push(Warning::new("rate_not_seen", text));
    }
    all
}

/// What is missing of a run that was stopped.
fn unfinished(spec: &HeartbeatSpec, results: &[(&Cell, Outcome)]) -> Option<Warning> {
    let (planned, partial) = (spec.cells().len(), results.iter().filter(|(_, outcome)| outcome.is_partial).count());
    let whole = results.len() - partial;
    let text = format!(
        "interrupted: {whole} of {planned} settings are whole, of {partial} there is what was simulated until then, and {} are missing",
        planned - results.len()
    );
    (whole < planned).then(|| Warning::new("interrupted", text))
}
