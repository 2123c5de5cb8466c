//! The daemon behind a Unix socket, and the processor time that it uses.
//!
//! Separate because nobody tells who listens at a path but the kernel, and it tells who began to: where an init system holds the
//! socket for a daemon, that is not the daemon, and then nothing is known.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{SysconfVar, sysconf};

/// A process that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daemon {
    process: i32,
}

impl Daemon {
    /// Who listens at this path; `None` where that cannot be known.
    #[must_use]
    pub fn behind(socket: &Path) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        let process = getsockopt(&stream, PeerCredentials).ok()?.pid();
        // Of another space of processes, or held by the one that starts all others.
        let is_known = process > 1 && !name_of(process)?.starts_with("systemd");
        is_known.then_some(Self { process })
    }

    /// The processor time of all its threads so far, of those that have ended too; `None` when it is gone.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        let ticks = ticks_of(&fs::read_to_string(format!("/proc/{}/stat", self.process)).ok()?)?;
        let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
        Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }
}

fn name_of(process: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/comm")).ok()
}

/// What a process used for itself and in the kernel: the twelfth and thirteenth word behind its name, which may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let words: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map_while(|word| word.parse().ok())
        .collect();
    let [own, kernel] = words[..] else { return None };
    own.checked_add(kernel)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn who_listens_is_known_and_what_it_uses() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        assert_eq!(Daemon::behind(&socket), None);
        let _listener = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::behind(&socket).unwrap();
        assert_eq!(daemon.process, std::process::id() as i32);
        let before = daemon.cpu().unwrap();
        while daemon.cpu().unwrap() < before + Duration::from_millis(20) {
            std::hint::black_box((0..100_000u64).fold(0u64, |sum, n| sum.wrapping_add(n ^ sum)));
        }
    }

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        assert_eq!(ticks_of("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13"), Some(23));
        assert_eq!(ticks_of("7 (a) S 1"), None);
    }
}
