//! A detector as people type it: `missed:3/margin=200ms/check=1s`, `phi:8`, `k8s-lease`.
//!
//! Separate because the same text stands in options, labels and run documents, and must mean one thing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::phi::{Model, Settings};

/// Silences that Akka and Cassandra remember.
const ACCRUAL_WINDOW: usize = 1000;

/// Akka's `acceptable-heartbeat-pause` and `min-std-deviation`.
const AKKA_PAUSE: Duration = Duration::from_secs(3);
const AKKA_FLOOR: Duration = Duration::from_millis(100);

/// Receipts that the arrival estimator remembers.
const CHEN_WINDOW: usize = 100;

/// Grace and monitor period of Kubernetes since 1.32.
const LEASE_GRACE: Duration = Duration::from_secs(50);
const LEASE_PERIOD: Duration = Duration::from_secs(5);

/// Thresholds beyond which 10^-P is no number any more.
const HIGHEST_PHI: f64 = 300.0;

/// A text that is no detector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// Not one of them.
    #[error(
        "`{0}` is no detector: write missed:K, overdue:TIME, phi:P, phi-akka:P, phi-exp:P, chen:TIME or k8s-lease, with options as in missed:3/margin=200ms/check=1s"
    )]
    Name(String),
    /// A value of the wrong kind.
    #[error("`{text}`: {wanted} is needed after `{key}`")]
    Value {
        /// The whole text.
        text: String,
        /// Before the value.
        key: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// An option it does not have.
    #[error("`{text}`: it has no option `{key}`; its options are {known}")]
    Option {
        /// The whole text.
        text: String,
        /// The option.
        key: String,
        /// What it has.
        known: &'static str,
    },
}

/// A detector, as typed and as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorSpec {
    text: String,
    /// How it decides.
    pub rule: Rule,
    /// How often the monitor looks; zero is at once.
    pub check: Duration,
    /// Whether the margin was given, or is for the network to say.
    pub has_margin: bool,
}

/// How a detector decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// So many promised intervals and a margin of silence.
    Missed {
        /// Intervals.
        count: u32,
        /// On top of them.
        margin: Duration,
    },
    /// One promised interval and a timeout of silence.
    Overdue {
        /// The timeout.
        timeout: Duration,
    },
    /// A threshold of suspicion.
    Phi {
        /// What silences are taken to be.
        model: Model,
        /// The threshold.
        threshold: f64,
        /// The rest.
        settings: Settings,
    },
    /// An estimated arrival and a margin.
    Chen {
        /// The margin.
        margin: Duration,
        /// Receipts remembered.
        window: usize,
    },
    /// A lease that a controller looks at.
    Lease {
        /// Age at which it counts as expired.
        grace: Duration,
        /// How often the controller looks.
        period: Duration,
    },
}

impl DetectorSpec {
    /// The same with this margin, where none was given and the rule has one.
    #[must_use]
    pub fn with_margin(mut self, of_network: Duration) -> Self {
        if let Rule::Missed { margin, .. } = &mut self.rule
            && !self.has_margin
        {
            *margin = of_network;
        }
        self
    }
}

impl FromStr for DetectorSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = text.split('/');
        let head = parts.next().unwrap_or_default();
        let (name, value) = head.split_once(':').map_or((head, None), |(name, value)| (name, Some(value)));
        let parser = Parser { text };
        let rule = parser.rule(name, value)?;
        let mut spec = Self { text: text.to_owned(), rule, check: Duration::ZERO, has_margin: false };
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| parser.unknown(part, &rule))?;
            parser.set(&mut spec, key, value)?;
        }
        Ok(spec)
    }
}

struct Parser<'a> {
    text: &'a str,
}

impl Parser<'_> {
    fn rule(&self, name: &str, value: Option<&str>) -> Result<Rule, SpecError> {
        let value = value.unwrap_or_default();
        let accrual = |model, pause, floor| {
            let settings = Settings { window: ACCRUAL_WINDOW, pause, floor };
            Ok(Rule::Phi { model, threshold: self.threshold(name, value)?, settings })
        };
        match name {
            "missed" => Ok(Rule::Missed { count: self.count(name, value)?, margin: Duration::ZERO }),
            "overdue" => Ok(Rule::Overdue { timeout: self.span(name, value)? }),
            "phi" => accrual(Model::Normal, AKKA_PAUSE, AKKA_FLOOR),
            "phi-akka" => accrual(Model::Akka, AKKA_PAUSE, AKKA_FLOOR),
            "phi-exp" => accrual(Model::Exponential, Duration::ZERO, Duration::ZERO),
            "chen" => Ok(Rule::Chen { margin: self.span(name, value)?, window: CHEN_WINDOW }),
            "k8s-lease" if value.is_empty() => Ok(Rule::Lease { grace: LEASE_GRACE, period: LEASE_PERIOD }),
            _ => Err(SpecError::Name(self.text.to_owned())),
        }
    }

    fn set(&self, spec: &mut DetectorSpec, key: &str, value: &str) -> Result<(), SpecError> {
        match (&mut spec.rule, key) {
            (Rule::Lease { grace, .. }, "grace") => *grace = self.span(key, value)?,
            (Rule::Lease { period, .. }, "check") => *period = self.positive(key, value)?,
            (Rule::Missed { margin, .. }, "margin") => {
                *margin = self.span(key, value)?;
                spec.has_margin = true;
            }
            (Rule::Phi { model: Model::Normal | Model::Akka, settings, .. }, "pause") => {
                settings.pause = self.span(key, value)?;
            }
            (Rule::Phi { model: Model::Normal | Model::Akka, settings, .. }, "floor") => {
                settings.floor = self.span(key, value)?;
            }
            (Rule::Phi { settings, .. }, "window") => settings.window = self.count(key, value)? as usize,
            (Rule::Chen { window, .. }, "window") => *window = self.count(key, value)? as usize,
            (rule, "check") if !matches!(rule, Rule::Lease { .. }) => spec.check = self.span(key, value)?,
            (rule, _) => return Err(self.unknown(key, rule)),
        }
        Ok(())
    }

    fn unknown(&self, key: &str, rule: &Rule) -> SpecError {
        let known = match rule {
            Rule::Missed { .. } => "margin=TIME and check=TIME",
            Rule::Overdue { .. } => "check=TIME",
            Rule::Phi { model: Model::Exponential, .. } | Rule::Chen { .. } => "window=N and check=TIME",
            Rule::Phi { .. } => "pause=TIME, floor=TIME, window=N and check=TIME",
            Rule::Lease { .. } => "grace=TIME and check=TIME",
        };
        SpecError::Option { text: self.text.to_owned(), key: key.to_owned(), known }
    }

    fn wrong(&self, key: &str, wanted: &'static str) -> SpecError {
        SpecError::Value { text: self.text.to_owned(), key: key.to_owned(), wanted }
    }

    fn span(&self, key: &str, value: &str) -> Result<Duration, SpecError> {
        humantime::parse_duration(value).map_err(|_| self.wrong(key, "a time with its unit"))
    }

    fn positive(&self, key: &str, value: &str) -> Result<Duration, SpecError> {
        let span = self.span(key, value)?;
        if span.is_zero() { Err(self.wrong(key, "a time above zero")) } else { Ok(span) }
    }

    fn count(&self, key: &str, value: &str) -> Result<u32, SpecError> {
        value.parse().ok().filter(|count| *count > 0).ok_or_else(|| self.wrong(key, "a whole number above zero"))
    }

    fn threshold(&self, key: &str, value: &str) -> Result<f64, SpecError> {
        let parsed = value.parse().ok().filter(|phi: &f64| *phi > 0.0 && *phi <= HIGHEST_PHI);
        parsed.ok_or_else(|| self.wrong(key, "a number above 0 and up to 300"))
    }
}

impl fmt::Display for DetectorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for DetectorSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
