//! What the user meant: which sources race, at which engine, and whether on containers of our own.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::load::LoadSpec;
use crate::model::span::as_nanos;
use crate::model::words;
use crate::source::cri;
use crate::source::watch::Act;

/// Where an engine's socket lies if nobody says so.
pub const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// Where containerd's socket lies if nobody says so.
pub const USUAL_CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Where a runtime serves CRI if nobody says so: containerd does by the socket that it has anyway.
pub const USUAL_CRI: &str = USUAL_CONTAINERD;

/// The namespaces of containerd that are watched if nobody says which: Docker's, Kubernetes's, and that of its own client.
pub const USUAL_NAMESPACES: [&str; 3] = ["moby", "k8s.io", "default"];

/// The shortest and the longest span between two lists.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(600);

/// A source that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No word of ours.
    #[error(
        "`{0}` is no source: there are docker, containerd, cri, ebpf, poll=TIME, poll-containerd=TIME and poll-cri=TIME"
    )]
    Unknown(String),
    /// Lists in no span, or in one that makes no sense.
    #[error("`{word}`: {why}")]
    Span {
        /// As typed.
        word: String,
        /// What is wrong.
        why: String,
    },
    /// Neither a path nor a URL of one.
    #[error("`{0}` is no address of an engine that can be watched from here")]
    Address(String),
}

/// A way to learn of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The stream of events of a Docker Engine.
    Docker,
    /// The kernel's tracepoints.
    Ebpf,
    /// The stream of events of containerd.
    Containerd,
    /// The list of a Docker Engine, again and again.
    Poll(Duration),
    /// The tasks of containerd, again and again.
    PollContainerd(Duration),
    /// The events of a runtime by CRI.
    Cri,
    /// The lists of a runtime by CRI, again and again.
    PollCri(Duration),
}

/// Who makes the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A Docker Engine.
    Docker,
    /// A runtime, by CRI: a Pod of one container each.
    Cri,
    /// Nobody: plain processes in control groups of our own.
    Cgroup,
}

words!(By { Docker = "docker", Cri = "cri", Cgroup = "cgroup" });

impl Way {
    /// The acts that it tells of: what it never tells, it cannot miss. Docker makes a container of containerd only when it
    /// starts its own, and no list says why a process was killed.
    #[must_use]
    pub const fn tells(self) -> &'static [Act] {
        match self {
            Self::Docker | Self::Ebpf => &Act::ALL,
            Self::Containerd => &[Act::Start, Act::Exit, Act::Oom],
            Self::PollContainerd(_) => &[Act::Start, Act::Exit],
            Self::Poll(_) => &[Act::Create, Act::Start, Act::Exit, Act::Destroy],
            Self::Cri | Self::PollCri(_) => &cri::TELLS,
        }
    }
}

/// A source as it was typed, which is what its label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// As typed.
    pub word: String,
    /// What it means.
    pub way: Way,
}

/// What is done, and therefore known to have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Deed {
    /// Containers of our own are made.
    Own(Own),
    /// Nothing: whatever happens is watched.
    Watch {
        /// For so long.
        #[serde(rename = "duration_ns", serialize_with = "as_nanos")]
        duration: Duration,
    },
}

/// Containers of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Own {
    /// By whom.
    #[serde(rename = "act")]
    pub by: By,
    /// How many, and how fast.
    pub load: LoadSpec,
    /// How long each lives.
    #[serde(rename = "alive_ns", serialize_with = "as_nanos")]
    pub alive: Duration,
    /// How many are made in all.
    pub count: u32,
    /// How many are made at once at each planned start.
    pub burst: u32,
    /// Of which image; `None` is one that is made for it.
    pub image: Option<String>,
}

/// Everything that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventsSpec {
    /// The sources that race.
    pub sources: Vec<SourceSpec>,
    /// The socket of the Docker Engine; empty where none is asked.
    #[serde(skip_serializing_if = "is_empty")]
    pub docker_socket: PathBuf,
    /// The socket of containerd.
    pub containerd_socket: PathBuf,
    /// The socket by which a runtime serves CRI; empty where none is asked.
    #[serde(skip_serializing_if = "is_empty")]
    pub cri_socket: PathBuf,
    /// The namespaces of containerd that are watched.
    pub namespaces: Vec<String>,
    /// What is done.
    #[serde(flatten)]
    pub deed: Deed,
}

impl EventsSpec {
    /// The longest span between two lists of any source.
    #[must_use]
    pub fn longest_poll(&self) -> Duration {
        let spans = self.sources.iter().map(|source| match source.way {
            Way::Poll(every) | Way::PollContainerd(every) | Way::PollCri(every) => every,
            // A runtime without events is asked for its lists.
            Way::Cri => cri::RELIST,
            Way::Docker | Way::Containerd | Way::Ebpf => Duration::ZERO,
        });
        spans.max().unwrap_or_default()
    }

    /// Whether an engine is asked for anything.
    #[must_use]
    pub fn needs_engine(&self) -> bool {
        let acts = matches!(&self.deed, Deed::Own(own) if own.by == By::Docker);
        acts || self.sources.iter().any(|source| matches!(source.way, Way::Docker | Way::Poll(_)))
    }

    /// Whom a source asks, where it asks anybody.
    #[must_use]
    pub fn socket(&self, source: &SourceSpec) -> Option<&Path> {
        match source.way {
            Way::Docker | Way::Poll(_) => Some(&self.docker_socket),
            Way::Containerd | Way::PollContainerd(_) => Some(&self.containerd_socket),
            Way::Cri | Way::PollCri(_) => Some(&self.cri_socket),
            Way::Ebpf => None,
        }
    }

    /// Whether a runtime is asked for anything by CRI.
    #[must_use]
    pub fn needs_cri(&self) -> bool {
        let acts = matches!(&self.deed, Deed::Own(own) if own.by == By::Cri);
        acts || self.sources.iter().any(|source| matches!(source.way, Way::Cri | Way::PollCri(_)))
    }

    /// The acts that this source knows under another meaning than the others: an engine makes a group when it starts a
    /// container, not when it makes it, and removes it when that has ended.
    #[must_use]
    pub fn unlike(&self, source: &SourceSpec) -> &'static [Act] {
        let is_beside =
            self.needs_engine() || self.needs_cri() || self.sources.iter().any(|other| other.way != Way::Ebpf);
        if source.way == Way::Ebpf && is_beside { &[Act::Create, Act::Destroy] } else { &[] }
    }
}

/// The socket of an address: a path, or `unix://PATH` as DOCKER_HOST has it.
///
/// # Errors
/// When it is neither.
pub fn socket_of(address: &str) -> Result<PathBuf, SpecError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    match path.is_empty() || path.contains("://") {
        true => Err(SpecError::Address(address.to_owned())),
        false => Ok(PathBuf::from(path)),
    }
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(word: &str) -> Result<Self, SpecError> {
        let way = match word.split_once('=') {
            None if word == "docker" => Way::Docker,
            None if word == "ebpf" => Way::Ebpf,
            None if word == "containerd" => Way::Containerd,
            None if word == "cri" => Way::Cri,
            Some(("poll", span)) => Way::Poll(span_of(word, span)?),
            Some(("poll-containerd", span)) => Way::PollContainerd(span_of(word, span)?),
            Some(("poll-cri", span)) => Way::PollCri(span_of(word, span)?),
            None if matches!(word, "poll" | "poll-containerd" | "poll-cri") => {
                return Err(SpecError::Span { word: word.to_owned(), why: format!("write how often, as `{word}=1s`") });
            }
            _ => return Err(SpecError::Unknown(word.to_owned())),
        };
        Ok(Self { word: word.to_owned(), way })
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn span_of(word: &str, text: &str) -> Result<Duration, SpecError> {
    let wrong = |why: String| SpecError::Span { word: word.to_owned(), why };
    if text.parse::<f64>().is_ok() {
        let name = word.split('=').next().unwrap_or_default();
        return Err(wrong(format!("it needs its unit: write `{name}={text}s`")));
    }
    let span = humantime::parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    match (SHORTEST..=LONGEST).contains(&span) {
        true => Ok(span),
        false => Err(wrong("lists can be asked for each 10 ms at the most and each 10 min at the least".to_owned())),
    }
}

impl Serialize for SourceSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_word_or_says_how_often() {
        let way = |word: &str| word.parse::<SourceSpec>().map(|source| source.way);
        assert_eq!((way("docker"), way("ebpf")), (Ok(Way::Docker), Ok(Way::Ebpf)));
        assert_eq!((way("containerd"), way("cri")), (Ok(Way::Containerd), Ok(Way::Cri)));
        assert_eq!(way("poll-cri=1s"), Ok(Way::PollCri(Duration::from_secs(1))));
        assert_eq!(way("poll-containerd=1s"), Ok(Way::PollContainerd(Duration::from_secs(1))));
        assert_eq!(way("poll=250ms"), Ok(Way::Poll(Duration::from_millis(250))));
        for (word, why) in [
            ("poll", "as `poll=1s`"),
            ("poll=1", "`poll=1s`"),
            ("poll=1ns", "each 10 ms"),
            ("poll=x", "poll=x"),
            ("dockers", "is no source"),
            ("poll-cri", "as `poll-cri=1s`"),
            ("cri=1s", "is no source"),
        ] {
            let error = way(word).unwrap_err().to_string();
            assert!(error.contains(why), "{word}: {error}");
        }
    }

    #[test]
    fn an_address_is_a_path_with_or_without_its_scheme() {
        assert_eq!(socket_of("unix:///run/docker.sock"), Ok(PathBuf::from("/run/docker.sock")));
        assert_eq!(socket_of("/run/docker.sock"), Ok(PathBuf::from("/run/docker.sock")));
        assert_eq!(socket_of("docker.sock"), Ok(PathBuf::from("docker.sock")));
        assert!(socket_of("tcp://127.0.0.1:2375").is_err() && socket_of("").is_err());
    }
}
