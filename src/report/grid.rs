//! Tables as lines of text, as wide as the page and no wider.
//!
//! Separate because the choice of what to leave out on a narrow page is made here alone. Nothing is cut off: a column is there
//! whole or not at all, and where even the names do not fit beside the figures, they stand above them.

use super::text::{clean, hang, length};
use super::unit;
use crate::model::layout::{Cell, Column, Table};

/// Spaces between columns, and where that is too wide.
const GAPS: [usize; 2] = [2, 1];

/// The least room for the words of a last column, which are wrapped.
const LEAST_WORDS: usize = 24;

/// The table below its caption.
pub fn draw(table: &Table, width: usize) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let caption = if table.caption.is_empty() { String::new() } else { hang("", &clean(&table.caption), width) };
    format!("{caption}{}", lines(table, width).iter().map(|line| format!("{}\n", line.trim_end())).collect::<String>())
}

/// A table of texts under these heads, for lists that are no runs.
#[must_use]
pub fn plain_table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new(heads.iter().map(|head| Column::name(*head)).collect());
    rows.for_each(|row| table.push(row.into_iter().map(Cell::Text).collect()));
    let all: Vec<usize> = (0..heads.len()).collect();
    let lines = Sheet::of(&table).lines(&all, GAPS[0]);
    let lines: Vec<&str> = lines.iter().filter(|line| !line.starts_with('─')).map(|line| line.trim_end()).collect();
    lines.join("\n")
}

fn lines(table: &Table, width: usize) -> Vec<String> {
    let sheet = Sheet::of(table);
    let mut ranks: Vec<u8> = table.columns.iter().map(|column| column.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let fits = |kept: &[usize], gap| sheet.width(kept, gap) <= width;
    for most in ranks.iter().rev() {
        let kept: Vec<usize> = (0..table.columns.len()).filter(|at| table.columns[*at].rank <= *most).collect();
        if let Some(gap) = GAPS.into_iter().find(|gap| fits(&kept, *gap)) {
            return sheet.lines(&kept, gap);
        }
    }
    let kept: Vec<usize> = (0..table.columns.len()).filter(|at| table.columns[*at].rank == 0).collect();
    match table.columns.last() {
        Some(last) if last.is_name => sheet.with_words(&kept, width),
        _ => sheet.stacked(&kept, width),
    }
}

/// The cells as text, and how wide each column is.
struct Sheet<'a> {
    columns: &'a [Column],
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl<'a> Sheet<'a> {
    fn of(table: &'a Table) -> Self {
        let heads: Vec<String> = table.columns.iter().map(|column| clean(&column.head)).collect();
        let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(unit::cell).collect()).collect();
        let width = |at: usize| rows.iter().chain([&heads]).map(|row| length(&row[at])).max().unwrap_or(0);
        let widths = (0..heads.len()).map(width).collect();
        Self { columns: &table.columns, heads, rows, widths }
    }

    fn width(&self, kept: &[usize], gap: usize) -> usize {
        kept.iter().map(|at| self.widths[*at]).sum::<usize>() + gap * kept.len().saturating_sub(1)
    }

    fn lines(&self, kept: &[usize], gap: usize) -> Vec<String> {
        let rule = "─".repeat(self.width(kept, gap));
        let body = self.rows.iter().map(|row| self.line(row, kept, gap));
        [self.line(&self.heads, kept, gap), rule].into_iter().chain(body).collect()
    }

    fn line(&self, row: &[String], kept: &[usize], gap: usize) -> String {
        let cell = |at: &usize| {
            let (text, width) = (&row[*at], self.widths[*at]);
            if self.columns[*at].is_name { format!("{text:<width$}") } else { format!("{text:>width$}") }
        };
        kept.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(gap))
    }

    /// The words of the last column wrapped in the room that is left.
    fn with_words(&self, kept: &[usize], width: usize) -> Vec<String> {
        let Some((last, kept)) = kept.split_last() else { return Vec::new() };
        let before = self.width(kept, GAPS[0]) + GAPS[0];
        let width = width.max(before + LEAST_WORDS);
        let line = |row: &Vec<String>| {
            let head = format!("{}{}", self.line(row, kept, GAPS[0]), " ".repeat(GAPS[0]));
            hang(&head, &row[*last], width).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let rule = vec!["─".repeat(width.min(before + self.widths[*last]))];
        [line(&self.heads), rule].into_iter().chain(self.rows.iter().map(line)).flatten().collect()
    }

    /// Names on a line of their own, figures below them.
    fn stacked(&self, kept: &[usize], width: usize) -> Vec<String> {
        let (names, figures): (Vec<usize>, Vec<usize>) = kept.iter().partition(|at| self.columns[**at].is_name);
        let gap = GAPS.into_iter().find(|gap| self.width(&figures, *gap) + 2 <= width).unwrap_or(GAPS[1]);
        let join = |row: &[String]| {
            let words = names.iter().map(|at| row[*at].trim()).filter(|name| !name.is_empty());
            hang("", &words.collect::<Vec<_>>().join("  "), width).trim_end().to_owned()
        };
        let figures_of = |row: &[String]| format!("  {}", self.line(row, &figures, gap));
        let rule = "─".repeat(self.width(&figures, gap) + 2);
        let body = self.rows.iter().flat_map(|row| [join(row), figures_of(row)]);
        [figures_of(&self.heads), rule].into_iter().chain(body).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let columns = vec![Column::name("target"), Column::figure("p50"), Column::extra("p99", 1)];
        let mut table = Table::new(columns);
        table.push(vec![Cell::text("a-far-away-place"), Cell::Span(1_200_000), Cell::Absent]);
        table
    }

    #[test]
    fn a_narrow_page_leaves_out_what_matters_least_and_cuts_nothing() {
        let shown = |width| draw(&table(), width);
        assert_eq!(
            shown(80),
            "target                p50  p99\n──────────────────────────────\na-far-away-place  1.20 ms    –\n"
        );
        assert_eq!(shown(25), "target                p50\n─────────────────────────\na-far-away-place  1.20 ms\n");
        assert_eq!(shown(20), "      p50\n─────────\na-far-away-place\n  1.20 ms\n");
    }

    #[test]
    fn words_are_wrapped_in_the_last_column() {
        let mut table = Table::new(vec![Column::name("what"), Column::name("figure")]);
        table.push(vec![Cell::text("clock"), Cell::text("reads take 25 ns and steps are of 20 ns")]);
        let text = draw(&table, 34);
        assert_eq!(text.lines().nth(2), Some("clock  reads take 25 ns and steps"));
        assert_eq!(text.lines().nth(3), Some("       are of 20 ns"));
    }
}
