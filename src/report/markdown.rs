//! The same table as GitHub markdown, the notes as a list.
//!
//! Separate because a merge request shows it without our columns and escapes.

use super::row::{FIGURES, Row, rows};
use super::{Report, Reporter, detection, fleet, note, scalar, split, title, verdict};
use crate::model::Run;

/// GitHub markdown.
pub struct Markdown;

impl Reporter for Markdown {
    fn render(&self, report: &Report) -> String {
        let runs = report.runs.iter().map(run);
        let gate = report.gate.map(|gate| {
            let results = verdict::results(gate);
            let items = results.iter().map(|(word, text)| item(word, text)).collect::<String>();
            format!("**{}**\n\n{items}", escape(&verdict::headline(gate)))
        });
        runs.chain(gate).collect::<Vec<_>>().join("\n")
    }
}

fn run(run: &Run) -> String {
    let alarms: String = title::alarms(run).iter().map(|alarm| format!("> **{}**\n\n", escape(alarm))).collect();
    let items = |notes: Vec<note::Note>| notes.iter().map(|note| item(&note.label, &note.text)).collect::<String>();
    if let Some(settings) = detection::text(run, usize::MAX) {
        let notes = items(note::notes_beside(run, run, &detection::shown(run)));
        return format!("{alarms}### {}\n\n```text\n{settings}```\n\n{notes}", escape(&title::title(run)));
    }
    let shown = &*fleet::condensed(run);
    let (title, rows, scalars) = (escape(&title::title(run)), table(&rows(shown)), scalars(shown));
    let (split, notes) = (split_table(shown), items(note::notes(run, shown)));
    format!("{alarms}### {title}\n\n{rows}\n{split}{scalars}{notes}")
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No series were recorded.\n".to_owned();
    }
    let has_reference = rows.iter().any(|row| row.reference.is_some());
    let reference_head = has_reference.then_some("reference (mean / p95 / jitter)");
    let head: Vec<&str> = ["target", "channel"].into_iter().chain(FIGURES).chain(reference_head).collect();
    let rule: Vec<&str> = (0..head.len()).map(|at| if at < 2 { ":--" } else { "--:" }).collect();
    let body = rows.iter().map(|row| {
        let names = [row.target.clone(), row.channel.trim().to_owned()];
        let reference = has_reference.then(|| row.reference.clone().unwrap_or_default());
        line(names.into_iter().chain(row.figures.clone()).chain(reference).map(|cell| escape(&cell)))
    });
    let lines = [line(head.into_iter()), line(rule.into_iter())].into_iter().chain(body);
    lines.collect()
}

fn split_table(run: &Run) -> String {
    let Some(split) = split::split(run) else { return String::new() };
    let tables = split.tables(|_, _| true);
    let table = |(heads, rows): &(Vec<&str>, Vec<Vec<String>>)| {
        let rule: Vec<&str> = (0..heads.len()).map(|at| if at < 2 { ":--" } else { "--:" }).collect();
        let body = rows.iter().map(|row| line(row.iter().map(|cell| escape(cell))));
        let lines: String = [line(heads.iter()), line(rule.iter())].into_iter().chain(body).collect();
        format!("{lines}\n")
    };
    let rest = split.rest().map_or_else(String::new, |rest| format!("{rest}\n\n"));
    format!("**{}**\n\n{}{rest}", split::CAPTION, tables.iter().map(table).collect::<String>())
}

fn scalars(run: &Run) -> String {
    let rows = scalar::rows(run);
    if rows.is_empty() {
        return String::new();
    }
    let rule = [":--", ":--", "--:"];
    let body = rows.iter().map(|row| line(row.iter().map(|cell| escape(cell))));
    let lines = [line(scalar::HEADS.iter()), line(rule.iter())].into_iter().chain(body);
    format!("{}\n", lines.collect::<String>())
}

fn line(cells: impl Iterator<Item = impl AsRef<str>>) -> String {
    let cells: String = cells.map(|cell| format!(" {} |", cell.as_ref())).collect();
    format!("|{cells}\n")
}

fn item(label: &str, text: &str) -> String {
    format!("- **{}**: {}\n", escape(label), escape(text))
}

/// Backticks stay: our own sentences use them as markdown does, and nothing between them is escaped but the pipe.
fn escape(text: &str) -> String {
    let mut is_code = false;
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        is_code ^= c == '`';
        if c == '|' || (!is_code && matches!(c, '<' | '>' | '*' | '\\')) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
