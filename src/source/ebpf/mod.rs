//! The kernel's own tracepoints: containers by their control groups and processes, with the kernel's stamps.
//!
//! Separate from the other sources because it asks no engine, and needs rights and a kernel that not every host has. The folder
//! also holds the program that runs in the kernel, `program.c`, and what is made of it by `build`, `program.o`, which is part of
//! the binary. Nothing is pinned: what is attached is gone with the last descriptor of this process, however it ends.

#[cfg(feature = "ebpf")]
mod container;
#[cfg(feature = "ebpf")]
mod load;
#[cfg(feature = "ebpf")]
mod record;
#[cfg(feature = "ebpf")]
mod track;

use std::io;
use std::path::Path;

#[cfg(feature = "ebpf")]
pub use load::Kernel;

use super::watch::{Teller, Watching};
use crate::sys::privilege::{Capability, capabilities};

/// Where the kernel shows the types of its structures.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Why the kernel tells us nothing.
#[derive(Debug, thiserror::Error)]
pub enum EbpfError {
    /// This program was built without it.
    #[error("this `offloadctl` was built without eBPF")]
    NotBuilt,
    /// A right is missing.
    #[error("this process lacks {}", .0.join(" and "))]
    Capability(Vec<&'static str>),
    /// The kernel does not describe its structures.
    #[error("there is no `{TYPES}`: this kernel was built without CONFIG_DEBUG_INFO_BTF, or it is not shown here")]
    Types,
    /// The kernel knows no such programs or maps, or does not let us.
    #[error("the kernel refuses `{what}`")]
    Refused {
        /// What was asked of it.
        what: String,
        /// Its answer, where there is one.
        source: Option<io::Error>,
    },
    /// A tracepoint is missing.
    #[error("this kernel has no tracepoint `{name}`, or does not let us attach to it")]
    Tracepoint {
        /// Which.
        name: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl EbpfError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotBuilt => "build it with `cargo build --release --features ebpf`",
            Self::Capability(_) => "run it as root; in a container with `--cap-add BPF --cap-add PERFMON`",
            Self::Types => "most distributions' kernels have it since Linux 5.8; in a container, mount /sys",
            Self::Refused { .. } => {
                "it needs Linux 5.8 or later with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS, and no lockdown for \
                 confidentiality (/sys/kernel/security/lockdown)"
            }
            Self::Tracepoint { .. } => {
                "it needs Linux 5.8 or later with CONFIG_TRACEPOINTS, CONFIG_BPF_EVENTS and CONFIG_CGROUPS"
            }
        })
    }
}

/// Attaches to the kernel's tracepoints.
///
/// # Errors
/// Where this host, this process or this build cannot.
pub fn open() -> Result<Opened, EbpfError> {
    require(capabilities(), Path::new(TYPES).exists())?;
    opened()
}

/// The containers that run now, as far as control groups say it.
#[must_use]
pub fn running() -> Vec<String> {
    #[cfg(feature = "ebpf")]
    return container::running();
    #[cfg(not(feature = "ebpf"))]
    Vec::new()
}

/// Attached, and not yet told to anybody.
pub struct Opened {
    #[cfg(feature = "ebpf")]
    kernel: Kernel,
}

#[cfg(feature = "ebpf")]
fn opened() -> Result<Opened, EbpfError> {
    Ok(Opened { kernel: Kernel::attach()? })
}

#[cfg(not(feature = "ebpf"))]
fn opened() -> Result<Opened, EbpfError> {
    Err(EbpfError::NotBuilt)
}

impl Opened {
    /// Tells what happens from now on.
    #[must_use]
    pub fn watch(self, teller: Teller) -> Watching {
        #[cfg(feature = "ebpf")]
        return Box::pin(self.kernel.watch(teller));
        #[cfg(not(feature = "ebpf"))]
        Box::pin(async move { drop((self, teller)) })
    }
}

/// What is missing, if anything, said before the kernel's bare refusal.
fn require(capabilities: Option<Vec<Capability>>, has_types: bool) -> Result<(), EbpfError> {
    if cfg!(not(feature = "ebpf")) {
        return Err(EbpfError::NotBuilt);
    }
    // Where the kernel does not say, it is tried.
    let missing: Vec<&str> = match capabilities {
        Some(all) if !all.contains(&Capability::SysAdmin) => {
            let needed = [Capability::Bpf, Capability::Perfmon].into_iter();
            needed.filter(|capability| !all.contains(capability)).map(Capability::name).collect()
        }
        _ => Vec::new(),
    };
    if !missing.is_empty() {
        return Err(EbpfError::Capability(missing));
    }
    if has_types { Ok(()) } else { Err(EbpfError::Types) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "ebpf"))]
    fn a_build_without_it_says_how_to_get_it() {
        let error = open().err().unwrap();
        assert!(error.hint().unwrap().contains("--features ebpf"), "{error}");
    }

    #[test]
    #[cfg(feature = "ebpf")]
    fn what_is_missing_is_named() {
        let of = |capabilities: &[Capability], has_types| {
            require(Some(capabilities.to_vec()), has_types).err().map(|error| error.to_string())
        };
        let both = [Capability::Bpf, Capability::Perfmon];
        assert_eq!(of(&[], true).unwrap(), "this process lacks CAP_BPF and CAP_PERFMON");
        assert_eq!(of(&both[..1], true).unwrap(), "this process lacks CAP_PERFMON");
        assert!(of(&both, false).unwrap().contains("CONFIG_DEBUG_INFO_BTF"));
        assert_eq!((of(&both, true), of(&[Capability::SysAdmin], true)), (None, None));
        assert!(require(None, true).is_ok());
    }
}
