//! What a store of several writers needs: writes with conditions, pages of one revision, and leases.
//!
//! Separate from the calls that are measured: each of these has a limit of time, and its answer is taken apart.

use bytes::Bytes;

use super::client::{Link, span, unsigned};
use super::fault::Fault;
use super::interface::{
    CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, LeaseRevokeResponse, Op, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseHeader, StatusRequest, StatusResponse, TxnRequest,
    TxnResponse,
};
use super::unary::Call;

/// The target of a condition: the revision of the last write.
const LAST_WRITE: i32 = 2;

/// One key that is written if its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which one.
    pub key: Bytes,
    /// Its value; `None` removes it.
    pub value: Option<Bytes>,
    /// The lease with which it ends; 0 for none.
    pub lease: i64,
    /// Keys, and the revisions at which they must have been written last; 0 for one that is not there.
    pub guards: Vec<(Bytes, i64)>,
}

/// Writes that are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The store's revision after them: that of all that took place.
    pub revision: i64,
    /// Whether each took place.
    pub won: Vec<bool>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// When it was written last.
    pub revision: i64,
}

/// A part of the keys below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of their names.
    pub pairs: Vec<Pair>,
    /// The store's revision when it was read.
    pub revision: i64,
    /// Whether there are more.
    pub has_more: bool,
    /// Which cluster answered.
    pub cluster_id: u64,
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: i64,
    /// For how many seconds.
    pub ttl_s: u64,
}

impl Link {
    /// Writes several keys in one transaction, each if its own conditions hold and whatever becomes of the others. No key may
    /// occur twice. The key `mark` is written beside them without a condition: etcd's quota counts no transaction within another
    /// (server/etcdserver/api/v3rpc/quota.go), and a full one would go on to take them.
    ///
    /// # Errors
    /// With the word for what went wrong; whether they took place is not known then.
    pub async fn write_each(&self, mark: Bytes, writes: Vec<Write>) -> Result<Written, Fault> {
        let count = writes.len() + 1;
        let marked = op(Op::Put(PutRequest { key: mark, value: Bytes::new(), lease: 0 }));
        let writes = writes.into_iter().map(|write| op(Op::Txn(conditional(write))));
        let success = writes.chain([marked]).collect();
        let message = TxnRequest { compare: Vec::new(), success };
        let answer: TxnResponse = self.ask(Call::Txn, &message).await?;
        if answer.responses.len() != count {
            let text = format!("{count} parts of a transaction had {} answers", answer.responses.len());
            return Err(Fault { kind: "other", text });
        }
        let won = answer.responses.into_iter().take(count - 1);
        let won = won.map(|part| part.txn.is_some_and(|txn| txn.succeeded)).collect();
        Ok(Written { revision: revision_of(answer.header.as_ref()), won })
    }

    /// Writes one key, within a limit of time; the revision of the write.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn set(&self, key: Bytes, value: Bytes) -> Result<i64, Fault> {
        let answer: PutResponse = self.ask(Call::Put, &PutRequest { key, value, lease: 0 }).await?;
        Ok(revision_of(answer.header.as_ref()))
    }

    /// The keys below a prefix and not before `from`, at most so many, as of a revision; 0 is the newest.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn page(&self, prefix: &[u8], from: &[u8], limit: i64, revision: i64) -> Result<Page, Fault> {
        let (first, range_end) = span(prefix);
        let key = if from > prefix { Bytes::copy_from_slice(from) } else { first };
        self.range(RangeRequest { key, range_end, limit, revision, ..RangeRequest::default() }).await
    }

    /// One key, confirmed by a majority.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn pair(&self, key: Bytes) -> Result<Page, Fault> {
        self.range(RangeRequest { key, ..RangeRequest::default() }).await
    }

    async fn range(&self, message: RangeRequest) -> Result<Page, Fault> {
        let answer: RangeResponse = self.ask(Call::Range, &message).await?;
        let pairs = answer.kvs.into_iter();
        let pairs = pairs.map(|pair| Pair { key: pair.key, value: pair.value, revision: pair.mod_revision }).collect();
        let cluster_id = answer.header.as_ref().map_or(0, |header| header.cluster_id);
        Ok(Page { pairs, revision: revision_of(answer.header.as_ref()), has_more: answer.more, cluster_id })
    }

    /// Which cluster the member belongs to.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn cluster_id(&self) -> Result<u64, Fault> {
        let answer: StatusResponse = self.ask(Call::Status, &StatusRequest {}).await?;
        Ok(answer.header.map_or(0, |header| header.cluster_id))
    }

    /// Takes a lease for so many seconds, or for as many as the cluster allows at least.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn grant(&self, ttl_s: u64) -> Result<Lease, Fault> {
        let ttl = i64::try_from(ttl_s).unwrap_or(i64::MAX);
        let answer: LeaseGrantResponse = self.ask(Call::LeaseGrant, &LeaseGrantRequest { ttl }).await?;
        if !answer.error.is_empty() {
            return Err(Fault { kind: "lease_refused", text: answer.error });
        }
        Ok(Lease { id: answer.id, ttl_s: unsigned(answer.ttl) })
    }

    /// Begins the time of a lease anew; false where it has ended.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn keep_alive(&self, id: i64) -> Result<bool, Fault> {
        let answer: LeaseKeepAliveResponse = self.ask(Call::LeaseKeepAlive, &LeaseKeepAliveRequest { id }).await?;
        Ok(answer.ttl > 0)
    }

    /// Ends a lease, and with it all keys that are bound to it.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn revoke(&self, id: i64) -> Result<(), Fault> {
        self.ask::<LeaseRevokeResponse>(Call::LeaseRevoke, &LeaseRevokeRequest { id }).await.map(drop)
    }

    /// Forgets what every key was before a revision.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn compact_to(&self, revision: i64) -> Result<(), Fault> {
        let message = CompactionRequest { revision, physical: false };
        self.ask::<CompactionResponse>(Call::Compact, &message).await.map(drop)
    }
}

fn conditional(Write { key, value, lease, guards }: Write) -> TxnRequest {
    let guard = |(key, revision)| Compare { result: 0, target: LAST_WRITE, key, mod_revision: Some(revision) };
    let act = match value {
        Some(value) => Op::Put(PutRequest { key, value, lease }),
        None => Op::Delete(DeleteRangeRequest { key, range_end: Bytes::new() }),
    };
    TxnRequest { compare: guards.into_iter().map(guard).collect(), success: vec![op(act)] }
}

const fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}
