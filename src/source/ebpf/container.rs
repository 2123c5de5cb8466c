//! Which container a control group belongs to, by its path.
//!
//! Separate because each engine has a way of its own to name groups, and each cgroup driver another. The innermost container
//! counts, for a node may itself be one.

use std::collections::BTreeSet;

use crate::sys::{group_tree, own_group};

/// Digits of the ids that engines give.
const ID_DIGITS: usize = 64;

/// Namespaces of containerd whose containers lie in a folder of the namespace's name, called as whoever made them liked.
const NAMESPACES: [&str; 2] = ["default", "k8s.io"];

/// What engines write before an id, with the systemd driver or without. That of the program which watches over a container of
/// Podman or CRI-O is no container.
const PREFIXES: [&str; 5] = ["docker-", "cri-containerd-", "nerdctl-", "crio-", "libpod-"];
const WATCHERS: [&str; 2] = ["crio-conmon-", "libpod-conmon-"];

/// Folders that hold containers or pods and are none, and those of the host that systemd does not mark by a suffix.
const HOLDERS: [&str; 9] =
    ["docker", "kubepods", "besteffort", "burstable", "guaranteed", "libpod_parent", "moby", "buildkit", "conmon"];

/// What systemd appends to the groups of its units.
const UNITS: [&str; 6] = [".slice", ".service", ".scope", ".mount", ".socket", ".swap"];

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A container.
    Container {
        /// Its full id, or its name where it has no id.
        id: String,
        /// Whether the group is the container's own, and not one that was made inside.
        is_own: bool,
    },
    /// A part of the host that is known to be no container.
    Host,
    /// Of a shape that is not known.
    Unknown,
}

/// What the path of a group says.
#[must_use]
pub fn place_of(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (at, part) in parts.iter().enumerate().rev() {
        if let Some(id) = container(parts[..at].last().copied(), at, part) {
            // What is below it belongs to it: Podman itself puts the processes into one there.
            return Place::Container { id: id.to_owned(), is_own: at + 1 == parts.len() };
        }
    }
    if parts.iter().all(|part| is_of_the_host(part)) || is_watcher(&parts) { Place::Host } else { Place::Unknown }
}

/// The containers that have a process now.
#[must_use]
pub fn running() -> Vec<String> {
    let groups = group_tree::groups().into_iter().filter(|group| !group.processes.is_empty());
    let places = groups.filter_map(|group| match place_of(&group.path) {
        Place::Container { id, .. } => Some(id),
        Place::Host | Place::Unknown => None,
    });
    places.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The id, if this part of a path is a container's.
fn container<'a>(parent: Option<&str>, depth: usize, part: &'a str) -> Option<&'a str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if WATCHERS.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if is_id(bare) {
        return Some(bare);
    }
    let parent = parent?;
    let is_named = depth == 1 && NAMESPACES.contains(&parent) || own_group::is_ours(parent);
    (is_named && !part.is_empty()).then_some(part)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_of_the_host(part: &str) -> bool {
    let is_pod = part.strip_prefix("pod").is_some_and(|rest| rest.len() >= 32);
    is_pod
        || HOLDERS.contains(&part)
        || NAMESPACES.contains(&part)
        || own_group::is_ours(part)
        || UNITS.iter().any(|suffix| part.ends_with(suffix))
}

fn is_watcher(parts: &[&str]) -> bool {
    parts.iter().any(|part| WATCHERS.iter().any(|prefix| part.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines `PATH  WORD [ID]` with `ID` in the path for sixty-four digits; see the note in the file.
    const CASES: &str = include_str!("../../../fixtures/cgroup/paths.txt");

    #[test]
    fn paths_of_every_engine_and_driver_are_read() {
        let digits = "0123456789abcdef".repeat(4);
        let mut count = 0;
        for line in CASES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let line = line.replace("OUTER", &"f".repeat(ID_DIGITS)).replace("ID", &digits);
            let words: Vec<&str> = line.split_whitespace().collect();
            let expected = match words[1..] {
                ["container", id] => Place::Container { id: id.to_owned(), is_own: true },
                ["inside", id] => Place::Container { id: id.to_owned(), is_own: false },
                ["host"] => Place::Host,
                ["unknown"] => Place::Unknown,
                _ => panic!("{line}"),
            };
            assert_eq!(place_of(words[0]), expected, "{}", words[0]);
            count += 1;
        }
        assert!(count > 25, "{count} cases");
    }
}
