//! Everything that `doctor` measures, declared once.

use crate::model::Role::Response;
use crate::model::{Measurement, Metric};
use crate::probe::rtt;

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "doctor", metrics: &[&METRICS, &rtt::FLOOR], layout: super::layout::layout };

const WHAT: &[&str] = &["what"];

const METRICS: [Metric; 8] = [
    Metric::series(
        "timer.wakeup",
        Response,
        &[],
        "from the absolute time that a sleep was to end at to the moment this process ran",
    ),
    Metric::scalar("doctor.able", "ratio", WHAT, "whether a thing works on this host: 1 yes, 0.5 limited, 0 no"),
    Metric::scalar("clock.read", "ns", &[], "a read of the monotonic clock"),
    Metric::scalar("clock.step", "ns", &[], "the least by which two reads differed"),
    Metric::scalar("clock.resolution", "ns", &[], "what the kernel claims"),
    Metric::scalar("timer.slack", "ns", &[], "how much later than asked the kernel may end a wait with a timeout"),
    Metric::scalar(
        "cpu.steal",
        "ratio",
        &[],
        "share of the processors' time that the hypervisor gave to others meanwhile",
    ),
    Metric::scalar("open_files.limit", "count", &[], "files that this process may have open at most"),
];
