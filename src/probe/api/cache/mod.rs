//! A list read through etcd, from the API server's cache, by an informer of our own and through a proxy, side by side.
//!
//! ## Question
//! What would a cache in front of the API server save: in time, in requests, in bytes? And how old is what it says?
//!
//! ## Timed
//! A read of the whole list from its planned start (`api.cache`) and from its real one (`api.cache.service`) to its last byte, on
//! kept connections: without a version (`read=quorum`), with `resourceVersion=0` (`read=watch_cache`), and the copy of all
//! pointers of an informer's store (`read=informer`). Reading the answers' text is outside, on a thread of its own.
//!
//! ## Needs
//! A Kubernetes, and the verbs `list` and `watch` on the list. For the share of hits of a proxy: its word in a header, or a
//! server that writes an `Audit-Id`.
//!
//! ## Blind spots
//! The truth is the latest quorum read: a change is known when one has shown it, so what is staler by less than the gap
//! between two of them looks fresh, and an informer that knew before is not late. The informer's store is of this program and
//! not of Go: its reads say what a read without a request takes and not what client-go's takes. Requests an hour are
//! reckoned from `--interval` and from the watches' own length, not waited for.

mod assemble;
mod error;
mod evaluate;
mod informer;
mod layout;
mod looking;
mod machine;
mod metrics;
mod object;
mod reader;
mod spec;
mod store;

use std::rc::Rc;
use std::time::Duration;

pub use error::InformerError;
pub use layout::layout;
pub use looking::Looking;
pub use metrics::METRICS;
pub use spec::{CACHE_PATH, CacheSpec, CacheSpecError};

use self::assemble::{Found, Way};
use self::informer::{Informer, Watched};
use self::looking::Looker;
use self::reader::{Doorkeeper, Reader};
use self::spec::with_parameters;
use super::operation::{ApiOperation, Shared};
use super::prepare::{self, Prepared, Site};
use super::{ApiError, ApiSpec};
use crate::load::{Lane, LaneRecord, Session};
use crate::model::{Labels, Measured, Warning};
use crate::sys::clock;
use crate::wire::{Trust, Url};

/// Name of the response series.
pub const SERIES: &str = "api.cache";

/// How long an informer may still be told of what the last reads showed.
const LAST_NEWS: Duration = Duration::from_millis(500);

/// Everything that is read, and who looks at it.
struct Bed {
    prepared: Prepared,
    via: Option<(Url, Rc<Shared>)>,
    lanes: Vec<Lane<Reader>>,
    ways: Vec<Way>,
    informers: Vec<Informer>,
    looked: Vec<Rc<Looking>>,
    looker: Looker,
    doorkeeper: Rc<Doorkeeper>,
    /// Why the proxy carries no watch.
    unwatched: Option<InformerError>,
}

/// Measures until the end of the spec, or until the user stops it.
///
/// # Errors
/// When the server cannot be found, the list cannot be listed or watched, or the machine has no timer.
pub async fn measure(spec: &ApiSpec, cache: &CacheSpec, session: &mut Session<'_>) -> Result<Measured, ApiError> {
    let Some(bed) = session.prepare(Bed::make(spec, cache)).await else { return Ok(Measured::default()) };
    let bed = bed?;
    let began = clock::now();
    let load = session.drive(&bed.lanes, &spec.load).await?;
    let elapsed = clock::now().since(began);
    tokio::select! {
        () = tokio::time::sleep(LAST_NEWS) => {}
        () = session.shutdown().requested() => {}
    }
    let Bed { prepared, lanes, ways, informers, looked, looker, unwatched, via, doorkeeper } = bed;
    let tallies = informers.iter().map(Informer::tally).collect();
    let dropped_count = looked.iter().map(|looking| looking.dropped_count.get()).sum();
    // Who tells has to be gone before what was told is whole.
    drop((lanes, informers, looked, via, doorkeeper));
    let ledger = looker.finish().await;
    let found = Found { ways, tallies, ledger, elapsed, interval: cache.interval, dropped_count, unwatched };
    let mut measured = found.measured();
    measured.warnings.splice(0..0, prepared.warnings.iter().cloned());
    measured.findings.splice(0..0, prepared.findings());
    measured.series.splice(0..0, load.lanes.into_iter().flat_map(LaneRecord::into_series));
    Ok(measured)
}

impl Bed {
    async fn make(spec: &ApiSpec, cache: &CacheSpec) -> Result<Self, ApiError> {
        // As informers do, and their peers that poll: on connections that are kept.
        let kept = ApiSpec { reuse: true, ..spec.clone() };
        let mut prepared = prepare::prepare(&kept).await?;
        let via = match &cache.via {
            Some(url) => Some((url.clone(), Rc::new(proxied(&kept, url, &mut prepared).await?))),
            None => None,
        };
        let sides = if via.is_some() { 2 } else { 1 };
        let looker =
            Looker::start(3 * sides, sides).map_err(|source| ApiError::Cache(InformerError::Thread(source)))?;
        let doorkeeper = Rc::new(Doorkeeper::new(&prepared.shared));
        let (lanes, ways, informers, looked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bed = Self { prepared, via, lanes, ways, informers, looked, looker, doorkeeper, unwatched: None };
        let direct = Rc::clone(&bed.prepared.shared);
        let url = bed.prepared.url.clone();
        bed.add_side(&kept, &url, &direct, None).await.map_err(ApiError::Cache)?;
        if let Some((url, shared)) = bed.via.clone() {
            let via = url.authority();
            // A proxy that carries no watch is measured without it.
            bed.unwatched = bed.add_side(&kept, &url, &shared, Some(&via)).await.err();
        }
        for lane in &bed.lanes {
            if let Reader::Remote { operation, .. } = &lane.operation {
                operation.open_ahead(1).await;
            }
        }
        Ok(bed)
    }

    /// The three reads of the server itself, or of what is in front of it.
    async fn add_side(
        &mut self,
        spec: &ApiSpec,
        url: &Url,
        shared: &Rc<Shared>,
        via: Option<&str>,
    ) -> Result<(), InformerError> {
        let path = &spec.paths[0];
        for (read, path) in [("quorum", path.clone()), ("watch_cache", with_parameters(path, "resourceVersion=0"))] {
            let looking = self.looking();
            let mut operation = ApiOperation::new(Rc::clone(shared), &path, true);
            operation.looking = Some(looking);
            let doorkeeper = Rc::clone(&self.doorkeeper);
            self.add(read, via, Reader::Remote { operation: Box::new(operation), doorkeeper });
        }
        let number = usize::from(via.is_some());
        let watched = Watched {
            url: url.clone(),
            address: shared.opener.address,
            server_name: shared.opener.tls.as_ref().map_or_else(|| url.host.clone(), |(_, name)| name.clone()),
            path: format!("{}{path}", shared.below),
            headers: self.prepared.own_headers.clone(),
            max_body: usize::try_from(spec.max_body_bytes).unwrap_or(usize::MAX),
            seed: spec.load.seed.wrapping_add(number as u64),
        };
        let informer = Informer::start(number, watched, self.doorkeeper.door(), self.looker.teller.clone()).await?;
        let (store, looking) = (informer.store.clone(), self.looking());
        self.informers.push(informer);
        self.add("informer", via, Reader::Own { store, looking });
        Ok(())
    }

    fn looking(&mut self) -> Rc<Looking> {
        let looking = Rc::new(Looking::new(self.looked.len(), self.looker.teller.clone()));
        self.looked.push(Rc::clone(&looking));
        looking
    }

    fn add(&mut self, read: &'static str, via: Option<&str>, operation: Reader) {
        let labels = Labels::new().with("read", read);
        let labels = via.map_or(labels.clone(), |via| labels.with("via", via));
        self.ways.push(Way { read, via: via.map(str::to_owned), labels: labels.clone() });
        self.lanes.push(Lane { operation, name: SERIES, labels, floor: false, reference: None });
    }
}

/// What is shared by requests through a proxy: it is trusted as the server is, and told who we are.
async fn proxied(spec: &ApiSpec, url: &Url, prepared: &mut Prepared) -> Result<Shared, ApiError> {
    let mut pem = prepared.shared.shown.pem();
    pem.insecure |= !url.is_tls();
    let trust = Trust::from_pem(&pem).map_err(prepare::PrepareError::Trust)?;
    let credentials = Rc::clone(&prepared.shared.credentials);
    if credentials.is_some() && !url.is_tls() {
        let text = format!("credentials are sent in the clear: the proxy `{url}` is not `https://`");
        prepared.warnings.push(Warning::new("credentials_in_the_clear", text));
    }
    let headers = prepared.own_headers.clone();
    let site = Site { url, server_name: None, pem, trust, credentials, headers: &headers };
    Ok(prepare::share(spec, site).await?.0)
}
