//! `offloadctl topology emulate --kernel`: a command at one end of a link that the kernel emulates.
//!
//! Separate from the link in user space because it serves one command and ends with it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Command;

use super::measuring::on_event_loop;
use super::topology::link_text;
use crate::console;
use crate::echo::{EchoLimits, EchoServer, bind_pair};
use crate::error::{Exit, Failure};
use crate::model::LinkProfile;
use crate::report::duration_text;
use crate::sys::companion::{accompany, shell_code};
use crate::topo::{FAR_V4, FAR_V6, KernelLink, independent_jitter_ns};

/// Where the echo at the far end listens.
const ECHO_PORT: u16 = 7777;

/// Runs the command, and passes its exit code on.
///
/// # Errors
/// When the kernel emulates no such link, or the command cannot be started; nothing is left behind.
pub fn run(name: &str, profile: &LinkProfile, command: &[OsString], quiet: bool) -> Result<Exit, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::plain(Exit::Usage, "`topology emulate --kernel` needs a command after `--`"));
    };
    // Signals are heard from here on: one between two steps must not leave the table of delays behind.
    on_event_loop(async |shutdown| {
        let made = KernelLink::make(profile)
            .map_err(|error| Failure::unable(&error).hint(error.hint()))
            .and_then(|link| Ok((echo(&link)?, link)));
        // Also where no step failed of it: the command that comes has not heard it.
        if shutdown.was_requested().await {
            return Ok(Exit::Interrupted);
        }
        let (_echo, link) = made?;
        if !quiet {
            let jitter = independent_jitter_ns(profile).map_err(Failure::unable)?;
            console::say(format_args!(
                "emulating {name} by the kernel: {}; each packet by itself, so that the jitter is {}; the far end is {FAR_V4} and {FAR_V6}, with an echo on port {ECHO_PORT}",
                link_text(profile),
                duration_text(jitter)
            ));
        }
        let mut command = Command::new(program);
        command.args(arguments).env("OFFLOADCTL_FAR", FAR_V4).env("OFFLOADCTL_FAR_V6", FAR_V6);
        command.env("OFFLOADCTL_FAR_NETNS", link.far.path());
        let cannot = |error: std::io::Error| {
            Failure::plain(Exit::Unable, format!("cannot run `{}`: {error}", program.display()))
                .hint("the command after `--` is started as it is; for variables and pipes write `-- sh -c '…'`")
        };
        link.near.enter(&mut command).map_err(cannot)?;
        let status = accompany(command).await.map_err(cannot)?;
        Ok(match shell_code(status) {
            0 => Exit::Fine,
            code => Exit::Passed(code),
        })
    })
}

/// Something at the far end that answers.
fn echo(link: &KernelLink) -> Result<EchoServer, Failure> {
    let cannot = |error: std::io::Error| Failure::plain(Exit::Unable, format!("no echo at the far end: {error}"));
    // Both families: an address that belongs to nobody stands for all of them.
    let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, ECHO_PORT));
    let (tcp, udp) = link.far.run(|| bind_pair(any)).map_err(cannot)?;
    EchoServer::start(tcp, udp, EchoLimits::default()).map_err(cannot)
}
