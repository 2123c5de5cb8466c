//! Which stamps the driver of an interface gives (ETHTOOL_GET_TS_INFO).
//!
//! Separate from the asking and taking of stamps because this is a question to an interface by its name, which needs no
//! privilege and changes nothing.
#![expect(unsafe_code, reason = "interface requests have no safe wrapper")]

use std::ffi::c_char;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::sys::socket::TimestampingFlag;

/// `ETHTOOL_GET_TS_INFO`, of linux/ethtool.h.
const GET_TS_INFO: u32 = 0x41;

/// What an interface offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampSupport {
    /// The kernel stamps what is sent, where the driver takes it.
    pub software_sent: bool,
    /// The kernel stamps what is received.
    pub software_received: bool,
}

/// As in linux/ethtool.h.
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

/// What the interface of this name offers.
///
/// # Errors
/// When there is no such interface, or its driver does not tell.
pub fn stamp_support(interface: &str) -> io::Result<StampSupport> {
    // Any socket will do: the request is to the interface.
    let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut info = TsInfo { command: GET_TS_INFO, ..TsInfo::default() };
    ask(socket.as_fd(), libc::SIOCETHTOOL, interface, &mut info)?;
    Ok(info.support())
}

impl TsInfo {
    fn support(&self) -> StampSupport {
        let flags = TimestampingFlag::from_bits_retain(self.so_timestamping);
        let has = |flag| flags.contains(flag);
        let software = has(TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE);
        StampSupport {
            software_sent: software && has(TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE),
            software_received: software && has(TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE),
        }
    }
}

/// Puts a request to an interface, which reads and fills `data`.
fn ask<T>(socket: BorrowedFd<'_>, request: libc::c_ulong, interface: &str, data: &mut T) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid request: plain integers and a pointer that is not followed.
    let mut asked: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.is_empty() || interface.len() >= asked.ifr_name.len() || interface.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in asked.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte as c_char;
    }
    asked.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
    // SAFETY: the descriptor is borrowed and so open; name and data live through the call, and `data` has the layout that
    // this request reads and writes.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &raw mut asked) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_stamps_in_software_alone() {
        let software = StampSupport { software_sent: true, software_received: true };
        assert_eq!(stamp_support("lo").unwrap(), software);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert_eq!(stamp_support("none-of-ours").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        for name in ["", "a-name-that-is-longer-than-a-name", "l\0o"] {
            assert_eq!(stamp_support(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
