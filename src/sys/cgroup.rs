//! What a container uses, from the files of its control group: a few microseconds, where a question to the runtime costs
//! it and us a thousand times that.
//!
//! Separate because the paths and formats are the kernel's and the runtimes'. What is not found is absent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// What a group has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumption {
    /// Time of processors since its beginning.
    pub cpu: Duration,
    /// Memory that it holds now.
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

/// Version 2: one tree, by either driver of Docker.
fn unified(root: &Path, id: &str) -> Option<Consumption> {
    let folders = [root.join("docker").join(id), root.join(format!("system.slice/docker-{id}.scope"))];
    let folder = folders.into_iter().find(|folder| folder.join("memory.current").exists())?;
    let statistics = fs::read_to_string(folder.join("cpu.stat")).ok()?;
    let micros = statistics.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(Consumption { cpu: Duration::from_micros(micros), memory_bytes: number(folder.join("memory.current"))? })
}

/// Version 1: a tree for each controller.
fn split(root: &Path, id: &str) -> Option<Consumption> {
    let file = |controller: &str, name: &str| {
        let groups = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
        groups.into_iter().find_map(|group| number(root.join(controller).join(group).join(name)))
    };
    let nanos = file("cpuacct", "cpuacct.usage").or_else(|| file("cpu,cpuacct", "cpuacct.usage"))?;
    let memory_bytes = file("memory", "memory.usage_in_bytes")?;
    Some(Consumption { cpu: Duration::from_nanos(nanos), memory_bytes })
}

fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn both_versions_and_both_drivers_are_read() {
        let expected = Some(Consumption { cpu: Duration::from_millis(1_500), memory_bytes: 4096 });
        for folder in ["docker/ab12", "system.slice/docker-ab12.scope"] {
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
    fn what_is_not_there_is_absent_and_an_id_is_no_path() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(consumption_under(root.path(), "ab12"), None);
        put(root.path(), "x/memory.current", "1");
        put(root.path(), "x/cpu.stat", "usage_usec 1\n");
        assert_eq!(consumption_under(root.path(), "../x"), None);
    }
}
