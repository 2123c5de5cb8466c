//! Everything that `trace` measures, declared once.

use crate::model::Role::{Phase, Response};
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "trace", metrics: &[&METRICS], layout: super::layout::layout };

/// Of a setting where several are compared.
const SETTING: &[&str] = &["setting"];
const HOP: &[&str] = &["hop", "setting"];

const METRICS: [Metric; 7] = [
    Metric::series(
        "trace.total",
        Response,
        SETTING,
        "from the planned call that changes the state of a task to the moment a subscriber of the gateway has read it; `.service` from the call itself",
    ),
    Metric::series(
        "trace.hop",
        Phase,
        HOP,
        "one part of the way (kernel, runtime, event, agent, wire, gateway, store, publish, subscriber), between two stamps of the part that owns it",
    ),
    Metric::series("trace.unexplained", Phase, SETTING, "what no part claims of a change's way"),
    Metric::scalar(
        "trace.mean",
        "ns",
        HOP,
        "mean of a part of the way; the parts and what is unexplained add up to hop=total",
    ),
    Metric::scalar("trace.share", "ratio", HOP, "that mean's share of the mean of the whole way"),
    Metric::scalar("trace.unexplained_ratio", "ratio", SETTING, "share of the whole way that no part claims"),
    Metric::scalar(
        "trace.slowest",
        "ns",
        HOP,
        "the parts of the slowest single change, with hop=total and hop=unexplained",
    ),
];
