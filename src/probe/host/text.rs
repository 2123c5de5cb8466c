//! Figures in the sentences of an examination.
//!
//! Separate from the reporters', which probes do not know: here a figure is part of the evidence and stays text.

/// A span in a fitting unit.
pub fn duration(ns: u64) -> String {
    let exact = ns as f64;
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let unit = units.into_iter().find(|(size, _)| exact >= *size);
    unit.map_or_else(|| format!("{ns} ns"), |(size, name)| format!("{} {name}", number(exact / size)))
}

/// A share.
pub fn ratio(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}

/// Three digits at most behind which nothing is known.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 || value == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// A count with its thousands apart; beyond what anybody counts it has no end.
pub fn count(n: u64) -> String {
    if n > 1_000_000_000 {
        return "unlimited".to_owned();
    }
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_a_fitting_unit_and_three_digits() {
        assert_eq!([duration(25), duration(61_234), duration(2_500_000)], ["25 ns", "61.2 µs", "2.50 ms"]);
        assert_eq!([ratio(0.0), ratio(0.0123), ratio(0.5)], ["0 %", "1.23 %", "50.0 %"]);
        assert_eq!(
            [count(64), count(1_024), count(1_048_576), count(u64::MAX)],
            ["64", "1,024", "1,048,576", "unlimited"]
        );
        assert_eq!(count(100_000), "100,000");
    }
}
