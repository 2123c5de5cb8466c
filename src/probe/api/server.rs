//! What the server says of itself: whether it is a Kubernetes, and its metrics before and after the run.
//!
//! Separate because these questions go their own way, on connections of their own and outside of the run, and because a
//! server that does not answer them is measured all the same.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::cell::Cell;
use crate::wire::credentials::Credentials;
use crate::wire::{Exposition, Fetch, FetchError, Fetched, Sample, Totals, Trust, Url, fetch};

/// Requests by verb, resource and scope.
pub const REQUESTS: &str = "apiserver_request_duration_seconds";
/// What the API server waits for etcd.
pub const ETCD: &str = "etcd_request_duration_seconds";
/// Wait in the queues of API priority and fairness.
pub const QUEUE: &str = "apiserver_flowcontrol_request_wait_duration_seconds";

/// Longest metrics text that is read.
const LONGEST_TEXT: usize = 64 << 20;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where questions go.
pub struct Asker<'a> {
    /// The server; all paths lie below its own.
    pub url: &'a Url,
    /// The address that is measured.
    pub address: SocketAddr,
    /// The name that its certificate must be for.
    pub server_name: &'a str,
    /// Whom to trust.
    pub trust: Trust,
    /// As whom.
    pub credentials: &'a Credentials,
    /// Headers of every request.
    pub headers: Vec<(String, String)>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A Kubernetes of this version, whose metrics can be read.
    Open {
        /// Its version, if it tells.
        version: Option<String>,
        /// Its metrics before the run.
        before: Box<Exposition>,
    },
    /// A Kubernetes whose metrics cannot be read, and why.
    Closed {
        /// Its version, if it tells.
        version: Option<String>,
        /// Why.
        reason: String,
    },
    /// Something else, and by what that is known.
    Other {
        /// By what.
        reason: String,
    },
}

impl Kind {
    /// The version of a Kubernetes, if it tells.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Open { version, .. } | Self::Closed { version, .. } => version.as_deref(),
            Self::Other { .. } => None,
        }
    }
}

impl Asker<'_> {
    /// Finds out what the server is; its metrics before the run come along.
    pub async fn kind(&self) -> Kind {
        let version = match self.get("/version").await {
            Ok(Fetched { status: 200, body }) => git_version(&body),
            _ => None,
        };
        match (self.scrape().await, version) {
            (Ok(before), version) if before.has(&format!("{REQUESTS}_count")) => {
                Kind::Open { version, before: Box::new(before) }
            }
            (Ok(_), Some(version)) => {
                Kind::Closed { version: Some(version), reason: format!("`/metrics` holds no {REQUESTS}") }
            }
            (Err(reason), Some(version)) => Kind::Closed { version: Some(version), reason },
            (Ok(_), None) => {
                Kind::Other { reason: format!("`/version` names no Kubernetes, and `/metrics` holds no {REQUESTS}") }
            }
            (Err(reason), None) => Kind::Other { reason: format!("`/version` names no Kubernetes, and {reason}") },
        }
    }

    /// The metrics as they are now, as far as they are of use here.
    ///
    /// # Errors
    /// Why there are none, as the end of a sentence.
    pub async fn scrape(&self) -> Result<Exposition, String> {
        match self.get("/metrics").await {
            Ok(Fetched { status: 200, body }) => Ok(Exposition::parse(&relevant(&String::from_utf8_lossy(&body)))),
            Ok(Fetched { status, .. }) => Err(format!("`/metrics` answered {status}")),
            Err(error) => Err(format!("`/metrics` cannot be read: {error}")),
        }
    }

    async fn get(&self, path: &str) -> Result<Fetched, FetchError> {
        let url = self.url.with_path(&format!("{}{path}", self.url.base())).unwrap_or_else(|_| self.url.clone());
        let mut headers = self.headers.clone();
        if let Some(value) = self.credentials.header()
            && let Ok(value) = value.to_str()
        {
            headers.push(("authorization".to_owned(), value.to_owned()));
        }
        fetch(Fetch {
            url: &url,
            address: Some(self.address),
            server_name: Some(self.server_name),
            trust: &self.trust,
            headers: &headers,
            timeout: PATIENCE,
            max_body: LONGEST_TEXT,
        })
        .await
    }
}

/// What the server counted between two scrapes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// Requests of the cell.
    pub requests: Option<Totals>,
    /// Requests to etcd that the cell causes.
    pub etcd: Option<Totals>,
    /// Waits in the queues, of all requests.
    pub queue: Option<Totals>,
}

/// What was added to a cell between two scrapes; `None` where the server was started again in between.
#[must_use]
pub fn growth(before: &Exposition, after: &Exposition, cell: &Cell) -> Option<Growth> {
    let of = |name: &str, keep: &dyn Fn(&Sample) -> bool| {
        match (Totals::of(before, name, keep), Totals::of(after, name, keep)) {
            // A series that was not there before begins at nothing.
            (None, now) => Some(now),
            (Some(earlier), Some(now)) => now.since(&earlier).map(Some),
            (Some(_), None) => None,
        }
    };
    Some(Growth {
        requests: of(REQUESTS, &|sample| cell.holds(sample))?,
        etcd: of(ETCD, &|sample| cell.causes(sample))?,
        queue: of(QUEUE, &|sample| sample.has("execute", "true"))?,
    })
}

/// The lines of the three families, without their buckets: the rest of a big server's metrics is many megabytes.
fn relevant(text: &str) -> String {
    let is_ours = |line: &&str| {
        let ours = [REQUESTS, ETCD, QUEUE];
        ours.iter().any(|name| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with("_sum") || rest.starts_with("_count"))
        })
    };
    text.lines().filter(is_ours).collect::<Vec<_>>().join("\n")
}

fn git_version(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value.get("gitVersion")?.as_str().map(|version| version.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_one_cell_and_buckets_are_left_out() {
        let text = |count: u32| {
            format!(
                "{REQUESTS}_bucket{{verb=\"LIST\",le=\"0.005\"}} 1\n\
                 {REQUESTS}_sum{{verb=\"LIST\",version=\"v1\",resource=\"pods\",scope=\"cluster\"}} {}\n\
                 {REQUESTS}_count{{verb=\"LIST\",version=\"v1\",resource=\"pods\",scope=\"cluster\"}} {count}\n\
                 {QUEUE}_sum{{execute=\"true\"}} 0\n{QUEUE}_count{{execute=\"true\"}} {count}\nother 5\n",
                f64::from(count) * 0.02
            )
        };
        let (before, after) = (relevant(&text(100)), relevant(&text(150)));
        assert_eq!(before.lines().count(), 4);
        let (before, after) = (Exposition::parse(&before), Exposition::parse(&after));
        let pods = Cell::of("/api/v1/pods");
        assert_eq!(super::growth(&after, &before, &pods), None, "it was started again");
        assert_eq!(super::growth(&before, &Exposition::default(), &pods), None, "and has counted nothing yet");
        let growth = growth(&before, &after, &pods).unwrap();
        let requests = growth.requests.unwrap();
        assert_eq!(requests.count, 50.0);
        assert!((requests.mean_ns().unwrap() - 2e7).abs() < 1.0);
        assert_eq!((growth.etcd, growth.queue.unwrap().mean_ns()), (None, Some(0.0)));
    }

    #[test]
    fn a_kubernetes_tells_its_version() {
        assert_eq!(git_version(br#"{"major":"1","gitVersion":"v1.33.2"}"#).as_deref(), Some("v1.33.2"));
        assert_eq!(git_version(b"<html>"), None);
        assert_eq!(git_version(br#"{"version":"3.4.23"}"#), None);
    }
}
