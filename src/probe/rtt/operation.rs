//! The four channels as one operation, so that one driver drives them side by side.

use std::sync::Arc;
use std::time::Duration;

use super::connect::ConnectChannel;
use super::echo::EchoChannel;
use super::far::of_clock;
use super::icmp::IcmpChannel;
use super::spec::Channel;
use super::stamps::{Absence, Stamps, Tracks};
use super::udp::UdpChannel;
use crate::load::{Answer, Beside, FarClock, Lane, MakeBeside, Named, Operation};
use crate::model::{Labels, Series, Stamp};
use crate::sys::clock;
use crate::topo::Applied;

/// One channel to one target, and the link in front of it if that is emulated.
#[derive(Debug)]
pub struct RttOperation {
    /// By which way.
    pub way: Way,
    /// What an emulated link applies to its exchanges.
    pub applied: Option<Arc<Applied>>,
}

/// A channel that is open.
#[derive(Debug)]
pub enum Way {
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
    /// Looks at the kernel's stamps of the exchanges so far, where there are any.
    pub fn with_tracks<T>(&self, look: impl FnOnce(&mut Tracks) -> T) -> Option<T> {
        match &self.way {
            Way::Icmp(channel) => Some(look(&mut channel.tracks())),
            _ => self.stamps().map(|stamps| stamps.with_tracks(look)),
        }
    }

    /// What is known of the far clock.
    #[must_use]
    pub fn far_clock(&self) -> Option<FarClock> {
        self.stamps()?.far_clock()
    }

    /// The far clock differs from ours by no more than this, says the user.
    pub fn trust(&self, clock_bound: Duration) {
        if let Some(stamps) = self.stamps() {
            stamps.trust(clock_bound);
        }
    }

    /// Why one of them is not there.
    #[must_use]
    pub fn absence(&self) -> Option<Absence> {
        match &self.way {
            Way::Icmp(channel) => channel.absence(),
            _ => self.stamps()?.absence(),
        }
    }

    /// Makes one more exchange, which is not counted: only with its answer the far end tells the stamps of the last one.
    pub async fn flush(&self, patience: Duration) {
        if let Way::Icmp(channel) = &self.way {
            channel.finish();
        }
        let Some(stamps) = self.stamps() else { return };
        if stamps.close(clock::now()) {
            // Without an answer the last exchange is counted as one that the far end did not tell.
            let _ = tokio::time::timeout(patience, self.attempt()).await;
        }
        stamps.finish();
    }

    fn stamps(&self) -> Option<&Stamps> {
        match &self.way {
            Way::Echo(channel) => Some(channel.stamps()),
            Way::Udp(channel) => channel.stamps(),
            Way::Connect(_) | Way::Icmp(_) => None,
        }
    }

    /// Answers that came after their attempt had been given up; those of ICMP are counted by its hub.
    #[must_use]
    pub fn late_count(&self) -> u64 {
        match &self.way {
            Way::Echo(channel) => channel.late_count(),
            Way::Udp(channel) => channel.late_count(),
            Way::Connect(_) | Way::Icmp(_) => 0,
        }
    }
}

impl From<Way> for RttOperation {
    fn from(way: Way) -> Self {
        Self { way, applied: None }
    }
}

impl Operation for RttOperation {
    async fn attempt(&self) -> Answer {
        match &self.way {
            Way::Connect(channel) => channel.attempt().await,
            Way::Icmp(channel) => channel.attempt().await,
            Way::Echo(channel) => channel.attempt().await,
            Way::Udp(channel) => channel.attempt().await,
        }
    }

    fn record_from(&self, from: Stamp) {
        self.applied.iter().for_each(|applied| applied.record_from(from));
        let _ = self.with_tracks(|tracks| tracks.record_from(from));
    }

    fn beside(&self, lane: Named<'_>) -> MakeBeside {
        let stamped = self.with_tracks(|tracks| tracks.clone()).map(|tracks| Stamped::of(lane, tracks));
        Box::new(|| stamped.map(Stamped::into_beside).unwrap_or_default())
    }
}

/// The kernel's stamps of one lane, which can be made into series elsewhere.
#[derive(Debug)]
pub struct Stamped {
    tracks: Tracks,
    name: &'static str,
    labels: Labels,
    floor: bool,
}

impl Stamped {
    /// Those of this lane, of which nothing remains there.
    pub fn take(lane: &Lane<RttOperation>) -> Option<Self> {
        Some(Self::of(lane.named(), lane.operation.with_tracks(std::mem::take)?))
    }

    fn of(lane: Named<'_>, tracks: Tracks) -> Self {
        Self { tracks, name: lane.name, labels: lane.labels.clone(), floor: lane.floor }
    }

    /// As they stand, with what they say of the far clock.
    pub fn into_beside(mut self) -> Beside {
        self.tracks.close();
        // The loopback of the floor has no clock of its own.
        let clock = self.tracks.far_clock().filter(|_| !self.floor);
        let scalars = clock.into_iter().flat_map(|clock| of_clock(self.name, &self.labels, clock)).collect();
        Beside { series: self.into_series(), scalars }
    }

    /// As series beside those of the lane.
    pub fn into_series(self) -> Vec<Series> {
        self.tracks.into_series(self.name, &self.labels, self.floor)
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
