//! Everything that `bench etcd` measures, declared once.

use crate::model::Role::Response;
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "bench etcd", metrics: &[&METRICS], layout: super::layout::layout };

const CELL: &[&str] = &["value_size", "clients", "batch", "consistency", "workload", "leases", "shards", "setting"];
const MEMBER: &[&str] = &["endpoint", "shards", "setting"];
const FOLDER: &[&str] = &["folder"];

const METRICS: [Metric; 24] = [
    Metric::series(
        "etcd.put",
        Response,
        CELL,
        "a put, or with `batch` above 1 a transaction of so many puts, to the whole answer",
    ),
    Metric::series("etcd.range", Response, CELL, "a read of one key that exists, to the whole answer"),
    Metric::series(
        "etcd.watch",
        Response,
        CELL,
        "from the send of a put to the moment its event was read by a watcher on a connection of its own",
    ),
    Metric::series(
        "etcd.lease_grant",
        Response,
        CELL,
        "the grant of a lease, a write of the cluster, to the whole answer; as many as the label says",
    ),
    Metric::series(
        "etcd.lease_keepalive",
        Response,
        CELL,
        "a keepalive of one of those leases on a stream that is open, to its answer",
    ),
    Metric::series(
        "disk.fdatasync",
        Response,
        FOLDER,
        "one `fdatasync` after a write of 2300 bytes to a file in the folder that the label names",
    ),
    Metric::throughput("etcd.put.throughput", CELL, "answered requests a second of the recorded span"),
    Metric::throughput("etcd.range.throughput", CELL, "answered reads a second of the recorded span"),
    Metric::throughput("etcd.watch.throughput", CELL, "events a second of the recorded span"),
    Metric::throughput("etcd.lease_grant.throughput", CELL, "leases granted a second, over their own span"),
    Metric::throughput("etcd.lease_keepalive.throughput", CELL, "keepalives a second, over their own span"),
    Metric::throughput("etcd.put.keys", CELL, "keys written a second: requests times `batch`"),
    Metric::scalar(
        "etcd.put.floor",
        "ns",
        CELL,
        "what a put takes at least: round trip to the member, round trip between members, the mean WAL fsync",
    ),
    Metric::scalar("etcd.server.wal_fsync_mean", "ns", MEMBER, "mean sync of the member's write-ahead log"),
    Metric::scalar("etcd.server.wal_fsync_p99_upper", "ns", MEMBER, "the bound of the bucket of its 99th percentile"),
    Metric::scalar("etcd.server.backend_commit_mean", "ns", MEMBER, "mean commit of the member's database"),
    Metric::scalar(
        "etcd.server.backend_commit_p99_upper",
        "ns",
        MEMBER,
        "the bound of the bucket of its 99th percentile",
    ),
    Metric::scalar("etcd.server.leader_changes", "count", MEMBER, "leader changes during the measurements"),
    Metric::scalar("etcd.server.slow_applies", "count", MEMBER, "applies that took longer than etcd expects"),
    Metric::scalar("etcd.server.proposals_pending", "count", MEMBER, "the most proposals that were seen waiting"),
    Metric::scalar("etcd.server.db_size_bytes", "bytes", MEMBER, "the database file at the end"),
    Metric::scalar("etcd.server.quota_bytes", "bytes", MEMBER, "its quota"),
    Metric::scalar(
        "etcd.server.peer_rtt_mean",
        "ns",
        MEMBER,
        "round trip to the other members, since the member started",
    ),
    Metric::scalar("etcd.server.cpu_cores", "cores", MEMBER, "processor time of the member for each second"),
];
