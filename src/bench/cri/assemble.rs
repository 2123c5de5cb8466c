//! What a measurement at one number of containers found, as series and scalars.
//!
//! Separate from the pairing, which knows acts and stamps and nothing of how they are told.

use super::bed::Lists;
use super::evaluate::{ACTS, Life, delays, predicted};
use super::watcher::Told;
use crate::load::Track;
use crate::model::span::nanos;
use crate::model::{Labels, Measured, Outcome, Role, Scalar, Series, Warning};

/// Everything but the load's own series.
pub fn level(count: u32, lists: &Lists, lives: &[Life], told: &Told) -> Measured {
    let (mut measured, containers) = (Measured::default(), count.to_string());
    let level = Labels::new().with("containers", &containers);
    let mut track = Track::default();
    for (at, span) in lists.spans.iter().enumerate() {
        track.record(at as u64, Outcome::Ok, nanos(*span));
    }
    measured.series.push(Series { role: Role::Phase, ..track.into_series("cri.list".to_owned(), level.clone()) });
    let number = |name: &str, labels: &Labels, unit: &str, value: f64| Scalar::new(name, labels, unit, value);
    measured.scalars.extend(lists.cpu.map(|cpu| number("cri.relist_cpu", &level, "ns", cpu.as_nanos() as f64)));
    let all = lists.spans.iter().sum::<std::time::Duration>();
    let mean = all / lists.spans.len().max(1) as u32;
    let worst = lists.spans.iter().copied().max().unwrap_or_default();
    for (watcher, account) in &told.accounts {
        let labels = Labels::new().with("watcher", &watcher.word).with("containers", &containers);
        let mut missed = 0;
        for act in ACTS {
            let mut track = Track::default();
            for (at, delay) in delays(act, lives, &account.sights).into_iter().enumerate() {
                missed += u64::from(delay.is_none());
                let outcome = if delay.is_some() { Outcome::Ok } else { Outcome::Lost };
                track.record(at as u64, outcome, delay.unwrap_or_default());
            }
            let labels = labels.clone().with("event", act.name());
            measured
                .series
                .push(Series { role: Role::Response, ..track.into_series("cri.detection".to_owned(), labels) });
        }
        measured.scalars.push(number("cri.missed", &labels, "count", missed as f64));
        let cores = account.cpu.as_secs_f64() / told.elapsed.as_secs_f64().max(1e-9);
        measured.scalars.push(number("cri.watcher_cpu", &labels, "cores", cores));
        let Some(every) = watcher.every else { continue };
        let [predicted_mean, predicted_worst] = predicted(every, [mean, worst]);
        measured.scalars.push(number("cri.predicted_mean", &labels, "ns", predicted_mean.as_nanos() as f64));
        measured.scalars.push(number("cri.predicted_worst", &labels, "ns", predicted_worst.as_nanos() as f64));
        let cores = lists.cpu.map(|cpu| cpu.as_secs_f64() / every.max(cpu).as_secs_f64().max(1e-9));
        measured.scalars.extend(cores.map(|cores| number("cri.relist_cores", &labels, "cores", cores)));
    }
    measured
}

/// What had to be said, and what could not be done.
pub fn warnings(told: &Told, faults: &[String]) -> Vec<Warning> {
    let of_watcher = told.accounts.iter().flat_map(|(watcher, account)| {
        account.sentences.iter().map(|text| Warning::new("source", format!("{}: {text}", watcher.word)))
    });
    let notes = told.notes.iter().map(|text| Warning::new("events", text.clone()));
    notes.chain(of_watcher).chain(faults.iter().map(|text| Warning::new("act_failed", text.clone()))).collect()
}
