//! Requests to an HTTP API, phase by phase, and where a Kubernetes spends the time of its part.
//!
//! ## Question
//! Why does an answer of the API server take so long: name lookup, network, TLS, the server's queue, its work, etcd behind
//! it, or the transfer?
//!
//! ## Timed
//! From the planned start of each request (`api.request`) and from the real one (`api.request.service`) to its last byte.
//! Phases lie within: the lookup (`api.dns`, as `getaddrinfo` does it), the TCP handshake (`api.tcp`), the TLS handshake
//! (`api.tls`), from the last byte of the request written to the first byte of the answer read (`api.ttfb`), from there to
//! its last byte (`api.transfer`), and all of it (`api.total`). On a kept connection the first three do not exist; opening
//! it is before the request and no part of any phase. The choice of the address, the discovery of the HTTP version,
//! reading credentials and the scrapes of the server's metrics are outside.
//!
//! ## Needs
//! Nothing but a server. For its own split: a Kubernetes whose `/metrics` may be read with the credentials given.
//!
//! ## Blind spots
//! Each HTTP/2 connection carries one request at a time, so that its phases are its own: what several requests on one
//! connection do to each other is not seen. The lookup is that of this host with its caches; the address dialled stays the
//! same all through a run. Sessions of TLS are never resumed. The stamps are this process's: its wake-up is inside. The
//! server's own part is a mean over the run, because the lowest bucket of its histograms is 5 ms wide, it counts all
//! clients of the same kind of request, and it comes from the one replica that answered the scrape.

mod connection;
mod credentials;
mod frames;
mod kube;
mod operation;
mod phases;
mod prepare;
mod request;
mod spec;
mod stream;

use std::time::Duration;

pub use kube::KubeError;
pub use prepare::PrepareError;
pub use spec::{ApiSpec, DEFAULT_PATH, HttpChoice, Server, SpecError};

use crate::load::{DriverError, LaneRecord, Observer, drive};
use crate::model::{Finding, Scalar, Series, Warning};
use crate::sys::shutdown::Shutdown;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Something was missing before the first attempt.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// All series.
    pub series: Vec<Series>,
    /// Status codes, and what the server says of itself.
    pub scalars: Vec<Scalar>,
    /// What was noticed about the server.
    pub findings: Vec<Finding>,
    /// What was noticed about the measurement.
    pub warnings: Vec<Warning>,
    /// How long it lasted.
    pub elapsed: Duration,
    /// Whether it was stopped before its planned end.
    pub interrupted: bool,
}

/// Measures until the end of the spec, or until `shutdown`.
///
/// # Errors
/// When the server cannot be found, credentials or certificates cannot be used, or the machine has no timer.
pub async fn measure<W: Observer>(spec: &ApiSpec, observer: &mut W, shutdown: &Shutdown) -> Result<Measured, ApiError> {
    let prepared = tokio::select! {
        prepared = prepare::prepare(spec) => prepared?,
        () = shutdown.requested() => return Ok(Measured { interrupted: true, ..Measured::default() }),
    };
    prepared.open_ahead(spec).await;
    let load = drive(&prepared.lanes, &spec.load, observer, shutdown).await?;
    Ok(Measured {
        series: load.lanes.iter().flat_map(LaneRecord::series).collect(),
        scalars: Vec::new(),
        findings: Vec::new(),
        warnings: prepared.warnings.clone(),
        elapsed: load.elapsed,
        interrupted: load.interrupted,
    })
}
