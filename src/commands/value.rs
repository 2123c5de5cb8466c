//! Durations, shares and counts as people type them. A bare number is no duration: 5 of what?

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::UnknownWord;
use crate::sys::clock;

/// A duration with its unit.
///
/// # Errors
/// A sentence for the usage error.
pub fn parse(text: &str) -> Result<Duration, String> {
    if is_negative(text) {
        return Err("it must not be below zero".to_owned());
    }
    if text.parse::<f64>().is_ok() {
        return Err(format!("it needs its unit: write `{text}s`, `{text}ms` or `{text}m`"));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Whether a text is a number below zero, whatever its unit.
fn is_negative(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

/// A duration with its unit that is not zero.
///
/// # Errors
/// A sentence for the usage error.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        span => Ok(span),
    }
}

/// The seed given, or one that is drawn: of 53 bits, so that it survives every JSON reader.
#[must_use]
pub fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| clock::entropy() >> 11)
}

/// A share from `0%` to `100%`, as a ratio.
///
/// # Errors
/// A sentence for the usage error.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .map(|percent| percent / 100.0)
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "it is not a share from `0%` to `100%`".to_owned())
}

/// A size with its unit, in bytes: `64MiB`, `1MB`, `512KiB`; a bare number is bytes.
///
/// # Errors
/// A sentence for the usage error.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("B", 1),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
    ];
    let wrong = || "it is not a size: write, for example, `512KiB`, `64MiB` or `1GiB`".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let size = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).map(|(_, size)| *size);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    size.and_then(|size| number.checked_mul(size)).ok_or_else(wrong)
}

/// One of the words of an enum, which help and errors list.
pub fn one_of<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownWord> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|word| word.parse())
}

/// Each value once, in the order typed. The rule of all lists: a value given twice is no mistake, and measured twice it
/// would be two series of one name.
pub fn unique<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// A whole number of at least 1.
///
/// # Errors
/// A sentence for the usage error.
pub fn parse_whole<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    match text.parse::<N>() {
        Ok(number) if number >= N::from(1) => Ok(number),
        Ok(_) => Err("it must be at least 1".to_owned()),
        Err(_) if is_negative(text) => Err("it must be at least 1".to_owned()),
        Err(_) => Err("it is not a whole number that fits here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse("5").unwrap_err().contains("`5s`"));
        assert!(parse("0").unwrap_err().contains("unit"));
        assert!(parse("5 parsecs").is_err());
        assert!(parse("-5s").unwrap_err().contains("below zero"));
        assert!(parse_whole::<u16>("-5").unwrap_err().contains("at least 1"));
        assert!(parse_positive("0s").is_err());
    }

    #[test]
    fn a_size_may_have_a_unit() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1 kb"), Ok(1_000));
        assert_eq!(parse_bytes("17"), Ok(17));
        for text in ["", "MiB", "-1", "1.5MiB", "1TiB", "99999999999GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_given_twice_is_taken_once_in_the_order_typed() {
        assert_eq!(unique([3, 1, 3, 2, 1]), [3, 1, 2]);
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!(parse_share("2.5%"), Ok(0.025));
        assert!(parse_share("0.1").is_err() && parse_share("101%").is_err() && parse_share("NaN%").is_err());
    }
}
