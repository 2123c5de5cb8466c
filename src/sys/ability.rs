//! Settings of this host that decide how finely it measures: clock sources, timer slack, processor time and limits.
//!
//! Separate from the facts that every run carries because only `doctor` asks for them. What cannot be read is absent.

use std::fs;
use std::path::{Component, Path, PathBuf};

use nix::sys::prctl::get_timerslack;
use nix::sys::resource::{Resource, getrlimit};

use super::clock;

/// Reads of the clock that are timed together.
const READS: u32 = 100_000;

/// What reading the clock costs, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClockCost {
    /// One read.
    pub read_ns: f64,
    /// The least by which two reads differed, if they did.
    pub step_ns: Option<u64>,
}

/// Reads the clock many times in a row.
#[must_use]
pub fn clock_cost() -> ClockCost {
    let first = clock::now();
    let (mut last, mut step_ns) = (first, None);
    for _ in 0..READS {
        let now = clock::now();
        let step = now.nanos_since(last);
        step_ns = step_ns.into_iter().chain((step > 0).then_some(step)).min();
        last = now;
    }
    ClockCost { read_ns: last.nanos_since(first) as f64 / f64::from(READS), step_ns }
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

/// Processors that the control group of this process is limited to, by itself or by one that it is in; `None` without a
/// limit.
#[must_use]
pub fn processor_quota() -> Option<f64> {
    quota_under(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")?)
}

fn quota_under(root: &Path, groups: &str) -> Option<f64> {
    let unified = |folder: &Path| quota_of_unified(&read(folder.join("cpu.max"))?);
    let file = |folder: &Path, name: &str| read(folder.join(format!("cpu.cfs_{name}_us")))?.parse().ok();
    let split = |folder: &Path| quota(file(folder, "quota")?, file(folder, "period")?);
    let above = |mount: &Path, controller: &str| lineage(mount, group_of(groups, controller));
    let unified = above(root, "").into_iter().filter_map(|folder| unified(&folder));
    let split = above(&root.join("cpu"), "cpu").into_iter().filter_map(|folder| split(&folder));
    unified.chain(split).reduce(f64::min)
}

/// The folder of a group, and those of all that it is in. A container may be told the path on the host, which its own mount
/// does not have: its group is the mount's root then.
fn lineage(mount: &Path, group: Option<&str>) -> Vec<PathBuf> {
    let Some(group) = group.map(|group| Path::new(group.trim_start_matches('/'))) else { return Vec::new() };
    let is_below = group.components().all(|part| matches!(part, Component::Normal(_))) && mount.join(group).is_dir();
    let own = if is_below { mount.join(group) } else { mount.to_owned() };
    own.ancestors().take_while(|folder| folder.starts_with(mount)).map(Path::to_owned).collect()
}

/// The path of the group of this controller: of version 2 for no name.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then(|| path.trim_end_matches('/'))
    })
}

/// Of `100000 100000`, or `max 100000`.
fn quota_of_unified(text: &str) -> Option<f64> {
    let (used, period) = text.split_once(' ')?;
    quota(used.parse().ok()?, period.parse().ok()?)
}

fn quota(used: f64, period: f64) -> Option<f64> {
    (used > 0.0 && period > 0.0).then(|| used / period)
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
    fn quotas_of_both_versions_are_read() {
        assert_eq!(quota_of_unified("150000 100000"), Some(1.5));
        assert_eq!(quota_of_unified("max 100000"), None);
        assert_eq!(quota(-1.0, 100_000.0), None);
        let groups = "9:name=systemd:/\n2:cpu,cpuacct:/docker/ab\n1:cpuset:/other\n0::/\n";
        assert_eq!((group_of(groups, "cpu"), group_of(groups, "")), (Some("/docker/ab"), Some("")));
        assert_eq!(group_of("0::/user.slice\n", "cpu"), None);
    }

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_quota_of_all_groups_that_one_is_in_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "box/cpu.max", "50000 100000\n");
        put(root, "box/service/cpu.max", "200000 100000\n");
        put(root, "box/service/own/cpu.max", "max 100000\n");
        put(root, "other/cpu.max", "10000 100000\n");
        assert_eq!(quota_under(root, "0::/box/service/own\n"), Some(0.5));
        assert_eq!(quota_under(root, "0::/\n"), None, "the root has no limit");
        put(root, "cpu/pod/cpu.cfs_quota_us", "300000\n");
        put(root, "cpu/pod/cpu.cfs_period_us", "100000\n");
        put(root, "cpu/pod/own/cpu.cfs_quota_us", "-1\n");
        put(root, "cpu/pod/own/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota_under(root, "4:cpu,cpuacct:/pod/own\n"), Some(3.0));
    }

    #[test]
    fn a_container_that_is_told_a_path_of_the_host_has_the_quota_of_its_mount() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "mount/cpu.max", "150000 100000\n");
        put(root.path(), "mount/beside/cpu.max", "20000 100000\n");
        put(root.path(), "outside/cpu.max", "10000 100000\n");
        let mount = root.path().join("mount");
        for told in ["0::/docker/0123abc\n", "0::/../../outside\n", "0::/../outside\n"] {
            assert_eq!(quota_under(&mount, told), Some(1.5), "{told}");
        }
        assert_eq!(quota_under(&mount, "0::/beside\n"), Some(0.2));
    }

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
