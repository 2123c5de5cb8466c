//! Network namespaces of our own, without a name: the kernel removes one, and the links that end in it, when the last
//! descriptor and the last process in it are gone, however we end.
//!
//! Separate because a namespace belongs to a thread and not to a process: it is made and entered on threads of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, held by a descriptor.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new one, in which nothing is up.
    ///
    /// # Errors
    /// Without the privilege, or where the kernel has no namespaces left.
    pub fn new() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })
    }

    /// A path that leads to it, as `ip` and `nsenter` take it, as long as this process holds it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs something inside, on a thread of its own. Sockets that are made there stay there.
    ///
    /// # Errors
    /// When it cannot be entered; else as `inside` says.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_a_thread(|| {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
            inside()
        })
    }

    /// Makes a command begin inside.
    ///
    /// # Errors
    /// When there are no descriptors left.
    #[expect(unsafe_code, reason = "a child enters a namespace between fork and exec")]
    pub fn enter(&self, command: &mut Command) -> io::Result<()> {
        let namespace = self.0.try_clone()?;
        // SAFETY: between fork and exec the closure makes one system call on a descriptor that it owns, and allocates
        // nothing.
        unsafe {
            command.pre_exec(move || Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?));
        }
        Ok(())
    }
}

/// A thread is the unit that has a namespace, so what changes it happens on one that ends afterwards.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside of the namespace panicked")))
    })
}
