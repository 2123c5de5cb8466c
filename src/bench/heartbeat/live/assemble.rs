//! From what was seen of each cell to series, scalars, findings and warnings.
//!
//! Separate from the run because it only computes: the same cells give the same document.

use std::collections::HashMap;
use std::ops::Sub;
use std::time::Duration;

use super::machine;
use super::spec::{LiveCell, LiveSpec};
use crate::bench::heartbeat::formula::{self, Formula};
use crate::bench::heartbeat::reference::{self, Reference};
use crate::bench::heartbeat::{Cell, Network};
use crate::detect::{Rule, silence_ns};
use crate::model::span::nanos;
use crate::model::{
    Counts, Finding, Histogram, Labels, Measured, Moments, NORMAL_975, Outcome, Scalar, Series, Severity, Stamp,
    Summary, Variation, Warning,
};
use crate::sys::socket_table::Traffic;

/// Reports that are kept to be matched with their arrival; a run of an hour has fewer.
const MOST_REPORTS: usize = 1 << 17;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// Heartbeats and their bytes without TLS and framing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload {
    /// How many.
    pub beats: f64,
    /// Bytes of all of them.
    pub bytes: f64,
}

impl Sub for Payload {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { beats: self.beats - before.beats, bytes: self.bytes - before.bytes }
    }
}

/// What was seen beside the nodes.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of each cell.
    pub cells: Vec<SeenCell>,
    /// Of all heartbeats together.
    pub payload: Option<Payload>,
    /// Why reports of our own ended.
    pub not_stored: Option<String>,
    /// When the last agent had come: reports before that met a gateway that is busy with handshakes.
    pub connected_at: Option<Stamp>,
    reports: HashMap<u64, (Stamp, Stamp)>,
    arrivals: HashMap<u64, Stamp>,
}

/// What was seen of one cell.
#[derive(Clone, Copy, Debug)]
pub struct SeenCell {
    cell: LiveCell,
    /// What had passed when the count began.
    pub before: Option<(Stamp, Traffic)>,
    /// The same right before the fault.
    pub after: Option<(Stamp, Traffic)>,
}

/// Bytes a node and hour.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wire {
    sent: f64,
    received: f64,
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub fn of(cells: &[LiveCell]) -> Self {
        let cells = cells.iter().map(|cell| SeenCell { cell: *cell, before: None, after: None }).collect();
        Self { cells, ..Self::default() }
    }

    /// A report of ours has its receipt.
    pub fn stored(&mut self, revision: u64, sent: Stamp, answered: Stamp) {
        if self.reports.len() < MOST_REPORTS {
            self.reports.insert(revision, (sent, answered));
        }
    }

    /// The change of a task has arrived.
    pub fn arrived(&mut self, revision: u64, at: Stamp) {
        if self.arrivals.len() < MOST_REPORTS {
            self.arrivals.insert(revision, at);
        }
    }

    /// The reports that count.
    fn reports(&self) -> impl Iterator<Item = (u64, Stamp, Stamp)> {
        let all = self.reports.iter().map(|(revision, (sent, answered))| (*revision, *sent, *answered));
        all.filter(|(_, sent, _)| self.connected_at.is_some_and(|connected| *sent >= connected))
    }

    fn stored_spans(&self) -> Vec<u64> {
        self.reports().map(|(_, sent, answered)| answered.nanos_since(sent)).collect()
    }

    fn seen_spans(&self) -> Vec<u64> {
        let arrival = |(revision, sent, _)| Some(self.arrivals.get(&revision)?.nanos_since(sent));
        self.reports().filter_map(arrival).collect()
    }
}

impl SeenCell {
    /// What a node sends and receives in an hour, by what the connections of all of them carried meanwhile; `None` where some
    /// were not there all the time.
    fn wire(&self, nodes: u64) -> Option<Wire> {
        let ((from, before), (to, after)) = self.before.zip(self.after)?;
        let all = nodes == before.connection_count && nodes == after.connection_count;
        let hours = to.since(from).as_secs_f64() / SECONDS_PER_HOUR;
        let an_hour = |before: u64, after: u64| Some(after.checked_sub(before)? as f64 / nodes as f64 / hours);
        let (sent, received) =
            (an_hour(before.sent_bytes, after.sent_bytes)?, an_hour(before.received_bytes, after.received_bytes)?);
        (all && hours > 0.0).then_some(Wire { sent, received })
    }

    /// Half of the mean round trip of its connections.
    fn one_way_ns(&self) -> Option<f64> {
        let (_, traffic) = self.after?;
        (traffic.connection_count > 0).then(|| traffic.rtt_sum_ns as f64 / traffic.connection_count as f64 / 2.0)
    }
}

/// Everything that was seen.
pub fn measured(spec: &LiveSpec, seen: &Seen, cells: &[machine::Cell], interrupted: bool) -> Measured {
    let mut measured = Measured { interrupted, ..Measured::default() };
    let (stored, arrived) = (seen.stored_spans(), seen.seen_spans());
    let delay = mean(&arrived);
    for (seen_cell, cell) in seen.cells.iter().zip(cells) {
        if cell.faulted_at.is_none() {
            continue;
        }
        let found = Found::of(spec, seen_cell, cell);
        let delay = delay.or(seen_cell.one_way_ns());
        measured.scalars.extend(found.scalars(spec, seen, seen_cell, cell));
        measured.scalars.extend(
            found.holds(delay).map(|holds| found.scalar("formula_holds", "count", Some(f64::from(u8::from(holds))))),
        );
        measured.findings.extend(found.verdict(seen_cell, delay));
        measured.series.push(found.series);
    }
    let target = Labels::new().with("network", network(spec)).with("mode", "live");
    for (name, spans) in [("heartbeat.change_stored", stored), ("heartbeat.change_seen", arrived)] {
        if !spans.is_empty() {
            measured.series.push(series(name, &target, spans.into_iter().map(Some), None));
        }
    }
    measured.scalars.extend(payload(seen).map(|bytes| Scalar::new("heartbeat.payload", &target, "bytes", bytes)));
    measured.warnings = warnings(spec, seen, cells, interrupted);
    measured
}

/// What the detections of one cell come to.
struct Found {
    labels: Labels,
    series: Series,
    /// The 95 % interval of their mean.
    interval: Option<(f64, f64)>,
    formula: Option<Formula>,
    /// The width of what one moment of a lease leaves open: all nodes of a gateway die at the same one.
    kept: Option<f64>,
}

impl Found {
    fn of(spec: &LiveSpec, seen: &SeenCell, cell: &machine::Cell) -> Self {
        let labels = Labels::new()
            .with("interval", &humantime::format_duration(seen.cell.interval).to_string())
            .with("detector", &spec.detector.to_string())
            .with("network", network(spec))
            .with("mode", "live")
            .with("fault", seen.cell.fault.name());
        // Of a cell that was stopped, the nodes that were not noticed yet are not lost.
        let detections = cell.detections().filter(|found| found.is_some() || cell.is_whole());
        let silence = spec.longest_silence(seen.cell.interval);
        let series = series("heartbeat.detection", &labels, detections, Some(silence));
        let kept = spec.kept_by_the_dead(seen.cell.fault);
        let formula = match kept {
            // Taken over, it is watched as if just heard: no phase is left, and the lease alone makes a difference.
            Some((least, most)) => {
                let silence = silence_ns(&spec.detector, LiveSpec::written(seen.cell.interval));
                let (least, most) = (least.as_nanos() as f64, most.as_nanos() as f64);
                Some(Formula { mean_ns: f64::midpoint(least, most) + silence, worst_ns: most + silence })
            }
            None => formula::of(&Cell {
                interval: seen.cell.interval,
                detector: spec.detector.clone(),
                network: Network::ideal(),
            }),
        };
        let kept = kept.map(|(least, most)| (most - least).as_nanos() as f64);
        Self { labels, interval: interval(&series), series, formula, kept }
    }

    fn scalars(&self, spec: &LiveSpec, seen: &Seen, cell: &SeenCell, machine: &machine::Cell) -> Vec<Scalar> {
        let wire = cell.wire(spec.nodes);
        let published: Option<Reference> = reference::of(cell.cell.interval);
        let beats_per_h = SECONDS_PER_HOUR / cell.cell.interval.as_secs_f64();
        let figures = [
            ("mean_low", "ns", self.interval.map(|(low, _)| low)),
            ("mean_high", "ns", self.interval.map(|(_, high)| high)),
            ("payload_bytes_per_h", "bytes_per_h", payload(seen).map(|bytes| bytes * beats_per_h)),
            ("sent_bytes_per_h", "bytes_per_h", wire.map(|wire| wire.sent)),
            ("received_bytes_per_h", "bytes_per_h", wire.map(|wire| wire.received)),
            ("network_bytes_per_h", "bytes_per_h", wire.map(|wire| wire.sent + wire.received)),
            ("mistakes", "count", Some(machine.mistake_count as f64)),
            ("formula_mean", "ns", self.formula.map(|formula| formula.mean_ns)),
            ("formula_worst", "ns", self.formula.map(|formula| formula.worst_ns)),
            ("reference_mean", "ns", published.map(|published| published.mean_ns)),
            ("reference_bytes_per_h", "bytes_per_h", published.map(|published| published.bytes_per_h)),
        ];
        figures.into_iter().map(|(name, unit, value)| self.scalar(name, unit, value)).collect()
    }

    fn scalar(&self, name: &str, unit: &str, value: Option<f64>) -> Scalar {
        Scalar::new(format!("heartbeat.{name}"), &self.labels, unit, value)
    }

    /// Whether the mean of the formula lies within the interval of the measured mean, widened by the measured delay.
    fn holds(&self, delay: Option<f64>) -> Option<bool> {
        let ((low, high), formula) = self.interval.zip(self.formula)?;
        let delay = delay.unwrap_or(0.0);
        if let Some(kept) = self.kept {
            let (least, most) = (formula.worst_ns - kept, formula.worst_ns);
            return Some(low + delay >= least && high <= most + delay);
        }
        Some((low - delay..=high + delay).contains(&formula.mean_ns))
    }

    fn verdict(&self, cell: &SeenCell, delay: Option<f64>) -> Option<Finding> {
        let ((low, high), formula) = self.interval.zip(self.formula)?;
        let is_within = self.holds(delay)?;
        let s = |ns: f64| format!("{:.3} s", ns / 1e9);
        let (id, severity, word) = match is_within {
            true => ("formula_holds", Severity::Info, "within"),
            false => ("formula_fails", Severity::Notice, "outside of"),
        };
        if let Some(kept) = self.kept {
            let text = format!(
                "{}, {}: the measured mean of {} to {} (95 %) lies {word} the formula's {} to {}: the lease and the detection after it",
                humantime::format_duration(cell.cell.interval),
                cell.cell.fault,
                s(low),
                s(high),
                s(formula.worst_ns - kept),
                s(formula.worst_ns),
            );
            return Some(Finding::new(id, severity, text));
        }
        let text = format!(
            "{}, {}: the formula's mean of {} lies {word} the measured {} to {} (95 %), widened by a delay of {:.1} ms",
            humantime::format_duration(cell.cell.interval),
            cell.cell.fault,
            s(formula.mean_ns),
            s(low),
            s(high),
            delay.unwrap_or(0.0) / 1e6
        );
        Some(Finding::new(id, severity, text))
    }
}

/// The network's name in labels.
fn network(spec: &LiveSpec) -> &'static str {
    if spec.target.is_some() { "target" } else { "loopback" }
}

/// Bytes of one heartbeat.
fn payload(seen: &Seen) -> Option<f64> {
    seen.payload.filter(|payload| payload.beats > 0.0).map(|payload| payload.bytes / payload.beats)
}

fn mean(spans: &[u64]) -> Option<f64> {
    (!spans.is_empty()).then(|| spans.iter().map(|ns| *ns as f64).sum::<f64>() / spans.len() as f64)
}

/// A series of spans, `None` of what was lost.
fn series(name: &str, labels: &Labels, spans: impl Iterator<Item = Option<u64>>, timeout: Option<Duration>) -> Series {
    let (mut histogram, mut moments, mut counts) = (Histogram::default(), Moments::default(), Counts::default());
    for span in spans {
        counts.add(if span.is_some() { Outcome::Ok } else { Outcome::Lost });
        if let Some(ns) = span {
            histogram.record(ns);
            moments.push(ns);
        }
    }
    Series {
        name: name.to_owned(),
        labels: labels.clone(),
        counts,
        saturated_count: histogram.saturated(),
        timeout_ns: timeout.map(nanos),
        summary: Summary::of(&histogram, &moments, &counts, &Variation::default()),
        histogram,
        ..Series::default()
    }
}

/// The 95 % interval of the mean of a series. Detections at evenly spread phases vary less between runs than independent ones
/// would, so it is rather too wide.
fn interval(series: &Series) -> Option<(f64, f64)> {
    let (mean, deviation) = series.summary.mean_ns.zip(series.summary.stddev_ns)?;
    let half = NORMAL_975 * deviation as f64 / (series.counts.ok_count as f64).sqrt();
    Some((mean as f64 - half, mean as f64 + half))
}

fn warnings(spec: &LiveSpec, seen: &Seen, cells: &[machine::Cell], interrupted: bool) -> Vec<Warning> {
    let mut all = Vec::new();
    if interrupted {
        let whole = cells.iter().filter(|cell| cell.is_whole()).count();
        let text = format!("interrupted: {whole} of {} cells are whole", cells.len());
        all.push(Warning::new("interrupted", text));
    }
    if let Some(reason) = &seen.not_stored {
        let text = format!("the delay of reports was not measured to the end: {reason}");
        all.push(Warning::new("reports_refused", text));
    } else if spec.target.is_some() && seen.reports.is_empty() {
        let text = "the delay of reports was not measured: the token file has no line `live-probe TOKEN`";
        all.push(Warning::new("reports_missing", text));
    }
    let is_dark =
        |(seen, cell): (&SeenCell, &machine::Cell)| cell.faulted_at.is_some() && seen.wire(spec.nodes).is_none();
    if seen.cells.iter().zip(cells).any(is_dark) {
        let text = "bytes on the wire are not known: the kernel did not tell of all connections";
        all.push(Warning::new("wire_unknown", text));
    }
    let sum = |count: fn(&machine::Cell) -> u64| cells.iter().map(count).sum::<u64>();
    let (mistakes, closed) = (sum(|cell| cell.mistake_count), sum(|cell| cell.closed_count));
    if mistakes + closed > 0 {
        let text = format!(
            "before the faults {mistakes} living nodes were called unreachable and {closed} connections closed: this host is too busy for so many agents at these intervals"
        );
        all.push(Warning::new("busy_host", text));
    }
    if matches!(spec.detector.rule, Rule::Phi { .. } | Rule::Chen { .. }) {
        let text = "the detector learns from heartbeats, and heard only some of each node before the fault";
        all.push(Warning::new("short_history", text));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::spec::Fault;
    use super::*;

    fn at(ms: u64) -> Stamp {
        Stamp::from_nanos(ms * 1_000_000)
    }

    fn cell() -> SeenCell {
        let traffic = |connection_count, sent_bytes, received_bytes| Traffic {
            connection_count,
            sent_bytes,
            received_bytes,
            rtt_sum_ns: connection_count * 50_000,
        };
        let cell = LiveCell { interval: Duration::from_secs(2), fault: Fault::Kill };
        let (before, after) = (Some((at(0), traffic(2, 1_000, 500))), Some((at(2_000), traffic(2, 1_800, 800))));
        SeenCell { cell, before, after }
    }

    #[test]
    fn bytes_of_a_window_become_bytes_an_hour_and_node() {
        assert_eq!(cell().wire(2), Some(Wire { sent: 720_000.0, received: 270_000.0 }));
        assert_eq!(cell().one_way_ns(), Some(25_000.0));
        // A connection that was closed meanwhile took its bytes with it.
        assert_eq!(cell().wire(3), None);
        assert_eq!(SeenCell { before: cell().after, after: cell().before, ..cell() }.wire(2), None);
        assert_eq!(SeenCell { before: None, ..cell() }.wire(2), None);
    }

    #[test]
    fn reports_count_from_the_last_connection_on() {
        let mut seen = Seen::of(&[cell().cell]);
        for (revision, sent) in [(1, 10), (2, 20), (3, 30)] {
            seen.stored(revision, at(sent), at(sent + 2));
            seen.arrived(revision, at(sent + 3));
        }
        assert!(seen.stored_spans().is_empty());
        seen.connected_at = Some(at(20));
        seen.arrivals.remove(&3);
        assert_eq!((seen.stored_spans(), seen.seen_spans()), (vec![2_000_000; 2], vec![3_000_000]));
    }

    #[test]
    fn a_formula_holds_within_the_interval_widened_by_the_delay() {
        let found = |low: f64, high: f64| Found {
            labels: Labels::new(),
            series: Series::default(),
            interval: Some((low, high)),
            formula: Some(Formula { mean_ns: 100.0, worst_ns: 200.0 }),
            kept: None,
        };
        assert_eq!(found(101.0, 110.0).holds(None), Some(false));
        assert_eq!(found(101.0, 110.0).holds(Some(1.0)), Some(true));
        assert_eq!(Found { interval: None, ..found(0.0, 0.0) }.holds(None), None);
        let text = found(101.0, 110.0).verdict(&cell(), Some(0.5)).unwrap();
        assert_eq!((text.id.as_str(), text.severity), ("formula_fails", Severity::Notice));
    }
}
