//! The network interfaces of this host, which stamps each of them offers, and which addresses are the host's own.

use std::io;
use std::net::IpAddr;

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

/// Whether an address is one of this host's: what is sent to it does not leave the host. The unspecified address, as a
/// destination, is the loopback.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let listed = |interface: nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address?;
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or(storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    // Where the kernel lists none, the loopback is known even so.
    address.is_loopback()
        || address.is_unspecified()
        || getifaddrs().is_ok_and(|mut all| all.any(|interface| listed(interface) == Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known_however_they_are_written() {
        for own in ["127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
            assert!(is_own(own.parse().unwrap()), "{own}");
        }
        // Of a network that is reserved for documentation.
        assert!(!is_own("192.0.2.77".parse().unwrap()) && !is_own("2001:db8::77".parse().unwrap()));
        // The address that packets to elsewhere have is one of ours; without a route there is none.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.77:9").is_ok() {
            assert!(is_own(socket.local_addr().unwrap().ip()));
        }
    }

    #[test]
    fn the_loopback_is_there_once_and_says_what_it_stamps() {
        let interfaces = interfaces().unwrap();
        let loopbacks: Vec<&Interface> = interfaces.iter().filter(|interface| interface.is_loopback).collect();
        assert_eq!(loopbacks.len(), 1);
        assert!(loopbacks[0].stamps.as_ref().unwrap().software_received);
    }
}
