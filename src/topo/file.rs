//! A topology file: a user's own link profiles and named targets, in TOML.
//!
//! Read whole and checked whole before anything starts; every error names the table and the key.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{FitError, RoundTrips, built_in};
use crate::model::LinkProfile;

/// A topology file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Not TOML, or keys that are not ours.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that does not parse.
    #[error("[{table}] {key}: {reason}")]
    Value {
        /// Table of the file.
        table: String,
        /// Key in it.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A profile without a fitting delay process.
    #[error("[{table}]: {source}")]
    Fit {
        /// Table of the file.
        table: String,
        /// Why not.
        source: FitError,
    },
    /// A target without, or with two, ways to reach it.
    #[error("[target.{name}] needs either `address` or `emulate`")]
    Target {
        /// Name of the target.
        name: String,
    },
    /// A target of a profile that nobody defines.
    #[error(
        "[target.{name}] emulate: there is no profile `{profile}`; define [profile.{profile}] or use a built-in one (`offloadctl topology list`)"
    )]
    NoProfile {
        /// Name of the target.
        name: String,
        /// Name of the profile.
        profile: String,
    },
}

/// A checked topology file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopologyFile {
    /// Its link profiles by name.
    pub profiles: BTreeMap<String, LinkProfile>,
    /// Its targets by name.
    pub targets: BTreeMap<String, TopologyTarget>,
}

/// How a target of a topology file is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum TopologyTarget {
    /// At a real address, `HOST:PORT`.
    Address(String),
    /// Through an emulated link of this profile.
    Emulated(String, LinkProfile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    profile: BTreeMap<String, ProfileTable>,
    #[serde(default)]
    target: BTreeMap<String, TargetTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileTable {
    rtt_mean: String,
    rtt_p95: String,
    jitter: String,
    loss: Option<String>,
    bandwidth: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    address: Option<String>,
    emulate: Option<String>,
}

impl TopologyFile {
    /// Reads and checks the text of a topology file.
    ///
    /// # Errors
    /// At the first key that is unknown, missing or wrong.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        let document: Document = toml::from_str(text)?;
        let mut file = Self::default();
        for (name, table) in document.profile {
            let profile = table.profile(&format!("profile.{name}"))?;
            file.profiles.insert(name, profile);
        }
        for (name, table) in document.target {
            let target = match (table.address, table.emulate) {
                (Some(address), None) => TopologyTarget::Address(address),
                (None, Some(profile)) => file.emulated(&name, profile)?,
                _ => return Err(TopologyError::Target { name }),
            };
            file.targets.insert(name, target);
        }
        Ok(file)
    }

    /// The profile of this name: the file's own, else a built-in one.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<LinkProfile> {
        self.profiles.get(name).cloned().or_else(|| built_in(name).map(super::BuiltIn::link))
    }

    fn emulated(&self, name: &str, profile: String) -> Result<TopologyTarget, TopologyError> {
        match self.profile(&profile) {
            Some(link) => Ok(TopologyTarget::Emulated(profile, link)),
            None => Err(TopologyError::NoProfile { name: name.to_owned(), profile }),
        }
    }
}

impl ProfileTable {
    fn profile(&self, table: &str) -> Result<LinkProfile, TopologyError> {
        let wrong = |key, reason: String| TopologyError::Value { table: table.to_owned(), key, reason };
        let span = |key, text: &str| duration_ns(text).map_err(|reason| wrong(key, reason));
        let profile = LinkProfile {
            rtt_mean_ns: span("rtt_mean", &self.rtt_mean)?,
            rtt_p95_ns: span("rtt_p95", &self.rtt_p95)?,
            jitter_ns: span("jitter", &self.jitter)?,
            loss_ratio: self.loss.as_deref().map_or(Ok(0.0), |text| percent(text).map_err(|e| wrong("loss", e)))?,
            bandwidth_bits_per_s: match self.bandwidth.as_deref() {
                None => None,
                Some(text) => Some(bandwidth(text).map_err(|reason| wrong("bandwidth", reason))?),
            },
        };
        match RoundTrips::fit(&profile, 0, 0) {
            Ok(_) => Ok(profile),
            Err(source) => Err(TopologyError::Fit { table: table.to_owned(), source }),
        }
    }
}

fn duration_ns(text: &str) -> Result<u64, String> {
    let span: Duration = humantime::parse_duration(text).map_err(|error| format!("`{text}`: {error}"))?;
    u64::try_from(span.as_nanos()).map_err(|_| format!("`{text}` is too long"))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .map(|percent| percent / 100.0)
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| format!("`{text}` is not a percentage such as `0.5%`"))
}

fn bandwidth(text: &str) -> Result<u64, String> {
    let units = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000)];
    units
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix)?.trim().parse::<u64>().ok()?.checked_mul(*factor))
        .filter(|bits| *bits > 0)
        .ok_or_else(|| format!("`{text}` is not a bandwidth such as `20Mbit/s`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[profile.edge-4g]
rtt_mean = "45ms"
rtt_p95 = "90ms"
jitter = "12ms"
loss = "0.5%"
bandwidth = "20Mbit/s"

[target.dc]
address = "dc.example.com:7777"

[target.far]
emulate = "edge-4g"

[target.near]
emulate = "local-dc"
"#;

    #[test]
    fn a_file_gives_profiles_and_targets() {
        let file = TopologyFile::parse(GOOD).unwrap();
        let edge = &file.profiles["edge-4g"];
        assert_eq!((edge.rtt_mean_ns, edge.loss_ratio), (45_000_000, 0.005));
        assert_eq!(edge.bandwidth_bits_per_s, Some(20_000_000));
        assert_eq!(file.targets.len(), 3);
        assert!(matches!(&file.targets["far"], TopologyTarget::Emulated(name, _) if name == "edge-4g"));
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let error = |from: &str, to: &str| TopologyFile::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error("\"45ms\"", "\"45\"").starts_with("[profile.edge-4g] rtt_mean: `45`"));
        assert!(error("0.5%", "0.5").contains("loss: `0.5` is not a percentage"));
        assert!(error("20Mbit/s", "fast").contains("bandwidth: `fast`"));
        assert!(error("\"90ms\"", "\"10ms\"").contains("[profile.edge-4g]: no log-normal"));
        assert!(error("emulate = \"edge-4g\"", "emulate = \"edge-5g\"").contains("no profile `edge-5g`"));
        assert!(error("emulate = \"edge-4g\"", "").contains("[target.far] needs either"));
        assert!(error("jitter", "jiter").contains("jiter"));
    }
}
