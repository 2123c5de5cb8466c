//! What a `--fail-if` expression means: `rtt.echo{target=dc}.p95 > 10ms` names a violation.
//!
//! Separate from judging because a bad expression must be refused before anything is measured.

use std::fmt;
use std::str::FromStr;

use super::GateError;
use crate::model::Labels;

/// One `--fail-if` expression, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    expression: String,
    pub(super) subject: Subject,
    pub(super) labels: Labels,
    pub(super) operator: Operator,
    pub(super) limit: f64,
    /// Whether the limit is a change against the baseline and no value of its own.
    pub(super) is_relative: bool,
}

/// What is judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subject {
    /// A statistic of every series of this name.
    Series(String, Statistic),
    /// Every scalar of this name.
    Scalar(String),
}

/// A statistic of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statistic {
    Quantile(f64),
    Mean,
    Max,
    Min,
    LossRatio,
    ErrorRatio,
    IpdvMean,
    JitterRfc3550,
    PdvP999,
    Stddev,
}

impl Statistic {
    /// Whether it is a share of attempts, and not a duration.
    pub(super) const fn is_ratio(self) -> bool {
        matches!(self, Self::LossRatio | Self::ErrorRatio)
    }

    /// As gates write it.
    pub(super) fn word(self) -> String {
        let word = match self {
            // At least two digits: the median is p50.
            Self::Quantile(p) => return format!("p{:0<2}", p.to_string().trim_start_matches("0.")),
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Min => "min",
            Self::LossRatio => "loss_ratio",
            Self::ErrorRatio => "error_ratio",
            Self::IpdvMean => "ipdv_mean",
            Self::JitterRfc3550 => "jitter_rfc3550",
            Self::PdvP999 => "pdv_p999",
            Self::Stddev => "stddev",
        };
        word.to_owned()
    }
}

/// The comparison that is a violation when it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    /// Whether large values violate.
    pub(super) const fn is_upward(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

impl Gate {
    /// The expression as typed.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the series or scalar that is looked for; a scalar has no statistic.
    #[must_use]
    pub fn subject_name(&self) -> &str {
        let (Subject::Series(name, _) | Subject::Scalar(name)) = &self.subject;
        name
    }

    /// Whether it is of a statistic of a series, and not of a single number.
    #[must_use]
    pub const fn is_of_series(&self) -> bool {
        matches!(self.subject, Subject::Series(..))
    }

    /// Whether a whole interval violates the limit, and whether all of it satisfies it.
    pub(super) fn verdict_on(&self, low: f64, high: f64) -> (bool, bool) {
        let limit = self.limit;
        match self.operator {
            Operator::Above => (low > limit, high <= limit),
            Operator::AtLeast => (low >= limit, high < limit),
            Operator::Below => (high < limit, low >= limit),
            Operator::AtMost => (high <= limit, low > limit),
        }
    }

    /// Whether it asks for nothing but what these labels are.
    #[must_use]
    pub fn is_of(&self, labels: &Labels) -> bool {
        labels.matches(&self.labels)
    }

    /// Whether its limit is a change against the baseline.
    #[must_use]
    pub const fn is_relative(&self) -> bool {
        self.is_relative
    }

    /// The labels that it asks for.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|(name, _)| name)
    }

    /// The value that it asks of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.value(name)
    }

    /// The name that is looked for, with its labels.
    #[must_use]
    pub fn name(&self) -> String {
        let (Subject::Series(name, _) | Subject::Scalar(name)) = &self.subject;
        format!("{name}{}", self.labels)
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

impl FromStr for Gate {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let text = text.trim();
        let (subject, operator, limit) = comparison(text)?;
        let (name, labels, rest) = braces(text, subject)?;
        let subject = subject_of(text, name, rest, &labels)?;
        let (limit, is_relative) = match limit.strip_prefix("baseline") {
            Some(change) => (change_of(text, change.trim(), limit)?, true),
            None => (limit_of(text, &subject, operator, limit)?, false),
        };
        Ok(Self { expression: text.to_owned(), subject, labels, operator, limit, is_relative })
    }
}

/// Splits at the first comparison after the labels, whose values may hold any sign.
fn comparison(text: &str) -> Result<(&str, Operator, &str), GateError> {
    let from = text.rfind('}').unwrap_or(0);
    let missing = || GateError::Operator { expression: text.to_owned() };
    let at = from + text[from..].find(['<', '>']).ok_or_else(missing)?;
    let (operator, length) = match &text[at..] {
        rest if rest.starts_with(">=") => (Operator::AtLeast, 2),
        rest if rest.starts_with('>') => (Operator::Above, 1),
        rest if rest.starts_with("<=") => (Operator::AtMost, 2),
        _ => (Operator::Below, 1),
    };
    Ok((text[..at].trim(), operator, text[at + length..].trim()))
}

/// The name before the braces, the labels within, and what follows.
fn braces<'a>(expression: &str, subject: &'a str) -> Result<(&'a str, Labels, &'a str), GateError> {
    let wrong = |found: &str| GateError::Name { expression: expression.to_owned(), found: found.to_owned() };
    let Some((name, rest)) = subject.split_once('{') else { return Ok((subject, Labels::new(), "")) };
    let (inside, rest) = rest.split_once('}').ok_or_else(|| wrong(subject))?;
    let mut labels = Labels::new();
    for pair in inside.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (label, value) = pair.split_once('=').ok_or_else(|| wrong(pair))?;
        labels = labels.with(label.trim(), value.trim().trim_matches('"'));
    }
    Ok((name.trim(), labels, rest.trim()))
}

/// The series and its statistic, or the scalar.
fn subject_of(expression: &str, name: &str, rest: &str, labels: &Labels) -> Result<Subject, GateError> {
    let wrong = |found: &str| GateError::Name { expression: expression.to_owned(), found: found.to_owned() };
    let unknown = |found: &str| GateError::Statistic { expression: expression.to_owned(), found: found.to_owned() };
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    let tail = name.rsplit_once('.').map(|(stem, tail)| (stem, tail, statistic(tail)));
    let (name, found) = match (rest.strip_prefix('.'), tail) {
        (Some(rest), _) => (name, Some((rest, statistic(rest).ok_or_else(|| unknown(rest))?))),
        (None, _) if !rest.is_empty() => return Err(wrong(rest)),
        (None, Some((stem, tail, Some(_)))) if !labels.is_empty() => {
            let hint = format!("{stem}{labels}.{tail}");
            return Err(GateError::Order { expression: expression.to_owned(), hint });
        }
        (None, Some((stem, tail, Some(found)))) => (stem, Some((tail, found))),
        (None, _) => (name, None),
    };
    match found {
        _ if !is_name(name) => Err(wrong(name)),
        Some((tail, Statistic::Quantile(p))) if p <= 0.0 || tail == "p100" => {
            Err(GateError::Quantile { expression: expression.to_owned(), found: tail.to_owned() })
        }
        Some((_, found)) => Ok(Subject::Series(name.to_owned(), found)),
        None => Ok(Subject::Scalar(name.to_owned())),
    }
}

fn statistic(text: &str) -> Option<Statistic> {
    Some(match text {
        "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        "min" => Statistic::Min,
        "loss_ratio" => Statistic::LossRatio,
        "error_ratio" => Statistic::ErrorRatio,
        "ipdv_mean" => Statistic::IpdvMean,
        "jitter_rfc3550" => Statistic::JitterRfc3550,
        "pdv_p999" => Statistic::PdvP999,
        "stddev" => Statistic::Stddev,
        _ => return quantile(text.strip_prefix('p')?),
    })
}

/// Two digits are per cent; more are the digits after the point, so that `p999` is 0.999.
fn quantile(digits: &str) -> Option<Statistic> {
    let is_number = (2..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| format!("0.{digits}").parse().ok().map(Statistic::Quantile)).flatten()
}

/// What stands after `baseline`: nothing, `+ 10%` or `- 10%`, as a ratio.
fn change_of(expression: &str, change: &str, limit: &str) -> Result<f64, GateError> {
    let share = |text: &str| text.trim().strip_suffix('%')?.trim().parse::<f64>().ok().map(|share| share / 100.0);
    let found = match change.split_at_checked(1) {
        None => Some(0.0),
        Some(("+", rest)) => share(rest),
        Some(("-", rest)) => share(rest).filter(|share| *share < 1.0).map(|share| -share),
        Some(_) => None,
    };
    let wrong = || GateError::Change { expression: expression.to_owned(), found: limit.to_owned() };
    found.filter(|share| share.is_finite() && (change.is_empty() || share.abs() > 0.0)).ok_or_else(wrong)
}

/// The limit in the unit of what is judged: nanoseconds, a ratio, or the scalar's own.
fn limit_of(expression: &str, subject: &Subject, operator: Operator, limit: &str) -> Result<f64, GateError> {
    let (expression, found) = (expression.to_owned(), limit.to_owned());
    let number = limit.parse().ok().filter(|number: &f64| number.is_finite());
    match (subject, number) {
        (Subject::Scalar(_), number) => number.ok_or(GateError::Number { expression, found }),
        (Subject::Series(_, Statistic::LossRatio | Statistic::ErrorRatio), number) => {
            ratio(operator, limit, number).ok_or(GateError::Ratio { expression, found })
        }
        (Subject::Series(..), Some(_)) => Err(GateError::Unit { expression, found }),
        (Subject::Series(..), None) => humantime::parse_duration(limit)
            .map(|span| span.as_nanos() as f64)
            .map_err(|source| GateError::Duration { expression, found, source }),
    }
}

/// A ratio from 0 to 1 that the comparison can tell from others: none is above 1 or below 0.
fn ratio(operator: Operator, limit: &str, number: Option<f64>) -> Option<f64> {
    let can_differ = |ratio: &f64| match operator {
        Operator::Above => *ratio < 1.0,
        Operator::Below => *ratio > 0.0,
        Operator::AtLeast | Operator::AtMost => true,
    };
    let per_cent = || limit.strip_suffix('%')?.trim().parse().ok().map(|per_cent: f64| per_cent / 100.0);
    number.or_else(per_cent).filter(|ratio| (0.0..=1.0).contains(ratio) && can_differ(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(text: &str) -> Gate {
        text.parse().unwrap()
    }

    fn message(text: &str) -> String {
        text.parse::<Gate>().unwrap_err().to_string()
    }

    #[test]
    fn an_expression_is_read() {
        use Operator::{Above, AtLeast, AtMost, Below};
        let series = |name: &str, statistic| Subject::Series(name.to_owned(), statistic);
        for (text, subject, operator, limit) in [
            ("rtt.echo.p95 > 10ms", series("rtt.echo", Statistic::Quantile(0.95)), Above, 1e7),
            ("rtt.echo{target=dc}.p999>=1.5s", series("rtt.echo", Statistic::Quantile(0.999)), AtLeast, 1.5e9),
            ("rtt.tcp.loss_ratio > 1%", series("rtt.tcp", Statistic::LossRatio), Above, 0.01),
            ("rtt.tcp.loss_ratio > 0.5 %", series("rtt.tcp", Statistic::LossRatio), Above, 0.005),
            ("rtt.echo.service.mean < 200us", series("rtt.echo.service", Statistic::Mean), Below, 2e5),
            ("rtt.echo.pdv_p999 <= 1s", series("rtt.echo", Statistic::PdvP999), AtMost, 1e9),
            ("etcd.put.throughput < 1000", Subject::Scalar("etcd.put.throughput".to_owned()), Below, 1000.0),
        ] {
            let found = gate(text);
            assert_eq!((found.subject, found.operator, found.limit), (subject, operator, limit), "{text}");
        }
    }

    #[test]
    fn labels_are_read_whatever_their_values_hold() {
        let found = gate("rtt.echo{target=a>b, channel = tcp}.max > 1s");
        assert_eq!(found.labels, Labels::new().with("target", "a>b").with("channel", "tcp"));
        assert_eq!(found.name(), "rtt.echo{channel=tcp,target=a>b}");
        assert_eq!(gate("etcd.put.throughput{node=1} < 5").name(), "etcd.put.throughput{node=1}");
    }

    #[test]
    fn a_bad_expression_says_what_to_write() {
        insta::assert_snapshot!(
            [
                "rtt.echo.p95",
                "> 10ms",
                "rtt.echo{dc}.p95 > 10ms",
                "rtt.echo{target=dc.p95 > 10ms",
                "rtt.echo{target=dc}.p9 > 10ms",
                "rtt.echo.p95{target=dc} > 10ms",
                "rtt.echo.p00 > 10ms",
                "rtt.echo.p100 > 10ms",
                "rtt.echo.p95 > 10",
                "rtt.echo.p95 > 10 parsecs",
                "rtt.echo.loss_ratio > 5",
                "rtt.echo.error_ratio > 1",
                "rtt.echo > 10ms",
            ]
            .map(message)
            .join("\n")
        );
    }
}
