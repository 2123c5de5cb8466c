//! Which stamps an interface offers (ETHTOOL_GET_TS_INFO), and which of the card's are switched on (SIOCGHWTSTAMP).
//!
//! Separate from the asking and taking of stamps because these are questions to an interface by its name, which need no
//! privilege and change nothing: a card stamps only what whoever runs the host's clocks has told it to.
#![expect(unsafe_code, reason = "interface requests have no safe wrapper")]

use std::ffi::c_char;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::sys::socket::TimestampingFlag;

use crate::model::CardState;

/// `ETHTOOL_GET_TS_INFO`, of linux/ethtool.h.
const GET_TS_INFO: u32 = 0x41;

/// `HWTSTAMP_TX_OFF` and `HWTSTAMP_FILTER_NONE`, and `HWTSTAMP_FILTER_ALL`, of linux/net_tstamp.h.
const OFF: i32 = 0;
const EVERY_PACKET: i32 = 1;

/// What an interface offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StampSupport {
    /// The kernel stamps what is sent, where the driver takes it.
    pub software_sent: bool,
    /// The kernel stamps what is received.
    pub software_received: bool,
    /// The card can stamp what is sent.
    pub hardware_sent: bool,
    /// The card can stamp what is received, and not only packets of a time protocol.
    pub hardware_received: bool,
    /// Number of the card's clock, `/dev/ptpN`.
    pub hardware_clock: Option<u32>,
    /// The card has been told to stamp everything, both ways; who has not been told does not, though he can.
    pub is_hardware_on: bool,
    /// The card can stamp something of what is received, be it of a time protocol alone.
    pub some_received: bool,
}

impl StampSupport {
    /// Whether a card's stamps can be had of every message.
    #[must_use]
    pub const fn card(&self) -> CardState {
        match (self.hardware_sent, self.hardware_received) {
            // What it was told tells more than what it says that it can.
            _ if self.is_hardware_on => CardState::On,
            (true, true) => CardState::Off,
            (true, false) if self.some_received => CardState::TimeProtocolOnly,
            (false, false) => CardState::Absent,
            (true, false) | (false, true) => CardState::OneWay,
        }
    }
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

/// As in linux/net_tstamp.h.
#[repr(C)]
#[derive(Default)]
struct Configuration {
    flags: i32,
    tx_type: i32,
    rx_filter: i32,
}

/// What the interface of this name offers.
///
/// # Errors
/// When there is no such interface, or its driver does not tell.
pub fn stamp_support(interface: &str) -> io::Result<StampSupport> {
    // Any socket will do: the request is to the interface.
    let socket = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut info = TsInfo { command: GET_TS_INFO, phc_index: -1, ..TsInfo::default() };
    ask(socket.as_fd(), libc::SIOCETHTOOL, interface, &mut info)?;
    let mut configuration = Configuration::default();
    // An interface without a card has no configuration, which is told as an error: it stamps nothing then.
    let is_told = ask(socket.as_fd(), libc::SIOCGHWTSTAMP, interface, &mut configuration).is_ok();
    let is_on = is_told && configuration.tx_type != OFF && configuration.rx_filter == EVERY_PACKET;
    Ok(StampSupport { is_hardware_on: is_on, ..info.support() })
}

impl TsInfo {
    fn support(&self) -> StampSupport {
        let flags = TimestampingFlag::from_bits_retain(self.so_timestamping);
        let has = |flag| flags.contains(flag);
        let raw = has(TimestampingFlag::SOF_TIMESTAMPING_RAW_HARDWARE);
        let software = has(TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE);
        StampSupport {
            software_sent: software && has(TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE),
            software_received: software && has(TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE),
            hardware_sent: raw
                && has(TimestampingFlag::SOF_TIMESTAMPING_TX_HARDWARE)
                && self.tx_types & !(1 << OFF) != 0,
            hardware_received: raw
                && has(TimestampingFlag::SOF_TIMESTAMPING_RX_HARDWARE)
                && self.rx_filters & (1 << EVERY_PACKET) != 0,
            hardware_clock: u32::try_from(self.phc_index).ok(),
            is_hardware_on: false,
            some_received: raw && self.rx_filters & !(1 << OFF) != 0,
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
        let software = StampSupport { software_sent: true, software_received: true, ..StampSupport::default() };
        assert_eq!(stamp_support("lo").unwrap(), software);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert_eq!(stamp_support("none-of-ours").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        for name in ["", "a-name-that-is-longer-than-a-name", "l\0o"] {
            assert_eq!(stamp_support(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_card_counts_only_if_it_stamps_every_packet() {
        let can = |phc_index, rx_filters| {
            let so_timestamping = 0b101_1111;
            let support =
                TsInfo { so_timestamping, phc_index, tx_types: 0b11, rx_filters, ..TsInfo::default() }.support();
            (support.hardware_sent, support.hardware_received, support.hardware_clock, support.card())
        };
        assert_eq!(can(2, 0b11), (true, true, Some(2), CardState::Off));
        let protocol = CardState::TimeProtocolOnly;
        assert_eq!(can(-1, 0b1_0000_0001), (true, false, None, protocol), "of packets of a time protocol alone");
        assert_eq!(can(2, 0b1), (true, false, Some(2), CardState::OneWay));
    }

    #[test]
    fn a_card_is_on_once_it_was_told_to_and_absent_without_stamps() {
        assert_eq!(StampSupport::default().card(), CardState::Absent);
        let off = StampSupport { hardware_sent: true, hardware_received: true, ..StampSupport::default() };
        assert_eq!(off.card(), CardState::Off);
        assert_eq!(StampSupport { is_hardware_on: true, ..off }.card(), CardState::On);
        assert_eq!(StampSupport { hardware_sent: false, ..off }.card(), CardState::OneWay);
    }
}
