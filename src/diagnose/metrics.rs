//! Everything that `diagnose` measures, declared once: what it measures itself, and the series of a trace, of events and of round trips.

use crate::model::{Measurement, Metric, Role};
use crate::{probe, trace};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement = Measurement {
    command: "diagnose",
    metrics: &[
        &METRICS,
        trace::MEASUREMENT.metrics[0],
        probe::events::MEASUREMENT.metrics[0],
        probe::rtt::MEASUREMENT.metrics[0],
        probe::rtt::MEASUREMENT.metrics[1],
    ],
    layout: super::layout::layout,
};

const PART: &[&str] = &["part"];
const API: &[&str] = &["target", "phase"];
const TARGET: &[&str] = &["target"];

const METRICS: [Metric; 7] = [
    Metric::series(
        super::reads::SERIES,
        Role::Response,
        TARGET,
        "a linearizable read of one key that a member of etcd has not",
    ),
    Metric::scalar(
        "diagnose.detection",
        "ns",
        PART,
        "time until a node that died is called unreachable, by the closed formula of interval and detector: interval, detector, sweep and network, which add up to mean; wait, the first two together; and worst",
    ),
    Metric::scalar(
        "diagnose.api",
        "ns",
        API,
        "mean of a phase of a request on a new connection; phase=kept is what would be left on a kept one",
    ),
    Metric::scalar(
        "diagnose.etcd_fsync_p99",
        "ns",
        TARGET,
        "lower bound of the bucket with the 99th percentile of a member's WAL fsyncs",
    ),
    Metric::scalar("diagnose.etcd_commit_p99", "ns", TARGET, "the same of its backend's commits"),
    Metric::scalar("diagnose.clock_steps", "count", &[], "steps of this host's wall clock meanwhile"),
    Metric::scalar("diagnose.load", "count", &[], "processes that want a processor, for each processor of this host"),
];
