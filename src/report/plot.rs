//! Points on two logarithmic axes, as text.
//!
//! Separate because what two quantities cost each other is seen in a picture and in no table.

use super::text::{clean, hang, length};
use super::unit::{quantity, significant};
use crate::model::layout::Scatter;

/// Size in characters, without the labels, and the columns that these take.
const MOST_WIDTH: usize = 72;
const HEIGHT: usize = 9;
const LABEL_WIDTH: usize = 14;

/// The points below what they mean; nothing where there are too few to compare.
pub fn draw(scatter: &Scatter, width: usize) -> String {
    let Scatter { points, up: (factor, up_unit), .. } = scatter;
    if points.len() < 2 {
        return String::new();
    }
    let columns = MOST_WIDTH.min(width.saturating_sub(LABEL_WIDTH)).max(2);
    let (x, y) = (Axis::over(points.iter().map(|p| p.0), columns), Axis::over(points.iter().map(|p| p.1), HEIGHT));
    // Points of one height need no axis for it.
    let height = if y.high > y.low { HEIGHT } else { 1 };
    let mut sheet = vec![vec![' '; columns]; height];
    for (across, up, mark) in points {
        let place = &mut sheet[height - 1 - y.place(*up)][x.place(*across)];
        if !place.is_uppercase() {
            *place = *mark;
        }
    }
    let last = height - 1;
    let lines = sheet.iter().enumerate().map(|(at, line)| {
        let label = match at {
            0 => format!("{} {up_unit}", significant(y.high * factor)),
            _ if at == last => format!("{} {up_unit}", significant(y.low * factor)),
            _ => String::new(),
        };
        format!("{label:>12} │{}\n", line.iter().collect::<String>().trim_end())
    });
    let (low, high) = (quantity(x.low, scatter.unit), quantity(x.high, scatter.unit));
    let ends = format!("{low}{high:>rest$}", rest = columns.saturating_sub(length(&low)));
    let foot = format!("{:>12} └{}\n{:>LABEL_WIDTH$}{ends}\n", "", "─".repeat(columns), "");
    format!("{}{}{foot}", hang("", &clean(&scatter.title), width), lines.collect::<String>())
}

/// A logarithmic axis of so many characters.
struct Axis {
    low: f64,
    high: f64,
    steps: usize,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, steps: usize) -> Self {
        let high = values.clone().fold(1.0, f64::max);
        Self { low: values.fold(high, f64::min).max(1.0), high, steps }
    }

    fn place(&self, value: f64) -> usize {
        let span = (self.high / self.low).ln();
        let share = if span > 0.0 { (value.max(self.low) / self.low).ln() / span } else { 0.0 };
        ((share * (self.steps - 1) as f64).round() as usize).min(self.steps - 1)
    }
}
