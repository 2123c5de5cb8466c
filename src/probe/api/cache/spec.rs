//! What the user meant with `probe api --cache`: how often a client reads today, and through which cache it might; knows no command line.

use std::time::Duration;

use serde::Serialize;

use crate::model::span::as_nanos;
use crate::wire::Url;

/// What is listed where nobody named a path: the nodes, whose state is what this program is about.
pub const CACHE_PATH: &str = "/api/v1/nodes";

/// Parameters that are ours to set.
const OURS: [&str; 4] = ["resourceVersion", "resourceVersionMatch", "watch", "limit"];

/// Which caches are set beside each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheSpec {
    /// How often a client without a cache reads the list: what the requests an hour are reckoned by.
    #[serde(rename = "interval_ns", serialize_with = "as_nanos")]
    pub interval: Duration,
    /// A caching proxy through which the same is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Url>,
}

/// Caches that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CacheSpecError {
    /// More than one list.
    #[error("--cache reads one list: give one --path, not {0}")]
    Paths(usize),
    /// A parameter of the path that is ours.
    #[error("`{path}` has the parameter `{name}`, which --cache sets itself")]
    Parameter {
        /// As typed.
        path: String,
        /// The parameter.
        name: &'static str,
    },
    /// A proxy below which no path can lie.
    #[error("--via `{0}` has a query, below which no path can lie")]
    Query(String),
}

impl CacheSpec {
    /// Checks it with the paths that are read.
    ///
    /// # Errors
    /// When the path is not one list, or the proxy is no beginning of others.
    pub fn check(&self, paths: &[String]) -> Result<(), CacheSpecError> {
        let [path] = paths else { return Err(CacheSpecError::Paths(paths.len())) };
        let names = path.split_once('?').map_or("", |(_, query)| query).split('&');
        let mut names = names.map(|pair| pair.split('=').next().unwrap_or_default());
        if let Some(name) = names.find_map(|name| OURS.into_iter().find(|ours| *ours == name)) {
            return Err(CacheSpecError::Parameter { path: path.clone(), name });
        }
        match &self.via {
            Some(via) if via.query().is_some() => Err(CacheSpecError::Query(via.to_string())),
            _ => Ok(()),
        }
    }
}

/// A path with one more parameter.
#[must_use]
pub fn with_parameters(path: &str, parameters: &str) -> String {
    format!("{path}{}{parameters}", if path.contains('?') { '&' } else { '?' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_without_parameters_of_ours_is_read() {
        let spec = |via: Option<&str>| CacheSpec {
            interval: Duration::from_secs(5),
            via: via.map(|via| via.parse().unwrap()),
        };
        let check = |paths: &[&str]| spec(None).check(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(check(&["/api/v1/pods?labelSelector=a%3Db"]), Ok(()));
        assert_eq!(check(&["/a", "/b"]), Err(CacheSpecError::Paths(2)));
        for (path, name) in [("/a?watch=1", "watch"), ("/a?x=y&resourceVersion=0", "resourceVersion")] {
            assert_eq!(check(&[path]), Err(CacheSpecError::Parameter { path: path.to_owned(), name }));
        }
        assert!(spec(Some("http://proxy/?a")).check(&["/a".to_owned()]).is_err());
        assert_eq!(with_parameters("/a", "b=c"), "/a?b=c");
        assert_eq!(with_parameters("/a?b=c", "d=e"), "/a?b=c&d=e");
    }
}
