//! A command that takes our place at the terminal, and all that it starts: everything of it is gone when the command has ended,
//! and when we have, however we ended.
//!
//! Separate from servers of our own because what a user's command starts is not known. Between it and us stands a keeper, a fork
//! of ours that adopts what the command leaves behind (PR_SET_CHILD_SUBREAPER) and ends it. A namespace of process ids would
//! do the same, and have every program that looks into /proc see the wrong ones.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::exec::{checked, die_with_parent};

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What a keeper is told by us or by the kernel when all has to end at once.
const END_ALL: Signal = Signal::SIGUSR1;

/// Bytes of one look at the keeper's children; what does not fit is found by the next one.
const LOOK: usize = 4096;

/// The largest id that Linux gives to a process.
const LAST_ID: i32 = 1 << 22;

/// Runs a command until it ends; what it has started ends with it. Signals are passed on, but an interrupt of the terminal
/// that both of us are at is not: the command has heard it there.
///
/// # Errors
/// When it cannot be started or waited for, or signals cannot be caught.
pub async fn accompany(mut command: Command) -> io::Result<ExitStatus> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    put_a_keeper_between(&mut command);
    let mut child = tokio::process::Command::from(command).spawn()?;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => if !is_in_the_foreground() {
                tell(&child, Signal::SIGINT);
            },
            _ = terminate.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    tell(&child, Signal::SIGTERM);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            tell(&child, END_ALL);
            child.wait().await
        }
    }
}

/// The exit code of a child as shells tell it: 128 and the signal's number where a signal ended it.
#[must_use]
pub fn shell_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn tell(keeper: &Child, signal: Signal) {
    // One that has ended needs no signal, and has no id any more.
    let _ = keeper.id().and_then(|id| i32::try_from(id).ok()).map(|id| kill(Pid::from_raw(id), signal));
}

/// Whether our process group is the one that the terminal's keys go to; the command is in it, unless it left.
#[expect(unsafe_code, reason = "who has the terminal is asked of the kernel")]
fn is_in_the_foreground() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    // SAFETY: a system call on a descriptor that is open, and one without arguments.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

#[expect(unsafe_code, reason = "a child becomes the keeper between fork and exec")]
fn put_a_keeper_between(command: &mut Command) {
    let ours = std::process::id().cast_signed();
    // SAFETY: the closure makes system calls only and allocates nothing, in both processes that it ends up in.
    unsafe {
        command.pre_exec(move || become_the_keeper(ours));
    }
}

/// Forks once more: the parent stays as the keeper, the child goes on and becomes the command.
#[expect(unsafe_code, reason = "signals and forks without a detour over allocations")]
fn become_the_keeper(ours: i32) -> io::Result<()> {
    let (mut all, mut former) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: every pointer is to a local of the right type, and `former` is read after it was written.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), former.as_mut_ptr());
        checked(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1))?;
        die_with_parent(ours, END_ALL as i32)?;
        let keeper = libc::getpid();
        match checked(libc::fork())? {
            0 => {
                die_with_parent(keeper, libc::SIGKILL)?;
                checked(libc::sigprocmask(libc::SIG_SETMASK, former.as_ptr(), std::ptr::null_mut()))?;
                Ok(())
            }
            command => keep(command, ours, all.assume_init()),
        }
    }
}

/// Waits until the command ends, or all has to.
#[expect(unsafe_code, reason = "a fork of a program with threads may make system calls only")]
fn keep(command: i32, ours: i32, all: libc::sigset_t) -> ! {
    // SAFETY: system calls with pointers to locals. Nothing here is used by anybody else: the descriptors are this process's
    // own copies, among them the one whose closing tells the parent that the command has begun.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        loop {
            let mut told: libc::siginfo_t = std::mem::zeroed();
            let signal = libc::sigwaitinfo(&raw const all, &raw mut told);
            let is_from_us = told.si_code == libc::SI_USER && told.si_pid() == ours;
            match signal {
                libc::SIGCHLD => {
                    if let Some(code) = reap(command) {
                        end_the_rest();
                        libc::_exit(code);
                    }
                }
                // The kernel sends it for the end of a thread, too.
                signal if signal == END_ALL as i32 && (is_from_us || libc::getppid() != ours) => {
                    libc::kill(command, libc::SIGKILL);
                    end_the_rest();
                    libc::_exit(128 + libc::SIGKILL);
                }
                // What the terminal sends, the command has heard.
                libc::SIGINT | libc::SIGTERM if is_from_us => {
                    libc::kill(command, signal);
                }
                _ => {}
            }
        }
    }
}

/// Takes note of all children that have ended; the exit code of the command, if it is one of them.
#[expect(unsafe_code, reason = "a fork of a program with threads may make system calls only")]
fn reap(command: i32) -> Option<i32> {
    let (mut status, mut code) = (0, None);
    loop {
        // SAFETY: the pointer is to a local.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid if pid == command && libc::WIFSIGNALED(status) => code = Some(128 + libc::WTERMSIG(status)),
            pid if pid == command => code = Some(libc::WEXITSTATUS(status)),
            pid if pid <= 0 => return code,
            _ => {}
        }
    }
}

/// Ends every child, and the children of those, which become ours, until there is none. One that may not be ended stays.
fn end_the_rest() {
    while has_children() {
        if !end_those_listed() && !end_those_between(1, LAST_ID) {
            return;
        }
    }
}

/// Whether there is a child, running or just ended.
#[expect(unsafe_code, reason = "a fork of a program with threads may make system calls only")]
fn has_children() -> bool {
    // SAFETY: a system call without a pointer that it would follow.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) >= 0 }
}

/// Ends those that the kernel lists; whether there was one. It may be built without the list, or /proc not be there.
#[expect(unsafe_code, reason = "a fork of a program with threads may make system calls only")]
fn end_those_listed() -> bool {
    let mut buffer = [0_u8; LOOK];
    // SAFETY: a terminated path, and a buffer with its own length. The kernel tells the children of the only thread.
    let length = unsafe {
        let file = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let length = libc::read(file, buffer.as_mut_ptr().cast(), LOOK);
        libc::close(file);
        usize::try_from(length).unwrap_or(0)
    };
    end_those(&buffer[..length])
}

/// Ends the children of this list and waits for them; whether there was one.
fn end_those(list: &[u8]) -> bool {
    // The last number may be cut off: each is followed by a space.
    let whole = list.iter().rposition(|byte| *byte == b' ').map_or(&[][..], |end| &list[..end]);
    let mut any = false;
    for number in whole.split(|byte| *byte == b' ') {
        any |= end(number.iter().fold(0_i32, |id, digit| id.wrapping_mul(10).wrapping_add(i32::from(digit & 0xf))));
    }
    any
}

/// Ends the children whose ids are in this range, for want of a list of them; whether there was one. All ids there can be are
/// asked about in the time of as many system calls, about a second.
fn end_those_between(first: i32, last: i32) -> bool {
    let mut any = false;
    for id in first..=last {
        any |= end(id);
    }
    any
}

/// Ends the child of this id and waits for it; whether there was one.
#[expect(unsafe_code, reason = "a fork of a program with threads may make system calls only")]
fn end(child: i32) -> bool {
    // Zero and less would mean a group.
    if child <= 0 {
        return false;
    }
    // SAFETY: system calls without pointers. Nobody but a child of ours is signalled: the wait says whether it is one, and
    // its id is not given away before it was waited for.
    unsafe {
        let ended = libc::waitpid(child, std::ptr::null_mut(), libc::WNOHANG);
        if ended == 0 && libc::kill(child, libc::SIGKILL) == 0 {
            while libc::waitpid(child, std::ptr::null_mut(), 0) < 0 && *libc::__errno_location() == libc::EINTR {}
            return true;
        }
        ended == child
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Runs a script that prints the id of a process that it leaves behind; its code and that id.
    async fn run(script: &str) -> (u8, Pid) {
        let (mut read, write) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(write);
        let code = shell_code(accompany(command).await.unwrap());
        let mut text = String::new();
        io::Read::read_to_string(&mut read, &mut text).unwrap();
        (code, Pid::from_raw(text.trim().parse().unwrap()))
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_ends_with_it() {
        let deep = "id=$(setsid sh -c 'setsid sleep 600 >&- & echo $!; exec sleep 600 >&-' &); echo $id; exit 7";
        for (script, code) in [("setsid sleep 600 & echo $!; exit 3", 3), (deep, 7), ("echo $$; kill -9 $$", 137)] {
            let (got, left) = run(script).await;
            assert_eq!(got, code, "{script}");
            assert_eq!(kill(left, None), Err(nix::Error::ESRCH), "{script}");
        }
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_told() {
        let error = accompany(Command::new("no-such-program-anywhere")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_but_children_is_ended() {
        let text = format!("{} 1 {} 0 77", std::process::id(), i64::MAX);
        assert!(!end_those(text.as_bytes()) && !end_those(b"") && !end_those(b"12"));
    }

    #[test]
    fn a_child_is_found_by_its_id_alone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let id = child.id().cast_signed();
        let around = || end_those_between(id, id);
        assert!(around() && !around());
        assert_eq!(kill(Pid::from_raw(id), None), Err(nix::Error::ESRCH));
        assert!(child.try_wait().is_err(), "it was waited for");
    }
}
