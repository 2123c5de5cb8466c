//! Requests to an HTTP API, phase by phase, and where a Kubernetes spends the time of its part.
//!
//! ## Question
//! Why does an answer of the API server take so long: name lookup, network, TLS, the server's queue, its work, etcd behind
//! it, or the transfer?
//!
//! ## Timed
//! From the planned start of each request (`api.request`) and from the real one (`api.request.service`) to its last byte.
//! Phases lie within: the lookup (`api.dns`, as `getaddrinfo` does it), the TCP handshake (`api.tcp`), the TLS handshake
//! (`api.tls`), from the write that hands the end of the request to the kernel to the read that brings the first byte of the
//! answer (`api.ttfb`), from there to its last byte (`api.transfer`), and all of it (`api.total`). On a kept connection the first three do not exist; opening
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

mod account;
mod cache;
mod cell;
mod connection;
mod evaluate;
mod frames;
mod head;
mod layout;
mod metrics;
mod notes;
mod operation;
mod phases;
mod prepare;
mod request;
mod server;
mod shown;
mod spec;
mod stream;
mod way;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use cache::{CACHE_PATH, CacheSpec, InformerError};
pub use metrics::{MEASUREMENT, OF_CACHE, OF_REQUESTS};
pub use prepare::PrepareError;
pub use spec::{ApiSpec, DEFAULT_PATH, HttpChoice, Server, SpecError};

use self::account::{Account, Ours};
use self::evaluate::{PathTimes, QUORUM_PATH};
use self::notes::Facts;
use self::operation::ApiOperation;
use self::prepare::Prepared;
use self::server::Kind;
use crate::load::{DriverError, Lane, LaneRecord, Load, Session};
use crate::model::{Advice, Finding, Measured, Scalar, Severity};
use crate::sys::shutdown::Shutdown;
use crate::wire::Exposition;

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Something was missing before the first attempt.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The list cannot be listed or watched.
    #[error("no cache can be measured")]
    Cache(#[source] InformerError),
    /// The driver could not run.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl ApiError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        let prepare = match self {
            Self::Prepare(error) => error.hint(),
            Self::Cache(error) => Some(error.hint()),
            Self::Driver(_) => None,
        };
        prepare.unwrap_or("see `offloadctl probe api --help`".into())
    }
}

/// Measures until the end of the spec, or until the user stops it.
///
/// # Errors
/// When the server cannot be found, credentials or certificates cannot be used, or the machine has no timer.
pub async fn measure(spec: &ApiSpec, session: &mut Session<'_>) -> Result<Measured, ApiError> {
    if let Some(cache) = &spec.cache {
        return cache::measure(spec, cache, session).await;
    }
    let ready = async {
        let mut prepared = prepare::prepare(spec).await?;
        let kind = prepared.ask_kind().await;
        if !matches!(kind, Kind::Other { .. }) {
            prepared.add_pair(spec);
        }
        prepared.open_ahead(spec).await;
        Ok::<_, ApiError>((prepared, kind))
    };
    let Some(ready) = session.prepare(ready).await else { return Ok(Measured::default()) };
    let (prepared, kind) = ready?;
    let load = session.drive(&prepared.lanes, &spec.load).await?;
    let facts = facts(&prepared, &load);
    let mut measured = Measured {
        warnings: prepared.warnings.clone(),
        scalars: load.lanes.iter().map(throughput).chain(facts.iter().flat_map(notes::status_scalars)).collect(),
        findings: prepared.findings(),
        series: load.lanes.into_iter().flat_map(LaneRecord::into_series).collect(),
        ..Measured::default()
    };
    measured.findings.extend(facts.iter().flat_map(notes::findings));
    explain(&mut measured, &prepared, &kind, &facts, session.shutdown()).await;
    Ok(measured)
}

/// Answered requests a second of one path.
fn throughput(lane: &LaneRecord) -> Scalar {
    let seconds = lane.active().as_secs_f64();
    let per_s = (seconds > 0.0).then(|| lane.counts().ok_count as f64 / seconds);
    Scalar::new("api.throughput", lane.labels(), "per_s", per_s)
}

/// Adds where the time went, by the phases and, where the server tells, by its own account.
async fn explain(measured: &mut Measured, prepared: &Prepared, kind: &Kind, facts: &[Facts], shutdown: &Shutdown) {
    let mut accounts = Vec::new();
    match kind {
        Kind::Other { reason } => {
            let text =
                format!("not a Kubernetes API server as far as is known, so there are its phases alone: {reason}");
            measured.findings.push(Finding::new("phases_only", Severity::Info, text));
        }
        Kind::Closed { reason, .. } => measured.findings.push(no_account(reason)),
        Kind::Open { before, .. } => {
            let asker = prepared.asker();
            let after = tokio::select! {
                after = asker.scrape() => after,
                () = shutdown.requested() => Err("the run was interrupted".to_owned()),
            };
            match after {
                Ok(after) => match prepared.accounts(before, &after) {
                    Some(all) => accounts = all,
                    None => measured.findings.push(restarted()),
                },
                Err(reason) => measured.findings.push(no_account(&reason)),
            }
        }
    }
    measured.scalars.extend(accounts.iter().flat_map(account::scalars));
    measured.findings.extend(accounts.iter().filter_map(|account| account::list_source(account, kind.version())));
    for lane in &prepared.lanes[..prepared.path_count] {
        let path = &lane.operation.path;
        let cell = cell::Cell::of(path);
        let account = accounts.iter().find(|account| account.cell == cell);
        let beside = account.map(|account| account.ours.iter().map(|ours| PathTimes::of(&measured.series, &ours.path)));
        let beside: Vec<PathTimes> = beside.into_iter().flatten().collect();
        let split = evaluate::split(&PathTimes::of(&measured.series, path), account, &beside);
        if let Some(split) = split {
            measured.scalars.extend(split.scalars(path));
            measured.findings.push(split.finding(path, &prepared.way));
        }
    }
    let is_answered = |path: &str| facts.iter().any(|facts| facts.path == path && facts.statuses.keys().eq([&200]));
    if is_answered(QUORUM_PATH) && is_answered(evaluate::CACHE_PATH) {
        let times = |path| PathTimes::of(&measured.series, path);
        if let Some((finding, scalar)) = evaluate::quorum(&times(QUORUM_PATH), &times(evaluate::CACHE_PATH)) {
            measured.findings.push(finding);
            measured.scalars.push(scalar);
        }
    }
}

/// Why there are the phases alone.
fn no_account(reason: &str) -> Finding {
    let text = format!("the API server's own part cannot be told, so there are the phases alone: {reason}");
    let advice =
        "log in as a user that may `get` the path /metrics, such as one with the ClusterRole system:monitoring";
    Finding::new("phases_only", Severity::Notice, text).with_advice(Advice::new(advice, None))
}

/// Why there are the phases alone of a server whose counters fell.
fn restarted() -> Finding {
    let text =
        "the API server was started again during the run: what it counted is not known, so there are the phases alone";
    Finding::new("phases_only", Severity::Notice, text)
}

impl Prepared {
    /// What was noticed before the run, and about the credentials in it.
    fn findings(&self) -> Vec<Finding> {
        let passed_over = self.passed_over.iter().map(|(address, what)| {
            let text = format!("{address} {what}; {} is measured instead", self.shared.opener.address.ip());
            Finding::new("address_passed_over", Severity::Notice, text)
        });
        let credentials = &self.shared.credentials;
        let tls = self.speaks_tls.then(|| {
            let text = "the server speaks TLS on this port, and it was asked in the clear";
            Finding::new("speaks_tls", Severity::Problem, text).with_advice(Advice::new("write `https://`", None))
        });
        passed_over.chain(tls).chain(notes::credentials(credentials.generation(), credentials.trouble())).collect()
    }

    /// The server's account of each kind of request that we made; `None` where it was started again in between.
    fn accounts(&self, before: &Exposition, after: &Exposition) -> Option<Vec<Account>> {
        let mut ours: BTreeMap<cell::Cell, Vec<Ours>> = BTreeMap::new();
        for lane in &self.lanes {
            let path = &lane.operation.path;
            let one = Ours { path: path.clone(), answer_count: lane.operation.tally.answer_count.get() };
            ours.entry(cell::Cell::of(path)).or_default().push(one);
        }
        let total_count = ours.values().flatten().map(|ours| ours.answer_count).sum();
        let account = |(cell, ours)| {
            let growth = server::growth(before, after, &cell)?;
            Some(Account { cell, growth, ours, total_count })
        };
        ours.into_iter().map(account).collect()
    }
}

fn facts(prepared: &Prepared, load: &Load) -> Vec<Facts> {
    let of = |(lane, record): (&Lane<ApiOperation>, &LaneRecord)| {
        let (operation, counts) = (&lane.operation, record.counts());
        Facts {
            path: operation.path.clone(),
            statuses: operation.statuses.borrow().clone(),
            location: operation.tally.location(),
            lost_count: counts.lost_count,
            failed_count: counts.failed_count,
            broken: operation.tally.broken(),
            opened_count: operation.tally.reopened_count.get(),
            tls_text: operation.tally.tls_text.borrow().clone(),
            is_kept: prepared.keeps,
            interim_count: operation.tally.interim_count.get(),
            cut_count: operation.tally.cut_count.get(),
        }
    };
    prepared.lanes.iter().zip(&load.lanes).map(of).collect()
}
