//! Everything that `bench heartbeat` measures, simulated or live, declared once.

use crate::model::Role::Response;
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement = of(&[&ALWAYS, &SIMULATED, &LIVE]);

/// What a simulation can have.
pub const OF_SIMULATION: Measurement = of(&[&ALWAYS, &SIMULATED]);

/// What a run with agents and a gateway can have.
pub const OF_LIVE: Measurement = of(&[&ALWAYS, &LIVE]);

const fn of(metrics: &'static [&'static [Metric]]) -> Measurement {
    Measurement { command: "bench heartbeat", metrics, layout: super::layout::layout }
}

const SETTING: &[&str] = &["interval", "detector", "network", "mode", "fault"];
const RUN: &[&str] = &["network", "mode"];

const ALWAYS: [Metric; 6] = [
    Metric::series(
        "heartbeat.detection",
        Response,
        SETTING,
        "from a crash to the suspicion that stays; live, from the fault of an agent to the arrival of its `unreachable` at a subscriber",
    ),
    Metric::scalar(
        "heartbeat.network_bytes_per_h",
        "bytes_per_h",
        SETTING,
        "of one node; simulated, the bytes of a heartbeat are assumed",
    ),
    Metric::scalar(
        "heartbeat.formula_mean",
        "ns",
        SETTING,
        "mean detection by the closed formula, without loss; null where there is none",
    ),
    Metric::scalar("heartbeat.formula_worst", "ns", SETTING, "the worst by the same formula"),
    Metric::scalar("heartbeat.reference_mean", "ns", SETTING, "published for this interval; not measured"),
    Metric::scalar(
        "heartbeat.reference_bytes_per_h",
        "bytes_per_h",
        SETTING,
        "published for this interval; not measured",
    ),
];

const SIMULATED: [Metric; 12] = [
    Metric::series(
        "heartbeat.mistake_duration",
        Response,
        SETTING,
        "simulated: from a false suspicion to the heartbeat that ends it",
    ),
    Metric::scalar("heartbeat.messages_per_h", "per_h", SETTING, "heartbeats of one node"),
    Metric::scalar(
        "heartbeat.mistakes_per_day",
        "per_day",
        SETTING,
        "false suspicions of one node; null where none was seen",
    ),
    Metric::scalar("heartbeat.mistakes_per_day_low", "per_day", SETTING, "the lower end of their 95 % interval"),
    Metric::scalar("heartbeat.mistakes_per_day_high", "per_day", SETTING, "its upper end, also where none was seen"),
    Metric::scalar(
        "heartbeat.query_accuracy",
        "ratio",
        SETTING,
        "share of the time in which a living node is not suspected",
    ),
    Metric::scalar(
        "heartbeat.unbeaten",
        "count",
        SETTING,
        "1 where no other setting on the network is better in detection, mistakes and cost together",
    ),
    Metric::scalar(
        "heartbeat.already_suspected_ratio",
        "ratio",
        SETTING,
        "crashes of nodes that were suspected already, whose detection is 0",
    ),
    Metric::scalar("heartbeat.received", "per_s", SETTING, "with `--nodes`: heartbeats of all nodes at the monitor"),
    Metric::scalar(
        "heartbeat.lease_writes",
        "per_s",
        SETTING,
        "with `--nodes`: writes of its store where every heartbeat renews a lease",
    ),
    Metric::scalar(
        "heartbeat.gateway_writes",
        "per_s",
        SETTING,
        "with `--nodes`: writes of its store where a gateway writes transitions only, at most",
    ),
    Metric::scalar("heartbeat.simulated_beats", "count", &[], "heartbeats that were simulated"),
];

const LIVE: [Metric; 10] = [
    Metric::series("heartbeat.change_stored", Response, RUN, "live: from a report to its receipt, durable"),
    Metric::series(
        "heartbeat.change_seen",
        Response,
        RUN,
        "live: from a report to the arrival of its change at a subscriber",
    ),
    Metric::scalar(
        "heartbeat.formula_holds",
        "count",
        SETTING,
        "live: 1 where the formula's mean lies within the measured 95 %, widened by the measured delay",
    ),
    Metric::scalar(
        "heartbeat.mean_low",
        "ns",
        SETTING,
        "live: the lower end of the 95 % interval of the mean detection",
    ),
    Metric::scalar("heartbeat.mean_high", "ns", SETTING, "live: its upper end"),
    Metric::scalar(
        "heartbeat.mistakes",
        "count",
        SETTING,
        "live: living nodes that were called unreachable between the last connection and the fault",
    ),
    Metric::scalar(
        "heartbeat.payload",
        "bytes",
        RUN,
        "live: mean JSON text of a heartbeat, of all agents of the gateway",
    ),
    Metric::scalar("heartbeat.payload_bytes_per_h", "bytes_per_h", SETTING, "live: that of one node"),
    Metric::scalar(
        "heartbeat.sent_bytes_per_h",
        "bytes_per_h",
        SETTING,
        "live: what one node sent as the kernel counted it, with TLS, TCP and IP",
    ),
    Metric::scalar(
        "heartbeat.received_bytes_per_h",
        "bytes_per_h",
        SETTING,
        "live: what it received; `network_bytes_per_h` is the sum",
    ),
];
