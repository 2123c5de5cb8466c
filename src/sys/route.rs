//! Through which interface this host sends to an address, as its routing rules have it now (RTM_GETROUTE of rtnetlink).
//!
//! Separate from the listing of interfaces because only the kernel can answer it: an address of ours may be on another
//! interface than the route that uses it. It needs no privilege and sends nothing into the network.

use std::ffi::c_int;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::net::if_::if_indextoname;
use socket2::{Domain, Protocol, Socket, Type};

use super::interrupted::again;

/// The kernel answers within the call that asks; a sandbox that swallows questions must not hold anybody up.
const PATIENCE: Duration = Duration::from_secs(1);

/// An answer about one route is some 200 bytes.
const ROOM: usize = 4096;

/// Lengths of `struct nlmsghdr`, `struct rtmsg` and `struct rtattr`, and what they are padded to.
const HEADER: usize = 16;
const ROUTE: usize = 12;
const ATTRIBUTE: usize = 4;
const ALIGNMENT: usize = 4;

/// Number of the interface that a message to `address` leaves by, from `bind` if given.
///
/// # Errors
/// When there is no route, or nobody who may be asked for it.
pub fn interface_toward(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<u32> {
    // A link-local address means nothing without its interface, and so names it.
    if let SocketAddr::V6(v6) = address
        && v6.scope_id() != 0
    {
        return Ok(v6.scope_id());
    }
    let route = Protocol::from(libc::NETLINK_ROUTE);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW.cloexec(), Some(route))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&question(address.ip(), bind))?;
    let mut answer = [0; ROOM];
    let length = again(|| socket.read(&mut answer))?;
    leaving_by(&answer[..length])
}

/// Name of the interface of this number.
///
/// # Errors
/// When there is none, or its name is no text.
pub fn interface_name(number: u32) -> io::Result<String> {
    let name = if_indextoname(number)?;
    name.into_string().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The question for the route to `to`.
fn question(to: IpAddr, from: Option<IpAddr>) -> Vec<u8> {
    let (family, bits) = match to {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    let mut route = [0; ROUTE];
    (route[0], route[1]) = (family as u8, bits);
    let mut attributes = attribute(libc::RTA_DST, to);
    if let Some(from) = from {
        route[2] = bits;
        attributes.extend(attribute(libc::RTA_SRC, from));
    }
    let length = (HEADER + ROUTE + attributes.len()) as u32;
    let mut question = Vec::from(length.to_ne_bytes());
    question.extend(libc::RTM_GETROUTE.to_ne_bytes());
    question.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Number of the question and of who asks: there is only one, and the kernel knows the socket.
    question.extend([0; 8]);
    question.extend(route);
    question.extend(attributes);
    question
}

fn attribute(kind: u16, address: IpAddr) -> Vec<u8> {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let length = (ATTRIBUTE + bytes.len()) as u16;
    [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &bytes].concat()
}

/// The interface in an answer about one route.
fn leaving_by(answer: &[u8]) -> io::Result<u32> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let kind = half(4).ok_or_else(damaged)?;
    if c_int::from(kind) == libc::NLMSG_ERROR {
        let code = word(HEADER).ok_or_else(damaged)? as c_int;
        return Err(io::Error::from_raw_os_error(code.checked_neg().ok_or_else(damaged)?));
    }
    let mut at = HEADER + ROUTE;
    while let (Some(length), Some(kind)) = (half(at), half(at + 2)) {
        if kind == libc::RTA_OIF {
            return word(at + ATTRIBUTE).ok_or_else(damaged);
        }
        // A length below that of its own head would keep us here for good.
        at += usize::from(length).max(ATTRIBUTE).next_multiple_of(ALIGNMENT);
    }
    Err(damaged())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use nix::net::if_::if_nametoindex;

    use super::*;

    #[test]
    fn what_is_of_this_host_stays_on_the_loopback() {
        let loopback = if_nametoindex("lo").unwrap();
        for (address, bind) in [("127.0.0.1:9", None), ("127.0.0.2:9", Some("127.0.0.1")), ("[::1]:9", None)] {
            let bind = bind.map(|bind: &str| bind.parse().unwrap());
            assert_eq!(interface_toward(address.parse().unwrap(), bind).unwrap(), loopback, "{address}");
        }
        assert_eq!(interface_name(loopback).unwrap(), "lo");
    }

    #[test]
    fn a_link_local_address_names_its_interface_and_no_route_is_an_error() {
        let local = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 0, 77);
        assert_eq!(interface_toward(local.into(), None).unwrap(), 77);
        let not_ours = Some("192.0.2.1".parse().unwrap());
        assert!(interface_toward("127.0.0.1:9".parse().unwrap(), not_ours).is_err());
    }

    /// An answer of this kind with these bytes behind its head.
    fn answer(kind: c_int, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&(kind as u16).to_ne_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn damaged_answers_are_errors_and_never_a_hang() {
        let route = |attributes: &[u8]| answer(libc::RTM_NEWROUTE.into(), &[&[0; ROUTE], attributes].concat());
        let oif = [8_u16.to_ne_bytes(), libc::RTA_OIF.to_ne_bytes()].concat();
        let found = route(&[&[5, 0, 9, 0, 1, 0, 0, 0], oif.as_slice(), &7_u32.to_ne_bytes()].concat());
        assert_eq!(leaving_by(&found).unwrap(), 7, "behind an attribute with padding");
        for short in 0..found.len() {
            assert!(leaving_by(&found[..short]).is_err(), "{short} bytes of it");
        }
        assert!(leaving_by(&route(&[0; 64])).is_err(), "attributes of no length");
        let refusal = answer(libc::NLMSG_ERROR, &(-libc::ENETUNREACH).to_ne_bytes());
        assert_eq!(leaving_by(&refusal).unwrap_err().raw_os_error(), Some(libc::ENETUNREACH));
        assert!(leaving_by(&answer(libc::NLMSG_ERROR, &i32::MIN.to_ne_bytes())).is_err());
    }
}
