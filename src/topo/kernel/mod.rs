//! A link that the kernel emulates: two network namespaces of our own, and a third between them with netem in both directions.
//!
//! Separate from the links in user space because here every packet is delayed, handshakes and ICMP too, and because it
//! changes the host: nothing of it has a name, so the kernel removes all of it when this process ends, however it ends.

mod plan;

use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub use plan::{FAR_V4, FAR_V6, independent_jitter_ns};

use super::BUILT_IN;
use crate::model::LinkProfile;
use crate::sys::clock;
use crate::sys::exec::find_program;
use crate::sys::interrupted::again;
use crate::sys::namespace::Namespace;
use plan::{NEAR_V6, Place, PlanError, Step, TABLE, plan};

/// Where administrators' programs are, beside the path of ordinary users.
const ADMINISTRATORS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How long the ends may take to hear each other, and the pause between two tries.
const SETTLING: Duration = Duration::from_secs(3);
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Bytes of what a program said that are repeated.
const SAID_LIMIT: usize = 400;

/// A link that the kernel does not emulate here.
#[derive(Debug, thiserror::Error)]
pub enum KernelLinkError {
    /// The profile is none that netem can have.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No privilege, or no namespaces.
    #[error("no network namespace can be made here")]
    Namespace(#[source] io::Error),
    /// A program is missing.
    #[error("the program `{0}` is not here")]
    Program(&'static str),
    /// Netem itself was refused.
    #[error("the kernel has no netem for us: `{command}` said: {said}")]
    Netem {
        /// What was tried.
        command: String,
        /// The answer.
        said: String,
    },
    /// Another step was refused.
    #[error("the link cannot be made: `{command}` said: {said}")]
    Step {
        /// What was tried.
        command: String,
        /// The answer.
        said: String,
    },
    /// A file or a program that could not be used.
    #[error("the link cannot be made: {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl KernelLinkError {
    /// What would help.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Namespace(_) => {
                "run it as root, or as `unshare --user --map-root-user offloadctl …`, or leave out --kernel"
            }
            Self::Program(_) => "install iproute2: `apt-get install iproute2`",
            Self::Netem { .. } => {
                "load it with `modprobe sch_netem`, or boot a kernel with CONFIG_NET_SCH_NETEM; links in user space, without --kernel, work everywhere"
            }
            Self::Plan(_) => "`offloadctl topology list` shows profiles that fit",
            Self::Step { .. } | Self::Io { .. } => "links in user space, without --kernel, work everywhere",
        }
    }
}

/// A running link; dropping it removes it.
#[derive(Debug)]
pub struct KernelLink {
    /// Where the command belongs.
    pub near: Namespace,
    /// What it talks to.
    pub far: Namespace,
    /// Where packets are delayed; the kernel removes it with its last holder, which is this.
    _middle: Namespace,
}

impl KernelLink {
    /// Makes namespaces, link and delays.
    ///
    /// # Errors
    /// Without privilege, iproute2 or netem; nothing is left behind.
    pub fn make(profile: &LinkProfile) -> Result<Self, KernelLinkError> {
        let [near, middle, far] = [namespace()?, namespace()?, namespace()?];
        let plan = plan(profile, &middle.path().display().to_string())?;
        let [ip, tc] = [program("ip")?, program("tc")?];
        let of = |place| match place {
            Place::Near => &near,
            Place::Middle => &middle,
            Place::Far => &far,
        };
        plan.links.iter().try_for_each(|step| perform(step, &ip, of(step.place), None))?;
        // Before there are delays and losses.
        let deaf = |source| KernelLinkError::Io { what: "its ends do not hear each other".to_owned(), source };
        settle(&near, &far).map_err(deaf)?;
        // A folder that is there no longer than it is read: nobody clears it away for us where we are killed.
        let failed = |source| KernelLinkError::Io { what: "the table of delays cannot be written".to_owned(), source };
        let folder = TempDir::with_prefix("offloadctl-").map_err(failed)?;
        std::fs::write(folder.path().join(format!("{TABLE}.dist")), &plan.table).map_err(failed)?;
        plan.delays.iter().try_for_each(|step| perform(step, &tc, of(step.place), Some(folder.path())))?;
        Ok(Self { near, far, _middle: middle })
    }
}

/// Whether this host emulates links in its kernel: one is made, and gone afterwards.
///
/// # Errors
/// Why not.
pub fn netem_works() -> Result<(), KernelLinkError> {
    let namespace = namespace()?;
    // What is missing most often, told in few words and at once.
    let trials = [("ip", "link add bridge0 type bridge"), ("tc", "qdisc add dev lo root netem delay 1ms")];
    trials.into_iter().try_for_each(|(name, text)| {
        let words = text.split(' ').map(str::to_owned).collect();
        perform(&Step { place: Place::Middle, program: name, words }, &program(name)?, &namespace, None)
    })?;
    // Then all that a link needs: its ends, their addresses of both families, its rate, and the table of delays.
    KernelLink::make(&BUILT_IN[0].link()).map(drop)
}

/// Waits until both ends hear each other by IPv6: its addresses are usable a moment after they were given, and what is sent
/// before that is lost, the command's first connection for instance.
fn settle(near: &Namespace, far: &Namespace) -> io::Result<()> {
    let open = || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(BETWEEN_TRIES))?;
        Ok(socket)
    };
    let (near, far) = (near.run(open)?, far.run(open)?);
    let deadline = clock::now() + SETTLING;
    for (from, to, address) in [(&near, &far, FAR_V6), (&far, &near, NEAR_V6)] {
        let port = to.local_addr()?.port();
        loop {
            // No way to send yet is as good as not heard yet.
            let _ = from.send_to(&[], (address, port));
            match again(|| to.recv(&mut [0])) {
                Ok(_) => break,
                Err(_) if clock::now() > deadline => {
                    let what = format!("nothing came through by IPv6 within {} s", SETTLING.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn namespace() -> Result<Namespace, KernelLinkError> {
    Namespace::new().map_err(KernelLinkError::Namespace)
}

fn program(name: &'static str) -> Result<PathBuf, KernelLinkError> {
    let elsewhere = ADMINISTRATORS.iter().map(|folder| Path::new(folder).join(name));
    find_program(Path::new(name))
        .or_else(|| elsewhere.into_iter().find(|path| path.is_file()))
        .ok_or(KernelLinkError::Program(name))
}

fn perform(step: &Step, program: &Path, namespace: &Namespace, tables: Option<&Path>) -> Result<(), KernelLinkError> {
    let text = format!("{} {}", step.program, step.words.join(" "));
    let failed = |source| KernelLinkError::Io { what: format!("`{text}` cannot be run"), source };
    let mut command = Command::new(program);
    command.args(&step.words).envs(tables.map(|folder| ("TC_LIB_DIR", folder))).stdin(Stdio::null());
    namespace.enter(&mut command).map_err(failed)?;
    let output = command.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_LIMIT).collect();
    let command = text;
    Err(match step.program {
        "tc" => KernelLinkError::Netem { command, said },
        _ => KernelLinkError::Step { command, said },
    })
}
