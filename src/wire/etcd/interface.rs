//! The part of etcd's version 3 interface that this client speaks: only the methods, messages and fields that are used, with
//! their true names and numbers. Unknown fields of an answer are skipped, as protobuf has it, so this fits every etcd from 3.4 on.
//!
//! Written down here and not generated, because a compiler for so few lines was a twentieth of every build.

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// What every answer begins with.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    /// Which cluster.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Who answers.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The store's revision.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// When it was written last.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// Which keys to read.
#[derive(Clone, PartialEq, Message)]
pub struct RangeRequest {
    /// The first.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The one after the last; empty for one key.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// How many at most; 0 for all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// As of which revision; 0 for the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// Whether the member may answer from what it has.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// Whether only their number is wanted.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
}

/// What was read.
#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    /// With the store's revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The keys.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether there are more than were asked for.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// How many there are.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// What to write.
#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its new value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease with which it ends; 0 for none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

/// A write that is done.
#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {
    /// With its revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// Which keys to delete.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeRequest {
    /// The first.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The one after the last.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
}

/// A deletion that is done.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeResponse {
    /// How many keys there were.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
}

/// A part of a transaction.
#[derive(Clone, PartialEq, Message)]
pub struct RequestOp {
    /// What it does.
    #[prost(oneof = "Op", tags = "2, 3, 4")]
    pub request: Option<Op>,
}

/// What a part of a transaction does.
#[derive(Clone, PartialEq, Oneof)]
pub enum Op {
    /// It writes.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// It removes.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
    /// It has a condition of its own.
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
}

/// A condition: the key was last written at this revision, 0 if it is not there.
#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    /// 0: equal.
    #[prost(int32, tag = "1")]
    pub result: i32,
    /// 2: the revision of the last write.
    #[prost(int32, tag = "2")]
    pub target: i32,
    /// The key.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// That revision. Of a choice in etcd, so it is sent even where it is 0.
    #[prost(int64, optional, tag = "6")]
    pub mod_revision: Option<i64>,
}

/// A transaction.
#[derive(Clone, PartialEq, Message)]
pub struct TxnRequest {
    /// Its conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Its parts, if all of them hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
}

/// A transaction that is done.
#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    /// With its revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether its conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// What became of its parts.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// What became of a part of a transaction; only parts with conditions of their own are told apart.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    /// The part was a transaction.
    #[prost(message, optional, boxed, tag = "4")]
    pub txn: Option<Box<TxnResponse>>,
}

/// Asks for a lease.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseGrantRequest {
    /// For how many seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
}

/// A lease.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseGrantResponse {
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// For how many seconds: never less than what the cluster allows.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// Why there is none.
    #[prost(string, tag = "4")]
    pub error: String,
}

/// Ends a lease.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseRevokeRequest {
    /// Which one.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// It has ended.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseRevokeResponse {}

/// Begins the time of a lease anew.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseKeepAliveRequest {
    /// Of which one.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// Its time has begun anew.
#[derive(Clone, PartialEq, Message)]
pub struct LeaseKeepAliveResponse {
    /// With the revision of the member.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Of which one.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// For how many seconds; 0 where there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

/// What a watch is asked for.
#[derive(Clone, PartialEq, Message)]
pub struct WatchRequest {
    /// What it does.
    #[prost(oneof = "WatchOp", tags = "1")]
    pub request_union: Option<WatchOp>,
}

/// What a request of a watch does.
#[derive(Clone, PartialEq, Oneof)]
pub enum WatchOp {
    /// It begins one.
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
}

/// Which keys to watch.
#[derive(Clone, PartialEq, Message)]
pub struct WatchCreateRequest {
    /// The first.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The one after the last.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// From which revision on; 0 for now.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
}

/// What a watch tells.
#[derive(Clone, PartialEq, Message)]
pub struct WatchResponse {
    /// With the revision told.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether it confirms the watch.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// Whether it ends the watch.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// The oldest revision that is left, where those asked for are gone.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it ends.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// What happened.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// What happened to a key.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// What it was.
    #[prost(enumeration = "EventType", tag = "1")]
    pub kind: i32,
    /// The key as it is now.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// A value was written.
    Put = 0,
    /// The key was deleted.
    Delete = 1,
}

/// A login.
#[derive(Clone, PartialEq, Message)]
pub struct AuthenticateRequest {
    /// The user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The password.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// A login that is taken.
#[derive(Clone, PartialEq, Message)]
pub struct AuthenticateResponse {
    /// What goes with each request.
    #[prost(string, tag = "2")]
    pub token: String,
}

/// Asks for alarms, or takes one back.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmRequest {
    /// 0: tell them; 2: take one back.
    #[prost(int32, tag = "1")]
    pub action: i32,
    /// Whose.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Of which kind.
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// Asks to forget what was before a revision.
#[derive(Clone, PartialEq, Message)]
pub struct CompactionRequest {
    /// Which revision.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Whether the answer waits until it is done.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}

/// It is forgotten.
#[derive(Clone, PartialEq, Message)]
pub struct CompactionResponse {}

/// Asks a member to give back the room that it does not use.
#[derive(Clone, PartialEq, Message)]
pub struct DefragmentRequest {}

/// It is given back.
#[derive(Clone, PartialEq, Message)]
pub struct DefragmentResponse {}

/// The alarms that are raised.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmResponse {
    /// One for each member and kind.
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<AlarmMember>,
}

/// An alarm.
#[derive(Clone, PartialEq, Message)]
pub struct AlarmMember {
    /// Whose it is.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// Its kind.
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// Kinds of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// None.
    None = 0,
    /// The quota is used up.
    Nospace = 1,
    /// A database is damaged.
    Corrupt = 2,
}

/// Asks a member about itself.
#[derive(Clone, PartialEq, Message)]
pub struct StatusRequest {}

/// What a member says of itself.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    /// With its identifier.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Bytes of its database.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// Whom it holds for the leader.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// Its quota; from 3.6 on.
    #[prost(int64, tag = "12")]
    pub db_size_quota: i64,
}

/// Asks who the members are.
#[derive(Clone, PartialEq, Message)]
pub struct MemberListRequest {}

/// The members.
#[derive(Clone, PartialEq, Message)]
pub struct MemberListResponse {
    /// All of them.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

/// A member.
#[derive(Clone, PartialEq, Message)]
pub struct Member {
    /// Its identifier.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether it has no vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}
