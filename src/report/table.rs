//! What people see in a terminal: for each run its trustworthiness, its table, its histograms and its notes.
//!
//! Separate from the pieces so that the order of a report is read in one place.

use super::note::{Note, notes, notes_beside};
use super::row::rows;
use super::text::{hang, length};
use super::{Report, Reporter, bars, detection, doctor, fleet, grid, scalar, split, title, verdict};
use crate::model::Run;

/// Tables and text histograms.
pub struct Table;

/// Narrower terminals get lines of this width; prose is not readable below it.
const LEAST_WIDTH: usize = 60;

/// Prose is not readable above it.
const PROSE_WIDTH: usize = 120;

impl Reporter for Table {
    fn render(&self, report: &Report) -> String {
        let width = usize::from(report.width).max(LEAST_WIDTH);
        let runs = report.runs.iter().map(|one| run(one, width));
        let gate = report.gate.map(|gate| {
            let results = verdict::results(gate);
            let items = results.iter().map(|(word, text)| hang(&format!("  {word:<14}"), text, width.min(PROSE_WIDTH)));
            format!("{}\n{}", verdict::headline(gate), items.collect::<String>())
        });
        runs.chain(gate).collect::<Vec<_>>().join("\n")
    }
}

fn run(run: &Run, width: usize) -> String {
    let prose = width.min(PROSE_WIDTH);
    let alarms: String = title::alarms(run).iter().map(|alarm| hang("", alarm, prose)).collect();
    let title = hang("", &title::title(run), prose);
    if let Some(settings) = detection::text(run, width) {
        let notes = notes_beside(run, run, &detection::shown(run));
        return [format!("{alarms}{title}"), settings, definitions(&notes, prose)].join("\n");
    }
    if let Some(checks) = doctor::text(run, width) {
        return [format!("{alarms}{title}"), checks, definitions(&doctor::notes(run), prose)].join("\n");
    }
    let whole = run;
    let run = &*fleet::condensed(run);
    let rows = rows(run);
    let table = match rows.is_empty() {
        true => "no series were recorded\n".to_owned(),
        false => grid::lines(&rows, width).iter().map(|line| format!("{line}\n")).collect(),
    };
    let parts = [format!("{alarms}{title}"), table, split_table(run, width), scalars(run)]
        .into_iter()
        .chain(bars::blocks(run, width));
    parts.chain([definitions(&notes(whole, run), prose)]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Where each round trip goes, in one table or two, with how to read it.
fn split_table(run: &Run, width: usize) -> String {
    let Some(split) = split::split(run) else { return String::new() };
    let grid = |heads: &[&str], rows: &[Vec<String>]| {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        grid::left_then_right(heads, rows.iter().cloned(), 2)
    };
    let tables = split.tables(|heads, rows| grid(heads, rows).lines().all(|line| length(line) <= width));
    let tables: Vec<String> = tables.iter().map(|(heads, rows)| grid(heads, rows)).collect();
    let rest = split.rest().map_or_else(String::new, |rest| format!("{rest}\n"));
    format!("{}\n\n{}{rest}", split::CAPTION, tables.join("\n"))
}

/// The scalars below heads of their own, where there are many.
fn scalars(run: &Run) -> String {
    let rows = scalar::rows(run);
    if rows.is_empty() { String::new() } else { grid::right_aligned(&scalar::HEADS, rows) }
}

/// Labels in a column, sentences beside them; a label is not repeated.
fn definitions(notes: &[Note], width: usize) -> String {
    let column = notes.iter().map(|note| length(&note.label)).max().unwrap_or(0).min(width / 3);
    let mut text = String::new();
    for (at, note) in notes.iter().enumerate() {
        let is_repeated = at > 0 && notes[at - 1].label == note.label;
        let label = if is_repeated { "" } else { &note.label };
        text.push_str(&hang(&format!("{label:<column$}  "), &note.text, width));
    }
    text
}
