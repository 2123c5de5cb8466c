//! Everything that `probe rtt` measures, declared once.

use crate::model::Role::{Floor, Phase, Programmed, Response};
use crate::model::{Measurement, Metric};

/// The command and its catalogue.
pub const MEASUREMENT: Measurement =
    Measurement { command: "probe rtt", metrics: &[&METRICS, &FLOOR], layout: super::layout::layout };

const PLACE: &[&str] = &["target", "address"];
const STAMPED: &[&str] = &["target", "address", "stamps"];
const BY_CHANNEL: &[&str] = &["target", "address", "stamps", "channel"];
const ONE_WAY: &[&str] = &["target", "address", "stamps", "channel", "clock_bound"];
const CLOCK: &[&str] = &["target", "address", "channel"];

const METRICS: [Metric; 21] = [
    Metric::series(
        "rtt.tcp_connect",
        Response,
        PLACE,
        "a TCP handshake, from the planned start to the moment this process knows",
    ),
    Metric::series(
        "rtt.tcp_connect.kernel",
        Phase,
        PLACE,
        "the kernel's own estimate of that handshake (`TCP_INFO`), microsecond grained",
    ),
    Metric::series(
        "rtt.icmp",
        Response,
        PLACE,
        "an ICMP echo request of 64 bytes, to the kernel's stamp of its reply's reception, as `ping` and `fping` measure",
    ),
    Metric::series("rtt.icmp.kernel", Phase, STAMPED, "the same exchange between the stamps of sending and reception"),
    Metric::series(
        "rtt.echo",
        Response,
        PLACE,
        "a PING and its PONG of 72 bytes on a kept TCP connection to `offloadctl echo`",
    ),
    Metric::series(
        "rtt.echo.kernel",
        Phase,
        STAMPED,
        "the same exchange between the stamps of sending and reception (SO_TIMESTAMPING): `stamps` is `software`, of the kernel, or `hardware`, of the card",
    ),
    Metric::series("rtt.echo.programmed", Programmed, PLACE, "what an emulated link added, after order and bandwidth"),
    Metric::series("rtt.echo_udp", Response, PLACE, "a PING and its PONG of 72 bytes as datagrams"),
    Metric::series(
        "rtt.echo_udp.kernel",
        Phase,
        STAMPED,
        "the same exchange between the stamps of sending and reception",
    ),
    Metric::series(
        "rtt.echo_udp.programmed",
        Programmed,
        PLACE,
        "what an emulated link added, after order and bandwidth",
    ),
    Metric::series(
        "rtt.wakeup",
        Phase,
        BY_CHANNEL,
        "what this process added to `.kernel`: from its real start to its own reading of the answer, minus that",
    ),
    Metric::series(
        "rtt.network",
        Phase,
        BY_CHANNEL,
        "`.kernel` minus the time between the far kernel's own two stamps: free of wake-ups and work of both processes",
    ),
    Metric::series(
        "rtt.network.forward",
        Phase,
        BY_CHANNEL,
        "how much longer the way there took than the least of its window of 32 exchanges, without the clocks' drift",
    ),
    Metric::series("rtt.network.backward", Phase, BY_CHANNEL, "the same of the way back"),
    Metric::series(
        "rtt.oneway.forward",
        Phase,
        ONE_WAY,
        "how long the way there took; `clock_bound` is `one_host`, where one kernel runs both ends, or the `--clock-bound` that was stated",
    ),
    Metric::series("rtt.oneway.backward", Phase, ONE_WAY, "the same of the way back"),
    Metric::scalar(
        "rtt.clock_offset",
        "ns",
        CLOCK,
        "far wall clock minus ours at the last exchange, from the fastest exchange, corrected by the drift",
    ),
    Metric::scalar(
        "rtt.clock_offset_bound",
        "ns",
        CLOCK,
        "how wrong that may be: half of the fastest exchange's network time, and the drift's uncertainty since then",
    ),
    Metric::scalar(
        "rtt.clock_drift",
        "ppm",
        CLOCK,
        "how fast the far wall clock gains on ours, least squares; null below 8 windows of 32 exchanges",
    ),
    Metric::scalar("rtt.clock_drift_low", "ppm", CLOCK, "the lower end of its 95 % interval"),
    Metric::scalar("rtt.clock_drift_high", "ppm", CLOCK, "the upper end of its 95 % interval"),
];

/// The same of this process's own loopback: what the tool measures where there is nothing to measure.
pub const FLOOR: [Metric; 14] = [
    Metric::series("rtt.floor.tcp_connect", Floor, PLACE, "a handshake with this process's own loopback"),
    Metric::series("rtt.floor.tcp_connect.kernel", Phase, PLACE, "the kernel's own estimate of it"),
    Metric::series("rtt.floor.icmp", Floor, PLACE, "an ICMP echo to this process's own loopback"),
    Metric::series("rtt.floor.icmp.kernel", Phase, STAMPED, "the same between the kernel's stamps"),
    Metric::series("rtt.floor.echo", Floor, PLACE, "an echo over TCP to this process's own loopback: the noise floor"),
    Metric::series("rtt.floor.echo.kernel", Phase, STAMPED, "the same between the kernel's stamps"),
    Metric::series("rtt.floor.echo_udp", Floor, PLACE, "an echo by datagrams to this process's own loopback"),
    Metric::series("rtt.floor.echo_udp.kernel", Phase, STAMPED, "the same between the kernel's stamps"),
    Metric::series("rtt.floor.wakeup", Phase, ONE_WAY, "what this process added on its loopback"),
    Metric::series("rtt.floor.network", Phase, ONE_WAY, "what the loopback took without either process"),
    Metric::series("rtt.floor.network.forward", Phase, ONE_WAY, "its variation on the way there"),
    Metric::series("rtt.floor.network.backward", Phase, ONE_WAY, "its variation on the way back"),
    Metric::series("rtt.floor.oneway.forward", Phase, ONE_WAY, "the way there on the loopback"),
    Metric::series("rtt.floor.oneway.backward", Phase, ONE_WAY, "the way back on the loopback"),
];
