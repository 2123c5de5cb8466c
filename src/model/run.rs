//! The run document: the whole of one measurement, describing itself well enough to be repeated.
//!
//! `docs/reference/run.schema.json` is its published form. Reading is strict: a document of a future schema, or one
//! whose counts do not add up, is refused and not guessed at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Environment, Finding, Labels, Role, SelfCost, Series, WallTime, Warning};

/// The schema this program writes and reads.
pub const RUN_SCHEMA: &str = "offloadctl.run/1";

/// What every version of it begins with.
const RUN_FAMILY: &str = "offloadctl.run/";

/// A document that is not a run we can read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The text ends in the middle: the writer was interrupted or the disk was full.
    #[error("the document is cut off at line {line}")]
    CutOff {
        /// Where the text ended.
        line: usize,
    },
    /// Another schema.
    #[error("its schema is `{found}`, this version reads `{RUN_SCHEMA}`")]
    Schema {
        /// What the document calls itself.
        found: String,
    },
    /// Of another kind altogether.
    #[error("it is no run document: it has no `schema` that says so")]
    Foreign,
    /// Not a run document.
    #[error("it is not a run document: {0}")]
    Content(serde_json::Error),
    /// A series whose counts do not add up, or whose summary is not that of its histogram.
    #[error("series `{series}` contradicts itself: its counts, summary and histogram do not fit together")]
    Contradiction {
        /// Which series.
        series: String,
    },
}

impl RunError {
    /// What may have happened, where that is likely.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::CutOff { .. } => {
                Some("its writer was interrupted or the disk was full; the other runs are not affected")
            }
            Self::Schema { .. } => Some("it was written by another version of offloadctl"),
            Self::Foreign => {
                Some("runs are written by the commands that measure: with --output FILE.json, or into --runs-dir")
            }
            Self::Content(_) | Self::Contradiction { .. } => None,
        }
    }
}

/// Whether a run's figures may be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// False when the generator itself could not do what was asked.
    pub valid: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

impl Default for Validity {
    fn default() -> Self {
        Self { valid: true, reasons: Vec::new() }
    }
}

/// A single number beside the distributions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scalar {
    /// Dotted name.
    pub name: String,
    /// What tells it from its siblings.
    pub labels: Labels,
    /// Unit, such as `per_s`.
    pub unit: String,
    /// The value; null when it could not be measured.
    pub value: Option<f64>,
}

impl Scalar {
    /// A number with its name, what tells it from its siblings, and its unit; `None` where it could not be measured.
    #[must_use]
    pub fn new(name: impl Into<String>, labels: &Labels, unit: &str, value: impl Into<Option<f64>>) -> Self {
        Self { name: name.into(), labels: labels.clone(), unit: unit.to_owned(), value: value.into() }
    }
}

/// One measurement, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Always [`RUN_SCHEMA`].
    pub schema: String,
    /// Unique name of the run; sorts by time.
    pub id: String,
    /// The command, such as `probe rtt`.
    pub command: String,
    /// What was meant, secrets redacted.
    pub spec: Value,
    /// Digest of the spec without its seed: runs of equal hash may be merged.
    pub spec_hash: String,
    /// When measuring began.
    pub started_at: WallTime,
    /// How long it lasted.
    pub elapsed_ns: u64,
    /// False for a checkpoint and for an interrupted run.
    pub complete: bool,
    /// What the reader should know or do, in one or two sentences with the figures that decide it.
    #[serde(default)]
    pub answer: Option<String>,
    /// Whether the figures may be judged.
    pub validity: Validity,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Version of the program.
    pub version: String,
    /// Labels given by the user.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The runs this one was merged from; empty for a run as measured.
    #[serde(default)]
    pub merged_from: Vec<String>,
    /// Host facts.
    pub environment: Environment,
    /// What the tool itself used.
    pub self_cost: SelfCost,
    /// What the reader must know about the measurement.
    pub warnings: Vec<Warning>,
    /// The distributions.
    pub series: Vec<Series>,
    /// Single numbers.
    pub scalars: Vec<Scalar>,
    /// What the measurement says about the thing measured.
    pub findings: Vec<Finding>,
}

impl Run {
    /// Reads a run document.
    ///
    /// # Errors
    /// When the text is cut off, of another schema, not a run document, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, RunError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            if error.is_eof() { RunError::CutOff { line: error.line() } } else { RunError::Content(error) }
        })?;
        match value.get("schema").and_then(Value::as_str) {
            Some(RUN_SCHEMA) => {}
            Some(found) if found.starts_with(RUN_FAMILY) => return Err(RunError::Schema { found: found.to_owned() }),
            _ => return Err(RunError::Foreign),
        }
        let says_roles = value.pointer("/series/0").is_none_or(|first| first.get("role").is_some());
        let mut run: Self = serde_json::from_value(value).map_err(RunError::Content)?;
        if !says_roles {
            run.series.iter_mut().for_each(|series| series.role = Role::of_name(&series.name, series.floor));
        }
        match run.series.iter().find(|series| !series.is_consistent()) {
            Some(series) => Err(RunError::Contradiction { series: series.full_name() }),
            None => Ok(run),
        }
    }

    /// The series that measure a target: neither the tool's own floor nor a part of another measurement.
    pub fn responses(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| series.is_response())
    }

    /// Response series with the series of this role and name that stands beside each, where there is one. Runs have thousands
    /// of series, so this looks through them once.
    #[must_use]
    pub fn beside(&self, role: Role) -> Vec<(&Series, &Series)> {
        let of_role = self.series.iter().filter(|part| part.role == role);
        let parts = of_role.filter_map(|part| Some(((part.name.rsplit_once('.')?.0, &part.labels), part)));
        let parts: BTreeMap<(&str, &Labels), &Series> = parts.collect();
        let part = |response: &Series| parts.get(&(response.name.as_str(), &response.labels)).copied();
        self.responses().filter_map(|response| Some((response, part(response)?))).collect()
    }

    /// The series of this name and exactly these labels.
    #[must_use]
    pub fn find(&self, name: &str, labels: &Labels) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name && series.labels == *labels)
    }

    /// The value of the scalar of this name and exactly these labels.
    #[must_use]
    pub fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.scalars.iter().find(|scalar| scalar.name == name && scalar.labels == *labels)?.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_run_is_refused_with_its_reason() {
        let message = |text: &str| Run::parse(text).unwrap_err().to_string();
        assert_eq!(message("{\n\"schema\": \"offlo"), "the document is cut off at line 2");
        assert!(message("{\"schema\":\"offloadctl.run/9\"}").contains("`offloadctl.run/9`"));
        for text in ["[]", "{\"a\":1}", "{\"schema\":\"offloadctl.report/1\"}", "{\"schema\":7}"] {
            assert!(message(text).starts_with("it is no run document"), "{text}: {}", message(text));
        }
        assert!(message("{\"schema\":\"offloadctl.run/1\"}").contains("not a run document"));
    }
}
