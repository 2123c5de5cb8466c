//! `offload.toml`: the targets and gates of a project, so that neither its people nor its pipelines repeat them.
//!
//! Separate from the arguments, which win over it: what is typed is of one run, what stands in the file of all.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::baseline::{BaselineArgs, BaselineFile};
use super::catalogue::{self, Known};
use super::diagnose::DiagnoseFile;
use crate::error::{Exit, Failure};
use crate::model::{Measurement, Run};
use crate::stats::Gate;
use crate::sys::file::read_text;

/// The file that is read where nobody names one.
const USUAL: &str = "offload.toml";

/// Largest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// What the file of this folder, or the one that was named, says.
#[derive(Debug, Default)]
pub struct Config {
    path: Option<PathBuf>,
    /// Addresses by name, as probes take them.
    pub targets: BTreeMap<String, String>,
    gates: Vec<Gate>,
    /// What runs are compared with.
    pub baseline: BaselineArgs,
    /// What `diagnose` looks at.
    pub diagnose: DiagnoseFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    targets: BTreeMap<String, String>,
    #[serde(default)]
    gates: Gates,
    #[serde(default)]
    baseline: BaselineFile,
    #[serde(default)]
    diagnose: DiagnoseFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gates {
    #[serde(default)]
    fail_if: Vec<String>,
}

impl Config {
    /// Reads the file that was named, or `./offload.toml` where there is one.
    ///
    /// # Errors
    /// Where it cannot be read, holds a mistake or a key that nobody knows (usage).
    pub fn read(named: Option<&Path>) -> Result<Self, Failure> {
        let path = named.unwrap_or(Path::new(USUAL));
        let text = match read_text(path, FILE_LIMIT) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file("cannot read the configuration", path, &error)),
        };
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| {
            Failure::plain(Exit::Usage, format!("{}: {}", path.display(), what.trim_end()))
                .hint("see docs/reference/offload.toml.md for its keys")
        };
        let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let gates = file.gates.fail_if.iter().map(|gate| gate.parse().map_err(|error| wrong(format!("{error}"))));
        let gates = gates.collect::<Result<Vec<Gate>, Failure>>()?;
        for gate in &gates {
            let somebody =
                catalogue::ALL.into_iter().find(|measurement| measurement.find(gate.subject_name()).is_some());
            let Some(measurement) = somebody else {
                return Err(wrong(format!("`{gate}`: no command measures `{}`", gate.subject_name())));
            };
            catalogue::check_gate(measurement, gate)?;
        }
        let baseline = file.baseline.args().map_err(wrong)?;
        let (path, targets, diagnose) = (Some(path.to_owned()), file.targets, file.diagnose);
        Ok(Self { path, targets, gates, baseline, diagnose })
    }

    /// A path of the file, which is one beside it.
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }

    /// The address of this name, where the file has it.
    pub fn target(&self, name: &str) -> Option<&str> {
        self.targets.get(name).map(String::as_str)
    }

    /// The gates of a run: those that were typed, then those of the file that are about something that this run measures.
    ///
    /// # Errors
    /// A usage error for a typed gate on something that this run cannot have.
    pub fn gates(&self, typed: &[Gate], measurement: &Measurement, known: &Known) -> Result<Vec<Gate>, Failure> {
        for gate in typed {
            catalogue::check_gate(measurement, gate)?;
            known.check(gate)?;
        }
        let is_of_this = |gate: &&Gate| measurement.find(gate.subject_name()).is_some() && known.check(gate).is_ok();
        Ok(typed.iter().chain(self.gates.iter().filter(is_of_this)).cloned().collect())
    }

    /// The gates of stored runs: those that were typed, then those of the file that are about something in these runs.
    pub fn gates_of(&self, typed: &[Gate], runs: &[Run]) -> Vec<Gate> {
        let is_of_these = |gate: &&Gate| runs.iter().any(|run| may_have(run, gate));
        typed.iter().chain(self.gates.iter().filter(is_of_these)).cloned().collect()
    }
}

/// The file, and what it holds.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let (targets, gates) = (self.targets.len(), self.gates.len());
        let path = self.path.as_deref().unwrap_or(Path::new(USUAL)).display();
        write!(f, "read {path}: {targets} target{}, {gates} gate{}", plural(targets), plural(gates))
    }
}

impl Config {
    /// The sentence that says what was read, where a file was.
    pub fn told(&self) -> Option<String> {
        self.path.as_ref().map(|_| self.to_string())
    }
}

/// Whether a run holds what a gate names, or could have held it and has nothing of that name.
fn may_have(run: &Run, gate: &Gate) -> bool {
    let name = gate.subject_name();
    let series = run.series.iter().filter(|series| series.name == name).map(|series| &series.labels);
    let scalars = run.scalars.iter().filter(|scalar| scalar.name == name).map(|scalar| &scalar.labels);
    let mut all = series.chain(scalars).peekable();
    match all.peek() {
        Some(_) => all.any(|labels| gate.is_of(labels)),
        None => catalogue::find(&run.command).is_some_and(|measurement| measurement.find(name).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::rtt::MEASUREMENT;

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("offload.toml")).map_err(|failure| failure.what().to_owned())
    }

    #[test]
    fn targets_and_gates_are_read_and_what_nobody_knows_is_named() {
        let text = "[targets]\ndc = \"10.0.0.5:7777\"\n[gates]\nfail_if = ['rtt.echo{target=dc}.p95 > 5ms', 'api.request.p50 > 1s']";
        let config = read(text).unwrap();
        assert_eq!(config.target("dc"), Some("10.0.0.5:7777"));
        assert_eq!(config.told().unwrap(), "read offload.toml: 1 target, 2 gates");
        let gates = |known: &Known| config.gates(&[], &MEASUREMENT, known).unwrap().len();
        assert_eq!(gates(&Known::new("target", ["dc"])), 1);
        assert_eq!(gates(&Known::new("target", ["cloud"])), 0, "a gate of another target is not of this run");
        for (text, what) in [
            ("[target]\n", "unknown field `target`"),
            ("[gates]\nfail = []\n", "unknown field `fail`"),
            ("[gates]\nfail_if = ['rtt.ecko.p50 > 1s']", "no command measures `rtt.ecko`"),
            ("[gates]\nfail_if = ['rtt.echo{who=me}.p50 > 1s']", "`rtt.echo` has no label `who`"),
            ("[gates]\nfail_if = ['rtt.echo.p50 > 1']", "rtt.echo.p50 > 1"),
            ("[targets]\ndc = 5\n", "expected a string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
