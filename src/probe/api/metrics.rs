//! Everything that `probe api` measures, declared once.

use super::cache;
use crate::model::Role::{Phase, Response};
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement = of(&[&METRICS, &cache::METRICS]);

/// What requests to paths can have.
pub const OF_REQUESTS: Measurement = of(&[&METRICS]);

/// What reads of a list in several ways can have.
pub const OF_CACHE: Measurement = of(&[&cache::METRICS]);

const fn of(metrics: &'static [&'static [Metric]]) -> Measurement {
    Measurement { command: "probe api", metrics, layout: super::layout::layout }
}

const LANE: &[&str] = &["path", "address", "connection", "http"];
const CODE: &[&str] = &["path", "code"];
const PART: &[&str] = &["path", "part"];
const KIND: &[&str] = &["verb", "resource", "scope"];

const METRICS: [Metric; 14] = [
    Metric::series("api.request", Response, LANE, "a request, from the planned start to the last byte of its answer"),
    Metric::series(
        "api.dns",
        Phase,
        LANE,
        "the lookup of the server's name, as `getaddrinfo` does it; absent for an address",
    ),
    Metric::series("api.tcp", Phase, LANE, "the TCP handshake of a connection of the request's own"),
    Metric::series("api.tls", Phase, LANE, "its TLS handshake, never resumed; absent in the clear"),
    Metric::series(
        "api.ttfb",
        Phase,
        LANE,
        "from handing the end of the request to the kernel to reading the first byte of the answer",
    ),
    Metric::series("api.transfer", Phase, LANE, "from the first byte of the answer to its last"),
    Metric::series(
        "api.total",
        Phase,
        LANE,
        "from the first of these phases to the last byte; a little more than their sum",
    ),
    Metric::throughput("api.throughput", LANE, "answered requests a second of a path, over its own span"),
    Metric::scalar("api.status", "count", CODE, "recorded answers by path and status code"),
    Metric::scalar(
        "api.share",
        "ratio",
        PART,
        "share of a part in the mean time of a request: dns, tcp, tls, network, queue, work, etcd, transfer, or answer where the server tells nothing",
    ),
    Metric::scalar(
        "api.quorum_read_cost",
        "ns",
        &[],
        "median time to the first byte of a read of one object through etcd, minus that of the same from the server's cache",
    ),
    Metric::scalar(
        "api.server.request_mean",
        "ns",
        KIND,
        "the API server's own mean over the run, of all its requests of this kind",
    ),
    Metric::scalar("api.server.etcd_mean", "ns", KIND, "its mean wait for one request to etcd of that kind"),
    Metric::scalar(
        "api.server.queue_mean",
        "ns",
        KIND,
        "its mean wait in the queues of API priority and fairness, of all its requests",
    ),
];
