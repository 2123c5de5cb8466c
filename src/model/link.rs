//! What a network link is like: delay, variation, loss, bandwidth.
//!
//! Plain data, shared by the emulated links of `topo` and the reference column of the reports.

use serde::{Deserialize, Serialize};

/// A link's round-trip delay and its imperfections, as a topology file or a built-in profile gives them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkProfile {
    /// Mean round-trip delay in nanoseconds.
    pub rtt_mean_ns: u64,
    /// 95th percentile of the round-trip delay in nanoseconds.
    pub rtt_p95_ns: u64,
    /// Mean |IPDV| of consecutive round trips in nanoseconds.
    pub jitter_ns: u64,
    /// Share of messages lost in each direction, 0 to 1.
    pub loss_ratio: f64,
    /// Bits a second in each direction; `None` is unlimited.
    pub bandwidth_bits_per_s: Option<u64>,
}

/// Figures that somebody else published for a thing of this name: shown beside a measurement, never instead of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Mean in nanoseconds.
    pub mean_ns: u64,
    /// 95th percentile in nanoseconds.
    pub p95_ns: u64,
    /// Jitter in nanoseconds; the source does not define it, we read it as mean |IPDV|.
    pub jitter_ns: u64,
}
