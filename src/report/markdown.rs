//! The same report as GitHub markdown: tables as tables, pictures as code, notes as a list.
//!
//! Separate because a merge request shows it without our columns and escapes.

use super::sheet::Sheet;
use super::text::clean;
use super::{Report, Reporter, bars, comparison, forest, heat, plot, trend, unit, verdict, waterfall};
use crate::model::layout::{Block, Note, Table};

/// GitHub markdown.
pub struct Markdown;

/// Columns and rows of pictures, which are blocks of code.
const WIDTH: usize = 100;
const ROWS: usize = 12;

impl Reporter for Markdown {
    fn render(&self, report: &Report) -> String {
        let compared = report.comparisons.map(|comparisons| sheet(&comparison::sheet(comparisons, report.detail)));
        let front = report.front.map(|front| sheet(&Sheet::from(front.layout)));
        let trend = report.trend.map(|trend| sheet(&trend::sheet(trend)));
        let runs = report.pages.iter().map(|page| {
            let text = sheet(&Sheet::of(page, report.detail));
            // The verdict is what a merge request is about; the runs are for whoever looks closer.
            match report.comparisons.is_some() || report.front.is_some() {
                true => format!("<details>\n<summary>{}</summary>\n\n{text}\n</details>\n", escape(&page.run.id)),
                false => text,
            }
        });
        let gate = report.gate.map(|gate| {
            let items = verdict::results(gate).into_iter().map(|(word, text)| Note::new(word, text));
            format!("**{}**\n\n{}", escape(&verdict::headline(gate)), list(&items.collect::<Vec<_>>()))
        });
        front.into_iter().chain(trend).chain(compared).chain(gate).chain(runs).collect::<Vec<_>>().join("\n")
    }
}

fn sheet(sheet: &Sheet) -> String {
    let alarms: String = sheet.alarms.iter().map(|alarm| format!("> **{}**\n\n", escape(alarm))).collect();
    let answer = if sheet.answer.is_empty() { String::new() } else { format!("**{}**\n\n", escape(&sheet.answer)) };
    let check = sheet.check.as_ref().map_or_else(String::new, |check| format!("Check: `{}`\n\n", clean(check)));
    let blocks: String = sheet.blocks.iter().map(block).filter(|block| !block.is_empty()).collect();
    format!("{alarms}### {}\n\n{answer}{check}{blocks}{}", escape(&sheet.title), list(&sheet.notes))
}

fn block(block: &Block) -> String {
    let code = |text: String| if text.is_empty() { text } else { format!("```text\n{text}```\n\n") };
    match block {
        Block::Table(one) => table(one),
        Block::Histogram(histogram) => code(bars::draw(histogram, WIDTH, ROWS)),
        Block::Scatter(scatter) => code(plot::draw(scatter, WIDTH)),
        Block::HeatMap(map) => code(heat::draw(map, WIDTH)),
        Block::Waterfall(waterfall) => code(waterfall::draw(waterfall, WIDTH)),
        Block::Intervals(intervals) => code(forest::draw(intervals, WIDTH)),
        Block::Text(text) => format!("{}\n\n", escape(text)),
    }
}

fn table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let caption = if table.caption.is_empty() { String::new() } else { format!("**{}**\n\n", escape(&table.caption)) };
    let heads = line(table.columns.iter().map(|column| escape(&column.head)));
    let rule = line(table.columns.iter().map(|column| if column.is_name { ":--" } else { "--:" }));
    let body: String =
        table.rows.iter().map(|row| line(row.iter().map(|cell| escape(unit::cell(cell).trim())))).collect();
    format!("{caption}{heads}{rule}{body}\n")
}

fn list(notes: &[Note]) -> String {
    notes.iter().map(|note| format!("- **{}**: {}\n", escape(&note.label), escape(&note.text))).collect()
}

fn line(cells: impl Iterator<Item = impl AsRef<str>>) -> String {
    let cells: String = cells.map(|cell| format!(" {} |", cell.as_ref())).collect();
    format!("|{cells}\n")
}

/// Backticks stay: our own sentences use them as markdown does, and nothing between them is escaped but the pipe.
fn escape(text: &str) -> String {
    let mut is_code = false;
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        is_code ^= c == '`';
        if c == '|' || (!is_code && matches!(c, '<' | '>' | '*' | '\\')) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
