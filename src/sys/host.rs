//! Facts of the host and the tool's own cost, read from `/proc`, `/sys` and `getrusage`.

use std::fs;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use sha2::{Digest as _, Sha256};

use super::clock;
use crate::model::{Environment, SelfCost};

/// Reads the facts of this host; what cannot be read is `None`.
#[must_use]
pub fn environment() -> Environment {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Environment {
        hostname: read("/proc/sys/kernel/hostname"),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        kernel: read("/proc/sys/kernel/osrelease"),
        cpu_model: field(&cpuinfo, "model name"),
        cpu_count: std::thread::available_parallelism().ok().map(|n| n.get() as u64),
        cpu_governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_bytes: memory_bytes(),
        clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_resolution_ns: clock::resolution_ns(),
        virtualised: field(&cpuinfo, "flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        load_average: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

/// What tells this running kernel from every other one, for one session: the boot identifier itself is nobody's business.
/// Containers of one host agree in it; the copy of a running virtual machine would too. `None` where the kernel tells none.
#[must_use]
pub fn kernel_token(session: u64) -> Option<u64> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| read("/proc/sys/kernel/random/boot_id")).as_ref()?;
    let digest = Sha256::new().chain_update(boot).chain_update(session.to_be_bytes()).finalize();
    Some(digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Whether the token of a session is that of this kernel.
#[must_use]
pub fn same_kernel(session: u64, token: Option<u64>) -> bool {
    token.is_some() && token == kernel_token(session)
}

/// What this process has used since it began.
#[must_use]
pub fn self_cost() -> SelfCost {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return SelfCost::default() };
    let nanos = |time: nix::sys::time::TimeVal| {
        u64::try_from(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_usec()) * 1000).ok()
    };
    let count = |n: i64| u64::try_from(n).ok();
    SelfCost {
        cpu_user_ns: nanos(usage.user_time()),
        cpu_system_ns: nanos(usage.system_time()),
        memory_peak_bytes: memory_peak_bytes(),
        context_switch_voluntary_count: count(usage.voluntary_context_switches()),
        context_switch_involuntary_count: count(usage.involuntary_context_switches()),
    }
}

/// Raises the soft limit of open files to the hard limit: a thousand targets need a few thousand sockets.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // A refusal leaves the limit as it was; the first socket too many then says so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemTotal")
}

/// The peak of this program. That of `getrusage` survives exec, and so can be the parent's.
fn memory_peak_bytes() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM")
}

fn kibibytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let kib: u64 = field(&text, name)?.split(' ').next()?.parse().ok()?;
    Some(kib * 1024)
}
