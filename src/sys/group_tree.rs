//! The trees of control groups that name processes, and every group in them.
//!
//! Separate from what single groups use: whoever watches groups come and go must first know those that are there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file::read_text;

/// Longest table of mounts, and list of processes, that is read.
const TEXT_LIMIT: u64 = 1 << 20;

/// Groups that are looked at: more than any node has.
const MOST_GROUPS: usize = 100_000;

/// A group that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its tree, as the kernel counts: 0 is the unified one.
    pub hierarchy: i32,
    /// Its id in the tree.
    pub id: u64,
    /// Its path in the tree, with a slash at its beginning.
    pub path: String,
    /// The processes in it.
    pub processes: Vec<u32>,
}

/// Where the unified tree is mounted.
#[must_use]
pub fn unified() -> Option<PathBuf> {
    mount_in(&mounts()?, |kind, _| kind == "cgroup2")
}

/// All groups of the unified tree, and of that of the controller of processes where it is another.
#[must_use]
pub fn groups() -> Vec<Found> {
    let mut all = Vec::new();
    if let Some(tree) = unified() {
        walk(&tree, 0, &mut all);
    }
    let numbers = read_text(Path::new("/proc/self/cgroup"), TEXT_LIMIT).unwrap_or_default();
    if let (Some(number), Some(mounts)) = (split_number(&numbers), mounts())
        && let Some(tree) =
            mount_in(&mounts, |kind, options| kind == "cgroup" && options.split(',').any(|o| o == "pids"))
    {
        walk(&tree, number, &mut all);
    }
    all
}

fn mounts() -> Option<String> {
    read_text(Path::new("/proc/self/mounts"), TEXT_LIMIT).ok()
}

fn mount_in(mounts: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, place, kind, options, ..] if is_it(kind, options) => Some(PathBuf::from(place)),
        _ => None,
    })
}

/// The number of the tree of the controller of processes.
fn split_number(groups: &str) -> Option<i32> {
    groups.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, _) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == "pids").then(|| number.parse().ok())?
    })
}

fn walk(tree: &Path, hierarchy: i32, all: &mut Vec<Found>) {
    let mut waiting = vec![tree.to_owned()];
    while let Some(folder) = waiting.pop() {
        if all.len() >= MOST_GROUPS {
            return;
        }
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let inner = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(inner.map(|entry| entry.path()));
        // One that vanishes meanwhile is none.
        let (Ok(found), Ok(path)) = (fs::metadata(&folder), folder.strip_prefix(tree)) else { continue };
        let processes = read_text(&folder.join("cgroup.procs"), TEXT_LIMIT).unwrap_or_default();
        all.push(Found {
            hierarchy,
            id: found.ino(),
            path: format!("/{}", path.to_string_lossy()),
            processes: processes.lines().filter_map(|line| line.parse().ok()).collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trees_are_found_among_the_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
                      odd\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let unified = mount_in(mounts, |kind, _| kind == "cgroup2");
        assert_eq!(unified, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_in("cgroup /a cgroup rw,cpu 0 0\n", |kind, _| kind == "cgroup2"), None);
        assert_eq!(split_number("9:name=systemd:/\n8:cpu,pids:/\n0::/\n"), Some(8));
        assert_eq!(split_number("0::/\n"), None);
    }

    #[test]
    fn every_group_is_found_with_its_processes() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("docker/ab")).unwrap();
        fs::write(tree.path().join("docker/ab/cgroup.procs"), "7\n9\n").unwrap();
        let mut all = Vec::new();
        walk(tree.path(), 0, &mut all);
        let paths: Vec<(&str, &[u32])> = all.iter().map(|found| (found.path.as_str(), &found.processes[..])).collect();
        assert_eq!(paths, [("/", &[][..]), ("/docker", &[]), ("/docker/ab", &[7, 9])]);
        assert!(all.iter().all(|found| found.id > 0));
    }
}
