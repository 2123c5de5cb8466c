//! What people see in a terminal.
//!
//! Separate from the drawing of the parts, so that only this file knows width, colour and line breaks.

use super::sheet::Sheet;
use super::text::{clean, hang, length, wrap};
use super::{Report, Reporter, bars, comparison, forest, grid, heat, plot, trend, verdict, waterfall};
use crate::model::layout::{Block, Note};

/// Text for a terminal.
pub struct Terminal;

/// Narrower terminals get lines of this width; prose is not readable below it.
const LEAST_WIDTH: usize = 60;

/// Prose is not readable above it.
const PROSE_WIDTH: usize = 100;

/// Rows of a picture, and of one in `--detail`.
const PICTURE_ROWS: usize = 10;
const DETAIL_ROWS: usize = 18;

/// Labels of notes that a colour helps to find; they say it in words, too.
const LOUD: [&str; 4] = ["problem", "lost", "outage", "FAIL"];

impl Reporter for Terminal {
    fn render(&self, report: &Report) -> String {
        let page = Page { width: usize::from(report.width).max(LEAST_WIDTH), report };
        let compared = report.comparisons.map(|comparisons| page.sheet(&comparison::sheet(comparisons, report.detail)));
        let front = report.front.map(|front| page.sheet(&Sheet::from(front.layout)));
        let trend = report.trend.map(|trend| page.sheet(&trend::sheet(trend)));
        let runs = report.shown_pages().map(|one| page.sheet(&Sheet::of(one, report.detail)));
        let gate = report.gate.map(|gate| {
            let results = verdict::results(gate).into_iter().map(|(word, text)| Note::new(word, text));
            format!("{}\n{}", verdict::headline(gate), page.notes(&results.collect::<Vec<_>>()))
        });
        front.into_iter().chain(trend).chain(compared).chain(runs).chain(gate).collect::<Vec<_>>().join("\n")
    }
}

struct Page<'a> {
    width: usize,
    report: &'a Report<'a>,
}

impl Page<'_> {
    fn sheet(&self, sheet: &Sheet) -> String {
        let alarms: String =
            sheet.alarms.iter().map(|alarm| self.loud(&hang("", &clean(alarm), self.prose()))).collect();
        let title = hang("", &clean(&sheet.title), self.prose());
        let answer = match sheet.answer.as_str() {
            "" => String::new(),
            text => self.bold(&hang("", &clean(text), self.prose())),
        };
        let check = sheet.check.as_deref().map_or_else(String::new, |check| command(check, self.prose()));
        let blocks = sheet.blocks.iter().map(|block| self.block(block));
        let parts = [format!("{alarms}{title}"), format!("{answer}{check}")].into_iter().chain(blocks);
        let parts = parts.chain([self.notes(&sheet.notes)]).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("\n")
    }

    fn block(&self, block: &Block) -> String {
        let rows = if self.report.detail { DETAIL_ROWS } else { PICTURE_ROWS };
        match block {
            Block::Table(table) => grid::draw(table, self.width),
            Block::Histogram(histogram) => bars::draw(histogram, self.width, rows),
            Block::Scatter(scatter) => plot::draw(scatter, self.width),
            Block::HeatMap(map) => heat::draw(map, self.width),
            Block::Waterfall(waterfall) => waterfall::draw(waterfall, self.width),
            Block::Intervals(intervals) => forest::draw(intervals, self.width),
            Block::Text(text) => hang("", &clean(text), self.prose()),
        }
    }

    /// Labels in a column, sentences beside them; a label is not repeated.
    fn notes(&self, notes: &[Note]) -> String {
        let column = notes.iter().map(|note| length(&note.label)).max().unwrap_or(0).min(self.width / 4);
        let mut text = String::new();
        for (at, note) in notes.iter().enumerate() {
            let is_repeated = at > 0 && notes[at - 1].label == note.label;
            let label = if is_repeated { "" } else { &note.label };
            let lines = hang(&format!("{:<column$}  ", clean(label)), &clean(&note.text), self.prose());
            match lines.split_at_checked(label.len()) {
                Some((label, rest)) if LOUD.contains(&label) => text.push_str(&(self.loud(label) + rest)),
                _ => text.push_str(&lines),
            }
        }
        text
    }

    fn prose(&self) -> usize {
        self.width.min(PROSE_WIDTH)
    }

    fn loud(&self, text: &str) -> String {
        self.styled(text, "1;31")
    }

    fn bold(&self, text: &str) -> String {
        self.styled(text, "1")
    }

    /// Each line in this style, where the terminal has any.
    fn styled(&self, text: &str, style: &str) -> String {
        if !self.report.colour {
            return text.to_owned();
        }
        let end = if text.ends_with('\n') { "\n" } else { "" };
        let lines: Vec<String> = text.lines().map(|line| format!("\u{1b}[{style}m{line}\u{1b}[0m")).collect();
        format!("{}{end}", lines.join("\n"))
    }
}

/// A command on as many lines as it needs, such that it can be copied.
fn command(text: &str, width: usize) -> String {
    const HEAD: &str = "Check: ";
    let lines = wrap(&clean(text), width - HEAD.len() - 2);
    lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let head = if at == 0 { HEAD } else { "         " };
            let more = if at + 1 < lines.len() { " \\" } else { "" };
            format!("{head}{line}{more}\n")
        })
        .collect()
}
