//! One side of a comparison: its runs, what they have in common with the other side, and what must be known about both.
//!
//! Separate from the verdicts because what is matched with what decides nothing about it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::shift::{FEWEST_FOR_RANKS, Scale};
use crate::model::{Labels, Role, Run, Series, rank_of};
use crate::stats::estimate::estimate;
use crate::stats::evaluate::Catalogue;
use crate::stats::gate::{Gate, Statistic, Subject};

/// The label that says where something was, and not what it is.
const ADDRESS: &str = "address";

/// What is matched: a name, and labels without the address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub name: String,
    pub labels: Labels,
}

impl Key {
    fn of(name: &str, labels: &Labels) -> Self {
        let kept = labels.iter().filter(|(label, _)| *label != ADDRESS);
        let labels = kept.fold(Labels::new(), |labels, (label, value)| labels.with(label, value));
        Self { name: name.to_owned(), labels }
    }

    fn full_name(&self) -> String {
        format!("{}{}", self.name, self.labels)
    }
}

/// What is compared: a statistic of a series, or a scalar.
pub struct Item {
    pub key: Key,
    pub statistic: Option<Statistic>,
    pub unit: String,
    pub is_up_bad: bool,
    /// The change that a gate allows, in place of the tolerance.
    pub allowed: Option<f64>,
}

impl Item {
    pub fn scale(&self) -> Scale {
        let is_ratio = matches!(self.statistic, Some(Statistic::LossRatio | Statistic::ErrorRatio));
        if is_ratio || self.unit == "ratio" { Scale::Absolute } else { Scale::Relative }
    }

    /// The statistic as gates write it; `value` of a scalar.
    pub fn word(&self) -> String {
        self.statistic.map_or_else(|| "value".to_owned(), Statistic::word)
    }
}

/// The valid runs of a side.
pub struct Side<'a> {
    runs: Vec<&'a Run>,
    series: BTreeMap<Key, Vec<Cow<'a, Series>>>,
    scalars: BTreeMap<Key, (String, Vec<f64>)>,
}

impl<'a> Side<'a> {
    pub fn of(runs: &'a [Run]) -> Self {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.validity.valid).collect();
        let mut side = Self { runs, series: BTreeMap::new(), scalars: BTreeMap::new() };
        for run in side.runs.clone() {
            let mut own: BTreeMap<Key, Cow<Series>> = BTreeMap::new();
            for series in run.series.iter().filter(|series| series.counts.attempt_count > 0) {
                // Two addresses of one name are two series of one key.
                own.entry(Key::of(&series.name, &series.labels))
                    .and_modify(|known| known.to_mut().absorb(series))
                    .or_insert(Cow::Borrowed(series));
            }
            for (key, series) in own {
                side.series.entry(key).or_default().push(series);
            }
            for scalar in &run.scalars {
                let Some(value) = scalar.value else { continue };
                let key = Key::of(&scalar.name, &scalar.labels);
                side.scalars.entry(key).or_insert_with(|| (scalar.unit.clone(), Vec::new())).1.push(value);
            }
        }
        side
    }

    pub fn ids(&self) -> Vec<String> {
        self.runs.iter().map(|run| run.id.clone()).collect()
    }

    /// The series of each run.
    pub fn series(&self, key: &Key) -> Vec<&Series> {
        self.series.get(key).into_iter().flatten().map(AsRef::as_ref).collect()
    }

    /// The value of each run; infinite where it lies among what was lost. Runs that do not have it are left out.
    pub fn values(&self, item: &Item) -> Vec<f64> {
        match item.statistic {
            None => self.scalars.get(&item.key).map(|(_, values)| values.clone()).unwrap_or_default(),
            Some(statistic) => {
                let of = |series: &Series| estimate(statistic, series, item.is_up_bad).ok().map(|found| found.value);
                self.series(&item.key).into_iter().filter_map(of).collect()
            }
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let responses = self.series.iter().filter(|(_, all)| all.iter().any(|series| series.is_response()));
        responses.map(|(key, _)| key.full_name()).collect()
    }
}

/// How many attempts of a side were lost, or answered with an error, and how many there were.
pub fn counted(all: &[&Series], statistic: Option<Statistic>) -> (u64, u64) {
    let part = |series: &&Series| match statistic {
        Some(Statistic::ErrorRatio) => series.counts.error_count,
        _ => series.counts.unanswered_count(),
    };
    (all.iter().map(part).sum(), all.iter().map(|series| series.counts.attempt_count).sum())
}

/// The quantile of all runs of a side together; infinite where it lies among what was lost.
pub fn pooled(all: &[&Series], p: f64) -> f64 {
    let Some((first, rest)) = all.split_first() else { return f64::NAN };
    let mut whole = (*first).clone();
    rest.iter().for_each(|series| whole.absorb(series));
    let rank = rank_of(p, whole.histogram.len() + whole.counts.beyond_count());
    whole.histogram.value_at_rank(rank).map_or(f64::INFINITY, |value| value as f64)
}

/// What is judged: what the gates name, else the median, loss and errors of each response, and each throughput.
pub fn items(sides: &[Side; 2], gates: &[Gate], catalogue: Catalogue) -> Vec<Item> {
    let is_on_both = |key: &Key| sides[1].series.contains_key(key);
    let series = sides[0].series.iter().filter(|(key, _)| is_on_both(key));
    let scalars = sides[0].scalars.iter().filter(|(key, _)| sides[1].scalars.contains_key(key));
    let mut items: Vec<Item> = Vec::new();
    let mut push = |key: &Key, statistic: Option<Statistic>, unit: &str, (is_up_bad, allowed): (bool, Option<f64>)| {
        if !items.iter().any(|item| item.key == *key && item.statistic == statistic) {
            items.push(Item { key: key.clone(), statistic, unit: unit.to_owned(), is_up_bad, allowed });
        }
    };
    if gates.is_empty() {
        for (key, all) in
            series.filter(|(_, all)| all.iter().all(|one| one.is_response() && one.role == Role::Response))
        {
            push(key, Some(Statistic::Quantile(0.5)), "ns", (true, None));
            if all.iter().any(|one| one.timeout_ns.is_some()) {
                push(key, Some(Statistic::LossRatio), "ratio", (true, None));
                push(key, Some(Statistic::ErrorRatio), "ratio", (true, None));
            }
        }
        let commands: Vec<&str> = sides[0].runs.iter().map(|run| run.command.as_str()).collect();
        let is_throughput = |key: &Key| {
            let measurements = commands.iter().filter_map(|command| catalogue(command));
            measurements.filter_map(|one| one.find(&key.name)).any(|(metric, _)| metric.is_more_better)
        };
        for (key, (unit, _)) in scalars.filter(|(key, _)| is_throughput(key)) {
            push(key, None, unit, (false, None));
        }
        return items;
    }
    for gate in gates {
        let is_up_bad = gate.operator.is_upward();
        let allowed = if is_up_bad { gate.limit } else { -gate.limit };
        let bad = (is_up_bad, Some(allowed).filter(|allowed| gate.is_relative && *allowed >= 0.0));
        let of_gate = |key: &&Key| key.name == gate.subject_name() && gate.is_of(&key.labels);
        match gate.subject {
            Subject::Series(_, statistic) => {
                let unit = if statistic.is_ratio() { "ratio" } else { "ns" };
                let keys = sides[0].series.keys().filter(|key| is_on_both(key)).filter(of_gate);
                keys.for_each(|key| push(key, Some(statistic), unit, bad));
            }
            Subject::Scalar(_) => {
                let both = sides[0].scalars.iter().filter(|(key, _)| sides[1].scalars.contains_key(key));
                both.filter(|(key, _)| of_gate(key)).for_each(|(key, (unit, _))| push(key, None, unit, bad));
            }
        }
    }
    items
}

/// The responses that only one side has.
pub fn unmatched(sides: &[Side; 2]) -> Vec<String> {
    let [baseline, current] = sides.each_ref().map(Side::names);
    let gone = baseline.difference(&current).map(|name| format!("{name} is in the baseline only"));
    let new = current.difference(&baseline).map(|name| format!("{name} is not in the baseline"));
    gone.chain(new).collect()
}

/// What must be known before any verdict.
pub fn remarks(baseline: &[Run], current: &[Run]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (side, runs) in [("baseline", baseline), ("current side", current)] {
        for run in runs.iter().filter(|run| !run.validity.valid) {
            remarks.push(format!(
                "run {} of the {side} is invalid and left out: {}",
                run.id,
                run.validity.reasons.join("; ")
            ));
        }
        if runs.iter().any(|run| !run.complete) {
            remarks.push(format!("the {side} has an incomplete run"));
        }
    }
    let mut differs = |what: &str, of: fn(&Run) -> String| {
        let [a, b] = [baseline, current].map(|runs| runs.iter().map(of).collect::<BTreeSet<_>>());
        if a != b && !baseline.is_empty() && !current.is_empty() {
            let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
            remarks.push(format!("the {what} differs: {} against {}", list(&a), list(&b)));
        }
    };
    differs("host", |run| known(run.environment.hostname.as_ref()));
    differs("kernel", |run| known(run.environment.kernel.as_ref()));
    differs("version of offloadctl", |run| run.version.clone());
    differs("command", |run| run.command.clone());
    let specs = |runs: &[Run]| runs.iter().map(|run| run.spec_hash.clone()).collect::<BTreeSet<_>>();
    if specs(baseline) != specs(current) {
        remarks.push("what was asked differs: the specs of the two sides are not the same".to_owned());
    }
    let (least, both) = (baseline.len().min(current.len()), baseline.len() + current.len());
    if least == 1 {
        let what = match both < FEWEST_FOR_RANKS {
            true => "the intervals come from its own course and know nothing of how runs differ",
            false => "it is held against how the runs of the other side differ",
        };
        remarks.push(format!("one run on a side: {what}; ten a side say more"));
    }
    remarks
}

fn known(fact: Option<&String>) -> String {
    fact.cloned().unwrap_or_else(|| "unknown".to_owned())
}
