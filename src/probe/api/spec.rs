//! What the user meant with `probe api`: a server, paths on it, how to connect and how to load; knows no command line.

use std::path::PathBuf;

use serde::Serialize;

use super::cache::{CACHE_PATH, CacheSpec, CacheSpecError};
use crate::load::LoadSpec;
use crate::model::words;
use crate::wire::locate::{BindFamily, Reach};
use crate::wire::{TlsSpec, Url};

/// What is asked of a server whose path nobody named: a list that every Kubernetes has.
pub const DEFAULT_PATH: &str = "/api/v1/namespaces";

/// A spec that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A server whose paths are to lie below a query.
    #[error("`{0}` has a query, below which no --path can lie")]
    Query(String),
    /// Not a path.
    #[error("`{path}` is not a path: {reason}")]
    Path {
        /// As typed.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// TLS options for a server without TLS.
    #[error("--{option} is of no use: `{url}` is not `https://`")]
    NoTls {
        /// The option.
        option: &'static str,
        /// The server.
        url: String,
    },
    /// A certificate without its key.
    #[error("a client certificate needs its key: give both --client-cert and --client-key")]
    HalfIdentity,
    /// A local address of another family than was asked for.
    #[error(transparent)]
    BindFamily(#[from] BindFamily),
    /// Caches that cannot be set beside each other.
    #[error(transparent)]
    Cache(#[from] CacheSpecError),
}

/// Which server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// The one at this URL.
    Url(Url),
    /// The one that a kubeconfig names.
    Kubeconfig {
        /// Which file.
        file: PathBuf,
        /// Which of its contexts; its current one otherwise.
        context: Option<String>,
    },
    /// The one of the cluster in which this process runs.
    InCluster,
}

/// Which version of HTTP to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpChoice {
    /// Whichever the server prefers.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    One,
    /// HTTP/2 only.
    Two,
}

words!(HttpChoice { Auto = "auto", One = "1.1", Two = "2" });

/// A version of HTTP as it was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

words!(Version { One = "1.1", Two = "2" });

/// The whole of a `probe api`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiSpec {
    /// Whom to ask.
    pub server: Server,
    /// What to ask for.
    pub paths: Vec<String>,
    /// Whether connections are kept; otherwise each request has one of its own.
    pub reuse: bool,
    /// How to ask.
    pub http: HttpChoice,
    /// Whom to trust and who we say we are.
    pub tls: TlsSpec,
    /// Where a bearer token lies.
    pub token_file: Option<PathBuf>,
    /// Which addresses, and from where.
    #[serde(flatten)]
    pub reach: Reach,
    /// Longest body that is read.
    pub max_body_bytes: u64,
    /// Statuses outside 200 to 399 that are no error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected_statuses: Vec<u16>,
    /// How to load.
    pub load: LoadSpec,
    /// Share of unanswered attempts above which the server counts as lost.
    pub max_loss_ratio: f64,
    /// What caches are set beside each other, if that is the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSpec>,
}

impl ApiSpec {
    /// Checks what no single argument shows, and takes the path of the URL for the one that is asked for, or the usual one, where
    /// none was given.
    ///
    /// # Errors
    /// With a path that is none, or with options that contradict each other.
    pub fn checked(mut self) -> Result<Self, SpecError> {
        self.reach.check()?;
        if self.tls.client_cert.is_some() != self.tls.client_key.is_some() {
            return Err(SpecError::HalfIdentity);
        }
        if let Server::Url(url) = &self.server {
            check_tls(&self.tls, url)?;
        }
        match &self.server {
            // As the `server` of a kubeconfig: all paths lie below it.
            Server::Url(url) if !self.paths.is_empty() && url.query().is_some() => {
                return Err(SpecError::Query(url.to_string()));
            }
            Server::Url(url) if self.paths.is_empty() && url.has_path() => {
                self.paths.push(url.path().to_owned());
                self.server = Server::Url(url.root());
            }
            _ if self.paths.is_empty() => {
                self.paths.push(if self.cache.is_some() { CACHE_PATH } else { DEFAULT_PATH }.to_owned());
            }
            _ => {}
        }
        self.paths.iter().try_for_each(|path| check_path(path))?;
        self.cache.as_ref().map_or(Ok(()), |cache| cache.check(&self.paths))?;
        Ok(self)
    }
}

fn check_path(path: &str) -> Result<(), SpecError> {
    let wrong = |reason: String| SpecError::Path { path: path.to_owned(), reason };
    if !path.starts_with('/') {
        return Err(wrong("it does not begin with `/`".to_owned()));
    }
    path.parse::<hyper::http::uri::PathAndQuery>().map(drop).map_err(|error| wrong(error.to_string()))
}

fn check_tls(tls: &TlsSpec, url: &Url) -> Result<(), SpecError> {
    let given = [
        ("ca-file", tls.ca_file.is_some()),
        ("client-cert", tls.client_cert.is_some()),
        ("client-key", tls.client_key.is_some()),
        ("insecure", tls.insecure),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given && !url.is_tls()) {
        Some((option, _)) => Err(SpecError::NoTls { option, url: url.to_string() }),
        None => Ok(()),
    }
}

impl Version {
    /// Its name in the negotiation of TLS (ALPN).
    #[must_use]
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::One => "http/1.1",
            Self::Two => "h2",
        }
    }
}

impl HttpChoice {
    /// What is offered to a TLS server, the preferred first.
    #[must_use]
    pub const fn offer(self) -> &'static [&'static str] {
        match self {
            Self::Auto => &["h2", "http/1.1"],
            Self::One => &["http/1.1"],
            Self::Two => &["h2"],
        }
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::{Arrival, Length};

    /// A spec of this server and these paths.
    pub fn spec(url: &str, paths: &[&str]) -> ApiSpec {
        ApiSpec {
            server: Server::Url(url.parse().unwrap()),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            reuse: false,
            http: HttpChoice::Auto,
            tls: TlsSpec::default(),
            token_file: None,
            reach: Reach::default(),
            max_body_bytes: 1,
            expected_statuses: Vec::new(),
            load: LoadSpec {
                arrival: Arrival::Closed { concurrency: 1 },
                length: Length::Count(1),
                warmup: Duration::ZERO,
                timeout: Duration::from_secs(1),
                max_in_flight: 1,
                seed: 0,
            },
            max_loss_ratio: 1.0,
            cache: None,
        }
    }

    #[test]
    fn the_path_is_that_of_the_option_of_the_url_or_the_usual_one() {
        let paths = |url, paths| spec(url, paths).checked().unwrap().paths;
        assert_eq!(paths("https://a", &[]), [DEFAULT_PATH]);
        assert_eq!(paths("https://a/", &[]), ["/"]);
        assert_eq!(paths("https://a/healthz?x=1", &[]), ["/healthz?x=1"]);
        assert_eq!(paths("https://a/healthz", &["/b", "/c"]), ["/b", "/c"]);
        let server = |url, paths| match spec(url, paths).checked().unwrap().server {
            Server::Url(url) => url.to_string(),
            _ => String::new(),
        };
        assert_eq!(server("https://a/healthz", &["/b"]), "https://a/healthz", "and they lie below it");
        assert_eq!(server("https://a/healthz", &[]), "https://a/");
    }

    #[test]
    fn what_cannot_be_meant_says_why() {
        let error = |url, paths| spec(url, paths).checked().unwrap_err().to_string();
        assert!(error("https://a", &["b"]).contains("does not begin"));
        assert!(error("https://a/b?c", &["/d"]).contains("has a query"));
        assert!(error("https://a", &["/b c"]).contains("is not a path"));
        let mut insecure = spec("http://a", &[]);
        insecure.tls.insecure = true;
        assert!(insecure.checked().unwrap_err().to_string().contains("--insecure"));
        let mut half = spec("https://a", &[]);
        half.tls.client_cert = Some("a.pem".into());
        assert_eq!(half.checked().unwrap_err(), SpecError::HalfIdentity);
    }
}
