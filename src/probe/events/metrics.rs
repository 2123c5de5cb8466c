//! Everything that `probe events` measures, declared once.

use crate::model::Role::{Phase, Response};
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "probe events", metrics: &[&METRICS], layout: super::layout::layout };

const SEEN: &[&str] = &["source", "event"];
const SOURCE: &[&str] = &["source"];

const METRICS: [Metric; 13] = [
    Metric::series(
        "events.since_act",
        Response,
        SEEN,
        "from the call that made, started, killed or removed a container to the moment this process knew of it by this source; acts that it never told are lost",
    ),
    Metric::series(
        "events.launch",
        Response,
        &[],
        "from the planned start of a container, or of a burst of them, to the return of the call that started it; making it is inside",
    ),
    Metric::series(
        "events.step",
        Phase,
        &["step"],
        "a step of the making of a Pod by CRI: pull of its image, sandbox with its network, create and start of its container",
    ),
    Metric::series("events.call", Phase, &["event"], "from a call to its return"),
    Metric::series(
        "events.behind",
        Phase,
        SEEN,
        "from the moment the first source knew of an act to the moment this one did",
    ),
    Metric::series(
        "events.receipt",
        Phase,
        SEEN,
        "from the source's own time of an act, on the monotonic clock, to the moment this process knew of it",
    ),
    Metric::series(
        "events.lag",
        Phase,
        SEEN,
        "from the kernel's stamp of an act to the moment this process knew of it by this source; absent without a source of kernel stamps",
    ),
    Metric::scalar(
        "events.missed",
        "count",
        SOURCE,
        "acts that are proved to have happened, by a look at the container or by the final listing, and that this source never told",
    ),
    Metric::scalar("events.duplicated", "count", SOURCE, "acts that it told more than once, each further time"),
    Metric::scalar("events.reordered", "count", SOURCE, "acts that it told after a later one of the same container"),
    Metric::scalar(
        "events.collapsed",
        "count",
        SOURCE,
        "acts that it saw only because a later one of the same container had happened, such as a start first seen as exited",
    ),
    Metric::scalar(
        "events.watcher_cpu",
        "cores",
        SOURCE,
        "processor time of this process's watcher of the source, over the run",
    ),
    Metric::scalar(
        "events.daemon_cpu",
        "cores",
        SOURCE,
        "processor time of the daemon that the source asks, over the run: what was done and every other source that asks it are inside; absent where nobody is asked, or an init system holds the socket",
    ),
];
