//! The four channels as one operation, so that one driver drives them side by side.

use super::connect::ConnectChannel;
use super::echo::EchoChannel;
use super::icmp::IcmpChannel;
use super::spec::Channel;
use super::udp::UdpChannel;
use crate::load::{Answer, Operation};

/// One channel to one target.
#[derive(Debug)]
pub enum RttOperation {
    /// TCP handshakes.
    Connect(ConnectChannel),
    /// ICMP echo requests.
    Icmp(IcmpChannel),
    /// PING and PONG on a kept TCP connection.
    Echo(EchoChannel),
    /// PING and PONG as datagrams.
    Udp(UdpChannel),
}

impl RttOperation {
    /// Answers that came after their attempt had been given up; those of ICMP are counted by its hub.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        match self {
            Self::Echo(channel) => channel.late_count(),
            Self::Udp(channel) => channel.late_count(),
            Self::Connect(_) | Self::Icmp(_) => 0,
        }
    }
}

impl Operation for RttOperation {
    async fn attempt(&self) -> Answer {
        match self {
            Self::Connect(channel) => channel.attempt().await,
            Self::Icmp(channel) => channel.attempt().await,
            Self::Echo(channel) => channel.attempt().await,
            Self::Udp(channel) => channel.attempt().await,
        }
    }
}

/// Name of the response series of a channel; the floor's stands apart so that no gate on a target matches it.
#[must_use]
pub const fn series_name(channel: Channel, floor: bool) -> &'static str {
    match (channel, floor) {
        (Channel::Connect, false) => "rtt.tcp_connect",
        (Channel::Connect, true) => "rtt.floor.tcp_connect",
        (Channel::Icmp, false) => "rtt.icmp",
        (Channel::Icmp, true) => "rtt.floor.icmp",
        (Channel::Echo, false) => "rtt.echo",
        (Channel::Echo, true) => "rtt.floor.echo",
        (Channel::Udp, false) => "rtt.echo_udp",
        (Channel::Udp, true) => "rtt.floor.echo_udp",
    }
}

/// Name of the series of the kernel's estimate of a handshake.
#[must_use]
pub const fn kernel_series(floor: bool) -> &'static str {
    if floor { "rtt.floor.tcp_connect.kernel" } else { "rtt.tcp_connect.kernel" }
}
