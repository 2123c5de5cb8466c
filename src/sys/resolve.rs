//! From a host name to addresses, through the system's resolver, within a time limit.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

/// How long the resolver may take; its own retries are 5 s each.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which address family to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Whichever the name has, in the order of the resolver.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether an address is of this family.
    #[must_use]
    pub const fn admits(self, address: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// All addresses of a name, each once, in the resolver's order. An IPv6 address may have a zone: `fe80::1%eth0`.
///
/// # Errors
/// The resolver's error, a timeout, or that there is no such interface.
pub async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some((address, zone)) = host.split_once('%')
        && let Ok(address) = address.parse::<Ipv6Addr>()
    {
        return Ok(vec![SocketAddrV6::new(address, port, 0, interface(zone)?).into()]);
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in timeout(PATIENCE, lookup_host((host, port))).await?? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The number of an interface, by its name or that number itself.
fn interface(zone: &str) -> io::Result<u32> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    let unknown = |_| io::Error::new(io::ErrorKind::NotFound, format!("there is no network interface `{zone}`"));
    nix::net::if_::if_nametoindex(zone).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_zone_is_an_interface_by_name_or_number() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        for zone in ["lo", &index.to_string()] {
            let found = lookup(&format!("fe80::1%{zone}"), 7).await.unwrap();
            assert_eq!(found, [SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, index).into()]);
        }
        let error = lookup("fe80::1%nowhere", 7).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no network interface `nowhere`");
    }
}
