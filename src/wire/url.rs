//! The address of an HTTP server and a path on it.
//!
//! Separate so that a URL is parsed once, with its port filled in, and user names in it are refused before they reach a
//! run document.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use hyper::http::uri::{PathAndQuery, Uri};
use serde::Serialize;

/// A text that is no URL of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("`{text}` is not a URL: {reason}")]
    Form {
        /// As typed.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Another scheme.
    #[error("`{0}` does not begin with `http://` or `https://`")]
    Scheme(String),
    /// A password would be stored with the run.
    #[error(
        "the URL holds a user name or password, which would be stored with the run; give it by an option of its own"
    )]
    Secret,
}

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// A parsed `http://` or `https://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Name or address, an IPv6 address without its brackets and its zone.
    pub host: String,
    /// The interface of a link-local address: for the socket alone, and in no header (RFC 6874 section 4).
    zone: Option<String>,
    /// Port, the scheme's own where none was typed.
    pub port: u16,
    path: PathAndQuery,
    /// Whether a path was typed, be it only `/`.
    has_path: bool,
}

impl Url {
    /// The same server at another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// Path and query, beginning with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// Whether more than the server was named.
    #[must_use]
    pub const fn has_path(&self) -> bool {
        self.has_path
    }

    /// The same server with another path.
    ///
    /// # Errors
    /// When `path` does not begin with a slash or holds what no path may.
    pub fn with_path(&self, path: &str) -> Result<Self, UrlError> {
        let wrong = |reason: String| UrlError::Form { text: path.to_owned(), reason };
        if !path.starts_with('/') {
            return Err(wrong("a path begins with `/`".to_owned()));
        }
        let path = path.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(error.to_string()))?;
        Ok(Self { path, has_path: true, ..self.clone() })
    }

    /// The path as the beginning of others, which begin with a slash themselves.
    #[must_use]
    pub fn base(&self) -> &str {
        self.path.path().trim_end_matches('/')
    }

    /// The query, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path.query()
    }

    /// The server alone.
    #[must_use]
    pub fn root(&self) -> Self {
        Self { path: PathAndQuery::from_static("/"), has_path: false, ..self.clone() }
    }

    /// The interface that its address is of, if one was named.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The host as a socket wants it, with its zone.
    #[must_use]
    pub fn socket_host(&self) -> Cow<'_, str> {
        match &self.zone {
            None => Cow::Borrowed(&self.host),
            Some(zone) => Cow::Owned(format!("{}%{zone}", self.host)),
        }
    }

    /// The URL as the server sees it: no zone of ours means anything to it.
    #[must_use]
    pub fn without_zone(&self) -> Self {
        Self { zone: None, ..self.clone() }
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Host and port as in a `Host` header: the scheme's own port is left out.
    #[must_use]
    pub fn authority(&self) -> String {
        self.with_own_port(if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() })
    }

    fn with_own_port(&self, host: String) -> String {
        if self.port == own_port(self.scheme) { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let wrong = |reason: &str| UrlError::Form { text: text.to_owned(), reason: reason.to_owned() };
        if text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
        {
            return Err(UrlError::Secret);
        }
        let (bare, zone) = take_zone(text).map_err(wrong)?;
        let uri: Uri = bare.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((before, port)) if !port.ends_with(']') && !before.is_empty() => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("its port is not a number from 1 to 65535"))?,
            _ => own_port(scheme),
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
        Ok(Self { scheme, host: host.to_owned(), zone, port, path, has_path: after_scheme.contains('/') })
    }
}

/// The text without the zone of its address, and that zone: written `%25lo` as RFC 6874 has it, or `%lo` as people do.
fn take_zone(text: &str) -> Result<(Cow<'_, str>, Option<String>), &'static str> {
    let none = (Cow::Borrowed(text), None);
    let Some((scheme, rest)) = text.split_once("://[") else { return Ok(none) };
    let (inside, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
    let Some((address, zone)) = inside.split_once('%') else { return Ok(none) };
    let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if zone.is_empty() || !zone.chars().all(is_plain) || address.parse::<Ipv6Addr>().is_err() {
        return Err("its host is no IPv6 address with the name of an interface");
    }
    Ok((Cow::Owned(format!("{scheme}://[{address}]{after}")), Some(zone.to_owned())))
}

const fn own_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "https" } else { "http" };
        let authority = match &self.zone {
            None => self.authority(),
            Some(zone) => self.with_own_port(format!("[{}%25{zone}]", self.host)),
        };
        write!(f, "{scheme}://{authority}{}", self.path)
    }
}

impl Serialize for Url {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Url>() {
            Ok(url) => format!("{} {} {} {}", url.host, url.port, url.path(), url.has_path()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn urls_as_people_type_them() {
        assert_eq!(shown("https://api.example:6443"), "api.example 6443 / false");
        assert_eq!(shown("http://10.0.0.1/healthz?x=1"), "10.0.0.1 80 /healthz?x=1 true");
        assert_eq!(shown("https://[::1]:6443/"), "::1 6443 / true");
        assert_eq!(shown("https://[::1]"), "::1 443 / false");
        assert_eq!("https://[::1]/a".parse::<Url>().unwrap().to_string(), "https://[::1]/a");
    }

    #[test]
    fn what_is_no_url_says_why() {
        assert!(shown("api.example:6443").contains("does not begin with"));
        assert!(shown("ftp://a/").contains("does not begin with"));
        assert!(shown("http://a:0/").contains("1 to 65535"), "{}", shown("http://a:0/"));
        assert!(shown("http://a:99999/").contains("not a URL") || shown("http://a:99999/").contains("65535"));
        assert!(shown("https://user:secret@host/").contains("user name or password"));
        assert!(!shown("https://user:secret@host/").contains("secret@"));
    }

    #[test]
    fn a_zone_is_for_the_socket_and_for_no_header() {
        for text in ["http://[fe80::1%25lo]:9001/a", "http://[fe80::1%lo]:9001/a"] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host.as_str(), &*url.socket_host(), url.port), ("fe80::1", "fe80::1%lo", 9001));
            assert_eq!(url.authority(), "[fe80::1]:9001");
            assert_eq!(url.to_string(), "http://[fe80::1%25lo]:9001/a");
            assert_eq!(url.without_zone().to_string(), "http://[fe80::1]:9001/a");
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
        }
        for text in ["http://[fe80::1%]/", "http://[fe80::1%a b]/", "http://[name%lo]/", "http://[::1", "http://[::1/"]
        {
            assert!(shown(text).contains("is not a URL"), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn a_path_may_be_the_beginning_of_others() {
        let base = |text: &str| text.parse::<Url>().unwrap().base().to_owned();
        assert_eq!([base("http://h"), base("http://h/"), base("http://h/a/b/?x=1")], ["", "", "/a/b"]);
        assert_eq!("http://h:8/a?b".parse::<Url>().unwrap().root().to_string(), "http://h:8/");
    }

    #[test]
    fn another_path_on_the_same_server() {
        let url: Url = "https://h:1".parse().unwrap();
        assert_eq!(url.with_path("/a?b=c").unwrap().to_string(), "https://h:1/a?b=c");
        assert!(url.with_path("a").is_err());
    }
}
