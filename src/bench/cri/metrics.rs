//! Everything that `bench cri` measures, declared once.

use crate::model::Role::{Phase, Response};
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "bench cri", metrics: &[&METRICS], layout: super::layout::layout };

const LEVEL: &[&str] = &["containers"];
const WATCHER: &[&str] = &["watcher", "containers"];

const METRICS: [Metric; 9] = [
    Metric::series(
        "cri.detection",
        Response,
        &["watcher", "event", "containers"],
        "from the moment at which the runtime says that a container was started, or ended, to the one at which this watcher knew; what it never told is lost",
    ),
    Metric::series(
        "cri.launch",
        Response,
        LEVEL,
        "from the planned start of a container to the return of the call that started it; making it is inside",
    ),
    Metric::series(
        "cri.list",
        Phase,
        LEVEL,
        "the two lists of a relist, sandboxes and containers, one after the other",
    ),
    Metric::scalar(
        "cri.predicted_mean",
        "ns",
        WATCHER,
        "mean detection by the closed formula: half of the span between two relists, and the time of the lists",
    ),
    Metric::scalar(
        "cri.predicted_worst",
        "ns",
        WATCHER,
        "worst detection by the closed formula: the span between two relists, and the longest time of the lists",
    ),
    Metric::scalar("cri.missed", "count", WATCHER, "starts and ends that this watcher never told"),
    Metric::scalar("cri.relist_cpu", "ns", LEVEL, "processor time of the runtime for one relist"),
    Metric::scalar(
        "cri.relist_cores",
        "cores",
        WATCHER,
        "processor time of the runtime for relists this often: that of one by the span between two",
    ),
    Metric::scalar(
        "cri.watcher_cpu",
        "cores",
        WATCHER,
        "processor time of this process's watcher, over the measurement",
    ),
];
