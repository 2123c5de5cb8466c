//! Everything that `probe api --cache` measures, declared once.

use crate::model::Metric;
use crate::model::Role::{Phase, Response};

const WAY: &[&str] = &["read", "via"];

/// Its series and scalars.
pub const METRICS: [Metric; 13] = [
    Metric::series(
        "api.cache",
        Response,
        WAY,
        "a read of a list: quorum (through etcd), watch_cache (resourceVersion=0) or informer (its own store)",
    ),
    Metric::series(
        "api.cache.staleness",
        Phase,
        WAY,
        "how long before a read a quorum read had shown something that its answer lacks; 0 of one that lacks nothing; absent where nothing changed",
    ),
    Metric::series(
        "api.cache.lag",
        Phase,
        WAY,
        "from the end of the first quorum read that shows a change to the event at the informer; 0 where the event was there before",
    ),
    Metric::scalar("api.cache.changes", "count", &[], "changes that quorum reads showed"),
    Metric::scalar("api.cache.untold", "count", WAY, "changes of which the informer was not told until the end"),
    Metric::scalar(
        "api.cache.requests_per_h",
        "per_h",
        WAY,
        "requests an hour of one client that reach the API server at one read each --interval; of an informer its watches and what it did again; behind a cache no more than it passed on, null where it does not tell",
    ),
    Metric::scalar("api.cache.bytes_per_h", "bytes_per_h", WAY, "bytes of their bodies in an hour, likewise"),
    Metric::scalar("api.cache.body_bytes", "bytes", WAY, "mean body of an answer; of an informer its first list"),
    Metric::scalar(
        "api.cache.hit_ratio",
        "ratio",
        WAY,
        "share of the answers through the proxy that it had itself, by its own words or by a repeated Audit-Id",
    ),
    Metric::scalar("api.cache.held_bytes", "bytes", WAY, "text of the objects that the informer holds in memory"),
    Metric::scalar(
        "api.cache.passed_on_per_h",
        "per_h",
        WAY,
        "requests an hour that the proxy passed on in the run, at the rate of the run: a bound for however many clients",
    ),
    Metric::scalar("api.cache.restarts", "count", WAY, "lists and watches of the informer after the first of each"),
    Metric::scalar("api.cache.events", "count", WAY, "events that the informer was told, bookmarks left out"),
];
