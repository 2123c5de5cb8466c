//! The network interfaces of this host, which stamps each of them offers, and which addresses are the host's own.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::stamp_support::{StampSupport, stamp_support};

/// Interfaces that are looked at; a host of containers has hundreds of links that look alike.
const LIMIT: usize = 16;

/// The interfaces that lead out of this host.
#[derive(Debug)]
pub struct Interfaces {
    /// Those that are up, as many as are looked at; those with a device behind them first.
    pub looked_at: Vec<Interface>,
    /// How many more are up.
    pub further_count: usize,
    /// How many are down.
    pub down_count: usize,
}

/// An interface that is up.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What it stamps, or why it does not say.
    pub stamps: io::Result<StampSupport>,
}

/// The interfaces but the loopback, each once.
///
/// # Errors
/// When the kernel does not list them.
pub fn interfaces() -> io::Result<Interfaces> {
    let listed = getifaddrs()?.map(|address| (address.interface_name, address.flags));
    // A virtual interface is of the kernel alone.
    let has_device = |name: &str| Path::new("/sys/class/net").join(name).join("device").exists();
    let Chosen { names, further_count, down_count } = choose(listed, has_device);
    let interface = |name: String| Interface { stamps: stamp_support(&name), name };
    Ok(Interfaces { looked_at: names.into_iter().map(interface).collect(), further_count, down_count })
}

/// Which of the listed ones are looked at.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    names: Vec<String>,
    further_count: usize,
    down_count: usize,
}

/// Every address of an interface is listed by itself.
fn choose(listed: impl Iterator<Item = (String, InterfaceFlags)>, has_device: impl Fn(&str) -> bool) -> Chosen {
    let mut seen = BTreeSet::new();
    let outward = listed.filter(|(_, flags)| !flags.contains(InterfaceFlags::IFF_LOOPBACK));
    let once = outward.filter(|(name, _)| seen.insert(name.clone()));
    let (up, down): (Vec<_>, Vec<_>) = once.partition(|(_, flags)| flags.contains(InterfaceFlags::IFF_UP));
    let (mut names, without): (Vec<String>, Vec<String>) =
        up.into_iter().map(|(name, _)| name).partition(|name| has_device(name));
    names.extend(without);
    let further_count = names.len().saturating_sub(LIMIT);
    names.truncate(LIMIT);
    Chosen { names, further_count, down_count: down.len() }
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
    fn interfaces_are_listed_without_the_loopback_and_each_once() {
        let Interfaces { looked_at, .. } = interfaces().unwrap();
        let names: BTreeSet<&str> = looked_at.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names.len(), looked_at.len());
        assert!(!names.contains("lo"));
    }

    #[test]
    fn those_with_a_device_come_first_and_the_others_are_counted() {
        let up = InterfaceFlags::IFF_UP;
        let named = |name: &str, flags| (name.to_owned(), flags);
        let virtual_ones = (0..20).map(|number| named(&format!("veth{number}"), up));
        let listed: Vec<_> = std::iter::once(named("lo", up | InterfaceFlags::IFF_LOOPBACK))
            .chain(virtual_ones)
            .chain([named("eth0", up), named("eth1", InterfaceFlags::empty()), named("eth0", up)])
            .collect();
        let chosen = choose(listed.into_iter(), |name| name.starts_with("eth"));
        assert_eq!((chosen.names.len(), chosen.names[0].as_str(), chosen.names[1].as_str()), (LIMIT, "eth0", "veth0"));
        assert_eq!((chosen.further_count, chosen.down_count), (5, 1));
        let none = Chosen { names: Vec::new(), further_count: 0, down_count: 0 };
        assert_eq!(choose(std::iter::empty(), |_| true), none);
    }
}
