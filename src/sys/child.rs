//! A program that we run to its end and read: what it writes, and an end when we end.
//!
//! Separate from servers of our own, which run beside us, and from a command that takes our place at the terminal.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::exec::die_with_parent;
use super::shutdown::Shutdown;

/// How long a program may take to write what it has after it was asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Runs a command to its end, with all that it wrote. On the user's wish to stop it is interrupted as by Ctrl-C, and ended by force
/// where it does not follow.
///
/// # Errors
/// When it cannot be started or waited for, or does not stop.
pub async fn output_of(mut command: Command, stop: &Shutdown) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Not in our process group: an interrupt of the terminal reaches it through us, once.
    command.process_group(0);
    end_with_us(&mut command);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let output = child.wait_with_output();
    tokio::pin!(output);
    tokio::select! {
        done = &mut output => return done,
        () = stop.requested() => {}
    }
    // One that has ended meanwhile needs no signal.
    let _ = id.map(|id| kill(id, Signal::SIGINT));
    tokio::time::timeout(GRACE, output).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Has the kernel interrupt the program when we have ended, however that came about.
#[expect(unsafe_code, reason = "only the child itself can ask to end with its parent")]
fn end_with_us(command: &mut Command) {
    let parent = std::process::id().cast_signed();
    // SAFETY: between fork and exec it makes two system calls and touches no memory of ours.
    unsafe {
        command.pre_exec(move || die_with_parent(parent, Signal::SIGINT as i32));
    }
}
