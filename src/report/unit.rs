//! What people read of a run's figures: quantiles that may not exist, and quantities in the unit that a document names.
//!
//! Separate from the figures themselves, which sentences elsewhere hold too.

pub use crate::model::figure::{bytes, count, duration, limit, ratio, significant};
use crate::model::{Quantile, Summary};

/// What stands where a figure does not exist.
pub const ABSENT: &str = "–";

/// A figure, or the sign for none.
pub fn maybe(ns: Option<u64>) -> String {
    ns.map_or_else(|| ABSENT.to_owned(), duration)
}

/// A quantile: its value, `> 1 s` where it lies beyond the timeout, `–` where the sample is too small.
pub fn quantile(summary: &Summary, name: &str, timeout_ns: Option<u64>) -> String {
    match summary.quantile(name) {
        Quantile::Value(ns) => duration(ns),
        Quantile::BeyondTimeout => beyond(timeout_ns),
        Quantile::TooFew => ABSENT.to_owned(),
    }
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
    fn the_reason_for_no_quantile_is_shown() {
        let summary = Summary { p50_ns: Some(1_200_000), beyond_timeout: vec!["p95".to_owned()], ..Summary::default() };
        assert_eq!(quantile(&summary, "p50", Some(1_000_000_000)), "1.20 ms");
        assert_eq!(quantile(&summary, "p95", Some(1_000_000_000)), "> 1 s");
        assert_eq!(quantile(&summary, "p95", None), "lost");
        assert_eq!(quantile(&summary, "p99", Some(1_000_000_000)), "–");
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
