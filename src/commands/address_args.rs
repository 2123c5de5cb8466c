//! The arguments of everything that connects to named targets: which addresses, and from where.

use std::net::IpAddr;

use clap::Args;

use crate::sys::resolve::Family;
use crate::wire::{Reach, Rule};

#[derive(Debug, Args)]
pub struct AddressArgs {
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Measure from this local address
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Take these addresses for a name instead of looking it up; may repeat
    #[arg(long, value_name = "HOST:PORT:ADDRESS[,ADDRESS]")]
    resolve: Vec<Rule>,
}

impl AddressArgs {
    /// What was meant; a local address asks for its own family.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let family = match (self.ipv4, self.ipv6, self.bind) {
            (true, ..) | (false, false, Some(IpAddr::V4(_))) => Family::V4,
            (_, true, _) | (_, _, Some(IpAddr::V6(_))) => Family::V6,
            _ => Family::Any,
        };
        Reach { family, bind: self.bind, resolve: self.resolve.clone() }
    }
}
