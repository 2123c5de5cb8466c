//! The one client for what is asked over HTTP and not measured: metrics, the gateway's interface, lists and watches.
//!
//! Separate from [`Dialer`](super::Dialer), by which a measurement opens its connections step by step. The library behind it stays
//! in this file. Everything has a limit in time and in size, no redirect is followed, and proxies are those of the environment:
//! HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as the library's users know them; never to this host itself, nor where
//! the address is given.

use std::borrow::Cow;
use std::io;
use std::iter::successors;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::dial::ConnectError;
use super::http::MOST_FIELDS;
use super::tls::failure_of;
use super::{TlsFailure, Trust, Url};
use crate::sys::resolve::lookup;

/// Stands in a URL for a server that is found by its address and not by a name; it is never looked up (RFC 2606 section 2).
const PLACEHOLDER: &str = "server.invalid";

/// Where a server is and who it must be.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The server; its path is of no concern.
    pub url: &'a Url,
    /// Where it is, if not where its name leads.
    pub address: Option<SocketAddr>,
    /// The name that its certificate must be for, if not its host.
    pub server_name: Option<&'a str>,
    /// Whom to trust.
    pub trust: &'a Trust,
}

/// What to ask, and how long and how much the answer may take.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Path and query.
    pub path: &'a str,
    /// Further headers, such as `authorization`.
    pub headers: &'a [(String, String)],
    /// What to send with POST, as JSON; without it, it is a GET.
    pub json: Option<Vec<u8>>,
    /// From lookup to last byte, or to the head of an answer that is read piece by piece.
    pub timeout: Duration,
    /// How long the body may be, in bytes; of no concern to one that is read piece by piece.
    pub max_body: usize,
}

/// What the server answered; redirects are not followed.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// An answer that is read as it comes.
#[derive(Debug)]
pub struct Streamed {
    /// The status code.
    pub status: u16,
    response: reqwest::Response,
    authority: String,
}

/// A question that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection at all.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not trusted, or not TLS.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// A header or a path of ours that cannot be sent.
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    /// No client at all, or an address of ours that is none.
    #[error("there is no client for it")]
    Client(#[source] reqwest::Error),
    /// Not HTTP, or cut off.
    #[error("the answer cannot be read")]
    Http(#[source] reqwest::Error),
    /// More than was allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// How much was allowed.
        limit: usize,
    },
    /// Later than was allowed.
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout {
        /// How long was allowed.
        limit: Duration,
    },
}

/// A client of one server; its connections are kept and opened again.
#[derive(Debug)]
pub struct HttpClient {
    inner: reqwest::Client,
    /// Scheme, host and port, as the library is to find them.
    base: String,
    /// The same as the server knows itself.
    authority: String,
}

impl HttpClient {
    /// A client of this server; nothing is connected yet.
    ///
    /// # Errors
    /// When the library refuses it.
    pub fn new(place: Place<'_>) -> Result<Self, FetchError> {
        let Place { url, address, .. } = place;
        let way = Way::to(&place);
        let port = address.map_or(url.port, |address| address.port());
        let scheme = if url.is_tls() { "https" } else { "http" };
        let known = Known { host: url.socket_host().into_owned(), port, address };
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(place.trust.client(way.verified_as))
            .dns_resolver(Arc::new(known))
            .user_agent(concat!("offloadctl/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .http1_max_headers(MOST_FIELDS)
            .http1_allow_obsolete_multiline_headers_in_responses(true);
        let builder = if way.is_direct { builder.no_proxy() } else { builder };
        let inner = builder.build().map_err(FetchError::Client)?;
        Ok(Self { inner, base: format!("{scheme}://{}:{port}", way.host), authority: url.authority() })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer within the limits. Any status is an answer.
    pub async fn ask(&self, question: Question<'_>) -> Result<Fetched, FetchError> {
        let (limit, max_body) = (question.timeout, question.max_body);
        let answered = async {
            let mut streamed = self.send(question).await?;
            let body = streamed.read(max_body).await?;
            Ok(Fetched { status: streamed.status, body })
        };
        timeout(limit, answered).await.unwrap_or(Err(FetchError::Timeout { limit }))
    }

    /// Asks, and gives the answer to be read as it comes; its head must be there in time.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(&self, question: Question<'_>) -> Result<Streamed, FetchError> {
        let limit = question.timeout;
        timeout(limit, self.send(question)).await.unwrap_or(Err(FetchError::Timeout { limit }))
    }

    async fn send(&self, question: Question<'_>) -> Result<Streamed, FetchError> {
        let url = format!("{}{}", self.base, question.path);
        let mut headers = headers(question.headers, &self.authority).map_err(FetchError::Request)?;
        let request = match question.json {
            None => self.inner.get(url),
            Some(json) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.inner.post(url).body(json)
            }
        };
        let response = request.headers(headers).send().await;
        let response = response.map_err(|error| told(error, &self.authority))?;
        Ok(Streamed { status: response.status().as_u16(), response, authority: self.authority.clone() })
    }
}

impl Streamed {
    /// The next bytes; `None` at the end. May be dropped while it waits and called again.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        self.response.chunk().await.map_err(|error| told(error, &self.authority))
    }

    /// All that is left, within a time and a length.
    ///
    /// # Errors
    /// When it does not end within them, or the connection broke.
    pub async fn rest(&mut self, within: Duration, max_body: usize) -> Result<Vec<u8>, FetchError> {
        timeout(within, self.read(max_body)).await.unwrap_or(Err(FetchError::Timeout { limit: within }))
    }

    async fn read(&mut self, max_body: usize) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await? {
            if body.len() + bytes.len() > max_body {
                return Err(FetchError::TooLong { limit: max_body });
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

/// How the library is to be told of a server: it takes the name of the certificate and the name to look up from one URL.
struct Way<'a> {
    /// Host of that URL.
    host: Cow<'a, str>,
    /// The address for which the certificate must be, where the host is a placeholder.
    verified_as: Option<ServerName<'static>>,
    /// Whether proxies are passed by.
    is_direct: bool,
}

impl<'a> Way<'a> {
    fn to(place: &Place<'a>) -> Self {
        let url = place.url;
        let name = place.server_name.filter(|_| url.is_tls()).unwrap_or(&url.host);
        let is_own = url.host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) || url.host == "localhost";
        let is_plain = name == url.host && url.zone().is_none();
        let is_direct = is_own || place.address.is_some() || !is_plain;
        match name.parse::<IpAddr>() {
            Err(_) => Self { host: Cow::Borrowed(name), verified_as: None, is_direct },
            Ok(address) if is_plain && place.address.is_none_or(|given| given.ip() == address) => {
                let host = if address.is_ipv6() { format!("[{name}]").into() } else { Cow::Borrowed(name) };
                Self { host, verified_as: None, is_direct }
            }
            Ok(address) => Self { host: PLACEHOLDER.into(), verified_as: Some(address.into()), is_direct },
        }
    }
}

/// Finds the server, whatever it is called in the URL.
struct Known {
    host: String,
    port: u16,
    address: Option<SocketAddr>,
}

impl Resolve for Known {
    fn resolve(&self, name: Name) -> Resolving {
        // The name of a proxy comes this way too.
        let is_other = self.address.is_none() && name.as_str() != self.host && name.as_str() != PLACEHOLDER;
        let (host, port, address) =
            (if is_other { name.as_str() } else { &self.host }.to_owned(), self.port, self.address);
        Box::pin(async move {
            let addresses = match address {
                Some(address) => vec![address],
                None => lookup(&host, port).await.map_err(|source| ConnectError::Lookup { host, source })?,
            };
            Ok(Box::new(addresses.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

fn headers(own: &[(String, String)], authority: &str) -> Result<HeaderMap, hyper::http::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(authority)?);
    for (name, value) in own {
        let (name, mut value) = (HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        value.set_sensitive(name == AUTHORIZATION);
        headers.append(name, value);
    }
    Ok(headers)
}

/// What went wrong, by the types of its causes: the library's own words say little, and name the URL.
fn told(error: reqwest::Error, authority: &str) -> FetchError {
    let first: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    for cause in successors(first, |cause| cause.source()) {
        if let Some(ConnectError::Lookup { host, source }) = cause.downcast_ref() {
            return ConnectError::Lookup { host: host.clone(), source: copied(source) }.into();
        }
        let Some(cause) = cause.downcast_ref::<io::Error>() else { continue };
        match within_tls(cause) {
            Some(cause) => return failure_of(cause).into(),
            None if error.is_connect() => {
                return ConnectError::Connect { address: authority.to_owned(), source: copied(cause) }.into();
            }
            None => {}
        }
    }
    FetchError::Http(error.without_url())
}

/// The error of a handshake, or of the first read after it: the connector wraps the former in an error of its own.
fn within_tls(error: &io::Error) -> Option<&io::Error> {
    let inner = error.get_ref()?;
    if inner.is::<rustls::Error>() {
        return Some(error);
    }
    let inner = inner.downcast_ref::<io::Error>()?;
    Some(within_tls(inner).unwrap_or(inner))
}

fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}
