//! Control groups of our own in the unified tree, and processes that begin in them: containers without an engine.
//!
//! Separate from what reads the groups of others. The name of their folder is the mark of the process that made them, for a
//! folder of the kernel's holds no files of ours; what a killed run left is found by the next.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::clock;
use super::exec::{die_with_parent, find_program};
use super::group_tree;
use super::owner::{Fate, Owner};

/// What the name of a folder of ours begins with; the rest is the mark.
const PREFIX: &str = "offloadctl-groups,";

/// How long the kernel may take to let go of a group whose processes have ended, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// Groups that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// There is no unified tree.
    #[error("no cgroup2 file system is mounted here")]
    NoTree,
    /// A folder cannot be made or written to.
    #[error("cannot make a control group in `{}`", .0.display())]
    Make(PathBuf, #[source] io::Error),
    /// The program of the processes is not there.
    #[error("there is no program `{0}`")]
    Program(&'static str),
    /// A process cannot be started.
    #[error("cannot start a process in the control group `{}`", .0.display())]
    Start(PathBuf, #[source] io::Error),
    /// A process cannot be ended.
    #[error("cannot end the process in the control group `{}`", .0.display())]
    End(PathBuf, #[source] io::Error),
    /// Nobody holds it any more.
    #[error("there is no control group `{0}` of ours any more")]
    Gone(String),
    /// A folder cannot be removed.
    #[error("cannot remove the control group `{}`", .0.display())]
    Remove(PathBuf, #[source] io::Error),
}

impl GroupError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTree => "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`".to_owned(),
            Self::Make(..) => "groups are made by root where /sys/fs/cgroup may be written to: on the host, or in a privileged container".to_owned(),
            Self::Program(name) => format!("install `{name}`: it comes with coreutils or busybox"),
            Self::Start(..) | Self::End(..) | Self::Gone(_) | Self::Remove(..) => return None,
        })
    }
}

/// A folder of ours in the unified tree; gone with everything in it when this is dropped.
#[derive(Debug)]
pub struct OwnGroups {
    folder: PathBuf,
    program: PathBuf,
}

/// One group of ours.
#[derive(Debug)]
pub struct OwnGroup {
    folder: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl OwnGroups {
    /// Makes the folder, and removes those that killed runs have left; what was removed, in a sentence each.
    ///
    /// # Errors
    /// Where there is no unified tree that we may write to, or nothing to run in it.
    pub fn make() -> Result<(Self, Vec<String>), GroupError> {
        let tree = group_tree::unified().ok_or(GroupError::NoTree)?;
        let program = find_program(Path::new("sleep")).ok_or(GroupError::Program("sleep"))?;
        let removed = sweep(&tree);
        // Several in one process differ by the last word.
        let mark = Owner::ours().to_string().replace(' ', ",");
        let folder = tree.join(format!("{PREFIX}{mark},number={:x}", clock::entropy()));
        fs::create_dir(&folder).map_err(|source| GroupError::Make(tree, source))?;
        Ok((Self { folder, program }, removed))
    }

    /// Makes a group in it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(&self, name: &str) -> Result<OwnGroup, GroupError> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).map_err(|source| GroupError::Make(self.folder.clone(), source))?;
        Ok(OwnGroup { folder, program: self.program.clone(), child: None })
    }
}

impl Drop for OwnGroups {
    fn drop(&mut self) {
        clear(&self.folder);
    }
}

impl OwnGroup {
    /// Starts a process that does nothing in the group. It ends with the thread that calls this.
    ///
    /// # Errors
    /// When it cannot be started.
    #[expect(unsafe_code, reason = "a child enters its group between fork and exec")]
    pub fn start(&mut self) -> Result<(), GroupError> {
        let failed = |source| GroupError::Start(self.folder.clone(), source);
        let door = OpenOptions::new().write(true).open(self.folder.join("cgroup.procs")).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.arg("86400").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let parent = std::process::id().cast_signed();
        // SAFETY: between fork and exec it makes system calls on numbers and on a descriptor that it owns, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                die_with_parent(parent, libc::SIGKILL)?;
                (&door).write_all(b"0")
            });
        }
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Ends its process.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn end(&mut self) -> Result<(), GroupError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = child.kill().and_then(|()| child.wait().map(drop));
        ended.map_err(|source| GroupError::End(self.folder.clone(), source))
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the kernel refuses for longer than it takes to let go.
    pub fn remove(mut self) -> Result<(), GroupError> {
        self.end()?;
        remove(&self.folder).map_err(|source| GroupError::Remove(self.folder.clone(), source))
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        let _ = self.end();
        // Gone already where it was removed; else the folder above it clears it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Whether a folder of this name is one of ours.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Removes what killed runs have left in this tree.
fn sweep(tree: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(tree) else { return Vec::new() };
    let left = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let owner: Owner = name.strip_prefix(PREFIX)?.replace(',', " ").parse().ok()?;
        let folder = tree.join(&name);
        (owner.fate() == Fate::Gone && clear(&folder)).then(|| {
            format!(
                "the control groups `{}` were removed: process {} had left them when it was killed",
                folder.display(),
                owner.process()
            )
        })
    });
    left.collect()
}

/// Removes a folder of ours with the groups in it; whether it is gone. Their processes end with the thread that started them.
fn clear(folder: &Path) -> bool {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in inner.filter(|path| path.is_dir()) {
        let _ = remove(&group);
    }
    remove(folder).is_ok()
}

/// Removes a group; the kernel is busy with it for a moment after its last process has ended.
fn remove(folder: &Path) -> io::Result<()> {
    let since = clock::now();
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && clock::now().since(since) < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_of_ours_left_is_removed() {
        // Any folder will do: what removes a group removes an empty folder.
        let place = tempfile::tempdir().unwrap();
        let mut gone = Command::new("true").spawn().unwrap();
        let mark = |process: u32| {
            Owner::ours().to_string().replace(' ', ",").replacen(
                &std::process::id().to_string(),
                &process.to_string(),
                1,
            )
        };
        gone.wait().unwrap();
        let make = |name: String| {
            fs::create_dir_all(place.path().join(&name).join("one")).unwrap();
            place.path().join(name)
        };
        let ours = make(format!("{PREFIX}{},number=1", mark(std::process::id())));
        let other = make("offloadctl-other".to_owned());
        assert!(sweep(place.path()).is_empty());
        assert!(ours.exists() && other.exists());
        assert!(is_ours(ours.file_name().unwrap().to_str().unwrap()) && !is_ours("offloadctl-other"));
        assert!(clear(&ours) && !ours.exists());
    }
}
