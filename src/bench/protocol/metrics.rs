//! Everything that `bench protocol` measures, declared once.

use crate::model::Role::Response;
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "bench protocol", metrics: &[&METRICS], layout: super::layout::layout };

const PROTOCOL: &[&str] = &["protocol"];

const METRICS: [Metric; 15] = [
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
        "a report on so many containers and its receipt, on a connection that is kept; over Raft, its proposal until a majority has it on disk",
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
    Metric::series(
        "protocol.silent_peer",
        Response,
        PROTOCOL,
        "from the moment at which a peer answers nothing any more and closes nothing until the client knows; by keepalives of HTTP/2 and WebSocket, over HTTP/1.1 by the timeout of the next heartbeat",
    ),
    Metric::series(
        "protocol.cut",
        Response,
        PROTOCOL,
        "from the cut of a connection to the next receipt, on a new one that is opened at once; over a link of 5 ms each way, with eight heartbeats sent 1 ms apart",
    ),
    Metric::series(
        "protocol.election",
        Response,
        PROTOCOL,
        "from the loss of the leader of three members on this host until another leads",
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
    Metric::scalar(
        "protocol.heartbeat_bytes",
        "bytes",
        PROTOCOL,
        "bytes on the wire of a heartbeat and its receipt alone, both ways, with the headers of IP and TCP",
    ),
    Metric::scalar(
        "protocol.report_bytes",
        "bytes",
        &["protocol", "containers"],
        "the same of a report on so many containers",
    ),
    Metric::scalar("protocol.cut_gap", "ns", PROTOCOL, "longest time between two receipts around a cut"),
    Metric::scalar(
        "protocol.sent_again",
        "count",
        PROTOCOL,
        "heartbeats without a receipt at a cut, which were sent again, of 24 in three cuts",
    ),
    Metric::scalar("protocol.duplicated", "count", PROTOCOL, "of those, how many the far end had answered before"),
];
