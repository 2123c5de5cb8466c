//! A series: one named distribution, with everything that was lost counted beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Counts, Histogram, Interval, Labels, Moments, Outage, Reference, Role, Summary, Variation};

/// The unit of a series. Files hold integer nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    #[default]
    Ns,
}

/// Which clock stamped a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The monotonic clock as this process reads it: the wake-up of the process is inside.
    #[default]
    User,
    /// Stamps or estimates of the kernel.
    Kernel,
}

/// One distribution of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Dotted name, an interface: see `docs/reference/series.md`.
    pub name: String,
    /// What it is to its measurement.
    #[serde(default)]
    pub role: Role,
    /// What tells it from its siblings.
    pub labels: Labels,
    /// Unit of every value.
    pub unit: Unit,
    /// Clock of the stamps.
    pub clock: Clock,
    /// How the attempts ended.
    #[serde(flatten)]
    pub counts: Counts,
    /// Failed attempts by kind.
    #[serde(default)]
    pub failure_kinds: BTreeMap<String, u64>,
    /// Values above the histogram's highest.
    #[serde(default)]
    pub saturated_count: u64,
    /// After how long an attempt counts as lost; null where nothing can be lost.
    #[serde(default)]
    pub timeout_ns: Option<u64>,
    /// Whether this is the tool's own floor, not a target.
    #[serde(default)]
    pub floor: bool,
    /// Figures published elsewhere for a target of this name.
    #[serde(default)]
    pub reference: Option<Reference>,
    /// The figures.
    pub summary: Summary,
    /// The whole distribution.
    pub histogram: Histogram,
    /// The distribution over time; empty where it is not kept.
    #[serde(default)]
    pub timeline: Vec<Interval>,
    /// Times without answers, the first thousand.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// All times without answers.
    #[serde(default)]
    pub outage_count: u64,
}

impl Series {
    /// A series of these spans in nanoseconds, none of which can be lost.
    #[must_use]
    pub fn of_spans(name: &str, labels: Labels, histogram: Histogram, moments: &Moments) -> Self {
        let ok_count = histogram.len();
        let counts = Counts { attempt_count: ok_count, ok_count, ..Counts::default() };
        Self {
            name: name.to_owned(),
            labels,
            counts,
            saturated_count: histogram.saturated(),
            summary: Summary::of(&histogram, moments, &counts, &Variation::default()),
            histogram,
            ..Self::default()
        }
    }

    /// Adds the attempts of another series, in no order with its own.
    pub fn absorb(&mut self, other: &Self) {
        let mut moments = Moments::of_summary(&self.summary, self.counts.ok_count);
        moments.merge(&Moments::of_summary(&other.summary, other.counts.ok_count));
        self.histogram.merge(&other.histogram);
        self.counts.merge(&other.counts);
        self.saturated_count = self.saturated_count.saturating_add(other.saturated_count);
        self.outage_count = self.outage_count.saturating_add(other.outage_count);
        for (kind, n) in &other.failure_kinds {
            let sum = self.failure_kinds.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(*n);
        }
        self.summary = Summary::of(&self.histogram, &moments, &self.counts, &Variation::default());
    }

    /// Without what has no meaning where the order of attempts is gone: timelines, single outages and jitter.
    #[must_use]
    pub fn without_order(mut self) -> Self {
        self.timeline.clear();
        self.outages.clear();
        self.summary.ipdv_mean_ns = None;
        self.summary.jitter_rfc3550_ns = None;
        self
    }

    /// Whether it measures a target: it is neither the tool's own floor nor a part of another measurement.
    #[must_use]
    pub fn is_response(&self) -> bool {
        !self.floor && self.role == Role::Response
    }

    /// The name of the target, or nothing.
    #[must_use]
    pub fn target(&self) -> &str {
        self.label("target")
    }

    /// The value of one label, or nothing.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.value(name).unwrap_or_default()
    }

    /// Whether counts, histogram and extremes fit together, as they must in a file we did not write just now.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let mut buckets = self.histogram.buckets();
        let first = buckets.next();
        let last = buckets.last().or(first);
        let within = |value: Option<u64>, bucket: Option<(u64, u64, u64)>| match (value, bucket) {
            (Some(value), Some((low, high, _))) => (low..=high).contains(&value.min(Histogram::HIGHEST_NS)),
            (None, None) => true,
            _ => false,
        };
        let Summary { min_ns, mean_ns, max_ns, .. } = self.summary;
        self.counts.is_consistent()
            && self.histogram.len() == self.counts.ok_count
            && within(min_ns, first)
            && within(max_ns, last)
            && mean_ns.is_some() == min_ns.is_some()
            && mean_ns.is_none_or(|mean| min_ns.is_some_and(|min| min <= mean) && max_ns.is_some_and(|max| mean <= max))
    }

    /// Name and labels as gates and reports write them.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}{}", self.name, self.labels)
    }
}
