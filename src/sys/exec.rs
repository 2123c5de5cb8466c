//! Other programs as children of this one: started, watched, and gone when this one is, however it ends.
//!
//! Separate because a server that is left behind holds a port and a folder. A child gets a process group of its own, so
//! that Ctrl-C reaches only us and we end it in our order; and the kernel ends it if we are killed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::clock;

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Pause between two looks at a child that is ending.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A running child; dropping it ends it and waits for it.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a program with its output in `log`. The calling thread must live as long as the child: the kernel ends the
    /// child with it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A], log: &File) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
        die_with_us(&mut command);
        Ok(Self { child: command.spawn()? })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, without a chance to say goodbye.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Stops it as it is, until [`Server::thaw`]: its connections stay open, and nothing in it runs.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends it the signal whose meaning is the program's own.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn nudge(&self) -> io::Result<()> {
        self.signal(Signal::SIGUSR1)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child that has ended already cannot be signalled, and needs none.
        let _ = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        let asked = clock::now();
        while matches!(self.child.try_wait(), Ok(None)) && clock::now().since(asked) < GRACE {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a child ended, in words.
#[must_use]
pub fn ending_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "it ended".to_owned(),
    }
}

/// A program by its path, or by its name in the folders of `PATH`.
#[must_use]
pub fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return name.is_file().then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// A TCP port on 127.0.0.1 that nobody listens on at this moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[expect(unsafe_code, reason = "only the child itself can ask to die with its parent")]
fn die_with_us(command: &mut Command) {
    let ours = std::process::id();
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have died before the line above.
            if libc::getppid().cast_unsigned() != ours {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_is_gone() {
        let log = tempfile::tempfile().unwrap();
        let mut server = Server::start(Path::new("sleep"), &["600"], &log).unwrap();
        assert_eq!(server.ended().unwrap(), None);
        let id = Pid::from_raw(server.id().cast_signed());
        drop(server);
        assert_eq!(kill(id, None), Err(nix::Error::ESRCH));
    }

    #[test]
    fn a_frozen_child_can_be_killed_and_is_gone_at_once() {
        let log = tempfile::tempfile().unwrap();
        let mut server = Server::start(Path::new("sleep"), &["600"], &log).unwrap();
        server.freeze().unwrap();
        let asked = clock::now();
        server.kill().unwrap();
        drop(server);
        assert!(clock::now().since(asked) < GRACE);
    }

    #[test]
    fn a_child_that_ends_says_how() {
        let log = tempfile::tempfile().unwrap();
        let mut server = Server::start(Path::new("sh"), &["-c", "exit 7"], &log).unwrap();
        let status = loop {
            if let Some(status) = server.ended().unwrap() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(ending_text(status), "it ended with exit code 7");
    }

    #[test]
    fn programs_are_found_where_the_shell_finds_them() {
        assert!(find_program(Path::new("sh")).is_some());
        assert_eq!(find_program(Path::new("no-such-program-anywhere")), None);
        assert_eq!(find_program(Path::new("./no-such-program")), None);
    }
}
