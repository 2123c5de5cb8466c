//! What the records of the kernel mean for containers: a pure machine.
//!
//! Separate from the reading, so that each order of records can be tried. A container is made with the first of its groups, for
//! an engine makes one in each tree, and removed with the last. Its process is the first that executes a program in it; what
//! the same process executes later, as a busybox that begins itself anew, is no second start.

use std::collections::{HashMap, HashSet, VecDeque};

use super::container::{Place, place_of};
use super::record::{Group, Record, What};
use crate::model::Stamp;
use crate::source::watch::{Act, Sight, Told};

/// How runtimes call themselves while they make a container ready in its group: by their own file, not by a program of the
/// container's.
const PREPARING: [&str; 3] = ["/dev/fd/", "/proc/self/", "memfd:"];

/// Paths of unknown shape that are told, by the folder that they lie in.
const MOST_ODD: usize = 10;

/// Containers that are remembered after they were removed, so that what is left of them makes no second removal.
const MOST_GONE: usize = 256;

/// What is known of the containers on this host.
#[derive(Debug, Default)]
pub struct Tracker {
    groups: HashMap<Group, Member>,
    containers: HashMap<String, Container>,
    /// The containers that processes are in, where they were seen to begin there.
    processes: HashMap<u32, String>,
    gone: VecDeque<String>,
    odd: HashSet<String>,
}

#[derive(Debug)]
struct Member {
    container: String,
    is_own: bool,
}

#[derive(Debug, Default)]
struct Container {
    /// How many of its own groups there are.
    group_count: usize,
    /// Its first process.
    first: Option<u32>,
}

impl Tracker {
    /// A group that was there before the watching began, with the ids of its processes.
    pub fn is_there(&mut self, group: Group, path: &str, processes: &[u32]) {
        let Place::Container { id, is_own } = place_of(path) else { return };
        let container = self.containers.entry(id.clone()).or_default();
        if self.groups.insert(group, Member { container: id.clone(), is_own }).is_none() && is_own {
            container.group_count += 1;
        }
        // The first to be there has the lowest id, until ids begin anew.
        let first = container.first.into_iter().chain(processes.iter().copied()).min();
        container.first = first;
        self.processes.extend(first.map(|process| (process, id)));
    }

    /// What a record means, seen at `seen`.
    pub fn take(&mut self, record: Record, seen: Stamp) -> Option<Told> {
        let (stamp, mut exit_code) = (record.stamp, None);
        let (container, act) = match record.what {
            What::Made { group, path } => match self.made(group, &path) {
                Ok(made) => (made?, Act::Create),
                Err(odd) => return self.tell_once(odd),
            },
            What::Removed { group, path } => (self.removed(group, &path)?, Act::Destroy),
            What::Attach { process, group } => {
                self.processes.insert(process, self.groups.get(&group)?.container.clone());
                return None;
            }
            What::Exec { process, groups, program } => (self.executed(process, groups, &program)?, Act::Start),
            What::Exit { process, status } => {
                exit_code = Some(exit_code_of(status));
                (self.ended(process)?, Act::Exit)
            }
            What::Victim { process, groups } => {
                (self.member(groups).or_else(|| self.processes.get(&process).cloned())?, Act::Oom)
            }
        };
        Some(Told::Saw(Sight { container, act, seen, stamped: Some(stamp), kernel: true, implied: false, exit_code }))
    }

    /// The container that begins with this group.
    fn made(&mut self, group: Group, path: &str) -> Result<Option<String>, String> {
        let (id, is_own) = match place_of(path) {
            Place::Container { id, is_own } => (id, is_own),
            Place::Host => return Ok(None),
            Place::Unknown => return Err(path.to_owned()),
        };
        let is_known = self.containers.contains_key(&id);
        let is_new = self.groups.insert(group, Member { container: id.clone(), is_own }).is_none();
        let container = self.containers.entry(id.clone()).or_default();
        container.group_count += usize::from(is_own && is_new);
        self.gone.retain(|gone| *gone != id);
        Ok((is_own && !is_known).then_some(id))
    }

    /// The container that ends with this group.
    fn removed(&mut self, group: Group, path: &str) -> Option<String> {
        let (id, is_own) = match (self.groups.remove(&group), place_of(path)) {
            (Some(member), _) => (member.container, member.is_own),
            // It was there before us, in a tree that was not looked at: one of its groups is as good as the other.
            (None, Place::Container { id, is_own }) if !self.containers.contains_key(&id) => (id, is_own),
            _ => return None,
        };
        if !is_own || self.gone.contains(&id) {
            return None;
        }
        if let Some(container) = self.containers.get_mut(&id) {
            container.group_count = container.group_count.saturating_sub(1);
            if container.group_count > 0 {
                return None;
            }
            self.containers.remove(&id);
            self.processes.retain(|_, container| *container != id);
            self.groups.retain(|_, member| member.container != id);
        }
        self.gone.push_back(id.clone());
        if self.gone.len() > MOST_GONE {
            self.gone.pop_front();
        }
        Some(id)
    }

    /// The container that a process starts by executing its first program.
    fn executed(&mut self, process: u32, groups: [Group; 2], program: &str) -> Option<String> {
        let id = self.member(groups)?;
        let container = self.containers.get_mut(&id)?;
        if container.first.is_some() || PREPARING.iter().any(|own| program.starts_with(own)) {
            return None;
        }
        container.first = Some(process);
        self.processes.insert(process, id.clone());
        Some(id)
    }

    /// The container whose first process this was.
    fn ended(&mut self, process: u32) -> Option<String> {
        let id = self.processes.remove(&process)?;
        (self.containers.get(&id)?.first == Some(process)).then_some(id)
    }

    fn member(&self, groups: [Group; 2]) -> Option<String> {
        groups.iter().find_map(|group| self.groups.get(group)).map(|member| member.container.clone())
    }

    /// Names a path of unknown shape, the first of its folder.
    fn tell_once(&mut self, path: String) -> Option<Told> {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        if self.odd.len() >= MOST_ODD || !self.odd.insert(folder) {
            return None;
        }
        Some(Told::Odd(format!(
            "the control group `{path}` is named as none of the engines that are known; it and others beside it are passed over"
        )))
    }
}

/// What shells and engines call it: the code of a process that ended by itself, else 128 and its signal (wait(2)).
fn exit_code_of(status: u32) -> i64 {
    match status & 0x7f {
        0 => i64::from(status >> 8 & 0xff),
        signal => 128 + i64::from(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: Group = Group { hierarchy: 0, id: 10 };
    const SPLIT: Group = Group { hierarchy: 8, id: 10 };
    const NONE: Group = Group { hierarchy: 3, id: 1 };

    fn id() -> String {
        "0123456789abcdef".repeat(4)
    }

    /// What a row of records means.
    fn acts(tracker: &mut Tracker, all: Vec<What>) -> Vec<(Act, u64)> {
        let mut found = Vec::new();
        for (at, what) in all.into_iter().enumerate() {
            let at = at as u64;
            match tracker.take(Record { stamp: Stamp::from_nanos(at), what }, Stamp::from_nanos(at + 100)) {
                Some(Told::Saw(sight)) => {
                    assert_eq!((sight.seen, sight.kernel), (Stamp::from_nanos(at + 100), true));
                    assert_eq!((sight.container, sight.implied), (id(), false));
                    assert_eq!(sight.exit_code, (sight.act == Act::Exit).then_some(3));
                    found.push((sight.act, sight.stamped.unwrap().as_nanos()));
                }
                None => {}
                other => panic!("{other:?}"),
            }
        }
        found
    }

    fn made(group: Group, tail: &str) -> What {
        What::Made { group, path: format!("/docker/{}{tail}", id()) }
    }

    fn removed(group: Group) -> What {
        What::Removed { group, path: format!("/docker/{}", id()) }
    }

    fn exec(process: u32, group: Group, program: &str) -> What {
        What::Exec { process, groups: [group, NONE], program: program.to_owned() }
    }

    #[test]
    fn a_signal_is_told_as_shells_tell_it() {
        assert_eq!([0, 0x300, 9, 0x8b].map(exit_code_of), [0, 3, 137, 139]);
    }

    #[test]
    fn a_life_in_two_trees_is_one_life() {
        let inner = Group { hierarchy: 0, id: 11 };
        let life = vec![
            made(SPLIT, ""),
            made(UNIFIED, ""),
            What::Attach { process: 5, group: UNIFIED },
            exec(5, UNIFIED, "/proc/self/exe"),
            exec(7, UNIFIED, "/bin/sleep"),
            exec(7, UNIFIED, "/proc/self/exe"),
            exec(8, UNIFIED, "/bin/ls"),
            made(inner, "/inner"),
            What::Exit { process: 8, status: 0x300 },
            What::Exit { process: 5, status: 0x300 },
            What::Victim { process: 7, groups: [NONE, SPLIT] },
            What::Exit { process: 7, status: 0x300 },
            What::Exit { process: 7, status: 0x300 },
            removed(SPLIT),
            removed(UNIFIED),
            removed(NONE),
        ];
        let expected = [(Act::Create, 0), (Act::Start, 4), (Act::Oom, 10), (Act::Exit, 11), (Act::Destroy, 14)];
        let mut tracker = Tracker::default();
        assert_eq!(acts(&mut tracker, life), expected);
        assert!(tracker.groups.is_empty() && tracker.containers.is_empty() && tracker.processes.is_empty());
        assert_eq!(acts(&mut tracker, vec![made(UNIFIED, "")]), [(Act::Create, 0)], "the same id, made anew");
    }

    #[test]
    fn a_container_that_was_there_ends_and_does_not_start() {
        let mut tracker = Tracker::default();
        tracker.is_there(UNIFIED, &format!("/docker/{}", id()), &[9, 7]);
        let life = vec![
            exec(20, UNIFIED, "/bin/ls"),
            What::Exit { process: 20, status: 0x300 },
            What::Exit { process: 7, status: 0x300 },
            removed(SPLIT),
            removed(UNIFIED),
        ];
        assert_eq!(acts(&mut tracker, life), [(Act::Exit, 2), (Act::Destroy, 4)]);
        let before = vec![removed(SPLIT), removed(UNIFIED)];
        assert_eq!(acts(&mut Tracker::default(), before), [(Act::Destroy, 0)]);
    }

    #[test]
    fn an_old_kernel_names_a_victim_by_its_process_alone() {
        let life = vec![
            made(UNIFIED, ""),
            What::Attach { process: 5, group: UNIFIED },
            What::Victim { process: 5, groups: [NONE, NONE] },
        ];
        assert_eq!(acts(&mut Tracker::default(), life), [(Act::Create, 0), (Act::Oom, 2)]);
    }

    #[test]
    fn what_is_no_container_is_passed_over_and_an_unknown_shape_told_once() {
        let mut tracker = Tracker::default();
        let mut take = |path: &str| {
            let what = What::Made { group: UNIFIED, path: path.to_owned() };
            tracker.take(Record { stamp: Stamp::from_nanos(1), what }, Stamp::from_nanos(2))
        };
        assert_eq!(take("/system.slice/ssh.service"), None);
        assert!(matches!(take("/lxc/web"), Some(Told::Odd(text)) if text.contains("`/lxc/web`")));
        assert_eq!(take("/lxc/other"), None);
        let told = (0..100).filter_map(|folder| take(&format!("/odd{folder}/x"))).count();
        assert_eq!(told, MOST_ODD - 1);
    }
}
