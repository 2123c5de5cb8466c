//! Whose something is that outlives its process where that is killed: the mark of a process, and whether it still runs.
//!
//! Separate because a process id alone says nothing: ids are given away again, and each container has its own. What cannot be
//! known is not guessed: such a thing is named and left.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::host::{kernel_token, same_kernel};

/// The file that holds the mark of a folder.
const MARK: &str = ".owner";

/// Longest mark that is read.
const LONGEST: u64 = 256;

/// What the folders of ours begin with.
pub const FOLDER: &str = "offloadctl-";

/// A process, as nobody else ever is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    process: u32,
    /// When it began, in ticks since the kernel did.
    started: u64,
    /// The space that its id is of.
    space: u64,
    /// Of the running kernel.
    kernel: Option<u64>,
}

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs.
    Runs,
    /// It is gone.
    Gone,
    /// It is of another host, another start of this one, or another container.
    Unknown,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn ours() -> Self {
        let process = std::process::id();
        let started = start_of(process).unwrap_or(0);
        Self { process, started, space: space(), kernel: kernel_token(session(process, started)) }
    }

    /// Its process id.
    #[must_use]
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// What became of it.
    #[must_use]
    pub fn fate(&self) -> Fate {
        let is_here =
            self.space != 0 && self.space == space() && same_kernel(session(self.process, self.started), self.kernel);
        match is_here {
            false => Fate::Unknown,
            true if start_of(self.process) == Some(self.started) => Fate::Runs,
            true => Fate::Gone,
        }
    }

    /// Marks a folder as ours.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn mark(&self, folder: &Path) -> std::io::Result<()> {
        fs::write(folder.join(MARK), self.to_string())
    }
}

/// Sweeps these places; what was removed, in a sentence each.
pub fn sweep_all(places: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
    let removed = places.into_iter().flat_map(|place| sweep(&place));
    let text = |(folder, owner): (PathBuf, Owner)| {
        format!(
            "the folder `{}` was removed: process {} had left it when it was killed",
            folder.display(),
            owner.process
        )
    };
    removed.map(text).collect()
}

/// Removes the folders in `place` that processes of ours left behind when they were killed; those that it removed, with their
/// owners. One that cannot be removed is met again.
fn sweep(place: &Path) -> Vec<(PathBuf, Owner)> {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let ours = nix::unistd::geteuid().as_raw();
    let left = entries.filter_map(|entry| {
        let entry = entry.ok().filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER))?;
        let path = entry.path();
        // What somebody else made in a place for all is not believed.
        let is_own = |path: &Path, is_folder: bool| {
            fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() == is_folder && found.uid() == ours)
        };
        let mark = path.join(MARK);
        if !is_own(&path, true) || !is_own(&mark, false) {
            return None;
        }
        let owner: Owner = super::file::read_text(&mark, LONGEST).ok()?.parse().ok()?;
        (owner.fate() == Fate::Gone && fs::remove_dir_all(&path).is_ok()).then_some((path, owner))
    });
    left.collect()
}

/// When a process began; `None` where there is none of this id.
fn start_of(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name stands in brackets and may hold anything; the start is the twentieth word behind it.
    let words = text.rsplit_once(')')?.1;
    let state = words.split_ascii_whitespace().next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    words.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn space() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino())
}

fn session(process: u32, started: u64) -> u64 {
    u64::from(process) << 32 ^ started
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process={} started={} space={} kernel=", self.process, self.started, self.space)?;
        self.kernel.map_or(Ok(()), |kernel| write!(f, "{kernel:016x}"))
    }
}

/// A text that is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the mark of a process")]
pub struct NoOwner;

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Self, NoOwner> {
        let word = |key: &str| {
            let mut words = text.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).ok_or(NoOwner)
        };
        let number = |key: &str| word(key)?.parse::<u64>().map_err(|_| NoOwner);
        Ok(Self {
            process: number("process")?.try_into().map_err(|_| NoOwner)?,
            started: number("started")?,
            space: number("space")?,
            kernel: u64::from_str_radix(word("kernel")?, 16).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that has ended, and was waited for.
    fn gone() -> Owner {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let (process, started) = (child.id(), start_of(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        Owner { process, started, kernel: kernel_token(session(process, started)), ..Owner::ours() }
    }

    #[test]
    fn a_process_is_known_by_its_start_and_not_by_its_id_alone() {
        let ours = Owner::ours();
        assert_eq!((ours.to_string().parse(), ours.fate()), (Ok(ours), Fate::Runs));
        assert_eq!(gone().fate(), Fate::Gone);
        let started = ours.started + 1;
        let another = Owner { started, kernel: kernel_token(session(ours.process, started)), ..ours };
        assert_eq!(another.fate(), Fate::Gone, "the id was given away again");
        assert_eq!(Owner { space: ours.space + 1, ..gone() }.fate(), Fate::Unknown);
        assert_eq!(Owner { kernel: Some(7), ..gone() }.fate(), Fate::Unknown);
        for text in
            ["", "process=1", "process=x started=1 space=1 kernel=0", "process=99999999999 started=1 space=1 kernel="]
        {
            assert_eq!(text.parse::<Owner>(), Err(NoOwner), "{text}");
        }
    }

    #[test]
    fn only_what_a_dead_process_of_ours_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: Option<Owner>| {
            let folder = place.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("data"), "x").unwrap();
            owner.iter().for_each(|owner| owner.mark(&folder).unwrap());
            folder
        };
        let left = make("offloadctl-etcd-left", Some(gone()));
        let kept = [
            make("offloadctl-etcd-running", Some(Owner::ours())),
            make("offloadctl-etcd-elsewhere", Some(Owner { kernel: None, ..gone() })),
            make("offloadctl-etcd-unmarked", None),
            make("other", Some(gone())),
        ];
        std::os::unix::fs::symlink(&kept[3], place.path().join("offloadctl-link")).unwrap();
        let removed = sweep(place.path());
        assert_eq!(removed.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&left]);
        assert!(!left.exists() && kept.iter().all(|folder| folder.join("data").exists()));
        assert!(sweep(Path::new("/no/such/place")).is_empty());
    }
}
