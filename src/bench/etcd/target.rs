//! The target: a cluster with our connections to it and our keys in it, and one measurement at a time on it.
//!
//! Separate from the order of the measurements, so that several clusters can be measured in rounds. Whoever opened a target
//! clears it, however the measurements ended.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinSet;

use super::EtcdError;
use super::guard::{self, Sightings, Space};
use super::keyspace::Keyspace;
use super::leftover;
use super::operation::{EtcdOperation, Shard, Work};
use super::plan::Cell;
use super::server::Metrics;
use super::spec::{EtcdSpec, Workload};
use super::stop::{Stop, Stopped};
use super::watch::{WatchNotes, Watcher};
use super::window::{Counters, Window};
use crate::load::{Arrival, Lane, LaneRecord, Length, LoadSpec, Session};
use crate::model::{Labels, SelfCost, Warning, with_causes};
use crate::sys::clock;
use crate::sys::host::self_cost;
use crate::wire::etcd::{Access, Endpoint, Fault, Link, Links};
use crate::wire::{Trust, Url};

/// Longest time to remove our keys; a cluster without a leader may find one in it.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// Pause before a removal is tried again or looked after.
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);

/// Puts of one transaction, and transactions at a time, when keys are written beforehand; etcd allows 128 by default.
const FILL_BATCH: u64 = 100;
const FILL_AT_A_TIME: usize = 8;

/// Longest that one of those may take.
const FILL_LIMIT: Duration = Duration::from_secs(10);

/// A cluster that is ready to be measured.
pub struct Target<'a> {
    spec: &'a EtcdSpec,
    endpoints: Vec<Url>,
    /// Those of them that could be reached, with their number among the endpoints.
    reached: Vec<Endpoint>,
    metrics: Metrics,
    /// One connection to each of them, for questions.
    questions: Vec<Links>,
    links: Rc<Links>,
    keys: Rc<Keyspace>,
    /// The endpoint of the leader, if it was among ours when we looked.
    pub leader_at: Option<usize>,
    /// Members that vote.
    pub voter_count: Option<usize>,
    /// What the reader should know.
    pub warnings: Vec<Warning>,
}

/// One round of a measurement: the whole of it, or a part where several clusters are measured in rounds.
pub struct Round<'a> {
    /// What is measured.
    pub cell: Cell,
    /// What tells its series from those of another cluster.
    pub labels: &'a Labels,
    /// In how many rounds the measurement is made.
    pub rounds: u32,
    /// What earlier rounds gave.
    pub earlier: Option<Measurement>,
    /// Further clusters that the keys are spread over.
    pub others: &'a [&'a Target<'a>],
}

/// One measurement as it came out.
pub struct Measurement {
    /// What was measured.
    pub cell: Cell,
    /// The lanes, writes before reads.
    pub lanes: Vec<LaneRecord>,
    /// Span that was recorded.
    pub recorded: Duration,
    /// Span with warm-up.
    pub elapsed: Duration,
    /// Why it was ended before its time, if it was.
    pub stopped: Option<Stopped>,
    /// Each endpoint over the same window, as far as it tells.
    pub windows: Vec<Option<Window>>,
    /// Share of a core that this process used.
    pub own_cores: Option<f64>,
    /// What the watcher met.
    pub watch: Option<WatchNotes>,
    /// The shortest round trip to a member.
    pub rtt_ns: Option<u64>,
}

impl<'a> Target<'a> {
    /// Connects to the endpoints, logs in, and refuses what must not be loaded.
    ///
    /// # Errors
    /// When no endpoint can be reached, the login is refused, or the cluster must not be loaded.
    pub async fn open(spec: &'a EtcdSpec, endpoints: &[Url]) -> Result<Self, EtcdError> {
        let trust = Trust::load(&spec.tls)?;
        let access = Arc::new(Access::new(spec.login.clone()));
        let (mut reached, mut questions, mut warnings, mut failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for url in endpoints {
            let endpoint = Endpoint::new(url, &trust);
            let opened = match Links::open(std::slice::from_ref(&endpoint), 1, &access).await {
                Ok(links) => links.any().prove().await.map(|()| links),
                Err((_, error)) => Err(error),
            };
            match opened {
                Ok(link) => {
                    reached.push(endpoint);
                    questions.push(link);
                }
                Err(source) => failed.push(EtcdError::Unreachable { endpoint: endpoint_text(url), source }),
            }
        }
        if reached.is_empty() {
            // Invariant: there is at least one endpoint, so at least one failed.
            return Err(failed.swap_remove(0));
        }
        warnings.extend(failed.iter().map(|error| {
            let text = format!("{}; it is left out of the load", with_causes(error));
            Warning::new("endpoint_down", text)
        }));
        let mut target = Self {
            spec,
            endpoints: endpoints.to_vec(),
            links: Rc::new(Links::open(&reached, spec.connections, &access).await.map_err(|(at, source)| {
                EtcdError::Unreachable { endpoint: endpoint_text(reached[at].url()), source }
            })?),
            reached,
            metrics: Metrics::new(endpoints, &trust),
            questions,
            keys: Rc::new(Keyspace::new(spec.key_size, spec.key_space, spec.load.seed, clock::entropy())),
            leader_at: None,
            voter_count: None,
            warnings,
        };
        target.prepare().await?;
        Ok(target)
    }

    /// Makes one measurement, or one round of it; `None` where it was stopped before it began.
    ///
    /// # Errors
    /// When its keys cannot be written, its watch not opened, or the driver cannot run.
    pub async fn measure(&self, round: Round<'_>, session: &mut Session<'_>) -> Result<Option<Measurement>, EtcdError> {
        let Round { cell, labels, rounds, mut earlier, others } = round;
        if cell.workload.needs_keys() && earlier.is_none() {
            for target in [self].into_iter().chain(others.iter().copied()) {
                let Some(filled) = session.prepare(target.fill(cell.value_size)).await else { return Ok(None) };
                filled.map_err(EtcdError::asking("write the keys to be read"))?;
            }
        }
        let watcher = match cell.workload {
            Workload::Watch => Some(self.watcher().await.map_err(EtcdError::asking("open the watch"))?),
            _ => None,
        };
        let (end, seen) = (Arc::new(session.shutdown().child()), Arc::new(Sightings::default()));
        let stop = Rc::new(Stop::new(Arc::clone(&end)));
        let lanes = self.lanes(cell, (labels, others), watcher.as_ref(), &stop);
        let before = self.metrics.scrape().await;
        let scraped = clock::now();
        let mut guards = JoinSet::new();
        let asked = self.questions.iter().map(|links| Arc::clone(links.any())).collect();
        guards.spawn(guard::watch(asked, self.metrics.clone(), Arc::clone(&end), Arc::clone(&seen)));
        let (began, cost) = (clock::now(), self_cost());
        let records = earlier.as_mut().map(|earlier| std::mem::take(&mut earlier.lanes)).unwrap_or_default();
        let load = match cell.leases {
            Some(_) => self.drive_leases((cell, labels, rounds), records, (session, &end, &stop)).await?,
            None => session.drive_on(&lanes, records, &self.load(cell, rounds), &end).await?,
        };
        let (elapsed, own_cores) = (load.elapsed, cores(&cost, &self_cost(), clock::now().since(began)));
        guards.shutdown().await;
        let after = self.metrics.scrape().await;
        // From scrape to scrape: what a member used in between includes our questions.
        let seconds = clock::now().since(scraped).as_secs_f64();
        let window = |(at, (before, after)): (usize, (&Option<Counters>, &Option<Counters>))| {
            Some(before.as_ref()?.until(after.as_ref()?, &seen.of(at), seconds))
        };
        let now = Measurement {
            cell,
            recorded: elapsed.saturating_sub(self.spec.load.warmup),
            elapsed,
            stopped: match stop.met() {
                Some(refused) => Some(Stopped::Refused(refused)),
                None if load.interrupted && session.is_over() => Some(Stopped::Wish),
                None => load.interrupted.then_some(Stopped::Quota),
            },
            windows: before.iter().zip(&after).enumerate().map(window).collect(),
            own_cores,
            watch: watcher.map(|watcher| watcher.waiting().notes()),
            rtt_ns: self.links.rtt_ns(),
            lanes: load.lanes,
        };
        Ok(Some(match earlier {
            Some(earlier) => earlier.merged(now),
            None => now,
        }))
    }

    /// Removes all our keys.
    ///
    /// # Errors
    /// When they could not be removed in time; what to do by hand is in the error.
    pub async fn clear(&self) -> Result<(), EtcdError> {
        let removing = async {
            loop {
                // A write of ours that was cut off may still come after the first removal: none is left when none was found.
                match self.any().delete(self.keys.prefix()).await {
                    Ok(0) if leftover::unmark(self.any(), &self.keys).await.is_ok() => return,
                    Ok(_) | Err(_) => tokio::time::sleep(REMOVAL_PAUSE).await,
                }
            }
        };
        tokio::time::timeout(REMOVAL_LIMIT, removing).await.map_err(|_| self.left(None))
    }

    /// Makes room again where our writes have used it up, once our keys are gone: a cluster that refuses everybody's writes is
    /// worse than one without its history.
    ///
    /// # Errors
    /// When a step of it failed; what to do by hand is in the error.
    pub async fn make_room(&self) -> Result<(), EtcdError> {
        let steps = async {
            let link = self.any();
            link.compact().await?;
            for links in &self.questions {
                links.any().defragment().await?;
            }
            link.disarm().await
        };
        steps.await.map_err(|source| EtcdError::Full { etcdctl: self.etcdctl(), source })
    }

    /// The error of keys that are still there, after another error or by itself.
    #[must_use]
    pub fn left(&self, before: Option<EtcdError>) -> EtcdError {
        let (prefix, etcdctl) = (self.keys.prefix_text(), self.etcdctl());
        EtcdError::Left { prefix, etcdctl, source: before.map(Box::new) }
    }

    /// Logs in, asks what the verdict needs to know, and lets the guard look.
    async fn prepare(&mut self) -> Result<(), EtcdError> {
        let link = Arc::clone(self.any());
        match link.log_in(0).await {
            Err(fault) if fault.text.contains("authentication is not enabled") => {
                let text =
                    "the cluster does not ask who we are: authentication is not enabled, the user was not checked";
                self.warnings.push(Warning::new("auth_not_enabled", text));
            }
            other => other.map_err(EtcdError::asking("log in"))?,
        }
        guard::check(&link, self.spec).await.map_err(EtcdError::asking("ask whether the cluster may be loaded"))??;
        let scrapes = self.metrics.scrape().await;
        let needed = guard::bytes_needed(self.spec);
        let (mut seen, mut is_quota_known) = (Vec::new(), false);
        for (endpoint, question) in self.reached.iter().zip(&self.questions) {
            let at = self.endpoints.iter().position(|url| url == endpoint.url());
            let counters = at.and_then(|at| scrapes[at].as_ref());
            let asking = EtcdError::asking("ask a member for its status");
            let status = question.any().status().await.map_err(asking)?;
            let space = Space::of(&status, counters);
            space.check(&endpoint_text(endpoint.url()), needed)?;
            is_quota_known |= space.is_known;
            if status.leader_id != 0 && status.leader_id == status.member_id {
                self.leader_at = at;
            }
            if seen.contains(&status.member_id) {
                let text = format!(
                    "{} is a member that another endpoint names too: its own figures stand there twice",
                    endpoint.url()
                );
                self.warnings.push(Warning::new("member_twice", text));
            }
            seen.push(status.member_id);
        }
        if !is_quota_known {
            let text = "neither a member nor its `/metrics` tells the quota of the database: it is taken for 2 GiB, etcd's default, and the load is stopped at the first write that is refused for it";
            self.warnings.push(Warning::new("quota_unknown", text));
        }
        // Without the right to ask, the verdict does without.
        self.voter_count = link.voter_count().await.ok();
        let own = link.count(self.keys.prefix()).await.map_err(EtcdError::asking("look below our prefix"))?;
        if own > 0 {
            return Err(EtcdError::PrefixTaken { prefix: self.keys.prefix_text() });
        }
        self.warnings.extend(leftover::clean(&link, &self.etcdctl()).await);
        leftover::mark(&link, &self.keys).await.map_err(EtcdError::asking("write the mark of this run"))
    }

    fn lanes(
        &self,
        cell: Cell,
        (labels, others): (&Labels, &[&Self]),
        watcher: Option<&Watcher>,
        stop: &Rc<Stop>,
    ) -> Vec<Lane<EtcdOperation>> {
        let put = if cell.batch == 1 { Work::Put } else { Work::Batch(cell.batch as u64) };
        let read = Work::Range(cell.read);
        let (writes, reads) = (cell.write_labels(labels), cell.read_labels(labels));
        let works = match (cell.workload, watcher) {
            (Workload::Watch, Some(watcher)) => {
                vec![("etcd.watch", writes, Work::Watch(Arc::clone(watcher.waiting())))]
            }
            (Workload::Put | Workload::Watch, _) => vec![("etcd.put", writes, put)],
            (Workload::Range, _) => vec![("etcd.range", reads, read)],
            (Workload::Mixed, _) => vec![("etcd.put", writes, put), ("etcd.range", reads, read)],
            // Leases are made, and then kept: one lane after the other.
            (Workload::Lease, _) => Vec::new(),
        };
        let lane = |(name, labels, work)| {
            let mut lane = self.lane(name, labels, work, (cell, stop));
            lane.operation.shards.extend(others.iter().map(|other| other.shard()));
            lane
        };
        works.into_iter().map(lane).collect()
    }

    pub(super) fn lane(
        &self,
        name: &'static str,
        labels: Labels,
        work: Work,
        (cell, stop): (Cell, &Rc<Stop>),
    ) -> Lane<EtcdOperation> {
        let operation = EtcdOperation::new(work, vec![self.shard()], cell.value_size, stop);
        Lane { operation, name, labels, floor: false, reference: None }
    }

    fn shard(&self) -> Shard {
        Shard { links: Rc::clone(&self.links), keys: Rc::clone(&self.keys) }
    }

    /// The connections that are loaded.
    pub(super) const fn links(&self) -> &Rc<Links> {
        &self.links
    }

    /// How long leases live.
    pub(super) const fn lease_ttl(&self) -> Duration {
        self.spec.lease_ttl
    }

    pub(super) fn load(&self, cell: Cell, rounds: u32) -> LoadSpec {
        let arrival = match cell.clients {
            Some(concurrency) => Arrival::Closed { concurrency },
            None => self.spec.load.arrival,
        };
        let length = match self.spec.load.length {
            Length::Duration(span) => Length::Duration(span / rounds),
            Length::Count(count) => Length::Count(count.div_ceil(u64::from(rounds))),
        };
        LoadSpec { arrival, length, ..self.spec.load.clone() }
    }

    /// Writes every key once, so that each read finds its key.
    async fn fill(&self, value_size: usize) -> Result<(), Fault> {
        let value = Bytes::from(vec![b'v'; value_size]);
        // As few to a request as keep it well below what etcd takes in one.
        let batch = FILL_BATCH.min((1 << 20) / (value_size as u64 + 1)).max(1);
        let firsts = (0..self.keys.count()).step_by(batch as usize);
        let mut writes = stream::iter(firsts.map(|first| {
            let keys = (first..(first + batch).min(self.keys.count())).map(|number| self.keys.key(number)).collect();
            let late = |_| Err(Fault { kind: "timeout", text: "the cluster did not answer in time".to_owned() });
            let write = self.links.next().put_all(keys, &value);
            async move { tokio::time::timeout(FILL_LIMIT, write).await.unwrap_or_else(late) }
        }))
        .buffer_unordered(FILL_AT_A_TIME);
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    async fn watcher(&self) -> Result<Watcher, Fault> {
        Watcher::start(Arc::clone(self.any()), Bytes::copy_from_slice(self.keys.prefix())).await
    }

    /// The endpoints as options have them.
    #[must_use]
    pub fn endpoints_text(&self) -> String {
        let all: Vec<String> = self.endpoints.iter().map(endpoint_text).collect();
        all.join(",")
    }

    /// The endpoints, and who we are to them, as options have it.
    #[must_use]
    pub fn access_text(&self) -> String {
        format!("{}{}", self.endpoints_text(), self.spec.access_options())
    }

    /// How `etcdctl` reaches them.
    #[must_use]
    pub fn etcdctl(&self) -> String {
        self.spec.etcdctl(&self.endpoints_text())
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    /// A connection for questions, one that is up if there is any.
    fn any(&self) -> &Arc<Link> {
        let mut links = self.questions.iter().map(Links::any);
        links.clone().find(|link| link.is_up()).or_else(|| links.next()).unwrap_or_else(|| self.links.any())
    }
}

impl Measurement {
    /// This round and a later one, whose lanes hold both already.
    fn merged(self, later: Self) -> Self {
        let both = |(a, b): (Option<Window>, Option<Window>)| Some(a?.merged(b?));
        let shares = self.own_cores.zip(later.own_cores);
        let (before, now) = (self.elapsed.as_secs_f64(), later.elapsed.as_secs_f64());
        Self {
            recorded: self.recorded + later.recorded,
            elapsed: self.elapsed + later.elapsed,
            windows: self.windows.into_iter().zip(later.windows).map(both).collect(),
            own_cores: shares.map(|(a, b)| (a * before + b * now) / (before + now)),
            rtt_ns: [self.rtt_ns, later.rtt_ns].into_iter().flatten().min(),
            ..later
        }
    }
}

/// An endpoint as options have it, without the slash of an empty path.
fn endpoint_text(url: &Url) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

/// Cores that this process used over a span.
fn cores(before: &SelfCost, after: &SelfCost, span: Duration) -> Option<f64> {
    let used = |cost: &SelfCost| Some(cost.cpu_user_ns? + cost.cpu_system_ns?);
    let nanos = used(after)?.saturating_sub(used(before)?);
    (!span.is_zero()).then(|| nanos as f64 / span.as_nanos() as f64)
}
