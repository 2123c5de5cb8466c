//! What the program in the kernel hands over, read byte for byte as `program.c` lays it out.
//!
//! Separate because the layout is an agreement between two languages.

use crate::model::Stamp;

/// Bytes of a record without a path.
const HEAD: usize = 56;

/// A control group as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Its tree: 0 is the unified one.
    pub hierarchy: i32,
    /// Its id there, which is the inode of its folder.
    pub id: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A process executes a program.
    Exec {
        /// Its id, as the host counts.
        process: u32,
        /// The groups that it is in: of the unified tree, and of the controller of processes.
        groups: [Group; 2],
        /// How the program's path begins.
        program: String,
    },
    /// The last thread of a process has ended.
    Exit {
        /// Its id.
        process: u32,
        /// How it ended, as `wait` has it.
        status: u32,
    },
    /// A process is moved into a group.
    Attach {
        /// Its id.
        process: u32,
        /// Where to.
        group: Group,
    },
    /// A group was made.
    Made {
        /// Which.
        group: Group,
        /// Its path in its tree.
        path: String,
    },
    /// A group was removed.
    Removed {
        /// Which.
        group: Group,
        /// Its path in its tree.
        path: String,
    },
    /// A process is killed for want of memory.
    Victim {
        /// Its id.
        process: u32,
        /// The groups that it is in; no group where the kernel is older than 6.9.
        groups: [Group; 2],
    },
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub stamp: Stamp,
    /// What happened.
    pub what: What,
}

/// A record from its bytes; `None` where they are none.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Record> {
    let (head, path) = bytes.split_at_checked(HEAD)?;
    let long = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let short = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let group = Group { id: long(8)?, hierarchy: short(24)?.cast_signed() };
    let split = Group { id: long(16)?, hierarchy: short(28)?.cast_signed() };
    let (process, groups) = (short(36)?, [group, split]);
    let what = match short(32)? {
        1 => What::Exec { process, groups, program: text(&head[40..]) },
        2 => What::Exit { process, status: short(40)? },
        3 => What::Attach { process, group },
        4 => What::Made { group, path: text(path) },
        5 => What::Removed { group, path: text(path) },
        6 => What::Victim { process, groups },
        _ => return None,
    };
    Some(Record { stamp: Stamp::from_nanos(long(0)?), what })
}

/// The bytes before the first that is zero.
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u32, tail: &[u8]) -> Vec<u8> {
        let mut all: Vec<u8> = [7_u64, 100, 200].iter().flat_map(|number| number.to_ne_bytes()).collect();
        all.extend([0_u32, 8, kind, 42].iter().flat_map(|number| number.to_ne_bytes()));
        all.extend(b"/bin/sleep\0\0\0\0\0\0");
        all.extend(tail);
        all
    }

    #[test]
    fn each_kind_is_read_as_it_is_laid_out() {
        let group = Group { hierarchy: 0, id: 100 };
        let groups = [group, Group { hierarchy: 8, id: 200 }];
        let path = || "/docker/ab".to_owned();
        let cases = [
            (1, What::Exec { process: 42, groups, program: "/bin/sleep".to_owned() }),
            (2, What::Exit { process: 42, status: u32::from_ne_bytes(*b"/bin") }),
            (3, What::Attach { process: 42, group }),
            (4, What::Made { group, path: path() }),
            (5, What::Removed { group, path: path() }),
            (6, What::Victim { process: 42, groups }),
        ];
        for (kind, what) in cases {
            let expected = Some(Record { stamp: Stamp::from_nanos(7), what });
            assert_eq!(parse(&bytes(kind, b"/docker/ab\0rest")), expected);
        }
    }

    #[test]
    fn what_is_cut_off_or_of_no_kind_is_no_record() {
        assert_eq!(parse(&bytes(7, b"")), None);
        assert_eq!(parse(&bytes(1, b"")[..HEAD - 1]), None);
        assert_eq!(parse(b""), None);
        assert!(
            matches!(parse(&bytes(4, b"/no/end")), Some(Record { what: What::Made { path, .. }, .. }) if path == "/no/end")
        );
    }
}
