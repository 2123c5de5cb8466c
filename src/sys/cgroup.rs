//! Control groups by their files: what a container uses, in a few microseconds, where a question to the runtime costs it and us
//! a thousand times that; and how much of the processors this process may have.
//!
//! Separate because the paths and formats are the kernel's and the runtimes'. What is not found is absent.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// What a group has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Time of processors since its beginning.
    pub cpu: Duration,
    /// Memory that it holds now, without the pages of files that are kept only until somebody else needs the room: as
    /// `docker stats` counts.
    pub memory_bytes: u64,
}

/// What the container with this id has used; `None` if this host does not show it to us.
#[must_use]
pub fn consumption_of_container(id: &str) -> Option<Consumption> {
    consumption_under(Path::new(ROOT), id)
}

fn consumption_under(root: &Path, id: &str) -> Option<Consumption> {
    // An id is part of a path here.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    unified(root, id).or_else(|| split(root, id))
}

/// The groups that engines put a container into: Docker and Podman, each by either of its drivers. Podman's own begins a level
/// deeper.
fn groups_of(id: &str) -> [String; 6] {
    [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
        format!("libpod_parent/libpod-{id}"),
        format!("machine.slice/libpod-{id}.scope"),
        format!("libpod_parent/libpod-{id}/container"),
        format!("machine.slice/libpod-{id}.scope/container"),
    ]
}

/// Version 2: one tree.
fn unified(root: &Path, id: &str) -> Option<Consumption> {
    let folders = groups_of(id).map(|group| root.join(group));
    let folder = folders.into_iter().find(|folder| folder.join("memory.current").exists())?;
    let micros = of_statistics(&folder.join("cpu.stat"), "usage_usec")?;
    let held: u64 = number(folder.join("memory.current"))?;
    let cached = of_statistics(&folder.join("memory.stat"), "inactive_file").unwrap_or(0);
    Some(Consumption { cpu: Duration::from_micros(micros), memory_bytes: in_use(held, cached) })
}

/// Version 1: a tree for each controller.
fn split(root: &Path, id: &str) -> Option<Consumption> {
    let groups = groups_of(id);
    let file = |controller: &str, name: &str| {
        groups.iter().find_map(|group| number(root.join(controller).join(group).join(name)))
    };
    let nanos = file("cpuacct", "cpuacct.usage").or_else(|| file("cpu,cpuacct", "cpuacct.usage"))?;
    let held: u64 = file("memory", "memory.usage_in_bytes")?;
    let statistics = |group: &String| root.join("memory").join(group).join("memory.stat");
    let cached = groups.iter().find_map(|group| of_statistics(&statistics(group), "total_inactive_file"));
    let memory_bytes = in_use(held, cached.unwrap_or(0));
    Some(Consumption { cpu: Duration::from_nanos(nanos), memory_bytes })
}

/// What is held without what is cached, as `docker stats` counts. The two files are not read at one moment: where they
/// contradict each other, what is held counts.
const fn in_use(held: u64, cached: u64) -> u64 {
    if cached < held { held - cached } else { held }
}

/// The number behind a name in a file of lines `NAME NUMBER`.
fn of_statistics(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Processors that the control group of this process is limited to, by itself or by one that it is in; `None` without a
/// limit.
#[must_use]
pub fn processor_quota() -> Option<f64> {
    quota_under(Path::new(ROOT), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

fn quota_under(root: &Path, groups: &str) -> Option<f64> {
    let unified = |folder: &Path| quota_of_unified(&fs::read_to_string(folder.join("cpu.max")).ok()?);
    let file = |folder: &Path, name: &str| number(folder.join(format!("cpu.cfs_{name}_us")));
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
    let (used, period) = text.trim().split_once(' ')?;
    quota(used.parse().ok()?, period.parse().ok()?)
}

fn quota(used: f64, period: f64) -> Option<f64> {
    (used > 0.0 && period > 0.0).then(|| used / period)
}

fn number<T: FromStr>(path: PathBuf) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn both_versions_and_both_drivers_are_read() {
        let expected = Some(Consumption { cpu: Duration::from_millis(1_500), memory_bytes: 4096 });
        for folder in &groups_of("ab12") {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), &format!("{folder}/cpu.stat"), "usage_usec 1500000\nuser_usec 1\n");
            put(root.path(), &format!("{folder}/memory.current"), "4096\n");
            assert_eq!(consumption_under(root.path(), "ab12"), expected, "{folder}");
            let root = tempfile::tempdir().unwrap();
            put(root.path(), &format!("cpuacct/{folder}/cpuacct.usage"), "1500000000\n");
            put(root.path(), &format!("memory/{folder}/memory.usage_in_bytes"), "4096\n");
            assert_eq!(consumption_under(root.path(), "ab12"), expected, "{folder}");
        }
    }

    #[test]
    fn the_pages_of_files_that_nobody_uses_are_not_counted() {
        let memory = |root: &TempDir| consumption_under(root.path(), "ab12").map(|used| used.memory_bytes);
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "docker/ab12/cpu.stat", "usage_usec 1\n");
        put(root.path(), "docker/ab12/memory.current", "310000000\n");
        put(root.path(), "docker/ab12/memory.stat", "anon 400000\ninactive_file 309600000\nactive_file 7\n");
        assert_eq!(memory(&root), Some(400_000));
        put(root.path(), "docker/ab12/memory.stat", "inactive_file 999999999\n");
        assert_eq!(memory(&root), Some(310_000_000), "the two files are not of one moment");
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "cpuacct/docker/ab12/cpuacct.usage", "1\n");
        put(root.path(), "memory/docker/ab12/memory.usage_in_bytes", "310000000\n");
        put(root.path(), "memory/docker/ab12/memory.stat", "inactive_file 5\ntotal_inactive_file 309600000\n");
        assert_eq!(memory(&root), Some(400_000));
    }

    #[test]
    fn what_is_not_there_is_absent_and_an_id_is_no_path() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(consumption_under(root.path(), "ab12"), None);
        put(root.path(), "x/memory.current", "1");
        put(root.path(), "x/cpu.stat", "usage_usec 1\n");
        assert_eq!(consumption_under(root.path(), "../x"), None);
    }

    #[test]
    fn quotas_of_both_versions_are_read() {
        assert_eq!(quota_of_unified("150000 100000"), Some(1.5));
        assert_eq!(quota_of_unified("max 100000"), None);
        assert_eq!(quota(-1.0, 100_000.0), None);
        let groups = "9:name=systemd:/\n2:cpu,cpuacct:/docker/ab\n1:cpuset:/other\n0::/\n";
        assert_eq!((group_of(groups, "cpu"), group_of(groups, "")), (Some("/docker/ab"), Some("")));
        assert_eq!(group_of("0::/user.slice\n", "cpu"), None);
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
}
