//! What a run noticed: warnings about the measurement, findings about the thing measured.
//!
//! Separate from the numbers because a warning says how far to trust them and a finding says what they mean.

use serde::{Deserialize, Serialize};

/// Something about the measurement itself that its reader must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable name, such as `slip_above_p50`.
    pub id: String,
    /// One sentence for a person.
    pub text: String,
}

impl Warning {
    /// A warning with its stable name and its sentence.
    #[must_use]
    pub fn new(id: &str, text: impl Into<String>) -> Self {
        Self { id: id.to_owned(), text: text.into() }
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Worth a look.
    Notice,
    /// Something is wrong.
    Problem,
}

/// What the measurement says about the thing measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable name, such as `not_an_echo`.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence for a person.
    pub text: String,
    /// The figures and observations that support it.
    pub evidence: Vec<String>,
    /// What to change, where something can be changed.
    pub advice: Option<Advice>,
}

impl Finding {
    /// A finding with its stable name and its sentence: words alone, until evidence or advice is added.
    #[must_use]
    pub fn new(id: &str, severity: Severity, text: impl Into<String>) -> Self {
        Self { id: id.to_owned(), severity, text: text.into(), evidence: Vec::new(), advice: None }
    }

    /// The same, supported by these figures and observations.
    #[must_use]
    pub fn with_evidence(self, evidence: Vec<String>) -> Self {
        Self { evidence, ..self }
    }

    /// The same with what to change, if something can be changed.
    #[must_use]
    pub fn with_advice(self, advice: impl Into<Option<Advice>>) -> Self {
        Self { advice: advice.into(), ..self }
    }
}

/// A change worth trying, and how to see whether it helped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// What to do, in one sentence that names the setting.
    pub text: String,
    /// A command that shows whether it helped.
    pub verify: Option<String>,
    /// The setting to change: an option or a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// Where it stands: a file with its line, or a command.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its value now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The value to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// What that should change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Prediction>,
}

/// A figure as it should be after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The figure, as a gate names it: `trace.mean{hop=total}`.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What is expected.
    pub value: f64,
    /// The interval within which it should lie.
    pub low: f64,
    /// Its other end.
    pub high: f64,
}

impl Advice {
    /// The same with the setting, where it stands, and its value now and then.
    #[must_use]
    pub fn of_setting(self, setting: &str, place: Option<String>, old: Option<String>, new: &str) -> Self {
        Self { setting: Some(setting.to_owned()), place, old, new: Some(new.to_owned()), ..self }
    }

    /// The same with what it should change.
    #[must_use]
    pub fn predicting(self, predicted: Option<Prediction>) -> Self {
        Self { predicted, ..self }
    }

    /// What to do, and a command that shows whether it helped, where there is one.
    #[must_use]
    pub fn new(text: impl Into<String>, verify: impl Into<Option<String>>) -> Self {
        Self { text: text.into(), verify: verify.into(), ..Self::default() }
    }
}
