//! What a race found, as series, scalars and findings.
//!
//! Separate from the pairing, which knows acts and stamps and nothing of how they are told.

use std::time::Duration;

use super::act::Book;
use super::correlate::{Tallies, Tally, Told, Truth, correlate};
use super::hands::Step;
use super::race::Account;
use crate::load::Track;
use crate::model::figure::count;
use crate::model::span::nanos;
use crate::model::{Clock, Finding, Labels, Measured, Outcome, Role, Scalar, Series, Severity, Warning};
use crate::source::watch::Act;

/// Everything but the load's own series; without a book, of what happened anyway.
pub fn assemble(book: Option<&Book>, accounts: &[Account]) -> Measured {
    let told: Vec<Told> =
        accounts.iter().map(|account| Told { sights: &account.sights, tells: &account.tells }).collect();
    let tallies = correlate(book.map(|book| book.truths.as_slice()), &told);
    let mut measured = Measured::default();
    for (account, tallies) in accounts.iter().zip(&tallies) {
        measured.series.extend(tallies.iter().flat_map(|(act, tally)| series(&account.word, *act, tally)));
        measured.scalars.extend(scalars(account, tallies));
        measured.findings.extend(findings(account, tallies, book));
        measured.warnings.extend(warnings(account));
    }
    measured.series.extend(book.into_iter().flat_map(|book| calls(&book.truths).into_iter().chain(steps(&book.steps))));
    measured
}

/// What a source told of one kind of act.
fn series(word: &str, act: Act, tally: &Tally) -> Vec<Series> {
    let labels = Labels::new().with("source", word).with("event", act.name());
    let with_missed =
        [("events.since_act", Role::Response, &tally.since_act), ("events.behind", Role::Phase, &tally.behind)];
    let with_missed = with_missed.into_iter().filter(|(_, _, spans)| !spans.is_empty()).map(|(name, role, spans)| {
        let mut track = Track::default();
        for (at, ns) in spans.iter().enumerate() {
            let outcome = if ns.is_some() { Outcome::Ok } else { Outcome::Lost };
            track.record(at as u64, outcome, ns.unwrap_or_default());
        }
        Series { role, ..track.into_series(name.to_owned(), labels.clone()) }
    });
    let parts = [("events.receipt", Clock::User, &tally.receipt), ("events.lag", Clock::Kernel, &tally.lag)];
    let parts = parts.into_iter().filter(|(_, _, spans)| !spans.is_empty());
    let parts = parts.map(|(name, clock, spans)| Series { clock, ..part(name, &labels, spans.iter().copied()) });
    with_missed.chain(parts).collect()
}

/// How long each kind of call took.
fn calls(truths: &[Truth]) -> Vec<Series> {
    let of = |act: Act| {
        let spans: Vec<u64> = truths
            .iter()
            .filter(|truth| truth.act == act)
            .map(|truth| truth.returned.nanos_since(truth.called))
            .collect();
        (!spans.is_empty()).then(|| part("events.call", &Labels::new().with("event", act.name()), spans.into_iter()))
    };
    Act::ALL.into_iter().filter_map(of).collect()
}

/// How long each step of the making of a Pod took.
fn steps(all: &[(Step, Duration)]) -> Vec<Series> {
    let of = |step: Step| {
        let mut spans = all.iter().filter(|(known, _)| *known == step).map(|(_, span)| nanos(*span)).peekable();
        spans.peek()?;
        Some(part("events.step", &Labels::new().with("step", step.name()), spans))
    };
    Step::ALL.into_iter().filter_map(of).collect()
}

fn part(name: &str, labels: &Labels, spans: impl Iterator<Item = u64>) -> Series {
    let mut track = Track::default();
    spans.enumerate().for_each(|(at, ns)| track.record(at as u64, Outcome::Ok, ns));
    Series { role: Role::Phase, ..track.into_series(name.to_owned(), labels.clone()) }
}

fn scalars(account: &Account, tallies: &Tallies) -> Vec<Scalar> {
    let labels = Labels::new().with("source", &account.word);
    let sum = |of: fn(&Tally) -> u64| tallies.values().map(of).sum::<u64>() as f64;
    let counts = [
        ("events.missed", sum(|tally| tally.missed)),
        ("events.duplicated", sum(|tally| tally.duplicated)),
        ("events.reordered", sum(|tally| tally.reordered)),
        ("events.collapsed", sum(|tally| tally.collapsed)),
    ];
    let counts = counts.into_iter().map(|(name, value)| Scalar::new(name, &labels, "count", value));
    let daemon = account.daemon_cores.map(|cores| Scalar::new("events.daemon_cpu", &labels, "cores", cores));
    counts.chain([Scalar::new("events.watcher_cpu", &labels, "cores", account.cores)]).chain(daemon).collect()
}

/// What a source lost, with what proves it.
fn findings(account: &Account, tallies: &Tallies, book: Option<&Book>) -> Option<Finding> {
    let missed: u64 = tallies.values().map(|tally| tally.missed).sum();
    let kinds: Vec<String> = tallies
        .iter()
        .filter(|(_, tally)| tally.missed > 0)
        .map(|(act, tally)| format!("{} of {act}", count(tally.missed)))
        .collect();
    let text = format!("{} never told of {} acts: {}", account.word, count(missed), kinds.join(", "));
    let proof = match book {
        Some(book) => format!(
            "a look before their removal showed {} containers started and ended, and every call that is counted returned well",
            count(book.proved.len() as u64)
        ),
        None => "another source told of them".to_owned(),
    };
    (missed > 0).then(|| Finding::new("events_missed", Severity::Notice, text).with_evidence(vec![proof]))
}

fn warnings(account: &Account) -> Vec<Warning> {
    let told = account.sentences.iter().map(|text| Warning::new("source", format!("{}: {text}", account.word)));
    let lost = (account.lost > 0).then(|| {
        let text = format!("{}: {} sights were lost on the way to it", account.word, count(account.lost));
        Warning::new("sights_lost", text)
    });
    told.chain(lost).collect()
}
