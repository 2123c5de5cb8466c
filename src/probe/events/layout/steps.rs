//! The making of a Pod by its steps: which of them takes the time.
//!
//! Separate because only a runtime that is asked by CRI has them.

use crate::model::layout::{Cell, Column, Table};
use crate::model::{Run, Series};
use crate::probe::events::hands::Step;

/// What was published of the making of a Pod (mission: "Pod created"; by image pull and CNI).
const PUBLISHED: &str = "300 ms to 1.2 s";

/// A row a step, with all of them together and what was published; `None` where there are none.
pub fn table(run: &Run) -> Option<Table> {
    let of = |step: Step| {
        run.series.iter().find(|series| series.name == "events.step" && series.label("step") == step.name())
    };
    let steps: Vec<(&str, &Series)> = Step::ALL.into_iter().filter_map(|step| Some((step.name(), of(step)?))).collect();
    let whole: u64 = steps.iter().filter_map(|(_, series)| series.summary.mean_ns).sum();
    if whole == 0 {
        return None;
    }
    let mut table = Table::new(vec![
        Column::name("a Pod's"),
        Column::figure("mean"),
        Column::figure("p50"),
        Column::extra("p95", 2),
        Column::figure("max"),
        Column::figure("share of the mean"),
        Column::extra("n", 1),
    ]);
    for (name, series) in steps {
        table.push(vec![
            Cell::text(match name {
                "pull" => "image pull",
                "sandbox" => "sandbox, CNI inside",
                other => other,
            }),
            Cell::span(series.summary.mean_ns),
            Cell::quantile(series, "p50"),
            Cell::quantile(series, "p95"),
            Cell::span(series.summary.max_ns),
            Cell::Share(series.summary.mean_ns.unwrap_or_default() as f64 / whole as f64),
            Cell::Count(series.counts.ok_count),
        ]);
    }
    let blank = || Cell::Blank;
    table.push(vec![Cell::text("whole"), Cell::Span(whole), blank(), blank(), blank(), Cell::Share(1.0), blank()]);
    table.push(vec![Cell::text("(published)"), Cell::text(PUBLISHED), blank(), blank(), blank(), blank(), blank()]);
    Some(table.without_empty_columns().titled("what making a Pod takes"))
}
