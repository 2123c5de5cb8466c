//! What can be wrong with a `--fail-if` expression, each with what to write instead.
//!
//! Separate because both the reading and the judging of an expression can refuse it.

/// The forms an expression may take, shown with every error.
const FORMS: &str = "write `SERIES.STATISTIC OP LIMIT`, such as `rtt.echo{target=dc}.p95 > 10ms` or \
     `rtt.echo.loss_ratio > 1%`, or `SCALAR OP NUMBER`";

/// The statistics, shown where one is missing.
const STATISTICS: &str = "a quantile such as p95 or p999, mean, min, max, stddev, loss_ratio, error_ratio, ipdv_mean, jitter_rfc3550 or pdv_p999";

/// An expression that cannot be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GateError {
    /// No comparison in it.
    #[error("`{expression}` compares nothing; {FORMS}")]
    Operator {
        /// As typed.
        expression: String,
    },
    /// No name, or braces that do not hold `label=value` pairs.
    #[error("`{expression}`: `{found}` is not a series or scalar with its labels; {FORMS}")]
    Name {
        /// As typed.
        expression: String,
        /// The part that is wrong.
        found: String,
    },
    /// The statistic stands before the labels.
    #[error("`{expression}`: the labels come before the statistic; write `{hint}`")]
    Order {
        /// As typed.
        expression: String,
        /// The name as it should be.
        hint: String,
    },
    /// Something after the labels that is not a statistic.
    #[error("`{expression}`: `{found}` is not a statistic; there is {STATISTICS}")]
    Statistic {
        /// As typed.
        expression: String,
        /// What stands in its place.
        found: String,
    },
    /// A quantile that no sample has.
    #[error(
        "`{expression}`: `{found}` is not a quantile between 0 and 1; write `p95`, `p999` for 99.9 %, `min` or `max`"
    )]
    Quantile {
        /// As typed.
        expression: String,
        /// The statistic.
        found: String,
    },
    /// A change against the baseline that is none.
    #[error(
        "`{expression}`: `{found}` is no change against the baseline; write `baseline`, `baseline + 10%` or `baseline - 10%`"
    )]
    Change {
        /// As typed.
        expression: String,
        /// The limit.
        found: String,
    },
    /// A duration without its unit.
    #[error("`{expression}`: a duration needs its unit; write `{found}ms` or `{found}s`")]
    Unit {
        /// As typed.
        expression: String,
        /// The limit.
        found: String,
    },
    /// A limit that is not a duration.
    #[error("`{expression}`: `{found}` is not a duration; write, for example, `10ms` or `1.5s`")]
    Duration {
        /// As typed.
        expression: String,
        /// The limit.
        found: String,
        /// What is wrong with it.
        source: humantime::DurationError,
    },
    /// A limit of a ratio that is not one.
    #[error("`{expression}`: `{found}` is not a ratio from 0 to 1 that can be passed; write `1%` or `0.01`")]
    Ratio {
        /// As typed.
        expression: String,
        /// The limit.
        found: String,
    },
    /// A limit of a scalar that is not a number.
    #[error(
        "`{expression}`: `{found}` is not a number; a scalar takes a number, and a series needs a statistic: {STATISTICS}"
    )]
    Number {
        /// As typed.
        expression: String,
        /// The limit.
        found: String,
    },
    /// The runs hold nothing of this name and these labels.
    #[error("`{expression}`: there is no `{name}` here; there is {}", listed(known))]
    NoSuchSeries {
        /// As typed.
        expression: String,
        /// What was looked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "nothing of its kind".to_owned() } else { format!("`{}`", known.join("`, `")) }
}
