//! The network interfaces of this host, and which stamps each of them offers.

use std::io;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::stamp_support::{StampSupport, stamp_support};

/// Interfaces that are looked at; a host of containers has hundreds of links that look alike.
const LIMIT: usize = 16;

/// An interface that is up.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is the loopback.
    pub is_loopback: bool,
    /// What it stamps, or why it does not say.
    pub stamps: io::Result<StampSupport>,
}

/// The interfaces that are up, each once; of very many the first.
///
/// # Errors
/// When the kernel does not list them.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: Vec<Interface> = Vec::new();
    for address in getifaddrs()? {
        let is_new = found.iter().all(|interface| interface.name != address.interface_name);
        if is_new && address.flags.contains(InterfaceFlags::IFF_UP) && found.len() < LIMIT {
            let stamps = stamp_support(&address.interface_name);
            let is_loopback = address.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            found.push(Interface { name: address.interface_name, is_loopback, stamps });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_once_and_says_what_it_stamps() {
        let interfaces = interfaces().unwrap();
        let loopbacks: Vec<&Interface> = interfaces.iter().filter(|interface| interface.is_loopback).collect();
        assert_eq!(loopbacks.len(), 1);
        assert!(loopbacks[0].stamps.as_ref().unwrap().software_received);
    }
}
