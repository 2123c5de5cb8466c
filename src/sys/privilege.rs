//! What this process may do: its capabilities, and the ICMP sockets that it gets.
//!
//! Separate because a privilege is asked for by trying or by reading what the kernel says of us, never by a user's name.

use std::fs;
use std::io;

use socket2::{Domain, Protocol, Socket, Type};

/// A capability by its bit in the kernel's sets (linux/capability.h) and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Routes, links and queueing disciplines.
    NetAdmin = 12,
    /// Raw sockets.
    NetRaw = 13,
    /// Namespaces, and much else.
    SysAdmin = 21,
    /// Tracepoints, and reading the kernel's memory.
    Perfmon = 38,
    /// Programs in the kernel.
    Bpf = 39,
}

impl Capability {
    /// All that matter here.
    pub const ALL: [Self; 5] = [Self::NetAdmin, Self::NetRaw, Self::SysAdmin, Self::Perfmon, Self::Bpf];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// The capabilities in effect; `None` where the kernel does not say.
#[must_use]
pub fn capabilities() -> Option<Vec<Capability>> {
    capabilities_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn capabilities_of(status: &str) -> Option<Vec<Capability>> {
    let text = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(text.trim(), 16).ok()?;
    Some(Capability::ALL.into_iter().filter(|capability| bits >> (*capability as u32) & 1 == 1).collect())
}

/// Whether an ICMP datagram socket can be had, which needs no privilege where the group may ping.
///
/// # Errors
/// The kernel's answer.
pub fn icmp_datagram() -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).map(drop)
}

/// Whether a raw ICMP socket can be had.
///
/// # Errors
/// The kernel's answer.
pub fn icmp_raw() -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_by_their_bits() {
        let of = |text: &str| capabilities_of(text);
        assert_eq!(of("Name:\tx\nCapEff:\t0000000000003000\n"), Some(vec![Capability::NetAdmin, Capability::NetRaw]));
        assert_eq!(of("CapEff:\t0000000000000000\n"), Some(vec![]));
        assert_eq!(of("CapEff:\t000001ffffffffff\n").map(|all| all.len()), Some(5));
        assert_eq!(of("CapEff: x\n"), None);
    }
}
