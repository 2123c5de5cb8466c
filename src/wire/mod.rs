//! TLS, HTTP, logins and the interface of etcd as every client of ours speaks them, one-off requests, and metrics text.
//!
//! Separate from `sys` because nothing here is the operating system's, and from `probe` and `bench` because both ask the
//! same servers. Whoever times a request opens its connection step by step with [`Dialer`]; [`HttpClient`] and [`fetch`] are for
//! questions beside the timed path.

mod certificate;
#[cfg(feature = "toolkit")]
mod client;
mod counter;
#[cfg(feature = "toolkit")]
pub mod credentials;
pub mod dial;
#[cfg(feature = "toolkit")]
pub mod etcd;
mod exposition;
#[cfg(feature = "toolkit")]
mod fetch;
#[cfg(feature = "runtimes")]
pub mod grpc;
pub mod http;
#[cfg(feature = "toolkit")]
pub mod kube;
pub mod locate;
#[cfg(feature = "runtimes")]
pub mod node;
mod spread;
mod tls;
mod trust;
mod url;
#[cfg(feature = "toolkit")]
mod verified_as;

pub use certificate::{KNOWN_KEYS, unknown_curve, unknown_curve_of};
#[cfg(feature = "toolkit")]
pub use client::{FetchError, Fetched, HttpClient, Place, Question, Streamed};
pub use counter::{Totals, grown};
pub use exposition::{Exposition, Sample};
#[cfg(feature = "toolkit")]
pub use fetch::{Fetch, fetch, scrape};
pub use locate::{BindError, BindFamily, LocateError, Reach, Rule, RuleError};
pub use spread::Spread;
pub use tls::{Dialer, TlsFailure, alpn_of, failure_of};
pub use trust::{TlsError, TlsSpec, Trust, TrustPem};
pub use url::{Scheme, Url, UrlError};
