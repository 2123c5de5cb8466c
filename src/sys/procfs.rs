//! What this host uses of itself: processors, memory, root file system.
//!
//! Separate because it reads `/proc`, whose formats are the kernel's. What cannot be read is absent, never zero.

use std::fs;

use nix::sys::statvfs::statvfs;

use super::interrupted::again;

/// Counts the time of the processors from one look to the next.
#[derive(Clone, Debug, Default)]
pub struct CpuMeter {
    last: Option<Times>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    idle: u64,
    all: u64,
}

impl CpuMeter {
    /// Share of all processors that was used since the last look; `None` at the first.
    pub fn ratio(&mut self) -> Option<f64> {
        let now = times(&fs::read_to_string("/proc/stat").ok()?)?;
        let last = self.last.replace(now)?;
        let all = now.all.checked_sub(last.all).filter(|all| *all > 0)?;
        // The kernel's idle time may step back by a tick.
        let idle = now.idle.saturating_sub(last.idle).min(all);
        Some((all - idle) as f64 / all as f64)
    }
}

/// Share of the memory that is not available to programs.
#[must_use]
pub fn memory_ratio() -> Option<f64> {
    memory_of(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Share of the root file system that is used, of what programs may use, as `df` counts it.
#[must_use]
pub fn disk_ratio() -> Option<f64> {
    let root = again(|| statvfs("/")).ok()?;
    let used = root.blocks().checked_sub(root.blocks_free())?;
    let usable = used + root.blocks_available();
    (usable > 0).then(|| used as f64 / usable as f64)
}

/// Of the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. Guest time is in user time.
fn times(text: &str) -> Option<Times> {
    let mut words = text.lines().next()?.split_ascii_whitespace();
    let fields: Vec<u64> = words.by_ref().skip(1).take(8).map_while(|word| word.parse().ok()).collect();
    let [.., idle, waiting, _, _, _] = fields[..] else { return None };
    Some(Times { idle: idle + waiting, all: fields.iter().sum() })
}

fn memory_of(text: &str) -> Option<f64> {
    let field = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()
    };
    let (total, available) = (field("MemTotal")?, field("MemAvailable")?);
    (total > 0).then(|| total.saturating_sub(available) as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let text = "cpu  100 0 50 800 40 0 5 5 60 0\ncpu0 1 2 3\n";
        assert_eq!(times(text), Some(Times { idle: 840, all: 1_000 }));
        assert_eq!(times("cpu 1 2"), None);
        assert_eq!(memory_of("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   250 kB\n"), Some(0.75));
        assert_eq!(memory_of("MemTotal:  1000 kB\n"), None);
    }

    #[test]
    fn this_host_has_all_three_between_nothing_and_everything() {
        let mut meter = CpuMeter::default();
        assert_eq!(meter.ratio(), None);
        let busy = (0..40_000_000u64).fold(0u64, |sum, n| sum.wrapping_add(n ^ sum));
        std::hint::black_box(busy);
        let ratios = [meter.ratio(), memory_ratio(), disk_ratio()];
        assert!(ratios.into_iter().all(|ratio| ratio.is_some_and(|ratio| (0.0..=1.0).contains(&ratio))), "{ratios:?}");
    }
}
