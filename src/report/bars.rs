//! Text histograms: the targets of one series side by side on one logarithmic axis.
//!
//! Separate because a distribution with two humps has the same p95 as one with a tail, and only a picture says which.

use super::text::{clean, fit, length, wrap};
use super::unit;
use crate::model::Series;
use crate::model::layout::Histogram;

/// Steps of a decade in hundredths, coarse to fine: preferred numbers (ISO 3), so that every edge is a round figure.
const STEPS: [&[u64]; 4] = [
    &[100, 200, 500],
    &[100, 160, 250, 400, 630],
    &[100, 125, 160, 200, 250, 315, 400, 500, 630, 800],
    &[100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900],
];

/// Targets side by side, and in all.
const MOST_COLUMNS: usize = 4;
const MOST_TARGETS: usize = 8;

/// Widths of a share such as `< 0.001 %`, and of the shortest and the longest bar.
const SHARE_WIDTH: usize = 9;
const LEAST_BAR: usize = 8;
const MOST_BAR: usize = 24;

const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// One bucket of the axis, or an end without an answer, with the count of each target.
pub struct Row {
    /// Where it begins, or what end it is.
    pub label: String,
    /// Attempts of each target.
    pub counts: Vec<u64>,
}

/// The names of the targets with their attempts, and the rows of their common axis.
pub fn rows(histogram: &Histogram, most_rows: usize) -> (Vec<(String, u64)>, Vec<Row>) {
    let drawn = histogram.columns.iter().filter(|(_, series)| !series.histogram.is_empty());
    let drawn: Vec<(&str, &Series)> = drawn.map(|(head, series)| (head.as_str(), series.as_ref())).collect();
    let series: Vec<&Series> = drawn.iter().map(|(_, series)| *series).collect();
    let mut rows = buckets(&series, most_rows).unwrap_or_default();
    rows.extend(ends(&series));
    (drawn.iter().map(|(head, series)| (clean(head), series.counts.attempt_count)).collect(), rows)
}

/// A column a series on one axis of at most so many rows; as many side by side as the page is wide, the others below.
pub fn draw(histogram: &Histogram, width: usize, most_rows: usize) -> String {
    let answered: Vec<(&str, &Series)> = histogram
        .columns
        .iter()
        .filter(|(_, series)| !series.histogram.is_empty())
        .map(|(head, series)| (head.as_str(), series.as_ref()))
        .collect();
    let (shown, left_out) = answered.split_at(answered.len().min(MOST_TARGETS));
    let drawn: Vec<&Series> = shown.iter().map(|(_, series)| *series).collect();
    let Some(mut rows) = buckets(&drawn, most_rows) else { return String::new() };
    rows.extend(ends(&drawn));
    let mut text = format!("{}: share of attempts by latency\n", clean(&histogram.title));
    let label_width = rows.iter().map(|row| length(&row.label)).max().unwrap_or(0);
    let room = width.saturating_sub(label_width);
    let columns = (room / (LEAST_BAR + SHARE_WIDTH + 3)).clamp(1, MOST_COLUMNS).min(drawn.len());
    let bar_width = (room / columns).saturating_sub(SHARE_WIDTH + 3).clamp(LEAST_BAR, MOST_BAR);
    let largest = (0..drawn.len()).flat_map(|at| rows.iter().map(move |row| (row, at)));
    let largest = largest.map(|(row, at)| share(row, at, &drawn)).fold(0.0, f64::max);
    let heads = shown.iter().map(|(head, _)| clean(head)).collect();
    let sheet = Sheet { drawn: &drawn, heads, rows: &rows, label_width, bar_width, largest };
    for first in (0..drawn.len()).step_by(columns) {
        text.push_str(&sheet.strip(first, (first + columns).min(drawn.len())));
    }
    if !left_out.is_empty() {
        let names: Vec<String> = left_out.iter().map(|(head, _)| clean(head)).collect();
        for line in wrap(&format!("not drawn: {}", names.join(", ")), width) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Everything that the strips of one block share.
struct Sheet<'a> {
    drawn: &'a [&'a Series],
    heads: Vec<String>,
    rows: &'a [Row],
    label_width: usize,
    bar_width: usize,
    largest: f64,
}

impl Sheet<'_> {
    /// The targets from `first` to before `end`, side by side.
    fn strip(&self, first: usize, end: usize) -> String {
        let cell_width = self.bar_width + SHARE_WIDTH + 1;
        let label_width = self.label_width;
        // Heads that are too long for their columns stand above, each on a line of its own.
        let heads = &self.heads[first..end];
        let head = match heads {
            [only] if only.is_empty() => None,
            heads if heads.iter().all(|head| length(head) <= cell_width) => {
                let cells: String = heads.iter().map(|head| format!("  {}", fit(head, cell_width))).collect();
                Some(format!("{:label_width$}{cells}", "").trim_end().to_owned())
            }
            heads => {
                Some(heads.iter().map(|head| format!("{:label_width$}  {head}", "")).collect::<Vec<_>>().join("\n"))
            }
        };
        let lines = self.occupied(first, end).iter().map(|row| {
            let cells: String = (first..end).map(|at| format!("  {}", self.cell(row, at))).collect();
            format!("{:>label_width$}{cells}", row.label).trim_end().to_owned()
        });
        head.into_iter().chain(lines).map(|line| line + "\n").collect()
    }

    /// The rows between the first and the last that these targets use.
    fn occupied(&self, first: usize, end: usize) -> &[Row] {
        let is_used = |row: &Row| row.counts.iter().take(end).skip(first).any(|n| *n > 0);
        let from = self.rows.iter().position(is_used).unwrap_or(0);
        let to = self.rows.iter().rposition(is_used).map_or(from, |at| at + 1);
        &self.rows[from..to]
    }

    fn cell(&self, row: &Row, at: usize) -> String {
        let cell_width = self.bar_width + SHARE_WIDTH + 1;
        if row.counts.get(at).is_none_or(|n| *n == 0) {
            return " ".repeat(cell_width);
        }
        let share = share(row, at, self.drawn);
        fit(&format!("{} {}", bar(share / self.largest, self.bar_width), unit::ratio(share)), cell_width)
    }
}

/// Blocks in eighths; whatever is there at all is seen.
pub fn bar(part: f64, width: usize) -> String {
    let eighths = ((part * width as f64 * 8.0).round() as usize).clamp(1, width * 8);
    let rest = (eighths % 8).checked_sub(1).map(|at| EIGHTHS[at]);
    std::iter::repeat_n('█', eighths / 8).chain(rest).collect()
}

fn share(row: &Row, at: usize, drawn: &[&Series]) -> f64 {
    let n = row.counts.get(at).copied().unwrap_or(0);
    n as f64 / drawn[at].counts.attempt_count.max(1) as f64
}

/// The buckets from the smallest to the largest answer of all, as fine as the rows that a reader takes in allow.
fn buckets(drawn: &[&Series], most_rows: usize) -> Option<Vec<Row>> {
    let low = drawn.iter().filter_map(|series| Some(series.histogram.buckets().next()?.0)).min()?.max(1);
    let high = drawn.iter().filter_map(|series| series.histogram.buckets().last().map(|bucket| bucket.0)).max()?;
    let rows_of = |steps: &&[u64]| {
        let edges = edges(steps, low, high);
        without_long_gaps(edges.windows(2).map(|edge| bucket(drawn, edge[0], edge[1])).collect())
    };
    let fits = STEPS.iter().rev().map(rows_of).find(|rows| rows.len() <= most_rows);
    fits.or_else(|| STEPS.first().map(rows_of))
}

/// The edges from the last one at or below `low` to the first one above `high`.
fn edges(steps: &[u64], low: u64, high: u64) -> Vec<u64> {
    let all = (0..=13u32).flat_map(|decade| steps.iter().map(move |step| step * 10u64.pow(decade) / 100));
    let mut edges: Vec<u64> = all.collect();
    edges.dedup();
    let from = edges.partition_point(|edge| *edge <= low).saturating_sub(1);
    let to = edges.partition_point(|edge| *edge <= high).min(edges.len() - 1);
    edges[from..=to].to_vec()
}

fn bucket(drawn: &[&Series], from: u64, to: u64) -> Row {
    let within = |lowest: u64| (from..to).contains(&lowest) || (lowest == 0 && from <= 1);
    let count =
        |series: &&Series| series.histogram.buckets().filter(|(lowest, _, _)| within(*lowest)).map(|(_, _, n)| n).sum();
    Row { label: unit::duration(from), counts: drawn.iter().map(count).collect() }
}

/// What was not answered stands below the axis, so that the shares add up to all attempts.
fn ends(drawn: &[&Series]) -> Vec<Row> {
    let timeout = drawn.iter().find_map(|series| series.timeout_ns);
    let lost = drawn.iter().map(|series| series.counts.lost_count).collect();
    let errors = drawn.iter().map(|series| series.counts.error_count).collect();
    let broken = drawn.iter().map(|series| series.counts.refused_count + series.counts.failed_count).collect();
    [("errors".to_owned(), errors), (unit::beyond(timeout), lost), ("refused, failed".to_owned(), broken)]
        .into_iter()
        .map(|(label, counts)| Row { label, counts })
        .filter(|row| !row.is_empty())
        .collect()
}

/// Three and more empty rows in a row become one: an outlier must not push the rest off the screen.
fn without_long_gaps(rows: Vec<Row>) -> Vec<Row> {
    let mut kept = Vec::new();
    for group in rows.chunk_by(|a, b| a.is_empty() && b.is_empty()) {
        if group.len() >= 3 {
            kept.push(Row { label: "⋮".to_owned(), counts: Vec::new() });
        } else {
            kept.extend(group.iter().map(|row| Row { label: row.label.clone(), counts: row.counts.clone() }));
        }
    }
    kept
}

impl Row {
    fn is_empty(&self) -> bool {
        self.counts.iter().all(|n| *n == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_enclose_every_value() {
        assert_eq!(edges(STEPS[0], 1_200_000, 6_000_000), [1_000_000, 2_000_000, 5_000_000, 10_000_000]);
        assert_eq!(edges(STEPS[0], 1, 1), [1, 2]);
        assert_eq!(edges(STEPS[1], 2_500, 2_500), [2_500, 4_000]);
        let widest = edges(STEPS[3], 1, 3_600_000_000_000);
        assert!(widest.is_sorted() && widest.last().is_some_and(|last| *last > 3_600_000_000_000));
    }

    #[test]
    fn a_bar_shows_eighths_and_never_nothing() {
        assert_eq!([1.0, 0.5, 0.55, 1e-9].map(|part| bar(part, 4)), ["████", "██", "██▎", "▏"]);
    }
}
