//! Figures as people read them: a unit that fits and three significant digits.
//!
//! Separate because this is the only place where a number becomes text; everywhere else nanoseconds stay integers. It is in the
//! model because reports are not alone: a probe's evidence holds figures in sentences.

/// Units of time: the first value that uses the unit, nanoseconds in one, its name.
const UNITS: [(f64, f64, &str); 7] = [
    (0.0, 1.0, "ns"),
    (1e3, 1e3, "µs"),
    (1e6, 1e6, "ms"),
    (1e9, 1e9, "s"),
    (120e9, 60e9, "min"),
    (7_200e9, 3_600e9, "h"),
    (172_800e9, 86_400e9, "d"),
];

/// A span with three significant digits, such as `1.20 ms`, `812 µs` or `25.0 s`.
pub fn duration(ns: u64) -> String {
    let (digits, name) = duration_parts(ns);
    format!("{digits} {name}")
}

/// A span that somebody chose, such as a timeout: without the digits that say nothing.
pub fn limit(ns: u64) -> String {
    let (digits, name) = duration_parts(ns);
    let short = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{short} {name}")
}

fn duration_parts(ns: u64) -> (String, &'static str) {
    let exact = ns as f64;
    // Half a unit of the third digit below the threshold already rounds up to it.
    let fits = |(from, _, _): &&(f64, f64, &str)| exact >= from * 0.9995;
    let (_, size, name) = UNITS.iter().rev().find(fits).copied().unwrap_or(UNITS[0]);
    let digits = if size == 1.0 { ns.to_string() } else { significant(exact / size) };
    (digits, name)
}

/// Three significant digits of a positive number, all of them where there are more before the point.
pub fn significant(value: f64) -> String {
    match value.abs() {
        x if x < 9.995 => format!("{value:.2}"),
        x if x < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A share in per cent; never `0 %` or `100 %` unless it is exactly that.
pub fn ratio(ratio: f64) -> String {
    let per_cent = ratio * 100.0;
    match per_cent {
        x if x <= 0.0 => "0 %".to_owned(),
        x if x >= 100.0 => "100 %".to_owned(),
        x if x < 0.001 => "< 0.001 %".to_owned(),
        x if x < 0.0095 => format!("{x:.3} %"),
        x if x < 0.995 => format!("{x:.2} %"),
        x if x < 99.95 => format!("{x:.1} %"),
        _ => "> 99.9 %".to_owned(),
    }
}

/// A whole number with a comma between thousands.
pub fn count(n: u64) -> String {
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

/// A size in binary units.
pub fn bytes(n: u64) -> String {
    let exact = n as f64;
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units
        .into_iter()
        .find(|(size, _)| n >= *size)
        .map_or_else(|| format!("{n} B"), |(size, name)| format!("{} {name}", significant(exact / size as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_three_digits_and_a_fitting_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (812, "812 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (812_345, "812 µs"),
            (999_400, "999 µs"),
            (999_600, "1.00 ms"),
            (1_204_000, "1.20 ms"),
            (9_996_000, "10.0 ms"),
            (38_700_000, "38.7 ms"),
            (99_960_000, "100 ms"),
            (1_250_000_000, "1.25 s"),
            (60_000_000_000, "60.0 s"),
            (119_000_000_000, "119 s"),
            (600_000_000_000, "10.0 min"),
            (86_400_000_000_000, "24.0 h"),
            (604_800_000_000_000, "7.00 d"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn a_limit_is_written_as_it_was_chosen() {
        assert_eq!([1_000_000_000, 1_500_000_000, 200_000_000].map(limit), ["1 s", "1.5 s", "200 ms"]);
    }

    #[test]
    fn a_share_is_never_rounded_to_nothing_or_to_all() {
        let shares = [0.0, 1e-7, 0.000_05, 0.0032, 0.02, 0.1234, 0.9999, 1.0];
        let texts = ["0 %", "< 0.001 %", "0.005 %", "0.32 %", "2.0 %", "12.3 %", "> 99.9 %", "100 %"];
        assert_eq!(shares.map(ratio), texts);
    }

    #[test]
    fn counts_and_sizes_are_readable() {
        assert_eq!([7, 999, 3_120, 1_234_567].map(count), ["7", "999", "3,120", "1,234,567"]);
        assert_eq!([512, 10_276_045, 3 << 30].map(bytes), ["512 B", "9.80 MiB", "3.00 GiB"]);
    }
}
