//! A matrix file: which topologies, by which intervals or rates, and what is good enough.
//!
//! Separate because it is read and checked whole before anything is measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::commands::measured::Asked;
use crate::commands::value;
use crate::error::{Exit, Failure};
use crate::sys::file::read_text;
use crate::topo::built_in;
use crate::wire::Url;

/// Largest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// Cells that a matrix has at most.
const MOST_CELLS: usize = 400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    intervals: Vec<String>,
    #[serde(default)]
    rates: Vec<String>,
    detector: Option<String>,
    #[serde(default)]
    profiles: Option<PathBuf>,
    #[serde(default)]
    probe_options: String,
    #[serde(default)]
    heartbeat_options: String,
    topology: BTreeMap<String, Topology>,
    #[serde(default)]
    goal: GoalFile,
}

/// One way to the far end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// `HOST:PORT` of an `offloadctl echo`.
    pub address: Option<String>,
    /// A link profile in place of a network.
    pub emulate: Option<String>,
    /// An HTTP proxy on the way to the address.
    pub via: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoalFile {
    detection: Option<String>,
    p95: Option<String>,
}

/// What the cells across differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Heartbeat intervals: detection and what it costs.
    Intervals,
    /// Requests a second.
    Rates,
}

/// A checked matrix.
pub struct Matrix {
    /// What goes across.
    pub across: Across,
    /// Intervals or rates as typed.
    pub columns: Vec<String>,
    /// The failure detector of heartbeats.
    pub detector: String,
    /// The topologies by name.
    pub topologies: BTreeMap<String, Topology>,
    /// What is good enough: a mean detection, or a p95.
    pub goal: Option<Duration>,
    profiles: Option<PathBuf>,
    probe_options: Vec<String>,
    heartbeat_options: Vec<String>,
}

impl Matrix {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be meant (usage).
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text =
            read_text(path, FILE_LIMIT).map_err(|error| Failure::file("cannot read the matrix", path, &error))?;
        Self::parse(&text).map_err(|what| {
            Failure::plain(Exit::Usage, format!("{}: {}", path.display(), what.trim_end()))
                .hint("see docs/guide/topology-run.md for its keys")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let (across, columns) = match (file.intervals.is_empty(), file.rates.is_empty()) {
            (false, true) => (Across::Intervals, value::unique(file.intervals)),
            (true, false) => (Across::Rates, value::unique(file.rates)),
            _ => return Err("give either `intervals` or `rates`".to_owned()),
        };
        let goal = match across {
            Across::Intervals => (file.goal.detection, file.goal.p95, "detection"),
            Across::Rates => (file.goal.p95, file.goal.detection, "p95"),
        };
        if goal.1.is_some() {
            return Err(format!("[goal] has only `{}` here", goal.2));
        }
        let goal = goal.0.map(|text| value::parse(&text).map_err(|error| format!("[goal] {}: {error}", goal.2)));
        let words =
            |key: &str, text: &str| shlex::split(text).ok_or_else(|| format!("`{key}`: a quote in it does not end"));
        let matrix = Self {
            across,
            columns,
            detector: file.detector.unwrap_or_else(|| "missed:3".to_owned()),
            goal: goal.transpose()?,
            profiles: file.profiles,
            probe_options: words("probe_options", &file.probe_options)?,
            heartbeat_options: words("heartbeat_options", &file.heartbeat_options)?,
            topologies: file.topology,
        };
        matrix.check()?;
        Ok(matrix)
    }

    fn check(&self) -> Result<(), String> {
        if self.topologies.is_empty() || self.topologies.len() * self.columns.len() > MOST_CELLS {
            return Err(format!("it needs 1 to {MOST_CELLS} cells"));
        }
        for (name, topology) in &self.topologies {
            let is_file_name = name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) && !name.starts_with('.');
            if !is_file_name {
                return Err(format!("[topology.{name}]: a name has letters, digits, `-`, `_` and `.` only"));
            }
            match (&topology.address, &topology.emulate, &topology.via) {
                (Some(_), None, None) | (None, Some(_), None) => {}
                (Some(_), None, Some(via)) => {
                    via.parse::<Url>().map_err(|error| format!("[topology.{name}] via: {error}"))?;
                }
                _ => return Err(format!("[topology.{name}] needs either `address` (and `via`) or `emulate`")),
            }
            // Whatever a cell will ask is meant before the first is measured.
            for column in &self.columns {
                let asked = self.probe(name, "127.0.0.1:1", column).and_then(|_| match self.across {
                    Across::Intervals => self.heartbeat(column, "ideal").map(drop),
                    Across::Rates => Ok(()),
                });
                asked.map_err(|failure| failure.what().to_owned())?;
            }
        }
        Ok(())
    }

    /// The round trips of a topology, at `address` where it is not emulated; at the rate of the column where rates go across.
    ///
    /// # Errors
    /// When it cannot be meant (usage).
    pub fn probe(&self, name: &str, address: &str, column: &str) -> Result<Asked, Failure> {
        let mut words = ["probe", "rtt", "--channel", "echo"].map(str::to_owned).to_vec();
        match self.topologies.get(name).and_then(|topology| topology.emulate.as_ref()) {
            Some(profile) => words.extend(["--emulate".to_owned(), profile.clone()]),
            None => words.push(format!("{name}={address}")),
        }
        if let Some(profiles) = &self.profiles {
            words.extend(["--topology".to_owned(), profiles.display().to_string()]);
        }
        if self.across == Across::Rates {
            words.extend(["--rate".to_owned(), column.to_owned()]);
        }
        let given = |options: [&str; 2]| self.probe_options.iter().any(|word| options.contains(&word.as_str()));
        // Heartbeats on measured round trips take their tail from them: it needs ten thousand.
        let is_tail = self.across == Across::Intervals && self.link_of(name).is_none();
        if !given(["--duration", "--count"]) {
            words.extend(["--duration", if is_tail { "12s" } else { "10s" }].map(str::to_owned));
        }
        if self.across == Across::Intervals && !given(["--rate", "--concurrency"]) {
            words.extend(["--rate", if is_tail { "1000/s" } else { "50/s" }].map(str::to_owned));
        }
        words.extend(self.probe_options.iter().cloned());
        Asked::of_words(&words.join(" "), words)
    }

    /// The built-in link profile that a topology is, whose round trips need not be measured for heartbeats.
    #[must_use]
    pub fn link_of(&self, name: &str) -> Option<&str> {
        self.topologies.get(name)?.emulate.as_deref().filter(|profile| built_in(profile).is_some())
    }

    /// Heartbeats of an interval on a network: a file of round trips.
    ///
    /// # Errors
    /// When it cannot be meant (usage).
    pub fn heartbeat(&self, interval: &str, network: &str) -> Result<Asked, Failure> {
        let fixed = ["bench", "heartbeat", "--interval", interval, "--detector", &self.detector, "--network", network];
        let words: Vec<String> =
            fixed.map(str::to_owned).into_iter().chain(self.heartbeat_options.iter().cloned()).collect();
        Asked::of_words(&words.join(" "), words)
    }

    /// What tells whether a kept cell is still what the file asks for.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        let topology = self.topologies.get(name);
        let text = format!(
            "{topology:?} {} {:?} {:?} {:?}",
            self.detector, self.profiles, self.probe_options, self.heartbeat_options
        );
        Sha256::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_before_anything_is_measured() {
        let good = "intervals = ['2s']\n[topology.a]\nemulate = 'hybrid'\n";
        assert!(Matrix::parse(good).is_ok());
        for (text, why) in [
            ("[topology.a]\nemulate = 'hybrid'\n", "either `intervals` or `rates`"),
            ("intervals = ['2']\n[topology.a]\nemulate = 'hybrid'\n", "needs its unit"),
            ("intervals = ['2s']\ndetector = 'mist:3'\n[topology.a]\nemulate = 'hybrid'\n", "mist"),
            ("rates = ['5/y']\n[topology.a]\nemulate = 'hybrid'\n", "5/y"),
            ("rates = ['5/s']\n[topology.a]\nemulate = 'hybrid'\n[goal]\ndetection = '1s'\n", "[goal] has only `p95`"),
            ("rates = ['5/s']\n[topology.a]\n", "either `address`"),
            ("rates = ['5/s']\n[topology.a]\nemulate = 'hybrid'\nvia = 'http://p:1'\n", "either `address`"),
            ("rates = ['5/s']\n[topology.\"a/b\"]\nemulate = 'hybrid'\n", "a name has letters"),
            ("rates = ['5/s']\nrate = 5\n[topology.a]\nemulate = 'hybrid'\n", "unknown field `rate`"),
            ("rates = ['5/s']\n[topology]\n", "1 to 400 cells"),
        ] {
            let error = Matrix::parse(text).err().unwrap_or_default();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
