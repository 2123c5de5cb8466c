//! The network interfaces of this host, and which stamps their drivers give (ETHTOOL_GET_TS_INFO).
//!
//! Separate because asking a driver is an ioctl with a structure of the kernel's own.
#![expect(unsafe_code, reason = "no safe wrapper asks a driver for its stamps")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::TimestampingFlag;

/// Interfaces that are looked at; a host of containers has hundreds of links that look alike.
const LIMIT: usize = 16;

/// `ETHTOOL_GET_TS_INFO` of linux/ethtool.h.
const GET_TS_INFO: u32 = 0x41;

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

/// The stamps that an interface gives, from the kernel's software or its own hardware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampSupport {
    /// What is sent, when it is handed to the hardware.
    pub software_send: bool,
    /// What is received, when it is taken from the hardware.
    pub software_receive: bool,
    /// What is sent, by the hardware.
    pub hardware_send: bool,
    /// What is received, by the hardware.
    pub hardware_receive: bool,
}

/// The interfaces that are up, each once; of very many the first.
///
/// # Errors
/// When the kernel does not list them.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut found: Vec<Interface> = Vec::new();
    for address in getifaddrs()? {
        let is_new = found.iter().all(|interface| interface.name != address.interface_name);
        if is_new && address.flags.contains(InterfaceFlags::IFF_UP) && found.len() < LIMIT {
            let stamps = stamp_support(&socket, &address.interface_name);
            let is_loopback = address.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            found.push(Interface { name: address.interface_name, is_loopback, stamps });
        }
    }
    Ok(found)
}

/// `struct ethtool_ts_info`.
#[repr(C)]
#[derive(Default)]
struct TsInfo {
    command: u32,
    so_timestamping: u32,
    phc_index: i32,
    tx_types: u32,
    tx_reserved: [u32; 3],
    rx_filters: u32,
    rx_reserved: [u32; 3],
}

fn stamp_support(socket: &UdpSocket, name: &str) -> io::Result<StampSupport> {
    let mut info = TsInfo { command: GET_TS_INFO, ..TsInfo::default() };
    // SAFETY: an ifreq is plain integers and pointers, of which all-zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the descriptor is open; the request names an interface with a final zero and points to a structure of the
    // kind that the command in it asks for, which outlives the call.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let gives = |flag: TimestampingFlag| info.so_timestamping & flag.bits() == flag.bits();
    Ok(StampSupport {
        software_send: gives(TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE),
        software_receive: gives(TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE),
        hardware_send: gives(TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE),
        hardware_receive: gives(TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_stamps_in_software_and_has_no_hardware() {
        let interfaces = interfaces().unwrap();
        let loopback = interfaces.iter().find(|interface| interface.is_loopback).unwrap();
        let stamps = loopback.stamps.as_ref().unwrap();
        assert!(stamps.software_receive && !stamps.hardware_receive && !stamps.hardware_send, "{stamps:?}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(stamp_support(&socket, "nowhere0").is_err());
        assert!(stamp_support(&socket, "a-name-that-is-longer-than-any").is_err());
    }
}
