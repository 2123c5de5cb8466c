//! A run as it is read, whatever the format: what is wrong, the answer, tables and pictures, notes, the cost.
//!
//! Separate so that the order of a report stands in one place, and terminal and markdown say the same.

use super::Page;
use super::everything;
use super::unit;
use crate::model::figure::{count, duration};
use crate::model::layout::{Block, Note};
use crate::model::{Layout, Role, Run, Warning};

/// Notes that everybody reads.
const MOST_NOTES: usize = 6;

/// What is told before warnings: each says that figures are missing or something is broken.
const URGENT: [&str; 5] = ["problem", "lost", "outage", "skipped", "saturated"];

/// Warnings that come with most short runs on one host: they are told, and not first.
const USUAL: [&str; 3] = ["debug_build", "slip_above_p50", "rate_not_seen"];

/// One run, in the order of its parts.
pub struct Sheet<'a> {
    /// What must be known before any figure is believed.
    pub alarms: Vec<String>,
    /// What was measured and how.
    pub title: String,
    /// What the reader should know or do.
    pub answer: String,
    /// A command that shows whether it helped.
    pub check: Option<String>,
    /// Tables and pictures.
    pub blocks: Vec<Block<'a>>,
    /// What else matters, and what it cost.
    pub notes: Vec<Note>,
}

impl<'a> Sheet<'a> {
    /// Of this run, with or without what only those want who look closer.
    pub fn of(page: &Page<'a>, detail: bool) -> Self {
        let Page { run, layout } = page;
        let mut blocks = layout.blocks.clone();
        let mut notes = sorted(layout.notes.clone(), run);
        if detail {
            blocks.extend(layout.detail.iter().cloned());
            blocks.extend(everything::blocks(run));
            notes.extend(everything::notes(run));
        } else if notes.len() > MOST_NOTES {
            let rest = notes.split_off(MOST_NOTES - 1).len();
            notes.push(Note::new("…", format!("{} more notes with --detail", count(rest as u64))));
        }
        notes.extend([cost(run), identity(run)]);
        Self {
            alarms: layout.banner.iter().cloned().chain(alarms(run)).collect(),
            title: title(page),
            answer: layout.answer.text.clone(),
            check: layout.answer.check.clone(),
            blocks,
            notes,
        }
    }
}

impl<'a> From<&Layout<'a>> for Sheet<'a> {
    /// Of no single run.
    fn from(layout: &Layout<'a>) -> Self {
        Self {
            alarms: layout.banner.iter().cloned().collect(),
            title: layout.subject.join(" · "),
            answer: layout.answer.text.clone(),
            check: layout.answer.check.clone(),
            blocks: layout.blocks.clone(),
            notes: layout.notes.clone(),
        }
    }
}

/// Whether the run can be trusted at all.
fn alarms(run: &Run) -> Vec<String> {
    let invalid = (!run.validity.valid).then(|| format!("INVALID: {}", run.validity.reasons.join("; ")));
    let incomplete = (!run.complete).then(|| match run.elapsed_ns {
        0 => "INCOMPLETE (interrupted): nothing was measured".to_owned(),
        elapsed => format!("INCOMPLETE (interrupted): the figures cover the {} until then", duration(elapsed)),
    });
    invalid.into_iter().chain(incomplete).collect()
}

fn title(page: &Page) -> String {
    let run = page.run;
    let merged = (!run.merged_from.is_empty()).then(|| format!("merged from {} runs", run.merged_from.len()));
    let labels: Vec<String> = run.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let labels = (!labels.is_empty()).then(|| labels.join(" "));
    let parts = std::iter::once(run.command.clone()).chain(page.layout.subject.iter().cloned());
    parts.chain(merged).chain(labels).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// What is missing or broken, then what lowers the trust, then the rest.
fn sorted(notes: Vec<Note>, run: &Run) -> Vec<Note> {
    let (mut urgent, rest): (Vec<_>, Vec<_>) =
        notes.into_iter().partition(|note| URGENT.contains(&note.label.as_str()));
    let (usual, warnings): (Vec<_>, Vec<_>) =
        run.warnings.iter().partition(|warning| USUAL.contains(&warning.id.as_str()));
    let note = |warning: &Warning| Note::new("warning", &warning.text);
    urgent.extend(warnings.into_iter().map(note));
    urgent.extend(rest);
    urgent.extend(usual.into_iter().map(note));
    urgent
}

/// What measuring cost the machine that measured, and how late its starts were.
fn cost(run: &Run) -> Note {
    let cost = &run.self_cost;
    let cpu = cost.cpu_user_ns.zip(cost.cpu_system_ns).map(|(user, system)| {
        let used = user.saturating_add(system);
        // What comes before and after is in the cost and not in the span: of a short run it would be most of it.
        let share = (run.elapsed_ns >= 1_000_000_000).then(|| used as f64 / run.elapsed_ns as f64);
        let share = share.map_or_else(String::new, |share| match share > 1.0 {
            true => format!(" ({} cores)", unit::significant(share)),
            false => format!(" ({} of a core)", unit::ratio(share)),
        });
        format!("{} CPU{share}", duration(used))
    });
    let memory = cost.memory_peak_bytes.map(unit::bytes);
    let used: Vec<String> = cpu.into_iter().chain(memory).collect();
    let slips = run.series.iter().filter(|series| series.role == Role::Slip && !series.floor);
    let slip = slips.filter_map(|series| series.summary.p50_ns).max();
    let slip = slip.map(|ns| format!("starts late by {} (p50)", duration(ns)));
    let used = (!used.is_empty()).then(|| used.join(", "));
    let parts: Vec<String> = used.into_iter().chain(slip).collect();
    Note::new("cost", if parts.is_empty() { "not known".to_owned() } else { parts.join(" · ") })
}

/// What finds this run again, and what repeats it.
fn identity(run: &Run) -> Note {
    let seed = run.seed.map_or_else(String::new, |seed| format!(" · seed {seed}"));
    Note::new("run", format!("{}{seed}", run.id))
}
