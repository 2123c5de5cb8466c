//! Rows on columns: side by side where the terminal is wide enough, else one block a target. Nothing wraps in a cell.
//!
//! Separate because the choice between the two layouts is the only thing that depends on the width.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::row::{FIGURES, Row};
use super::text::length;

/// Lines above the rows of a stacked grid: the heads and the rule.
const HEAD_LINES: usize = 2;

/// Spaces between columns, and where that is too wide.
const GAP: u16 = 2;
const NARROW_GAP: u16 = 1;

/// The rows as lines of text.
pub fn lines(rows: &[Row], width: usize) -> Vec<String> {
    let fits = |lines: &Vec<String>| lines.iter().all(|line| length(line) <= width);
    let candidates = [side_by_side, |rows: &[Row]| stacked(rows, GAP)];
    candidates.iter().map(|layout| layout(rows)).find(fits).unwrap_or_else(|| stacked(rows, NARROW_GAP))
}

/// A table of texts under these heads, for lists that are no runs.
#[must_use]
pub fn plain_table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(heads);
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if at == 0 { 0 } else { GAP }, 0));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Texts below underlined heads, the last column to the right.
pub fn right_aligned<const N: usize>(heads: &[&str; N], rows: Vec<[String; N]>) -> String {
    left_then_right(heads.map(str::to_owned).to_vec(), rows.into_iter().map(Vec::from), N - 1)
}

/// The same with heads of any number, so many columns to the left.
pub fn left_then_right(heads: Vec<String>, rows: impl Iterator<Item = Vec<String>>, left: usize) -> String {
    ruled(heads, rows, GAP, left).iter().map(|line| format!("{line}\n")).collect()
}

/// Target, channel, figures and reference in one line; a target is named once.
fn side_by_side(rows: &[Row]) -> Vec<String> {
    let has_reference = rows.iter().any(|row| row.reference.is_some());
    let names = ["target", "channel"].into_iter().chain(FIGURES);
    // All heads stand on the line above the rule, also where the last one takes two.
    let mut heads: Vec<String> =
        names.map(|name| if has_reference { format!(" \n{name}") } else { name.to_owned() }).collect();
    heads.extend(has_reference.then(|| "reference\nmean / p95 / jitter".to_owned()));
    let cells = rows.iter().enumerate().map(|(at, row)| {
        let is_repeated = at > 0 && rows[at - 1].target == row.target;
        let target = if is_repeated { String::new() } else { row.target.clone() };
        let mut cells = vec![target, row.channel.clone()];
        cells.extend(row.figures.clone());
        cells.extend(has_reference.then(|| row.reference.clone().unwrap_or_default()));
        cells
    });
    aligned(heads, cells, GAP)
}

/// The target on a line of its own, with its reference, and its channels below.
fn stacked(rows: &[Row], gap: u16) -> Vec<String> {
    let mut heads = vec![String::new()];
    heads.extend(FIGURES.map(str::to_owned));
    let cells = rows.iter().map(|row| {
        let mut cells = vec![format!("  {}", row.channel.trim_start())];
        cells.extend(row.figures.clone());
        cells
    });
    let grid = aligned(heads, cells, gap);
    let (head, body) = grid.split_at(HEAD_LINES);
    let mut lines = head.to_vec();
    for (at, (row, line)) in rows.iter().zip(body).enumerate() {
        if at == 0 || rows[at - 1].target != row.target {
            let reference = row.reference.as_ref();
            let reference = reference.map_or_else(String::new, |r| format!("  (reference {r})"));
            lines.push(format!("{}{reference}", row.target));
        }
        lines.push(line.clone());
    }
    lines
}

/// Columns below underlined heads: names to the left, figures and reference to the right.
fn aligned(heads: Vec<String>, rows: impl Iterator<Item = Vec<String>>, gap: u16) -> Vec<String> {
    let names = heads.iter().take_while(|head| !head.ends_with(FIGURES[0])).count();
    ruled(heads, rows, gap, names)
}

/// The same with so many columns to the left.
fn ruled(heads: Vec<String>, rows: impl Iterator<Item = Vec<String>>, gap: u16, names: usize) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(heads);
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if at == 0 { 0 } else { gap }, 0));
        column.set_cell_alignment(if at < names { CellAlignment::Left } else { CellAlignment::Right });
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let widest = lines.iter().map(|line| length(line)).max().unwrap_or(0);
    let heads = lines.len() - table.row_count();
    lines.insert(heads, "─".repeat(widest));
    lines
}
