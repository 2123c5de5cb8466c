//! What was followed, as series, scalars and warnings.
//!
//! Separate from the run because it only computes: the same changes give the same document.

use std::collections::BTreeMap;

use super::actor::Followed;
use super::hops::{Hop, Spans, Stamps};
use crate::load::Track;
use crate::model::{Labels, Measured, Outcome, Role, Scalar, Series, Stamp, Warning};
use crate::sync::trace::own_clock;

/// Above this share of the total, what nobody claims is worth a warning: an advice by the rest may miss the cause.
const MUCH_UNEXPLAINED: f64 = 0.1;

/// The stamps of the kernel, by task.
pub type KernelStamps = BTreeMap<String, Stamp>;

/// The changes of one setting.
pub struct Changes<'a> {
    /// The setting, where several are compared.
    pub label: Option<&'a str>,
    /// The changes.
    pub followed: &'a [Followed],
    /// The stamps of the kernel.
    pub kernel: &'a KernelStamps,
    /// Whether the time of a task is the runtime's own.
    pub has_runtime: bool,
}

/// The labels of a setting.
#[must_use]
pub fn labels(setting: Option<&str>) -> Labels {
    setting.map_or_else(Labels::new, |setting| Labels::new().with("setting", setting))
}

/// Adds what the changes of one setting show.
pub fn assemble(changes: &Changes, measured: &mut Measured) {
    let labels = labels(changes.label);
    let spans: Vec<Spans> = changes.followed.iter().map(|one| changes.stamps(one).spans()).collect();
    if spans.is_empty() {
        return;
    }
    let of = |hop: &str| labels.clone().with("hop", hop);
    let mean = |sum: u128| sum as f64 / spans.len() as f64;
    let total = mean(spans.iter().map(|one| u128::from(one.total)).sum());
    let mut scalar = |name: &str, labels: &Labels, unit: &str, value: f64| {
        measured.scalars.push(Scalar::new(name, labels, unit, value));
    };
    scalar("trace.mean", &of("total"), "ns", total);
    for hop in Hop::ALL {
        let each = spans.iter().filter_map(|one| span(one, hop));
        let (mut track, mut sum) = (Track::default(), 0_u128);
        for (at, ns) in each.enumerate() {
            track.record(at as u64, Outcome::Ok, ns);
            sum += u128::from(ns);
        }
        if track.counts().ok_count > 0 {
            let labels = of(hop.name());
            scalar("trace.mean", &labels, "ns", mean(sum));
            scalar("trace.share", &labels, "ratio", if total > 0.0 { mean(sum) / total } else { 0.0 });
            measured.series.push(part("trace.hop", labels, track));
        }
    }
    let mut track = Track::default();
    spans.iter().enumerate().for_each(|(at, one)| track.record(at as u64, Outcome::Ok, one.unexplained));
    measured.series.push(part("trace.unexplained", labels.clone(), track));
    let unexplained = mean(spans.iter().map(|one| u128::from(one.unexplained)).sum());
    let ratio = if total > 0.0 { unexplained / total } else { 0.0 };
    scalar("trace.mean", &of("unexplained"), "ns", unexplained);
    scalar("trace.unexplained_ratio", &labels, "ratio", ratio);
    if let Some(slowest) = spans.iter().max_by_key(|one| one.total) {
        scalar("trace.slowest", &of("total"), "ns", slowest.total as f64);
        slowest.hops.iter().for_each(|(hop, ns)| scalar("trace.slowest", &of(hop.name()), "ns", *ns as f64));
        scalar("trace.slowest", &of("unexplained"), "ns", slowest.unexplained as f64);
    }
    measured.warnings.extend(changes.warnings(ratio));
}

fn span(spans: &Spans, hop: Hop) -> Option<u64> {
    spans.hops.iter().find(|(known, _)| *known == hop).map(|(_, ns)| *ns)
}

fn part(name: &str, labels: Labels, track: Track) -> Series {
    Series { role: Role::Phase, ..track.into_series(name.to_owned(), labels) }
}

impl Changes<'_> {
    /// What one change collected; stamps of another host's clock are none.
    fn stamps(&self, one: &Followed) -> Stamps {
        let trace = one.seen.change.trace.as_ref();
        let own = own_clock();
        Stamps {
            called: one.called,
            kernel: self.kernel.get(&one.task).copied(),
            runtime: one.seen.runtime.filter(|_| self.has_runtime),
            agent: trace.map(|trace| trace.agent.clone()).filter(|agent| agent.clock == own),
            gateway: trace.map(|trace| trace.gateway.clone()).filter(|gateway| gateway.clock == own),
            seen: one.seen.at,
        }
    }

    fn warnings(&self, unexplained: f64) -> Vec<Warning> {
        let (own, all) = (own_clock(), self.followed.len());
        let name = self.label.map(|label| format!("{label}: ")).unwrap_or_default();
        let count = |is: &dyn Fn(&Followed) -> bool| self.followed.iter().filter(|one| is(one)).count();
        let unstamped = count(&|one| one.seen.change.trace.is_none());
        let is_foreign = |one: &Followed| {
            one.seen.change.trace.as_ref().is_some_and(|trace| [trace.agent.clock, trace.gateway.clock] != [own, own])
        };
        let foreign = count(&is_foreign);
        let much =
            format!("no part claims {:.0} % of the way: advice by the rest may miss the cause", unexplained * 100.0);
        let unstamped_text = format!(
            "{unstamped} of {all} changes arrived without stamps: the agent needs `\"trace\": true` in its configuration, the gateway --trace"
        );
        let foreign_text =
            format!("{foreign} of {all} changes have stamps of another host's clock, which are left out");
        let told = [
            (unexplained > MUCH_UNEXPLAINED, "unexplained", much),
            (unstamped > 0, "unstamped", unstamped_text),
            (foreign > 0, "foreign_clock", foreign_text),
        ];
        told.into_iter().filter(|(is, ..)| *is).map(|(_, id, text)| Warning::new(id, format!("{name}{text}"))).collect()
    }
}
