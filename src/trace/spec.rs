//! What the user meant with `trace`: which system, which changes, which settings; knows no command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::load::LoadSpec;
use crate::model::words;
use crate::wire::Url;

/// Settings that are laid side by side at most.
const MOST_SETTINGS: usize = 6;

/// The name of our agent's node.
pub const NODE: &str = "trace-probe";

/// Everything that was meant.
#[derive(Clone, Debug, Serialize)]
pub struct TraceSpec {
    /// The settings, in the order in which they were named; one where nothing is compared.
    pub settings: Vec<Setting>,
    /// Somebody's gateway; absent for one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,
    /// The node of an agent that runs already; absent for one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The named pipe that this agent reads, where this program writes what happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipe: Option<PathBuf>,
    /// The socket of the Docker Engine, where containers are started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_socket: Option<PathBuf>,
    /// An image that the engine has; absent for one of this host's busybox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How often something changes, and for how long.
    pub load: LoadSpec,
}

/// Somebody's gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewaySpec {
    /// Where it is.
    pub url: Url,
    /// A file with the line `* TOKEN`, and that of our agent's node.
    pub token_file: PathBuf,
    /// Whom to trust instead of the authorities of this host.
    pub ca_file: Option<PathBuf>,
}

/// One way to set the system up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// As it was named in a comparison; absent where nothing is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How the agent learns of changes.
    pub source: Source,
    /// Where our gateway keeps them.
    pub store: Store,
    /// Whether a Docker Engine makes the changes though another source tells of them: beside settings whose source it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_by_engine: bool,
}

/// How an agent learns of changes, and with it who makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A named pipe: this program writes what happens.
    Script,
    /// Events of a Docker Engine, which starts containers.
    Docker,
    /// Lists of a Docker Engine, so often.
    Poll(Duration),
    /// The kernel's tracepoints, of plain processes in control groups of ours.
    Ebpf,
}

/// A source that there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no source: write ebpf, script, docker or poll=TIME, for example poll=2s")]
pub struct SourceError(String);

/// Where a gateway of ours keeps what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// A file, durable before anybody is told.
    #[default]
    Embedded,
    /// Nothing outlives the process.
    Memory,
}

words!(Store { Embedded = "embedded", Memory = "memory" });

/// A comparison that says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// No `KEY=A,B`.
    #[error("`{0}` compares nothing: write, for example, `source=docker,poll=2s` or `store=memory,embedded`")]
    Form(String),
    /// A setting that moves no change.
    #[error("`{key}` governs no hop of a change: {why}")]
    Governs {
        /// Which.
        key: String,
        /// Why, and what measures it.
        why: &'static str,
    },
    /// A setting that is not known.
    #[error("`{0}` is no setting that can be compared: there are source and store")]
    Key(String),
    /// A value that its setting cannot have.
    #[error("{0}")]
    Value(String),
    /// Less than two, or too many.
    #[error("two to {MOST_SETTINGS} different values are compared, not {0}")]
    Count(usize),
}

/// Settings that people look for here, and what they really do.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        "interval",
        "the heartbeat interval moves the detection of a silent node; `offloadctl bench heartbeat` measures that",
    ),
    ("detector", "it judges silence, not changes; `offloadctl bench heartbeat` compares detectors"),
    ("metrics", "what the agent tells of its node travels with heartbeats"),
];

impl Setting {
    /// With this source and this store, and nothing to compare.
    #[must_use]
    pub const fn new(source: Source, store: Store) -> Self {
        Self { label: None, source, store, is_by_engine: false }
    }

    /// Whether a Docker Engine makes the changes.
    #[must_use]
    pub const fn is_of_docker(&self) -> bool {
        self.source.is_of_docker() || self.is_by_engine
    }

    /// The settings that `KEY=A,B` names, each otherwise as `base`.
    ///
    /// # Errors
    /// When it compares nothing that governs a hop.
    pub fn compared(base: &Self, text: &str) -> Result<Vec<Self>, CompareError> {
        let (key, values) = text.split_once('=').ok_or_else(|| CompareError::Form(text.to_owned()))?;
        if let Some((_, why)) = ELSEWHERE.iter().find(|(known, _)| *known == key) {
            return Err(CompareError::Governs { key: key.to_owned(), why });
        }
        let one = |value: &str| {
            let wrong = |error: &dyn fmt::Display| CompareError::Value(error.to_string());
            let label = Some(value.to_owned());
            match key {
                "source" => {
                    Ok(Self { label, source: value.parse().map_err(|e: SourceError| wrong(&e))?, ..base.clone() })
                }
                "store" => {
                    let store = value.parse().map_err(|e: crate::model::UnknownWord| wrong(&e))?;
                    Ok(Self { label, store, ..base.clone() })
                }
                _ => Err(CompareError::Key(key.to_owned())),
            }
        };
        let mut all: Vec<Self> = Vec::new();
        for value in values.split(',') {
            let setting = one(value.trim())?;
            if all.iter().any(|known| (known.source, known.store) == (setting.source, setting.store)) {
                return Err(CompareError::Value(format!("`{value}` is named twice")));
            }
            all.push(setting);
        }
        // The same change for all of them, whoever tells of it.
        if all.iter().any(Self::is_of_docker) {
            all.iter_mut().filter(|one| one.source == Source::Ebpf).for_each(|one| one.is_by_engine = true);
        }
        if (2..=MOST_SETTINGS).contains(&all.len()) { Ok(all) } else { Err(CompareError::Count(all.len())) }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError(text.to_owned());
        Ok(match text {
            "script" => Self::Script,
            "docker" => Self::Docker,
            "ebpf" => Self::Ebpf,
            _ => {
                let every = text.strip_prefix("poll=").and_then(|every| humantime::parse_duration(every).ok());
                let every =
                    every.filter(|every| (Duration::from_millis(10)..=Duration::from_secs(3_600)).contains(every));
                Self::Poll(every.ok_or_else(wrong)?)
            }
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script => out.write_str("script"),
            Self::Docker => out.write_str("docker"),
            Self::Ebpf => out.write_str("ebpf"),
            Self::Poll(every) => write!(out, "poll={}", humantime::format_duration(*every)),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Source {
    /// Whether a Docker Engine tells of the changes.
    #[must_use]
    pub const fn is_of_docker(self) -> bool {
        matches!(self, Self::Docker | Self::Poll(_))
    }

    /// Whether the kernel stamps the changes.
    #[must_use]
    pub const fn is_of_kernel(self) -> bool {
        !matches!(self, Self::Script)
    }

    /// How long after the change it may be seen, whatever else: a list comes with its period.
    #[must_use]
    pub const fn longest_wait(self) -> Duration {
        match self {
            Self::Poll(every) => every,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Setting {
        Setting::new(Source::Script, Store::Embedded)
    }

    #[test]
    fn settings_are_compared_by_name() {
        let all = Setting::compared(&base(), "source=docker,poll=2s").unwrap();
        assert_eq!(
            all.iter().map(|one| one.source).collect::<Vec<_>>(),
            [Source::Docker, Source::Poll(Duration::from_secs(2))]
        );
        assert_eq!(all[1].label.as_deref(), Some("poll=2s"));
        let all = Setting::compared(&base(), "store=memory,embedded").unwrap();
        assert_eq!(all[0].store, Store::Memory);
    }

    #[test]
    fn what_governs_no_hop_is_refused_with_the_reason() {
        let refused = |text: &str| Setting::compared(&base(), text).unwrap_err().to_string();
        assert!(refused("interval=2s,5s").contains("bench heartbeat"));
        assert!(refused("colour=red,blue").contains("source and store"));
        assert!(refused("source=docker").contains("not 1"));
        assert!(refused("source=docker,docker").contains("twice"));
        assert!(refused("source=podman,docker").contains("podman"));
        assert!(refused("store=disk,memory").contains("disk"));
        assert!(refused("store").contains("compares nothing"));
    }

    #[test]
    fn a_source_is_printed_as_it_is_read() {
        for text in ["script", "docker", "ebpf", "poll=2s", "poll=500ms"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for wrong in ["poll=", "poll=2", "poll=0s", "poll=2h", "cri"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }
}
