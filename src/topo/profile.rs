//! The built-in link profiles and their published figures.
//!
//! Delay and jitter are the reference figures of the source material. It gives neither loss nor bandwidth: loss is 0 and
//! the bandwidths are our assumption, of no effect on messages as short as ours.

use crate::model::{LinkProfile, Reference};

const MICROSECOND: u64 = 1_000;

/// A profile that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it stands for.
    pub description: &'static str,
    mean_us: u64,
    p95_us: u64,
    jitter_us: u64,
    bandwidth_bits_per_s: u64,
}

/// All of them.
pub const BUILT_IN: [BuiltIn; 3] = [
    BuiltIn {
        name: "local-dc",
        description: "local data centre",
        mean_us: 1_200,
        p95_us: 2_800,
        jitter_us: 500,
        bandwidth_bits_per_s: 10_000_000_000,
    },
    BuiltIn {
        name: "cross-region",
        description: "cross-region cloud",
        mean_us: 38_700,
        p95_us: 62_100,
        jitter_us: 12_300,
        bandwidth_bits_per_s: 1_000_000_000,
    },
    BuiltIn {
        name: "hybrid",
        description: "hybrid cloud",
        mean_us: 25_400,
        p95_us: 47_600,
        jitter_us: 9_800,
        bandwidth_bits_per_s: 1_000_000_000,
    },
];

impl BuiltIn {
    /// The link it describes.
    #[must_use]
    pub fn link(&self) -> LinkProfile {
        LinkProfile {
            rtt_mean_ns: self.mean_us * MICROSECOND,
            rtt_p95_ns: self.p95_us * MICROSECOND,
            jitter_ns: self.jitter_us * MICROSECOND,
            loss_ratio: 0.0,
            bandwidth_bits_per_s: Some(self.bandwidth_bits_per_s),
        }
    }
}

/// The built-in profile of this name.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|profile| profile.name == name)
}

/// The published figures for a topology of this name.
#[must_use]
pub fn reference(name: &str) -> Option<Reference> {
    built_in(name).map(|profile| Reference {
        mean_ns: profile.mean_us * MICROSECOND,
        p95_ns: profile.p95_us * MICROSECOND,
        jitter_ns: profile.jitter_us * MICROSECOND,
    })
}
