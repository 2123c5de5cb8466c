//! From what was read to series, figures an hour, and what is to be said of it. Pure.

use std::time::Duration;

use super::InformerError;
use super::evaluate::{Judged, Ledger, Spans};
use super::informer::Tally;
use super::machine::LEAST_WATCH;
use crate::model::{Advice, Finding, Labels, Measured, Scalar, Series, Severity, Warning, with_causes};

const HOUR: f64 = 3600.0;

/// From so long on, the watches' ends of a run are its own, and none is reckoned.
const WHOLE: Duration = Duration::from_secs(2 * LEAST_WATCH.as_secs());

/// A way to read.
#[derive(Clone, Debug)]
pub struct Way {
    /// `quorum`, `watch_cache` or `informer`.
    pub read: &'static str,
    /// The proxy.
    pub via: Option<String>,
    /// Both as labels.
    pub labels: Labels,
}

/// Everything that was found.
pub struct Found {
    /// By their numbers.
    pub ways: Vec<Way>,
    /// What the informers did, the server's own first.
    pub tallies: Vec<Tally>,
    /// What was seen in answers and events.
    pub ledger: Ledger,
    /// How long it was read.
    pub elapsed: Duration,
    /// How often a client without a cache reads.
    pub interval: Duration,
    /// Answers that nobody had time to look at.
    pub dropped_count: u64,
    /// Why the proxy carries no watch.
    pub unwatched: Option<InformerError>,
}

impl Found {
    /// Series, scalars and what is to be said.
    pub fn measured(&self) -> Measured {
        let mut measured = Measured::default();
        let changes = self.ledger.change_count();
        measured.scalars.push(Scalar::new("api.cache.changes", &Labels::new(), "count", Some(changes as f64)));
        for (number, way) in self.ways.iter().enumerate() {
            let judged = &self.ledger.judged[number];
            measured.series.extend(series("api.cache.staleness", way, &judged.staleness));
            match self.tally(way) {
                Some((informer, tally)) => self.of_informer(&mut measured, way, informer, tally),
                None => measured.scalars.extend(self.of_requests(way, judged)),
            }
            measured.findings.extend(unreadable(way, judged));
        }
        measured.findings.extend(self.unchanged());
        measured.findings.extend(self.proxy());
        measured.findings.extend(self.tallies.iter().filter_map(trouble));
        if self.dropped_count > 0 {
            let text = format!("{} answers were measured and not looked at: this host is too busy", self.dropped_count);
            measured.warnings.push(Warning::new("not_looked_at", text));
        }
        measured
    }

    /// What the informer of a way did, where it is one.
    fn tally(&self, way: &Way) -> Option<(usize, &Tally)> {
        let informer = usize::from(way.via.is_some());
        (way.read == "informer").then(|| self.tallies.get(informer).map(|tally| (informer, tally)))?
    }

    fn of_informer(&self, measured: &mut Measured, way: &Way, informer: usize, tally: &Tally) {
        let (lag, untold) = self.ledger.lag(informer);
        measured.series.extend(series("api.cache.lag", way, &lag));
        let hours = self.elapsed.as_secs_f64() / HOUR;
        let again = tally.request_count().saturating_sub(2) as f64;
        let planned = if self.elapsed < WHOLE { HOUR / (1.5 * LEAST_WATCH.as_secs_f64()) } else { 0.0 };
        let first_list = tally.list_bytes as f64 / tally.list_count.max(1) as f64;
        let bytes = tally.watch_bytes as f64 + tally.list_bytes as f64 - first_list;
        let an_hour = |n: f64| (hours > 0.0).then(|| n / hours);
        let figures = [
            ("untold", "count", (self.ledger.change_count() > 0).then_some(untold as f64)),
            ("requests_per_h", "per_h", an_hour(again).map(|again| planned + again)),
            ("bytes_per_h", "bytes_per_h", an_hour(bytes)),
            ("body_bytes", "bytes", Some(first_list)),
            ("held_bytes", "bytes", Some(tally.held_bytes as f64)),
            ("restarts", "count", Some(again)),
            ("events", "count", Some(tally.event_count as f64)),
        ];
        measured.scalars.extend(figures.into_iter().map(|(name, unit, value)| scalar(way, name, unit, value)));
    }

    fn of_requests(&self, way: &Way, judged: &Judged) -> Vec<Scalar> {
        let reads = HOUR / self.interval.as_secs_f64();
        let hits = way.via.is_some().then(|| hit_ratio(judged)).flatten();
        let hours = self.elapsed.as_secs_f64() / HOUR;
        // What a cache passes on depends on how long it keeps an answer and hardly on how often it is asked: one client that reads
        // less often than that saves nothing.
        let passed_on = hits.filter(|_| hours > 0.0).map(|_| judged.miss_count as f64 / hours);
        let body = (judged.answer_count > 0).then(|| judged.body_bytes as f64 / judged.answer_count as f64);
        let requests = if way.via.is_some() { passed_on.map(|requests| requests.min(reads)) } else { Some(reads) };
        let mut figures = vec![
            ("requests_per_h", "per_h", requests),
            ("bytes_per_h", "bytes_per_h", requests.zip(body).map(|(requests, body)| requests * body)),
            ("body_bytes", "bytes", body),
        ];
        if way.via.is_some() {
            figures.push(("hit_ratio", "ratio", hits));
            figures.push(("passed_on_per_h", "per_h", passed_on));
        }
        figures.into_iter().map(|(name, unit, value)| scalar(way, name, unit, value)).collect()
    }

    fn unchanged(&self) -> Option<Finding> {
        let text = "nothing in the list changed while it was read, so how late each way to read is is not known";
        let advice = "measure longer, or a list that changes: leases do every 10 s with --path /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let finding = Finding::new("nothing_changed", Severity::Notice, text).with_advice(Advice::new(advice, None));
        (self.ledger.change_count() == 0).then_some(finding)
    }

    /// What is to be said of the proxy.
    fn proxy(&self) -> Vec<Finding> {
        let Some(via) = self.ways.iter().find_map(|way| way.via.as_ref()) else { return Vec::new() };
        let all = self.ways.iter().zip(&self.ledger.judged).filter(|(way, _)| way.via.is_some());
        let (mut hits, mut misses, mut answers) = (0, 0, 0);
        for (way, judged) in all {
            if way.read != "informer" {
                hits += judged.hit_count;
                misses += judged.miss_count;
                answers += judged.answer_count;
            }
        }
        let mut findings = Vec::new();
        let advice = "let it keep answers to GET for as long as they may be late, such as `proxy_cache_valid 200 1s` and `proxy_ignore_headers Cache-Control` in nginx, apart for each user";
        if answers > 0 && hits == 0 && misses > 0 {
            let text =
                format!("the proxy at {via} does not cache: each of {misses} answers through it is the server's own");
            findings.push(
                Finding::new("proxy_does_not_cache", Severity::Problem, text).with_advice(Advice::new(advice, None)),
            );
        } else if answers > 0 && hits + misses == 0 {
            let text = format!(
                "whether the proxy at {via} caches is not known: its answers have neither X-Cache, Cache-Status nor Age, and the server writes no Audit-Id"
            );
            findings.push(Finding::new("proxy_does_not_tell", Severity::Notice, text));
        }
        if let Some(error) = &self.unwatched {
            let text = format!("no informer works through the proxy at {via}: {}", with_causes(error));
            let advice =
                "lead watches past the cache: in nginx a location or a map on `$arg_watch` with `proxy_buffering off`";
            findings.push(
                Finding::new("no_watch_through_proxy", Severity::Notice, text).with_advice(Advice::new(advice, None)),
            );
        }
        findings
    }
}

/// The share of answers that a cache gave, where it is known of any.
fn hit_ratio(judged: &Judged) -> Option<f64> {
    let known = judged.hit_count + judged.miss_count;
    (known > 0).then(|| judged.hit_count as f64 / known as f64)
}

fn scalar(way: &Way, name: &str, unit: &str, value: Option<f64>) -> Scalar {
    Scalar::new(format!("api.cache.{name}"), &way.labels, unit, value)
}

fn series(name: &str, way: &Way, spans: &Spans) -> Option<Series> {
    if spans.histogram.is_empty() {
        return None;
    }
    let mut series = Series::of_spans(name, way.labels.clone(), spans.histogram.clone(), &spans.moments);
    series.role = crate::model::Role::Phase;
    Some(series)
}

fn unreadable(way: &Way, judged: &Judged) -> Option<Finding> {
    let count = judged.unreadable_count;
    let through = way.via.as_ref().map_or_else(String::new, |via| format!(" through {via}"));
    let text = format!("{count} answers to {} reads{through} are no lists", way.read);
    (count > 0).then(|| Finding::new("answers_unreadable", Severity::Problem, text))
}

fn trouble(tally: &Tally) -> Option<Finding> {
    let (failed, gone) = (tally.failed_count, tally.gone_count);
    let mut text = format!("the informer had to begin again {} times", failed + gone);
    if gone > 0 {
        text.push_str(&format!(", {gone} of them because the server had forgotten the version (410)"));
    }
    if let Some(trouble) = &tally.trouble {
        text.push_str(&format!("; the last failure: {trouble}"));
    }
    (failed + gone > 0).then(|| Finding::new("informer_began_again", Severity::Notice, text))
}
