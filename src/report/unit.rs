//! What people read of a run's figures: cells that may hold nothing, and quantities in the unit that a document names.
//!
//! Separate from the figures themselves, which sentences elsewhere hold too.

use super::bars::bar;
use super::text::clean;
pub use crate::model::figure::{bytes, count, duration, limit, ratio, significant};
use crate::model::layout::Cell;

/// What stands where a figure does not exist.
pub const ABSENT: &str = "–";

/// Characters of the bar behind a share.
const BAR_WIDTH: usize = 16;

/// A cell of a table.
pub fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Blank => String::new(),
        Cell::Absent => ABSENT.to_owned(),
        Cell::Text(text) => clean(text),
        Cell::Span(ns) => duration(*ns),
        Cell::Beyond(timeout_ns) => beyond(*timeout_ns),
        Cell::Count(n) => count(*n),
        Cell::Ratio(share) => ratio(*share),
        Cell::Share(share) => share_text(*share),
        Cell::Quantity(value, unit) => quantity(*value, unit),
    }
}

/// `55 %  █████████`: whole per cent are enough beside a bar.
fn share_text(share: f64) -> String {
    let per_cent = if share > 0.0 && share < 0.005 { "< 1 %".to_owned() } else { format!("{:.0} %", share * 100.0) };
    let drawn = if share > 0.0 { bar(share.min(1.0), BAR_WIDTH) } else { String::new() };
    format!("{per_cent:>5}  {drawn:<BAR_WIDTH$}")
}

/// What is known of a lost attempt.
pub fn beyond(timeout_ns: Option<u64>) -> String {
    timeout_ns.map_or_else(|| "lost".to_owned(), |ns| format!("> {}", limit(ns)))
}

/// A number in the unit that the documents name: `ns`, `ratio`, or any other, which is written behind it.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ns" if value >= 0.0 => duration(value.round() as u64),
        "ratio" => ratio(value),
        "bytes" if value >= 0.0 => bytes(value.round() as u64),
        "count" if value >= 0.0 && value.fract() == 0.0 => count(value as u64),
        "count" => number(value),
        _ => {
            format!("{} {}", number(value), unit.replace("bytes_per_", "B/").replace("per_", "/")).trim_end().to_owned()
        }
    }
}

fn number(value: f64) -> String {
    if value >= 999.5 { count(value.round() as u64) } else { significant(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_what_is_not_known() {
        let cells =
            [Cell::Span(1_200_000), Cell::Beyond(Some(1_000_000_000)), Cell::Beyond(None), Cell::Absent, Cell::Blank];
        assert_eq!(cells.map(|one| cell(&one)), ["1.20 ms", "> 1 s", "lost", "–", ""]);
        assert_eq!(cell(&Cell::Share(0.5)), " 50 %  ████████        ");
    }

    #[test]
    fn quantities_are_readable() {
        assert_eq!(quantity(1234.5, "per_s"), "1,235 /s");
        assert_eq!(quantity(0.5, "ratio"), "50.0 %");
        assert_eq!(quantity(1.5e6, "ns"), "1.50 ms");
        assert_eq!(quantity(3.0, ""), "3.00");
        assert_eq!([3.0, 12_345.0, 0.5].map(|n| quantity(n, "count")), ["3", "12,345", "0.50"]);
    }
}
