//! Figures with their intervals below each other on one axis, as text.
//!
//! Separate because what overlaps and what does not is seen here and in no table.

use super::text::{clean, hang, length};
use super::unit::{ABSENT, quantity};
use crate::model::layout::Intervals;

/// Rows that are drawn: the last ones, for they are the newest.
const MOST_ROWS: usize = 30;

/// Characters of the axis.
const LEAST_AXIS: usize = 20;
const MOST_AXIS: usize = 60;

/// The rows below their title; nothing where there is nothing to compare.
pub fn draw(intervals: &Intervals, width: usize) -> String {
    let rows = &intervals.rows[intervals.rows.len().saturating_sub(MOST_ROWS)..];
    let Some((low, high)) = intervals.ends() else { return String::new() };
    let labels: Vec<String> = rows.iter().map(|(label, ..)| clean(label)).collect();
    let figure =
        |value: &Option<f64>| value.map_or_else(|| ABSENT.to_owned(), |value| quantity(value, &intervals.unit));
    let figures: Vec<String> = rows.iter().map(|(_, value, ..)| figure(value)).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| length(text)).max().unwrap_or(0);
    let (label_width, figure_width) = (widest(&labels), widest(&figures));
    let axis = width.saturating_sub(label_width + figure_width + 4).clamp(LEAST_AXIS, MOST_AXIS);
    let place = |value: f64| (((value - low) / (high - low)).clamp(0.0, 1.0) * (axis - 1) as f64).round() as usize;
    let mut text = hang("", &clean(&intervals.title), width);
    for ((_, value, from, to), (label, figure)) in rows.iter().zip(labels.iter().zip(&figures)) {
        let mut line = vec![' '; axis];
        for edge in intervals.band.iter().flat_map(|(a, b)| [*a, *b]).filter(|edge| (low..=high).contains(edge)) {
            line[place(edge)] = '│';
        }
        if let Some(value) = value {
            let (from, to) = (place(from.unwrap_or(*value)), place(to.unwrap_or(*value)));
            line[from..=to].fill('─');
            line[place(*value)] = '●';
        }
        let drawn: String = line.into_iter().collect();
        let line = format!("{label}{}  {}{figure}  {drawn}", pad(label, label_width), pad(figure, figure_width));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let (left, right) = (quantity(low, &intervals.unit), quantity(high, &intervals.unit));
    let gap = axis.saturating_sub(length(&left) + length(&right));
    text + &format!("{:indent$}{left}{:gap$}{right}\n", "", "", indent = label_width + figure_width + 4)
}

fn pad(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(length(text)))
}
