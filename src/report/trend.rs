//! A figure of stored runs over time, as a page: what changed, and with which run.
//!
//! Separate because its subject is many runs and one figure.

use super::sheet::Sheet;
use super::unit::{quantity, ratio};
use crate::model::layout::{Block, Intervals, Note};
use crate::model::{Trend, TrendPoint};

/// The trend as a page of its own.
pub fn sheet<'a>(trend: &Trend) -> Sheet<'a> {
    let rows = trend.points.iter().map(|point| (label(trend, point), point.value, point.low, point.high));
    let picture = Intervals {
        title: format!("{} of each run, with its 95 % interval", trend.subject),
        unit: trend.unit.clone(),
        band: trend.left.as_ref().map(|left| (left.band_low, left.band_high)),
        rows: rows.collect(),
    };
    let band = trend.left.as_ref().map(|left| {
        let (low, high) = (quantity(left.band_low.max(0.0), &trend.unit), quantity(left.band_high, &trend.unit));
        Note::new("band", format!("of the runs before {}: {low} to {high}, drawn as │", left.run_id))
    });
    Sheet {
        alarms: Vec::new(),
        title: format!("trend · {} · {} runs", trend.subject, trend.points.len()),
        answer: answer(trend),
        check: None,
        blocks: vec![Block::Intervals(picture)],
        notes: band.into_iter().collect(),
    }
}

fn label(trend: &Trend, point: &TrendPoint) -> String {
    let mark = if trend.left.as_ref().is_some_and(|left| left.run_id == point.run_id) { " ←" } else { "" };
    format!("{}{mark}", point.started_at.short())
}

/// What the reader should know.
pub fn answer(trend: &Trend) -> String {
    let values: Vec<f64> = trend.points.iter().filter_map(|point| point.value).collect();
    let (Some(first), Some(last)) = (values.first(), values.last()) else {
        return format!("No stored run says anything of {}.", trend.subject);
    };
    let figure = |value: f64| quantity(value, &trend.unit);
    match &trend.left {
        Some(left) => {
            let middle = f64::midpoint(left.band_low, left.band_high);
            let at = trend.points.iter().find(|point| point.run_id == left.run_id);
            let value = at.and_then(|point| point.value);
            let now = value.map_or_else(|| "beyond the timeout".to_owned(), figure);
            let by = value.filter(|_| middle > 0.0).map_or_else(String::new, |value| {
                let word = if value > middle { "more" } else { "less" };
                format!(", {} {word}", ratio((value / middle - 1.0).abs()))
            });
            format!("It changed with run {}: {now} after {}{by}.", left.run_id, figure(middle))
        }
        None if values.len() <= 5 => format!(
            "{} runs are too few to see a change: {} first, {} last.",
            values.len(),
            figure(*first),
            figure(*last)
        ),
        None => format!("No run left the band of those before it: {} first, {} last.", figure(*first), figure(*last)),
    }
}
