//! The catalogue of what a command measures: every series and scalar, declared once in the folder that measures it.
//!
//! Separate from the series themselves because gates, the reference page and help ask what there can be before anything
//! has been measured.

use serde::{Deserialize, Serialize};

use super::{Layout, Run};

/// What a series or a scalar is to its measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The measurement itself: from the planned start, where starts are planned.
    #[default]
    Response,
    /// `NAME.service`: the same attempts from their real start.
    Service,
    /// `NAME.slip`: from the planned to the real start.
    Slip,
    /// `NAME.error`: attempts that were answered with an error.
    Error,
    /// A part of a response, or another view of it.
    Phase,
    /// What the tool measures where there is nothing to measure.
    Floor,
    /// What an emulated link was told to do.
    Programmed,
    /// A single number.
    Scalar,
}

/// The series that stand beside each response, by the last part of their name.
const BESIDE: [(&str, Role); 3] = [("service", Role::Service), ("slip", Role::Slip), ("error", Role::Error)];

impl Role {
    /// What a series of this name was in a document that does not say it itself, as those of before 0.2 do not.
    #[must_use]
    pub fn of_name(name: &str, floor: bool) -> Self {
        let tail = name.rsplit('.').next().unwrap_or(name);
        let beside = BESIDE.into_iter().find(|(suffix, _)| *suffix == tail).map(|(_, role)| role);
        beside.unwrap_or(match tail {
            "programmed" => Self::Programmed,
            "wakeup" if name == "timer.wakeup" => Self::Response,
            "kernel" | "wakeup" | "network" | "forward" | "backward" => Self::Phase,
            _ if name.starts_with("api.") && name != "api.request" => Self::Phase,
            _ if floor => Self::Floor,
            _ => Self::Response,
        })
    }
}

/// One series or scalar that a command can measure.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its dotted name, an interface.
    pub name: &'static str,
    /// Unit of its values: `ns` of every series.
    pub unit: &'static str,
    /// What it is to the measurement.
    pub role: Role,
    /// The labels that it may have.
    pub labels: &'static [&'static str],
    /// What it is, in a sentence without a full stop.
    pub about: &'static str,
    /// Whether more of it is better, as of a throughput.
    pub is_more_better: bool,
}

impl Metric {
    /// A distribution.
    #[must_use]
    pub const fn series(name: &'static str, role: Role, labels: &'static [&'static str], about: &'static str) -> Self {
        Self { name, unit: "ns", role, labels, about, is_more_better: false }
    }

    /// A single number.
    #[must_use]
    pub const fn scalar(
        name: &'static str,
        unit: &'static str,
        labels: &'static [&'static str],
        about: &'static str,
    ) -> Self {
        Self { name, unit, role: Role::Scalar, labels, about, is_more_better: false }
    }

    /// A rate of which more is better.
    #[must_use]
    pub const fn throughput(name: &'static str, labels: &'static [&'static str], about: &'static str) -> Self {
        Self { is_more_better: true, ..Self::scalar(name, "per_s", labels, about) }
    }
}

/// A command that measures: what it can measure, and how it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// The command, such as `probe rtt`.
    pub command: &'static str,
    /// Everything that a run of it may hold.
    pub metrics: &'static [&'static [Metric]],
    /// Lays a run of it out. Pure: a stored, a merged and a fresh run look alike.
    pub layout: for<'a> fn(&'a Run) -> Layout<'a>,
}

impl Measurement {
    /// Everything that a run of it may hold.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        self.metrics.iter().copied().flatten()
    }

    /// The metric of this name, and what a series of that name is. A response has `.service`, `.slip` and `.error` beside it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&'static Metric, Role)> {
        let named = |name: &str| self.metrics().find(|metric| metric.name == name);
        named(name).map(|metric| (metric, metric.role)).or_else(|| {
            let (stem, tail) = name.rsplit_once('.')?;
            let (_, role) = BESIDE.into_iter().find(|(suffix, _)| *suffix == tail)?;
            named(stem)
                .filter(|metric| matches!(metric.role, Role::Response | Role::Floor))
                .map(|metric| (metric, role))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: [Metric; 2] = [
        Metric::series("x.ask", Role::Response, &["target"], "an exchange"),
        Metric::scalar("x.rate", "per_s", &[], "exchanges a second"),
    ];

    #[test]
    fn a_response_brings_its_service_its_slip_and_its_errors() {
        let all = Measurement { command: "x", metrics: &[&METRICS], layout: |_| Layout::default() };
        let role = |name: &str| all.find(name).map(|(_, role)| role);
        assert_eq!(role("x.ask.slip"), Some(Role::Slip));
        assert_eq!(role("x.ask"), Some(Role::Response));
        assert_eq!((role("x.rate"), role("x.rate.slip"), role("x.ask.p95")), (Some(Role::Scalar), None, None));
    }
}
