//! Other programs: where they are, which port they may have, how they ended, and that they end with us.
//!
//! Separate because servers, helpers and a user's command are each run in a way of their own and share these.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

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

/// Asks the kernel, in a child, for a signal when the parent ends, which it may have done just before.
#[expect(unsafe_code, reason = "only the child itself can ask to die with its parent")]
pub(super) fn die_with_parent(parent: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two system calls without pointers.
    unsafe {
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, signal))?;
        if libc::getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    }
}

/// The result of a system call, or what the system says of its failure.
pub(super) fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_told_in_words() {
        let texts = [7 << 8, 9].map(|status| ending_text(ExitStatus::from_raw(status)));
        assert_eq!(texts, ["it ended with exit code 7", "signal 9 ended it"]);
    }

    #[test]
    fn programs_are_found_where_the_shell_finds_them() {
        assert!(find_program(Path::new("sh")).is_some());
        assert_eq!(find_program(Path::new("no-such-program-anywhere")), None);
        assert_eq!(find_program(Path::new("./no-such-program")), None);
    }
}
