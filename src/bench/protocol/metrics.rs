//! Everything that `bench protocol` measures, declared once.

use crate::model::Role::Response;
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "bench protocol", metrics: &[&METRICS], layout: super::layout::layout };

const PROTOCOL: &[&str] = &["protocol"];

const METRICS: [Metric; 7] = [
    Metric::series(
        "protocol.heartbeat",
        Response,
        PROTOCOL,
        "a heartbeat and its receipt, on a connection that is kept",
    ),
    Metric::series(
        "protocol.report",
        Response,
        &["protocol", "containers"],
        "a report on so many containers and its receipt, on a connection that is kept",
    ),
    Metric::series(
        "protocol.cold",
        Response,
        PROTOCOL,
        "a heartbeat and its receipt on a new connection: name, TCP, TLS and the protocol's own opening are inside",
    ),
    Metric::series(
        "protocol.busy",
        Response,
        PROTOCOL,
        "a heartbeat and its receipt while as many are kept in flight as the spec says (closed loop)",
    ),
    Metric::throughput(
        "protocol.highest_rate",
        PROTOCOL,
        "heartbeats receipted a second in the closed loop, on one connection; over HTTP/1.1, which carries one at a time, on as many as are in flight",
    ),
    Metric::scalar(
        "protocol.client_cpu",
        "ns",
        PROTOCOL,
        "processor time of this side a heartbeat, in the closed loop",
    ),
    Metric::scalar(
        "protocol.server_cpu",
        "ns",
        PROTOCOL,
        "processor time of the far end's thread a heartbeat, in the closed loop, as it says itself",
    ),
];
