//! Settings of this host that decide how finely it measures: clock sources, timer slack, processor time and limits.
//!
//! Separate from the facts that every run carries because only `doctor` asks for them. What cannot be read is absent.

use std::fs;
use std::path::Path;

use nix::sys::prctl::get_timerslack;
use nix::sys::resource::{Resource, getrlimit};

use super::clock;

/// Reads of the clock that are timed together.
const READS: u32 = 100_000;
const ROWS: u32 = 20;

/// What reading the clock costs, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockCost {
    /// One read.
    pub read_ns: f64,
    /// The least by which two reads differed, if they did.
    pub step_ns: Option<u64>,
}

/// Reads the clock many times in a row; the fastest of several rows counts, for the others were interrupted.
#[must_use]
pub fn clock_cost() -> ClockCost {
    let (mut read_ns, mut step_ns) = (f64::INFINITY, None);
    for _ in 0..ROWS {
        let first = clock::now();
        let mut last = first;
        for _ in 0..READS / ROWS {
            let now = clock::now();
            let step = now.nanos_since(last);
            step_ns = step_ns.into_iter().chain((step > 0).then_some(step)).min();
            last = now;
        }
        read_ns = read_ns.min(last.nanos_since(first) as f64 / f64::from(READS / ROWS));
    }
    ClockCost { read_ns, step_ns }
}

/// The clock sources that the kernel could use.
#[must_use]
pub fn clock_sources() -> Vec<String> {
    let text = read("/sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// How much later than asked the kernel may let this thread sleep, to save wake-ups.
#[must_use]
pub fn timer_slack_ns() -> Option<u64> {
    get_timerslack().ok().and_then(|slack| u64::try_from(slack).ok())
}

/// Open files that this process may have: now, and at most.
#[must_use]
pub fn file_limit() -> Option<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).ok()
}

/// Counts the time that the hypervisor gave to others while we wanted to run.
#[derive(Clone, Copy, Debug)]
pub struct StealMeter {
    stolen: u64,
    all: u64,
}

impl StealMeter {
    /// Begins now; `None` where the kernel does not count.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share of all processors since then; `None` if no tick has passed.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let now = Self::start()?;
        let all = now.all.checked_sub(self.all).filter(|all| *all > 0)?;
        Some(now.stolen.saturating_sub(self.stolen) as f64 / all as f64)
    }

    /// Of the first line: user, nice, system, idle, iowait, irq, softirq, steal.
    fn of(text: &str) -> Option<Self> {
        let words = text.lines().next()?.split_ascii_whitespace().skip(1).take(8);
        let fields: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        (fields.len() == 8).then(|| Self { stolen: fields[7], all: fields.iter().sum() })
    }
}

/// Who may open ICMP datagram sockets: the least and the greatest group.
#[must_use]
pub fn ping_group_range() -> Option<String> {
    read("/proc/sys/net/ipv4/ping_group_range").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_figure() {
        let meter = StealMeter::of("cpu  100 0 50 800 40 0 5 5 60 0\ncpu0 1\n").unwrap();
        assert_eq!((meter.stolen, meter.all), (5, 1_000));
        assert!(StealMeter::of("cpu 1 2 3\n").is_none());
    }

    #[test]
    fn a_read_of_the_clock_takes_time_and_less_than_a_millisecond() {
        let cost = clock_cost();
        assert!(cost.read_ns > 0.0 && cost.read_ns < 1e6, "{cost:?}");
        assert!(cost.step_ns.is_some_and(|step| step > 0));
    }
}
