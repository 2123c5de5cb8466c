//! From measurements to what the run says: series, throughput, the members' own figures, and findings.
//!
//! Separate from measuring, which it no longer touches, and from the verdict, which knows no series.

use super::evaluate::{Figures, floor, verdict};
use super::spec::Workload;
use super::target::{Measurement, Target};
use super::watch::WatchNotes;
use super::window::Window;
use crate::load::LaneRecord;
use crate::model::{Advice, Finding, Labels, Measured, Role, Scalar, Series, Severity};
use crate::sys::host::environment;

/// Everything that is said about these measurements; `labels` tell them from those of another setting.
#[must_use]
pub fn assemble(target: &Target<'_>, labels: &Labels, measurements: &[Measurement]) -> Measured {
    let mut measured = Measured { warnings: target.warnings.clone(), ..Measured::default() };
    let mut figures: Vec<Figures> = Vec::new();
    for measurement in measurements {
        let series: Vec<Series> = measurement.lanes.iter().cloned().flat_map(LaneRecord::into_series).collect();
        measured.scalars.extend(throughput(measurement));
        if measurement.cell.workload == Workload::Put {
            let one = figures_of(target, measurement, &series);
            measured.scalars.push(Scalar::new(
                "etcd.put.floor",
                measurement.lanes[0].labels(),
                "ns",
                floor(&one).map(|f| f.total_ns()),
            ));
            figures.push(one);
        }
        measured.series.extend(series);
    }
    let windows = windows(target, measurements);
    for (url, window) in target.endpoints().iter().zip(&windows) {
        let endpoint = labels.clone().with("endpoint", &url.authority());
        measured.scalars.extend(window.clone().unwrap_or_default().scalars(&endpoint));
    }
    // The measurement with most puts is the one that shows a limit.
    let heaviest = figures.iter().max_by(|a, b| keys_per_second(a).total_cmp(&keys_per_second(b)));
    measured.findings.extend(heaviest.and_then(verdict));
    measured.findings.extend(noticed(target, &windows));
    measured.findings.extend(watched(measurements));
    measured
}

fn keys_per_second(figures: &Figures) -> f64 {
    figures.per_second * figures.batch as f64
}

/// Answered requests and written keys a second.
fn throughput(measurement: &Measurement) -> Vec<Scalar> {
    let batch = measurement.cell.batch as f64;
    let one = |lane: &LaneRecord| {
        let requests = per_second(measurement, lane);
        let keys = (lane.name() == "etcd.put")
            .then(|| Scalar::new("etcd.put.keys", lane.labels(), "per_s", requests.map(|requests| requests * batch)));
        let name = format!("{}.throughput", lane.name());
        [Some(Scalar::new(name, lane.labels(), "per_s", requests)), keys].into_iter().flatten()
    };
    measurement.lanes.iter().flat_map(one).collect()
}

fn per_second(measurement: &Measurement, lane: &LaneRecord) -> Option<f64> {
    // The span of this lane alone: of two lanes with a count, one may end long before the other.
    let seconds = lane.active().min(measurement.recorded).as_secs_f64();
    (seconds > 0.0).then(|| lane.counts().ok_count as f64 / seconds)
}

fn figures_of(target: &Target<'_>, measurement: &Measurement, series: &[Series]) -> Figures {
    // Without the generator's own delay: the floor has none either.
    let service = series.iter().find(|series| series.role == Role::Service);
    let known: Vec<&Window> = measurement.windows.iter().flatten().collect();
    let leader =
        target.leader_at.and_then(|at| measurement.windows.get(at)?.as_ref()).or_else(|| known.first().copied());
    let is_local = target.endpoints().iter().all(|url| matches!(url.host.as_str(), "127.0.0.1" | "::1" | "localhost"));
    Figures {
        p50_ns: service.and_then(|series| series.summary.p50_ns).map(|ns| ns as f64),
        per_second: per_second(measurement, &measurement.lanes[0]).unwrap_or(0.0),
        answered_count: measurement.lanes[0].counts().ok_count as f64,
        batch: measurement.cell.batch,
        clients: measurement.cell.clients,
        client_rtt_ns: measurement.rtt_ns.map(|ns| ns as f64),
        voter_count: target.voter_count,
        leader: leader.cloned(),
        own_cores: measurement.own_cores,
        local_cores: is_local.then(|| known.iter().filter_map(|window| window.cpu_cores()).sum()),
        host_cores: environment().cpu_count.map(|count| count as f64),
        access: target.access_text(),
    }
}

/// Each endpoint over all measurements together.
fn windows(target: &Target<'_>, measurements: &[Measurement]) -> Vec<Option<Window>> {
    let all = |at: usize| {
        let windows = measurements.iter().filter_map(|measurement| measurement.windows.get(at)?.clone());
        windows.reduce(Window::merged)
    };
    (0..target.endpoints().len()).map(all).collect()
}

/// What the members counted that should not have happened.
fn noticed(target: &Target<'_>, windows: &[Option<Window>]) -> Vec<Finding> {
    let named = || target.endpoints().iter().map(|url| url.authority()).zip(windows);
    let counted = |of: fn(&Window) -> Option<f64>| -> Vec<String> {
        let above = |(name, window): (String, &Option<Window>)| {
            of(window.as_ref()?).filter(|count| *count > 0.0).map(|count| format!("{name}: {count:.0}"))
        };
        named().filter_map(above).collect()
    };
    let mut findings = Vec::new();
    let changes = counted(|window| window.leader_change_count);
    if !changes.is_empty() {
        let text = "the cluster changed its leader during the load";
        let advice = Advice::new(
            "see the timeline for the gap; raise --election-timeout to ten times the round trip between the members",
            format!("{} endpoint status --write-out table", target.etcdctl()),
        );
        let finding = Finding::new("etcd_leader_changes", Severity::Notice, text);
        findings.push(finding.with_evidence(changes).with_advice(advice));
    }
    let slow = counted(|window| window.slow_apply_count);
    if !slow.is_empty() {
        let text = "requests took longer than 100 ms to apply, which etcd itself warns of";
        findings.push(Finding::new("etcd_slow_applies", Severity::Notice, text).with_evidence(slow));
    }
    let is_restarted = |window: &Option<Window>| window.as_ref().is_some_and(|window| window.is_restarted);
    let restarted: Vec<String> = named().filter(|(_, window)| is_restarted(window)).map(|(name, _)| name).collect();
    if !restarted.is_empty() {
        let text = "a member was started again during the load: what it counted is not known";
        findings.push(Finding::new("etcd_restarted", Severity::Notice, text).with_evidence(restarted));
    }
    let silent: Vec<String> = named().filter(|(_, window)| window.is_none()).map(|(name, _)| name).collect();
    if !silent.is_empty() && !windows.is_empty() {
        let text = "the server's side is not known: `/metrics` could not be read there before and after";
        findings.push(Finding::new("etcd_metrics_unknown", Severity::Info, text).with_evidence(silent));
    }
    findings
}

/// What the watchers met.
fn watched(measurements: &[Measurement]) -> Vec<Finding> {
    let mut all = WatchNotes::default();
    for notes in measurements.iter().filter_map(|measurement| measurement.watch.as_ref()) {
        all.event_count += notes.event_count;
        all.before_answer_count += notes.before_answer_count;
        all.reopened_count += notes.reopened_count;
        all.compacted_count += notes.compacted_count;
    }
    let mut findings = Vec::new();
    if all.event_count > 0 {
        let (early, events) = (all.before_answer_count, all.event_count);
        let text = format!("{early} of {events} events arrived before the answer to their put");
        findings.push(Finding::new("etcd_watch_order", Severity::Info, text));
    }
    if all.compacted_count > 0 {
        let text = format!(
            "the watch met compacted revisions {} times; puts among them are counted as failed (compacted)",
            all.compacted_count
        );
        findings.push(Finding::new("etcd_watch_compacted", Severity::Problem, text));
    }
    if all.reopened_count > 0 {
        let text = format!("the watch broke and was opened again {} times, from where it had been", all.reopened_count);
        findings.push(Finding::new("etcd_watch_reopened", Severity::Notice, text));
    }
    findings
}
