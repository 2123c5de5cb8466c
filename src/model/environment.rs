//! Where a run was made and what the tool itself cost: the facts that make a number repeatable.
//!
//! Plain data; `sys::procfs` reads them. A fact that cannot be read is null, never left out.

use serde::{Deserialize, Serialize};

/// Facts of the host and the build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Name of the host.
    pub hostname: Option<String>,
    /// Operating system and machine, such as `linux x86_64`.
    pub platform: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Model name of the processor.
    pub cpu_model: Option<String>,
    /// Processors this process may use.
    pub cpu_count: Option<u64>,
    /// Frequency governor of the first processor.
    pub cpu_governor: Option<String>,
    /// Memory of the host.
    pub memory_bytes: Option<u64>,
    /// Clock source of the kernel.
    pub clocksource: Option<String>,
    /// Resolution of the monotonic clock.
    pub clock_resolution_ns: Option<u64>,
    /// Whether the processor says that it runs under a hypervisor.
    pub virtualised: Option<bool>,
    /// Load average over one minute when the run began.
    pub load_average: Option<f64>,
    /// `release` or `debug`; a debug build measures itself as much as the target.
    pub build: String,
}

/// What the tool itself used while it measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfCost {
    /// Processor time in user mode.
    pub cpu_user_ns: Option<u64>,
    /// Processor time in the kernel.
    pub cpu_system_ns: Option<u64>,
    /// Largest resident set.
    pub memory_peak_bytes: Option<u64>,
    /// Times the process waited and gave the processor away.
    pub context_switch_voluntary_count: Option<u64>,
    /// Times the kernel took the processor away.
    pub context_switch_involuntary_count: Option<u64>,
}
