//! A store that several gateways have in common, on a cluster of etcd.
//!
//! Here are its connections, what it says of itself, and everything that it keeps at one revision; [`layout`] says which key
//! holds what. How changes are proposed and told is the business of the gateway's desk (decision 0037).

pub mod copy;
mod error;
pub mod layout;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

pub use error::EtcdStoreError;
use layout::{Layout, Meta, Ranks, SCHEMA, unsigned};

use super::Snapshot;
use super::shared::{Event, Loaded, Name, PLACES, Proposal, number};
use crate::sync::record::Change;
use crate::wire::etcd::{
    Access, DialError, Endpoint, Fault, Lease, Link, Links, Login, NOT_CONNECTED, Told, WatchStream, Write, Written,
};
use crate::wire::{TlsSpec, Trust, Url};

/// Keys of one page: of the longest records, some megabytes.
const PAGE: i64 = 250;

/// What the prefix is if none is given.
pub const PREFIX: &str = "offloadctl";

/// Where a store is, and who asks.
#[derive(Clone, Debug)]
pub struct EtcdSpec {
    /// Its members.
    pub endpoints: Vec<Url>,
    /// Whom to trust, and what to show.
    pub tls: TlsSpec,
    /// As which user.
    pub login: Option<Login>,
    /// Below which prefix.
    pub prefix: String,
}

/// A store as it was seen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Names the row of revisions.
    pub lineage: String,
    /// The revision of the cluster.
    pub revision: u64,
    /// Which cluster it is.
    pub cluster_id: u64,
}

/// Connections to the members, and where our keys are.
pub struct EtcdStore {
    links: Links,
    layout: Layout,
    /// The member that is asked first; another one after it failed.
    first: AtomicUsize,
}

impl EtcdStore {
    /// Connects to every member that can be reached.
    ///
    /// # Errors
    /// When there is none, it refuses the login, or two of them are not of one cluster.
    pub async fn connect(spec: &EtcdSpec) -> Result<Self, EtcdStoreError> {
        let trust = Trust::load(&spec.tls)?;
        let access = Arc::new(Access::new(spec.login.clone()));
        let endpoints: Vec<Endpoint> = spec.endpoints.iter().map(|url| Endpoint::new(url, &trust)).collect();
        let name = |at: usize| spec.endpoints[at].to_string().trim_end_matches('/').to_owned();
        let unreachable = |at: usize, source: DialError| EtcdStoreError::Unreachable { endpoint: name(at), source };
        let links = Links::open_reachable(&endpoints, &access).await.map_err(|(at, error)| unreachable(at, error))?;
        let store = Self { links, layout: Layout::new(&spec.prefix), first: AtomicUsize::new(0) };
        // A token for all: without one a server says that there is no user.
        store.ask("log in to", async |link| link.log_in(0).await).await?;
        let mut known: Option<(usize, u64)> = None;
        for (at, link) in store.links.all().iter().enumerate().filter(|(_, link)| link.is_up()) {
            link.prove().await.map_err(|error| unreachable(at, error))?;
            let Ok(cluster_id) = link.cluster_id().await else { continue };
            match known {
                Some((first, id)) if id != cluster_id => {
                    return Err(EtcdStoreError::Apart { first: name(first), second: name(at) });
                }
                Some(_) => {}
                None => known = Some((at, cluster_id)),
            }
        }
        Ok(store)
    }

    /// What the store says of itself, confirmed by a majority; it is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be read or made, or is of a later version.
    pub async fn open(&self) -> Result<Seen, EtcdStoreError> {
        if let Some(found) = self.meta().await? {
            return Ok(found);
        }
        let fresh = Meta { schema: SCHEMA, lineage: Snapshot::new().lineage };
        self.write_meta(&fresh, 0).await?;
        // Another gateway may have been first, and its word counts.
        self.meta().await?.ok_or_else(|| EtcdStoreError::Absent { prefix: self.prefix() })
    }

    /// The same; `None` where there is no store.
    ///
    /// # Errors
    /// When it cannot be read, or is of a later version.
    pub async fn meta(&self) -> Result<Option<Seen>, EtcdStoreError> {
        let key = self.layout.meta();
        let page = self.ask("read", async |link| link.pair(key.clone()).await).await?;
        let Some(pair) = page.pairs.first() else { return Ok(None) };
        let meta: Meta = serde_json::from_slice(&pair.value).map_err(|source| self.layout.unreadable(&key, source))?;
        if meta.schema > SCHEMA {
            return Err(EtcdStoreError::Schema { prefix: self.prefix(), found: meta.schema, known: SCHEMA });
        }
        let (revision, cluster_id) = (unsigned(page.revision), page.cluster_id);
        Ok(Some(Seen { lineage: meta.lineage, revision, cluster_id }))
    }

    /// Begins another row of revisions, unless somebody else has; the records stay. Positions from before mean nothing in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin_lineage(&self, before: &str) -> Result<(), EtcdStoreError> {
        let key = self.layout.meta();
        let page = self.ask("read", async |link| link.pair(key.clone()).await).await?;
        let known = page.pairs.first().and_then(|pair| serde_json::from_slice::<Meta>(&pair.value).ok());
        match (known, page.pairs.first()) {
            (Some(meta), Some(pair)) if meta.lineage == before => {
                self.write_meta(&Meta { lineage: Snapshot::new().lineage, ..meta }, pair.revision).await
            }
            _ => Ok(()),
        }
    }

    async fn write_meta(&self, meta: &Meta, guard: i64) -> Result<(), EtcdStoreError> {
        let key = self.layout.meta();
        // Invariant: a number and a word always have a JSON text.
        let value = Some(serde_json::to_vec(meta).unwrap_or_default().into());
        let write = Write { guards: vec![(key.clone(), guard)], key, value, lease: 0 };
        self.ask("write", async |link| link.write_each(self.layout.mark(), vec![write.clone()]).await).await.map(drop)
    }

    /// Everything that is kept now, and what is still told of how it came to be. A watch from the next revision on goes on.
    ///
    /// # Errors
    /// When it cannot be read, or no mark can be set.
    pub async fn load(&self, lineage: &str) -> Result<Loaded, EtcdStoreError> {
        // A mark that the watch tells as well: with it, everything before it has been told.
        let mark = self.layout.mark();
        let set = self.ask("write", async |link| link.set(mark.clone(), Bytes::new()).await).await?;
        let mut loaded = Loaded { lineage: lineage.to_owned(), revision: unsigned(set), ..Loaded::default() };
        self.read_all(&mut loaded, set).await?;
        self.read_history(&mut loaded).await?;
        Ok(loaded)
    }

    /// Everything that is kept now, without how it came to be.
    async fn read_now(&self, lineage: &str) -> Result<Loaded, EtcdStoreError> {
        let mark = self.layout.meta();
        let page = self.ask("read", async |link| link.pair(mark.clone()).await).await?;
        let revision = unsigned(page.revision);
        let mut loaded = Loaded { lineage: lineage.to_owned(), revision, ..Loaded::default() };
        self.read_all(&mut loaded, page.revision).await?;
        Ok(loaded)
    }

    async fn read_all(&self, loaded: &mut Loaded, revision: i64) -> Result<(), EtcdStoreError> {
        let mut from = Bytes::new();
        loop {
            let prefix = self.layout.prefix().as_bytes();
            let page = self.ask("read", async |link| link.page(prefix, &from, PAGE, revision).await).await?;
            for pair in &page.pairs {
                match self.layout.name(&pair.key) {
                    Some(Name::Owner(node_id)) => loaded.owners.push((node_id, self.layout.owner(pair))),
                    Some(name) => match self.layout.record(&name, &pair.value, pair.revision)? {
                        Change::Task(task) => loaded.tasks.push(task),
                        Change::Node(node) => loaded.nodes.push(node),
                        Change::TaskForgotten { .. } | Change::NodeForgotten { .. } => {}
                    },
                    None => {}
                }
            }
            match page.pairs.last().filter(|_| page.has_more) {
                Some(last) => from = [&last.key[..], &[0]].concat().into(),
                None => return Ok(()),
            }
        }
    }

    /// What a watch still tells of the time up to the revision that was loaded.
    async fn read_history(&self, loaded: &mut Loaded) -> Result<(), EtcdStoreError> {
        let (mut watch, mut ranks, mut told) = (self.watch(1).await?, Ranks::default(), 0);
        while told < loaded.revision {
            match watch.told().await.map_err(|source| self.asked("watch", source))? {
                Told::Canceled => return Err(self.asked("watch", ended())),
                Told::Compacted(revision) => {
                    told = unsigned(revision);
                    loaded.floor = number(told + 1, 0) - 1;
                    watch = self.watch(told + 1).await?;
                }
                Told::Events(events) => {
                    for event in events.iter().filter(|event| unsigned(event.revision) <= loaded.revision) {
                        let event = self.layout.event(event, &mut ranks)?;
                        loaded.history.extend(event.and_then(Event::change));
                    }
                    told = events.last().map_or(told, |event| unsigned(event.revision));
                }
            }
        }
        Ok(())
    }

    /// A watch on all keys of ours from a revision on.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn watch(&self, from: u64) -> Result<WatchStream, EtcdStoreError> {
        let (prefix, from) = (self.layout.prefix().as_bytes(), layout::signed(from));
        self.ask("watch", async |link| link.watch(prefix, from).await).await
    }

    /// Proposals in one transaction, each with its own conditions.
    ///
    /// # Errors
    /// With the word for what went wrong; what became of them is not known then.
    pub async fn propose(&self, proposals: &[Proposal], me: (&str, i64)) -> Result<Written, Fault> {
        let writes = proposals.iter().enumerate().map(|(place, proposal)| self.layout.write(proposal, place, me));
        let writes: Result<Vec<Write>, serde_json::Error> = writes.collect();
        // Whoever proposes has read these from JSON, so they have a text.
        let writes = writes.map_err(|error| Fault { kind: "encode", text: error.to_string() })?;
        debug_assert!(writes.len() as u64 <= PLACES);
        self.link().write_each(self.layout.mark(), writes).await
    }

    /// Takes a lease.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn grant(&self, ttl_s: u64) -> Result<Lease, EtcdStoreError> {
        self.ask("take a lease for", async |link| link.grant(ttl_s).await).await
    }

    /// The member that is asked at present.
    #[must_use]
    pub fn link(&self) -> &Arc<Link> {
        let all = self.links.all();
        let first = self.first.load(Ordering::Relaxed);
        let in_turn = (0..all.len()).map(|step| &all[(first + step) % all.len()]);
        in_turn.clone().find(|link| link.is_up()).unwrap_or(&all[first % all.len()])
    }

    /// The present member did not do: another one is asked from now on.
    pub fn turn_away(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// In our words.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Asks one member after another.
    pub(crate) async fn ask<R>(
        &self,
        action: &'static str,
        question: impl AsyncFn(&Link) -> Result<R, Fault>,
    ) -> Result<R, EtcdStoreError> {
        let mut failed = Fault { kind: NOT_CONNECTED, text: "there is no connection".to_owned() };
        for _ in 0..self.links.all().len() {
            match question(self.link()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => failed = fault,
            }
            self.turn_away();
        }
        Err(self.asked(action, failed))
    }

    fn asked(&self, action: &'static str, source: Fault) -> EtcdStoreError {
        EtcdStoreError::Asked { action, prefix: self.prefix(), source }
    }

    fn prefix(&self) -> String {
        self.layout.prefix().to_owned()
    }
}

/// The server ended a watch.
pub fn ended() -> Fault {
    Fault { kind: "canceled", text: "the watch was ended by etcd".to_owned() }
}
